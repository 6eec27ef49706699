from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from env.problem import Closure, Machine, Problem, WorkingHours
from models.benchmark.cpsat_model import OpenStep, OpenTimeAxis, shared_axis
from tests.open_time import open_mask
from tests.problems import DAY, HOUR, MINUTE, one_machine, operation

NOON = WorkingHours(origin=datetime(2026, 1, 5, 12, 0, tzinfo=UTC))


def _axis(problem: Problem) -> OpenTimeAxis:
    axis = shared_axis(problem, 3 * DAY)
    assert axis is not None
    return axis


@pytest.mark.parametrize("instant", [-1, 0, 45 * MINUTE, HOUR, 90 * MINUTE, 13 * HOUR, 2 * DAY + 17])
def test_open_seconds_are_those_of_the_definition(instant: int) -> None:
    """Open time before any instant is the number of open seconds that working hours define."""
    problem = one_machine(operation("A"), hours=NOON)
    assert _axis(problem).open_seconds(instant) == int(open_mask(problem, 0)[: max(0, instant)].sum())


def test_steps_are_the_breaks_behind_an_instant() -> None:
    """From 13:00, in the middle of lunch, half an hour of it is left; tea and dinner count whole."""
    steps = _axis(one_machine(operation("A"), hours=NOON)).steps_after(HOUR)
    assert steps[:3] == [
        OpenStep(open_second=45 * MINUTE, closed_seconds=30 * MINUTE),
        OpenStep(open_second=150 * MINUTE, closed_seconds=15 * MINUTE),
        OpenStep(open_second=300 * MINUTE, closed_seconds=HOUR),
    ]


def test_plant_that_begins_closed_has_a_step_at_zero() -> None:
    """Before the first opening everything waits: that is a step before any work."""
    axis = _axis(one_machine(operation("A"), closures=(Closure(start_seconds=0, end_seconds=HOUR),)))
    assert axis.steps_after(0) == [OpenStep(open_second=0, closed_seconds=HOUR)]


def test_no_axis_without_a_shared_calendar() -> None:
    """Nothing that closes, or machines that close at different times, have no axis in common."""
    never_closed = one_machine(operation("A"))
    closed = Machine(id=2, closures=(Closure(start_seconds=5, end_seconds=6),))
    assert shared_axis(never_closed, DAY) is None
    assert shared_axis(replace(never_closed, machines=(*never_closed.machines, closed), hours=NOON), DAY) is None
