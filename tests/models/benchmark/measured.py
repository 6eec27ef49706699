"""Figures of runs that never were, for tests of what is made from figures."""

from __future__ import annotations

from models.benchmark.benchmark import Cell
from models.benchmark.leaderboard import Conditions, Quality, quality
from models.benchmark.speed import Speed, Timing


def quality_of(
    name: str,
    *,
    policy_gap: float = 4.0,
    search_gap: float = 2.0,
    rule_gap: float = 8.0,
    objective: str = "makespan",
    model: str = "full_production@7",
) -> Quality:
    """Rule, policy, samples, search and CP-SAT on one instance of ten, with these gaps to the best known makespan."""
    conditions = Conditions(
        set_name=name,
        objective=objective,
        in_hours=name.startswith("reference"),
        model=model,
        model_sha256="0" * 12,
        core="0",
        budgets_seconds=(0.1, 2.0),
        samples=3,
        seed=0,
        solver="CP-SAT 9",
        cores=2,
    )
    gaps = {
        "rule fifo": rule_gap,
        "policy pass": policy_gap,
        "best of 3": policy_gap,
        "search 0.1 s": policy_gap,
        "search 2 s": search_gap,
        "CP-SAT 2 s": None,
        "CP-SAT hinted 0.1 s": rule_gap,
        "CP-SAT hinted 2 s": rule_gap,
    }
    return quality(conditions, [_cell(competitor, gap) for competitor, gap in gaps.items()], instances_in_set=10)


def speed_of(*, model: str = "full_production@7", growth: float = 1.0) -> Speed:
    """A policy pass of 4 ms for 170 operations that grows with that exponent."""
    timings = tuple(
        Timing(
            operations=size,
            machines=150,
            calendar=calendar,
            policy_ms=4.0 * (size / 170) ** growth,
            rule_ms=1.0,
            judge_ms=2.0,
        )
        for size in (170, 10_000)
        for calendar in (False, True)
    )
    return Speed(model=model, timings=timings, warm_process_ms=1_500.0, decodes_per_second=3e6)


def _cell(competitor: str, gap_percent: float | None) -> Cell:
    makespan = None if gap_percent is None else 3600.0 * 40 * (1 + gap_percent / 100)
    return Cell(
        instance="one",
        operations=4,
        competitor=competitor,
        seconds=0.5,
        valid=True,
        objective_seconds=makespan,
        makespan_seconds=makespan,  # type: ignore[arg-type]
        best_known_seconds=3600.0 * 40,
        on_time_percent=97.0,
        important_on_time_percent=100.0,
        utilisation_percent=80.0,
    )
