from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time

import pytest

from env.errors import InvalidProblem
from env.problem import (
    Alternative,
    Changeover,
    Closure,
    Job,
    Machine,
    Operation,
    Pin,
    Problem,
    WeeklyBreak,
    WorkingHours,
    alike_alternatives,
)
from tests.problems import operation


def test_problem_lists_every_contradiction() -> None:
    """Repeated ids and unknown machines are reported together, each with its field."""
    with pytest.raises(InvalidProblem) as caught:
        Problem(
            machines=(Machine(id=1), Machine(id=1)),
            jobs=(
                Job(id="A", operations=(operation("A1"), operation("A1"))),
                Job(id="B", operations=(operation("B1", 7),)),
            ),
        )
    assert caught.value.reasons == (
        ("machine 1", "must be unique, was given more than once"),
        ("operation A1", "must be unique, was given more than once"),
        ("operation B1", "machine index must be < 2, was 7"),
    )


def test_changeovers_are_listed_once_for_each_machine_that_exists() -> None:
    """The same groups on all machines, on one and on another are three entries; the last of them nowhere."""
    change = Changeover(before="a", after="b", setup_seconds=1)
    on_one = replace(change, machine=0)
    job = Job(id="A", operations=(operation("A1"),))
    with pytest.raises(InvalidProblem) as caught:
        Problem(
            machines=(Machine(id=7),), jobs=(job,), changeovers=(change, on_one, on_one, replace(change, machine=1))
        )
    assert caught.value.reasons == (
        ("changeover 'a' to 'b' on machine 1", "machine index must be < 1, was 1"),
        ("changeover 'a' to 'b' on machine 0", "must be unique, was given more than once"),
    )


def test_alike_alternatives_are_what_each_alone_would_be() -> None:
    """Made together they equal those made one by one, and what one refuses they refuse."""
    made = alike_alternatives((3, 0, 7), 60, 5)
    assert made == tuple(Alternative(machine=each, processing_seconds=60, setup_seconds=5) for each in (3, 0, 7))
    assert alike_alternatives((), 60, 5) == ()
    for machines, processing, setup in (((3, -1), 60, 5), ((3,), -60, 5), ((3,), 60, -5)):
        with pytest.raises(ValueError, match="must be >= 0, was -"):
            alike_alternatives(machines, processing, setup)


def test_empty_problem_is_refused() -> None:
    """A problem needs a job and a machine."""
    with pytest.raises(InvalidProblem, match="jobs: must not be empty; machines: must not be empty"):
        Problem(jobs=(), machines=())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Alternative(machine=0, processing_seconds=-1), "processing_seconds must be >= 0, was -1"),
        (lambda: Alternative(machine=0, processing_seconds=1, setup_seconds=-1), "setup_seconds must be >= 0, was -1"),
        (lambda: Alternative(machine=-1, processing_seconds=1), "machine must be >= 0, was -1"),
        (lambda: Operation(id="A", alternatives=()), "must have at least one alternative"),
        (lambda: operation("A", 1, 1), "must name each machine once"),
        (lambda: operation("A", seconds=0, pin=Pin(start_seconds=5)), "pinned operation 'A' must take time, took none"),
        (lambda: operation("A", weight=0.0), "must be > 0 and finite, was 0.0"),
        (lambda: Changeover(before="a", after="b", setup_seconds=0, machine=-1), "machine must be >= 0, was -1"),
        (lambda: Job(id="A", operations=()), "must have at least one operation"),
        (lambda: Machine(id=1, busy_seconds=-1), "busy_seconds must be >= 0, was -1"),
        (lambda: Closure(start_seconds=5, end_seconds=5), "end_seconds must be > start_seconds 5, was 5"),
        (lambda: WorkingHours(origin=datetime(2026, 1, 1)), "was naive"),  # noqa: DTZ001
        (lambda: WorkingHours(origin=datetime(2026, 1, 1, tzinfo=UTC), zone="Mars/Olympus"), "IANA time zone"),
        (lambda: WeeklyBreak(name="x", start=time(1, 0, 0, 1), end=time(2)), "must begin and end on a whole second"),
        (
            lambda: WeeklyBreak(name="x", start=datetime.min.time(), end=datetime.min.time(), weekdays=frozenset({7})),
            "non-empty subset of 0..6",
        ),
    ],
)
def test_parts_refuse_to_exist_wrongly(make: object, message: str) -> None:
    """Each part says what it requires and what it found."""
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
