from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.instances.generator import Plant, random_problem
from env.problem import Objective, Problem
from env.simulator.arrays import compile_problem
from env.simulator.calendar import NEVER
from env.simulator.episode import objective_bound
from env.simulator.observation import FEATURE_COUNT
from models.training.imitation import decisions_towards, demonstration, good_state
from tests.problems import WITH_INSTANTS, problems

SMALL = Plant(operations=(10, 40), objectives=tuple(Objective))


@given(problems(features=WITH_INSTANTS), st.sampled_from(list(Objective)), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_decision_has_a_right_and_a_wrong_choice(problem: Problem, objective: Objective, seed: int) -> None:
    """Only decisions that teach something are kept, whatever the plant has."""
    arrays = compile_problem(replace(problem, objective=objective))
    expert = good_state(problem, arrays, 5, seed)
    if expert.end.max() >= NEVER:
        return
    lesson = decisions_towards(arrays, expert, seed)
    assert lesson.rows.shape == (lesson.counts.sum(), FEATURE_COUNT)
    ends = np.cumsum(lesson.counts)
    for end, count in zip(ends, lesson.counts, strict=True):
        assert 0 < lesson.is_right[end - count : end].sum() < count


def test_teacher_is_better_than_its_rules() -> None:
    """More moves make a better schedule of the same problem."""
    gains = []
    for seed in range(5):
        problem = random_problem(np.random.default_rng(seed), SMALL)
        arrays = compile_problem(problem)
        rules, searched = (objective_bound(arrays, good_state(problem, arrays, moves, 1)) for moves in (0, 100))
        gains.append(rules - searched)
    assert min(gains) >= 0
    assert max(gains) > 0


@pytest.mark.parametrize("seed", range(3))
def test_demonstration_depends_on_its_generator_alone(seed: int) -> None:
    """Equal generators give equal lessons."""
    first, second = (demonstration(np.random.default_rng(seed), SMALL, 20) for _ in range(2))
    assert np.array_equal(first.rows, second.rows)
    assert np.array_equal(first.is_right, second.is_right)
