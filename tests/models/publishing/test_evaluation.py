from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from env.instances.generator import toy_problem
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.publishing.evaluation import Row, comparison, evaluate, schedulers, summarise, write_report


def _late(problem: Problem) -> Schedule:
    """The toy optimum, shifted by one second."""
    rows = dispatch(problem, Rule.FIFO).assignments
    shifted = (replace(row, start_seconds=row.start_seconds + 1, end_seconds=row.end_seconds + 1) for row in rows)
    return Schedule(assignments=tuple(shifted))


def test_gaps_wins_and_order_are_those_of_the_schedules() -> None:
    """Against a best-known value of 5 s the optimum has no gap and wins, a schedule of 6 s has 20 %."""
    competitors = {"late": _late, "fifo": lambda problem: dispatch(problem, Rule.FIFO)}
    found = summarise(evaluate(competitors, [toy_problem()], {"toy": 5.0}))
    assert [summary.scheduler for summary in found] == ["fifo", "late"]
    assert [summary.mean_gap_percent for summary in found] == [pytest.approx(0.0), pytest.approx(20.0)]
    assert [summary.wins for summary in found] == [1, 0]
    assert [summary.invalid for summary in found] == [0, 0]


def test_invalid_schedule_is_counted() -> None:
    """A scheduler that leaves work out is shown as invalid, however short its makespan."""
    found = summarise(evaluate({"lazy": lambda _: Schedule(assignments=())}, [toy_problem()], {}))
    assert found[0].invalid == 1
    assert found[0].mean_gap_percent is None


def test_two_schedulers_are_compared_by_their_gains_over_the_composite_rule() -> None:
    """Over a rule that takes 10 h, 8 h gain a fifth and 20 h lose a half: 0.7 apart, and turned round when they are."""
    hours = {"composite": (10, 10), "good": (8, 10), "bad": (20, 10)}
    rows = [
        Row(
            scheduler=name,
            problem=str(problem),
            objective_seconds=3600.0 * taken,
            makespan_seconds=3600 * taken,
            seconds=0.0,
            valid=True,
            gap_percent=None,
        )
        for name, both in hours.items()
        for problem, taken in enumerate(both)
    ]
    found = comparison(rows, "good", "bad")
    assert (found.published, found.problems, found.wins, found.losses) == ("bad", 2, 1, 0)
    assert found.mean == pytest.approx(0.35)
    assert (found.low, found.high) == (pytest.approx(0.0), pytest.approx(0.7))
    assert comparison(rows, "bad", "good").mean == pytest.approx(-0.35)


def test_every_rule_competes() -> None:
    """Without a policy the competitors are the rules, by their names."""
    assert set(schedulers(None)) == {rule.name.lower() for rule in Rule}


def test_report_holds_every_row(tmp_path: Path) -> None:
    """The JSON has one row a scheduler and problem."""
    rows = evaluate(schedulers(None), [toy_problem()], {})
    write_report(tmp_path, rows, summarise(rows))
    assert len(json.loads((tmp_path / "report.json").read_text())["rows"]) == len(Rule)
