"""How good the published policy is, on data that it was never trained on."""

from __future__ import annotations

from statistics import mean

from deployments.commands.solve import solve_file
from tests.benchmark_data import benchmark_files, reference_files

MAX_BRANDIMARTE_GAP_PERCENT = 9.0
MAX_REFERENCE_MAKESPAN_HOURS = 46.5
MOVES_OF_DEFAULT_BUDGET = 2_000
"""Fewer than the default budget of 100 ms pays for on an idle core, and the same on a busy one."""


def test_policy_pass_is_close_to_the_best_known_on_brandimarte() -> None:
    """One greedy pass over mk01 to mk10: valid, and at most 9 % above the best known on average."""
    gaps = []
    for path, best in benchmark_files("brandimarte").items():
        solution = solve_file(path, "ppo")
        assert solution.verdict.valid
        gaps.append(100.0 * (solution.schedule.makespan_seconds / best - 1.0))
    assert len(gaps) == 10
    assert mean(gaps) <= MAX_BRANDIMARTE_GAP_PERCENT


def test_a_short_search_shortens_the_reference_plants() -> None:
    """What little the default budget buys for the ten plants of 170 jobs: valid, at most 46.5 h on average."""
    makespans = []
    for path in reference_files():
        solution = solve_file(path, "ppo", iterations=MOVES_OF_DEFAULT_BUDGET)
        assert solution.verdict.valid
        assert solution.verdict.measures.completion_percent == 100.0
        makespans.append(solution.schedule.makespan_seconds / 3600.0)
    assert len(makespans) == 10
    assert mean(makespans) <= MAX_REFERENCE_MAKESPAN_HOURS
