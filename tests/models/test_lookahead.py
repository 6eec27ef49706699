from __future__ import annotations

import numpy as np
import pytest

from env.candidates import find_candidates, new_candidates
from env.generator import Plant, random_problem
from env.problem import Objective
from env.problem_arrays import compile_problem
from env.reward import objective_bound, reward_norm
from env.simulation import dispatch, new_state
from models.lookahead import copy_state, look_ahead
from tests.models.test_predictor import random_predictor

SMALL = Plant(operations=(12, 25), objectives=tuple(Objective))


@pytest.mark.parametrize("seed", range(4))
def test_value_of_a_choice_is_what_playing_on_gives(seed: int) -> None:
    """At the first decision with a choice, each value is the objective of dispatching that candidate, then greedily."""
    problem = random_problem(np.random.default_rng(seed), SMALL)
    arrays, predictor = compile_problem(problem), random_predictor(seed)
    norm = reward_norm(arrays, new_state(arrays))
    found = look_ahead(arrays, predictor.weights, len(arrays.operation_job), 100, 0.0, seed)
    state, candidates = new_state(arrays), new_candidates()
    find_candidates(arrays, state, candidates)
    while candidates.filled[0] == 1:
        dispatch(arrays, state, candidates.pair[0], arrays.pair_operation[candidates.pair[0]])
        find_candidates(arrays, state, candidates)
    count = found.counts[0]
    assert count == candidates.filled[0]
    for index in range(count):
        ahead = new_state(arrays)
        copy_state(state, ahead)
        dispatch(arrays, ahead, candidates.pair[index], arrays.pair_operation[candidates.pair[index]])
        predictor.play(arrays, ahead)
        assert found.value[index] == pytest.approx(objective_bound(arrays, ahead) / norm, rel=1e-5)


def test_copied_state_is_equal_and_independent() -> None:
    """Every array is copied: a new array of the state that were forgotten would show here."""
    arrays = compile_problem(random_problem(np.random.default_rng(3), SMALL))
    state, copied = new_state(arrays), new_state(arrays)
    random_predictor().play(arrays, state)
    copy_state(state, copied)
    for name, array in state._asdict().items():
        assert np.array_equal(array, getattr(copied, name)), name
        assert array is not getattr(copied, name)


def test_untried_candidates_have_no_value() -> None:
    """With two tries a decision has two values, and NaN for the rest."""
    arrays = compile_problem(random_problem(np.random.default_rng(5), SMALL))
    found = look_ahead(arrays, random_predictor().weights, 10, 2, 0.2, 1)
    ends = np.cumsum(found.counts)
    assert len(ends) > 0
    for end, count in zip(ends, found.counts, strict=True):
        assert (~np.isnan(found.value[end - count : end])).sum() == min(2, count)
