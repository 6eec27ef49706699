from __future__ import annotations

from models.policy.artefact import load_predictor
from tests.models.search.deadlines import Outcome, large_problems, small_problems


def test_deadlines_that_can_be_met_are_met() -> None:
    """All of small plants, planted or such as CP-SAT can meet, and of large ones; the policy pass alone misses some."""
    predictor = load_predictor()
    small = large = Outcome()
    for problem in small_problems(predictor, 20):
        small = small.and_of(predictor, problem, 0, iterations=50_000)
    for problem in large_problems(predictor, 8):
        large = large.and_of(predictor, problem, 0, iterations=100_000)
    assert small.met == small.problems == 20
    assert large.met == large.problems == 8
    assert small.met_by_pass < small.met
    assert large.met_by_pass < large.met
