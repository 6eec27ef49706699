"""The judge against schedules whose faults are known by hand."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest

from env.judge.judge import Violation, ViolationCode, violations
from env.problem import Alternative, Closure, Job, Machine, Operation, Problem, WeeklyBreak, WorkingHours
from env.schedule import Assignment, Schedule
from tests.problems import DAY, HOUR, LUNCH, MINUTE, one_machine, operation, schedule_of

MONDAY_MIDNIGHT = datetime(2025, 7, 21, tzinfo=UTC)
LUNCH_HOURS = WorkingHours(origin=MONDAY_MIDNIGHT, breaks=(LUNCH,))
NOON = 12 * HOUR


def found(problem: Problem, *rows: tuple[str, int, int, int]) -> list[tuple[ViolationCode, int]]:
    """Codes and amounts of what the judge objects to."""
    return [(violation.code, violation.by_seconds) for violation in violations(problem, schedule_of(*rows))]


def only(problem: Problem, *rows: tuple[str, int, int, int]) -> Violation:
    """The one violation that there must be."""
    (violation,) = violations(problem, schedule_of(*rows))
    return violation


def test_operation_that_pauses_over_a_break_is_valid() -> None:
    """An hour of work from 11:30 ends at 13:00 because lunch from 12:00 to 12:30 does not count."""
    problem = one_machine(operation("A"), hours=LUNCH_HOURS)
    assert found(problem, ("A", 1, NOON - 30 * MINUTE, NOON + HOUR)) == []


def test_operation_that_ends_as_the_break_begins_is_valid() -> None:
    """Work may last until the first closed second and start again at the first open one."""
    problem = one_machine(operation("A"), operation("B", interruptible=False), hours=LUNCH_HOURS)
    assert found(problem, ("A", 1, NOON - HOUR, NOON), ("B", 1, NOON + 30 * MINUTE, NOON + 90 * MINUTE)) == []


def test_operation_that_waits_through_a_break_at_its_end_is_refused() -> None:
    """Work that is done at 12:00 must not hold the machine into lunch."""
    problem = one_machine(operation("A"), hours=LUNCH_HOURS)
    violation = only(problem, ("A", 1, NOON - HOUR, NOON + 1))
    assert (violation.code, violation.by_seconds) == (ViolationCode.ENDS_WHILE_CLOSED, 1)
    assert violation.message == (
        "A ends on machine 1 at Mon 2025-07-21 12:00:01, which has been closed for 1 s; its last second must be open."
    )


def test_operation_that_starts_in_a_break_is_refused() -> None:
    """A start one second before the machine opens is work in closed time, even when the working time is right."""
    problem = one_machine(operation("A"), hours=LUNCH_HOURS)
    violation = only(problem, ("A", 1, NOON + 30 * MINUTE - 1, NOON + 90 * MINUTE))
    assert (violation.code, violation.by_seconds) == (ViolationCode.STARTS_WHILE_CLOSED, 1)
    assert violation.message == (
        "A starts on machine 1 at Mon 2025-07-21 12:29:59, which is closed for 1 s more; it must start in open time."
    )


def test_operation_within_a_break_is_refused_for_everything() -> None:
    """A span that lies wholly in lunch starts closed, ends closed and does no work."""
    problem = one_machine(operation("A", seconds=10 * MINUTE), hours=LUNCH_HOURS)
    assert found(problem, ("A", 1, NOON + MINUTE, NOON + 11 * MINUTE)) == [
        (ViolationCode.STARTS_WHILE_CLOSED, 10 * MINUTE),
        (ViolationCode.ENDS_WHILE_CLOSED, 10 * MINUTE),
        (ViolationCode.WORKING_TIME_SHORT, 10 * MINUTE),
    ]


def test_operation_that_ignores_a_break_is_short_by_the_break() -> None:
    """An hour by the clock over lunch contains half an hour of work, and the sentence says so."""
    problem = one_machine(operation("A"), hours=LUNCH_HOURS)
    violation = only(problem, ("A", 1, NOON - 15 * MINUTE, NOON + 45 * MINUTE))
    assert (violation.code, violation.by_seconds) == (ViolationCode.WORKING_TIME_SHORT, 30 * MINUTE)
    assert violation.message == (
        "A has 30 min of open time on machine 1, 30 min less than the 1 h that its setup and processing take."
    )


def test_setup_counts_as_working_time() -> None:
    """An operation is held to setup and processing together, on the machine that it was given."""
    slow = Alternative(machine=0, processing_seconds=HOUR, setup_seconds=15 * MINUTE)
    fast = Alternative(machine=1, processing_seconds=HOUR)
    problem = Problem(
        jobs=(Job(id="J", operations=(Operation(id="A", alternatives=(slow, fast)),)),),
        machines=(Machine(id=7, name="CM07"), Machine(id=8)),
    )
    assert found(problem, ("A", 7, 0, 75 * MINUTE)) == []
    assert found(problem, ("A", 8, 0, HOUR)) == []
    assert found(problem, ("A", 8, 0, 75 * MINUTE)) == [(ViolationCode.WORKING_TIME_LONG, 15 * MINUTE)]
    assert only(problem, ("A", 8, 0, 75 * MINUTE)).message == (
        "A has 1 h 15 min of open time on machine 8, 15 min more than the 1 h that its setup and processing take."
    )
    assert only(problem, ("A", 7, 0, HOUR)).message == (
        "A has 1 h of open time on machine 7 (CM07), 15 min less than the 1 h 15 min "
        "that its setup and processing take."
    )


def test_closure_in_the_middle_of_an_operation_is_a_pause() -> None:
    """Maintenance from 00:30 to 02:00 moves the end of an hour's work from 01:00 to 02:30."""
    problem = one_machine(operation("A"), closures=(Closure(start_seconds=30 * MINUTE, end_seconds=2 * HOUR),))
    assert found(problem, ("A", 1, 0, 150 * MINUTE)) == []
    assert found(problem, ("A", 1, 0, 150 * MINUTE - 1)) == [(ViolationCode.WORKING_TIME_SHORT, 1)]


def test_back_to_back_closures_pause_once() -> None:
    """Two closures that touch close their sum; a second of opening between them must be worked."""
    touching = (Closure(start_seconds=10, end_seconds=20), Closure(start_seconds=20, end_seconds=30))
    apart = (Closure(start_seconds=10, end_seconds=20), Closure(start_seconds=21, end_seconds=31))
    assert found(one_machine(operation("A", seconds=20), closures=touching), ("A", 1, 0, 40)) == []
    assert found(one_machine(operation("A", seconds=20), closures=apart), ("A", 1, 0, 40)) == []
    assert found(one_machine(operation("A", seconds=11), closures=apart), ("A", 1, 0, 21)) == []


def test_operation_longer_than_a_week_passes_a_weekend() -> None:
    """A hundred hours in a plant that is open 85.75 h a week from Monday 00:00 end on the next Monday at 22:00.

    14.25 h are left for the second Monday: one until 01:00, 3.25 from 06:30 to 09:45, 2.75 to 12:45, 1.75 to 15:15,
    2.5 to 18:00 and 3 of the four hours from 19:00.
    """
    problem = one_machine(operation("A", seconds=100 * HOUR), hours=WorkingHours(origin=MONDAY_MIDNIGHT))
    assert found(problem, ("A", 1, 0, 7 * DAY + 22 * HOUR)) == []
    assert found(problem, ("A", 1, 0, 7 * DAY + 22 * HOUR - 1)) == [(ViolationCode.WORKING_TIME_SHORT, 1)]


def test_work_over_the_autumn_night_has_the_repeated_hour() -> None:
    """From Saturday 20:00 to Sunday 08:00 in Berlin thirteen hours pass, nine of them in the night from 22:00."""
    night = WeeklyBreak(name="night", start=time(22, 0), end=time(6, 0))
    origin = datetime(2025, 10, 25, 18, 0, tzinfo=UTC)
    problem = one_machine(
        operation("A", seconds=4 * HOUR), hours=WorkingHours(origin=origin, zone="Europe/Berlin", breaks=(night,))
    )
    assert found(problem, ("A", 1, 0, 13 * HOUR)) == []
    assert found(problem, ("A", 1, 0, 12 * HOUR)) == [(ViolationCode.WORKING_TIME_SHORT, HOUR)]


def test_operation_that_must_not_pause_is_refused_over_a_break() -> None:
    """A pause that other work may take is a violation for work that must fit into one opening."""
    problem = one_machine(operation("A", interruptible=False), hours=LUNCH_HOURS)
    violation = only(problem, ("A", 1, NOON - HOUR + 1, NOON + 30 * MINUTE + 1))
    assert (violation.code, violation.by_seconds) == (ViolationCode.INTERRUPTED, 30 * MINUTE)
    assert "pauses for 30 min while machine 1 is closed; it must not pause" in violation.message


def test_earlier_load_is_counted_in_open_time() -> None:
    """Two hours of earlier load from 11:00 last until 13:30, because lunch does not count."""
    hours = WorkingHours(origin=datetime(2025, 7, 21, 11, 0, tzinfo=UTC), breaks=(LUNCH,))
    problem = one_machine(operation("A"), hours=hours, busy_seconds=2 * HOUR)
    assert found(problem, ("A", 1, 150 * MINUTE, 210 * MINUTE)) == []
    assert found(problem, ("A", 1, 150 * MINUTE - 1, 210 * MINUTE - 1)) == [(ViolationCode.MACHINE_BUSY, 1)]


def test_machine_is_held_during_pauses_too() -> None:
    """Nothing else may slip onto a machine while its work waits for the end of a closure, which is closed anyway."""
    problem = one_machine(operation("A"), operation("B"))
    violation = only(problem, ("A", 1, 0, HOUR), ("B", 1, HOUR - 1, 2 * HOUR - 1))
    assert (violation.code, violation.operation_id, violation.by_seconds) == (ViolationCode.MACHINE_OVERLAP, "B", 1)
    assert violation.message == (
        "B shares machine 1 with A for 1 s from 59 min 59 s after the start of the schedule; "
        "it must wait until the machine is free."
    )


def test_overlap_with_long_work_is_seen_behind_short_work() -> None:
    """C overlaps A although B, which lies between them in order of start, has long ended."""
    problem = one_machine(operation("A", seconds=1000), operation("B", seconds=10), operation("C", seconds=10))
    assert found(problem, ("A", 1, 0, 1000), ("B", 1, 5, 15), ("C", 1, 999, 1009)) == [
        (ViolationCode.MACHINE_OVERLAP, 10),
        (ViolationCode.MACHINE_OVERLAP, 1),
    ]


def two_steps() -> Problem:
    job = Job(id="J", operations=(operation("A", 0), operation("B", 1), operation("C", 0)))
    return Problem(jobs=(job,), machines=(Machine(id=1), Machine(id=2)))


def test_sequence_is_kept_to_the_second() -> None:
    """The next operation of a job may start in the second in which the one ahead ends, and not before."""
    tail = ("C", 1, 2 * HOUR, 3 * HOUR)
    assert found(two_steps(), ("A", 1, 0, HOUR), ("B", 2, HOUR, 2 * HOUR), tail) == []
    assert found(two_steps(), ("A", 1, 0, HOUR), ("B", 2, HOUR - 1, 2 * HOUR - 1), tail) == [
        (ViolationCode.WRONG_SEQUENCE, 1)
    ]


def test_sequence_is_kept_around_a_missing_operation() -> None:
    """When B is missing, C is still held to the end of A."""
    assert found(two_steps(), ("A", 1, 10, HOUR + 10), ("C", 2, 0, HOUR)) == [
        (ViolationCode.MISSING_OPERATION, 0),
        (ViolationCode.INELIGIBLE_MACHINE, 0),
        (ViolationCode.WRONG_SEQUENCE, HOUR + 10),
    ]


def test_repeated_operation_counts_with_its_latest_end_and_its_first_start() -> None:
    """B must wait for both copies of A, and both copies of B must wait for A."""
    rows = (("A", 1, 0, HOUR), ("A", 1, 2 * HOUR, 3 * HOUR), ("B", 2, HOUR, 2 * HOUR), ("B", 2, 3 * HOUR, 4 * HOUR))
    assert found(two_steps(), *rows, ("C", 1, 4 * HOUR, 5 * HOUR)) == [
        (ViolationCode.DUPLICATE_OPERATION, 0),
        (ViolationCode.DUPLICATE_OPERATION, 0),
        (ViolationCode.WRONG_SEQUENCE, 2 * HOUR),
    ]


def test_wrong_machine_names_the_right_ones() -> None:
    """The sentence lists up to five machines that could do the work, by their public ids, and counts the rest."""
    machines = tuple(Machine(id=100 + index) for index in range(8))
    many, five, two = (
        Problem(jobs=(Job(id="J", operations=(operation("A", *range(count)),)),), machines=machines)
        for count in (7, 5, 2)
    )
    sentence = "A is on machine 107, which cannot do it; it must be on one of the machines 100, 101, 102, 103, 104"
    assert only(many, ("A", 107, 0, HOUR)).message == f"{sentence} or 2 others."
    assert only(five, ("A", 107, 0, HOUR)).message == f"{sentence}."
    assert only(two, ("A", 107, 0, HOUR)).message.endswith("it must be on one of the machines 100, 101.")
    unknown = only(one_machine(operation("A")), ("A", 2, 0, HOUR))
    assert (unknown.code, unknown.machine_id) == (ViolationCode.UNKNOWN_MACHINE, 2)
    assert unknown.message == ("A is on a machine that is not part of the request; it must be on machine 1.")


def test_missing_repeated_and_unknown_operations_are_told_apart() -> None:
    """One of each, with the repeated one overlapping itself."""
    problem = one_machine(operation("A"), operation("B"))
    rows = (("A", 1, 0, HOUR), ("A", 1, HOUR, 2 * HOUR), ("X", 1, 2 * HOUR, 3 * HOUR))
    assert [violation.message for violation in violations(problem, schedule_of(*rows))] == [
        "B is not in the schedule; it must be there once.",
        "A is in the schedule 2 times; it must be there once.",
        "X is not part of the request.",
    ]


def test_release_is_kept_to_the_second() -> None:
    """Work must not start a second before its material arrives."""
    problem = one_machine(operation("A", release_seconds=HOUR), hours=LUNCH_HOURS)
    assert found(problem, ("A", 1, HOUR, 2 * HOUR)) == []
    violation = only(problem, ("A", 1, HOUR - 1, 2 * HOUR - 1))
    assert (violation.code, violation.by_seconds) == (ViolationCode.BEFORE_RELEASE, 1)
    assert violation.message == "A starts 1 s before its material arrives at Mon 2025-07-21 01:00:00."


def test_start_before_the_schedule_is_refused() -> None:
    """Second -1 is before the start, whatever the calendar says about it."""
    assert found(one_machine(operation("A"), hours=LUNCH_HOURS), ("A", 1, -1, HOUR - 1)) == [
        (ViolationCode.BEFORE_START, 1)
    ]


@pytest.mark.parametrize(("end", "by"), [(HOUR, 1), (HOUR - 1, 2)])
def test_span_without_a_second_is_refused(end: int, by: int) -> None:
    """An end at the start is one second short of a span, an end before it more; it holds no machine either way."""
    problem = one_machine(operation("A"), operation("B", seconds=2 * HOUR))
    assert found(problem, ("A", 1, HOUR, end), ("B", 1, 0, 2 * HOUR)) == [(ViolationCode.EMPTY_SPAN, by)]


def test_deadline_met_to_the_second_is_no_violation() -> None:
    """The end may be the deadline."""
    assert found(one_machine(operation("A", deadline_seconds=HOUR)), ("A", 1, 0, HOUR)) == []


def test_empty_schedule_is_missing_everything() -> None:
    """No assignment at all: each operation is missing, in the order of the problem."""
    missing = violations(two_steps(), Schedule(assignments=()))
    assert [violation.operation_id for violation in missing] == ["A", "B", "C"]


def test_order_of_assignments_does_not_matter() -> None:
    """Reversed assignments get the same violations in the same order."""
    rows = (("A", 1, 0, HOUR), ("B", 2, 5, HOUR), ("C", 1, 7, 8), ("A", 1, 0, HOUR), ("X", 9, -1, -2))
    assignments: tuple[Assignment, ...] = schedule_of(*rows).assignments
    assert violations(two_steps(), Schedule(assignments=assignments)) == violations(
        two_steps(), Schedule(assignments=assignments[::-1])
    )
