from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.feasibility import violations
from env.generator import Plant, random_problem
from env.objective import objective_value
from env.problem import Objective
from models.search import MOST_SAMPLES, sample_count, search
from tests.models.test_predictor import random_predictor

MIXED = Plant(operations=(10, 40), objectives=tuple(Objective))


@given(st.integers(0, 10**6), st.integers(0, 20))
@settings(max_examples=30)
def test_search_is_never_worse_than_the_policy_pass(seed: int, budget_ms: int) -> None:
    """Whatever the budget, the result is valid and at least as good as the greedy pass alone."""
    problem = random_problem(np.random.default_rng(seed), MIXED)
    predictor = random_predictor(seed)
    found = search(predictor, problem, budget_ms)
    greedy = predictor.schedule(problem)
    assert violations(problem, found.schedule) == ()
    assert objective_value(problem, found.schedule) <= objective_value(problem, greedy)
    assert found.policy_makespan_seconds == greedy.makespan_seconds


def test_no_budget_is_one_policy_pass() -> None:
    """With a budget of 0 the greedy schedule is served, and nothing else is claimed."""
    problem = random_problem(np.random.default_rng(1), MIXED)
    found = search(random_predictor(), problem, 0)
    assert found.method == ("policy",)
    assert found.schedule == random_predictor().schedule(problem)


def test_samples_are_seeded() -> None:
    """The same problem, budget and seed give the same schedule."""
    problem = random_problem(np.random.default_rng(2), MIXED)
    first, second = (search(random_predictor(), problem, 10, seed=3) for _ in range(2))
    assert first == second
    assert first.method == ("policy", "samples")


@pytest.mark.parametrize(
    ("operations", "budget_ms", "expected"),
    [(170, 0, 0), (170, 4, 0), (170, 5, 1), (100, 25, 10), (10, 10_000, MOST_SAMPLES), (20_000, 100, 0)],
)
def test_budget_buys_a_fixed_number_of_samples(operations: int, budget_ms: int, expected: int) -> None:
    """One dispatch is taken to cost 25 microseconds, so the number depends on size and budget alone."""
    assert sample_count(operations, budget_ms) == expected
