from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.errors import HorizonExceeded
from env.instances.generator import Plant, random_problem
from env.judge.judge import violations
from env.objective import objective_value
from env.problem import Objective, Problem
from env.simulator.arrays import ProblemArrays
from env.simulator.simulation import State
from models.policy.predictor import Predictor
from models.search.anytime import MAX_SAMPLES, search
from tests.models.policy.test_predictor import random_predictor
from tests.problems import WITH_INSTANTS, problems

MIXED = Plant(operations=(10, 40), objectives=tuple(Objective))


@given(problems(features=WITH_INSTANTS), st.sampled_from(list(Objective)), st.integers(0, 300), st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_search_is_valid_and_never_worse_than_the_policy_pass(
    problem: Problem, objective: Objective, iterations: int, seed: int
) -> None:
    """Whatever a plant has and wants, the result is valid and at least as good as the greedy pass alone."""
    problem = replace(problem, objective=objective)
    predictor = random_predictor(seed)
    try:
        greedy = predictor.schedule(problem)
    except HorizonExceeded:
        return
    found = search(predictor, problem, 0, seed, iterations=iterations)
    assert [violation for violation in violations(problem, found.schedule) if violation.is_critical] == []
    assert objective_value(problem, found.schedule) <= objective_value(problem, greedy)
    assert found.policy_makespan_seconds == greedy.makespan_seconds


def test_no_budget_is_one_policy_pass() -> None:
    """With a budget of 0 the greedy schedule is served, and nothing else is claimed."""
    problem = random_problem(np.random.default_rng(1), MIXED)
    found = search(random_predictor(), problem, 0)
    assert (found.method, found.gains) == (("policy",), {})
    assert found.schedule == random_predictor().schedule(problem)


@pytest.mark.parametrize("objective", list(Objective))
def test_iterations_and_seed_determine_the_schedule(objective: Objective) -> None:
    """The same problem, iterations and seed give the same schedule, whatever the clock says."""
    problem = random_problem(np.random.default_rng(2), replace(MIXED, objectives=(objective,)))
    first, second = (search(random_predictor(), problem, 0, seed=3, iterations=500) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("objective", "stage"), [(Objective.MAKESPAN, "tabu"), (Objective.TARDINESS, "annealing")])
def test_stages_account_for_the_whole_gain(objective: Objective, stage: str) -> None:
    """What the stages say they gained is the difference between the policy pass and the answer."""
    plain = Plant(
        operations=(30, 40), objectives=(objective,), calendar_share=0, changeover_share=0, due_tightness=(1.0, 1.5)
    )
    problem = random_problem(np.random.default_rng(7), plain)
    greedy = random_predictor().schedule(problem)
    found = search(random_predictor(), problem, 0, iterations=2_000)
    assert found.method == ("policy", "samples", stage)
    assert all(gain >= 0 for gain in found.gains.values())
    gained = objective_value(problem, greedy) - objective_value(problem, found.schedule)
    assert sum(found.gains.values()) == pytest.approx(gained)
    assert gained > 0


def test_search_uses_its_time_and_no_more() -> None:
    """A second is used up and hardly exceeded; twice as much as asked for would be a bound on any machine."""
    problem = random_problem(np.random.default_rng(4), Plant(operations=(100, 120), objectives=(Objective.BALANCED,)))
    search(random_predictor(), problem, 0, iterations=10)
    begun = time.perf_counter()
    search(random_predictor(), problem, 1_000)
    assert 0.5 < time.perf_counter() - begun < 2.0


@pytest.mark.parametrize(("budget_ms", "iterations", "samples"), [(0, 5, MAX_SAMPLES), (1, None, 0), (0, None, 0)])
def test_samples_are_drawn_as_long_as_they_are_worth_their_time(
    budget_ms: int, iterations: int | None, samples: int
) -> None:
    """All of them where time does not count; none where the pass alone takes longer than their share."""
    predictor = Counting(random_predictor(1).networks)
    search(
        predictor,
        random_problem(np.random.default_rng(4), Plant(operations=(60, 80))),
        budget_ms,
        iterations=iterations,
    )
    assert predictor.samples == samples


class Counting(Predictor):
    """Counts the samples that are drawn from it."""

    samples = 0

    def sample(self, arrays: ProblemArrays, state: State, seed: int, temperature: float) -> None:
        self.samples += 1
        super().sample(arrays, state, seed, temperature)
