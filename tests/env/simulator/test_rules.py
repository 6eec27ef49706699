from __future__ import annotations

import pytest

from env.problem import Alternative, Job, Machine, Operation, Problem
from env.simulator.rules import Rule, dispatch


def _queue() -> Problem:
    """Three one-operation jobs that compete for one machine at 0, and a fourth released at 1."""

    def job(name: str, seconds: int, due: int, release: int = 0, **fields: object) -> Job:
        step = Operation(
            id=name,
            alternatives=(Alternative(machine=0, processing_seconds=seconds),),
            due_seconds=due,
            release_seconds=release,
            **fields,  # type: ignore[arg-type]
        )
        return Job(id=name, operations=(step,))

    return Problem(
        machines=(Machine(id=0),),
        jobs=(
            job("long", 30, 100, priority=1),
            job("short", 5, 200, priority=3),
            job("urgent", 20, 40, priority=3),
            job("vital", 10, 300, release=1, is_important=True),
        ),
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule.EDD, ["urgent", "long", "short", "vital"]),
        (Rule.SPT, ["short", "vital", "urgent", "long"]),
        (Rule.MWKR, ["long", "urgent", "vital", "short"]),
        (Rule.PLANNER, ["urgent", "vital", "long", "short"]),
        (Rule.FIFO, ["short", "urgent", "long", "vital"]),
    ],
)
def test_rule_orders_a_queue(rule: Rule, expected: list[str]) -> None:
    """Each rule serves the queue in the order that its definition gives; FIFO ties go to the earlier completion."""
    rows = sorted(dispatch(_queue(), rule).assignments, key=lambda row: row.start_seconds)
    assert [row.operation_id for row in rows] == expected


def test_atcs_prefers_weight_per_time_under_pressure() -> None:
    """When both jobs are late, the one with more weight per second goes first."""

    def job(name: str, seconds: int, weight: float) -> Job:
        alternatives = (Alternative(machine=0, processing_seconds=seconds),)
        return Job(id=name, operations=(Operation(id=name, alternatives=alternatives, due_seconds=0, weight=weight),))

    problem = Problem(machines=(Machine(id=0),), jobs=(job("heavy", 30, 9.0), job("light", 10, 1.0)))
    rows = sorted(dispatch(problem, Rule.ATCS).assignments, key=lambda row: row.start_seconds)
    assert [row.operation_id for row in rows] == ["heavy", "light"]


def test_planner_breaks_equal_dates_by_priority() -> None:
    """Equal importance and equal due date: priority 1 goes before priority 3."""

    def job(name: str, priority: int) -> Job:
        alternatives = (Alternative(machine=0, processing_seconds=10),)
        step = Operation(id=name, alternatives=alternatives, due_seconds=50, priority=priority)
        return Job(id=name, operations=(step,))

    problem = Problem(machines=(Machine(id=0),), jobs=(job("third", 3), job("first", 1)))
    rows = sorted(dispatch(problem, Rule.PLANNER).assignments, key=lambda row: row.start_seconds)
    assert [row.operation_id for row in rows] == ["first", "third"]


def test_composite_weighs_speed_against_remaining_work() -> None:
    """A long job's first step goes before a short job, because half of its remaining work counts for it."""
    step = (Alternative(machine=0, processing_seconds=10),)
    rest = (Alternative(machine=1, processing_seconds=40),)
    problem = Problem(
        machines=(Machine(id=0), Machine(id=1)),
        jobs=(
            Job(id="short", operations=(Operation(id="short", alternatives=step),)),
            Job(
                id="long",
                operations=(Operation(id="long-1", alternatives=step), Operation(id="long-2", alternatives=rest)),
            ),
        ),
    )
    rows = sorted(dispatch(problem, Rule.COMPOSITE).assignments, key=lambda row: row.start_seconds)
    assert rows[0].operation_id == "long-1"
