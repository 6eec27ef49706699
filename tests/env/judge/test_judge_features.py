"""The judge against changeovers, pinned work and work that holds several machines, with faults known by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from env.judge.judge import ViolationCode, judge, violations
from env.problem import Alternative, Changeover, Closure, Job, Machine, Operation, Pin, Problem, WorkingHours
from tests.env.judge.test_judge import found, only
from tests.problems import DAY, HOUR, LUNCH, MINUTE, one_machine, operation, schedule_of

LUNCH_HOURS = WorkingHours(origin=datetime(2025, 7, 21, tzinfo=UTC), breaks=(LUNCH,))
NOON = 12 * HOUR
RED_TO_BLUE = Changeover(before="red", after="blue", setup_seconds=20 * MINUTE)


def grouped(id: str, group: str | None, pin: Pin | None = None) -> Operation:
    """An hour of work after five minutes of its own setup."""
    alternative = Alternative(machine=0, processing_seconds=HOUR, setup_seconds=5 * MINUTE)
    return Operation(id=id, alternatives=(alternative,), setup_group=group, pin=pin)


def after_red(second: Operation, *changeovers: Changeover) -> Problem:
    """Red work, and then the second operation on the same machine."""
    return replace(one_machine(grouped("A", "red"), second), changeovers=changeovers)


RED_FIRST = ("A", 1, 0, 65 * MINUTE)


def second_row(setup_minutes: int, start_minutes: int = 65) -> tuple[str, int, int, int]:
    return ("B", 1, start_minutes * MINUTE, (start_minutes + setup_minutes + 60) * MINUTE)


def test_listed_changeover_replaces_the_setup() -> None:
    """From red to blue twenty minutes are listed, so neither its own five nor a second less will do."""
    problem = after_red(grouped("B", "blue"), RED_TO_BLUE)
    assert found(problem, RED_FIRST, second_row(20)) == []
    violation = only(problem, RED_FIRST, second_row(5))
    assert (violation.code, violation.by_seconds) == (ViolationCode.WORKING_TIME_SHORT, 15 * MINUTE)
    assert violation.message == (
        "B has 1 h 5 min of open time on machine 1, 15 min less than the 1 h 20 min "
        "that its processing and 20 min of changeover take."
    )


def test_changeover_that_is_not_listed_is_free_within_a_group() -> None:
    """Red after red takes no setup, blue after red its own when only another pair is listed."""
    blue_to_red = Changeover(before="blue", after="red", setup_seconds=20 * MINUTE)
    assert found(after_red(grouped("B", "red"), blue_to_red), RED_FIRST, second_row(0)) == []
    assert found(after_red(grouped("B", "blue"), blue_to_red), RED_FIRST, second_row(5)) == []


def test_listed_changeover_within_a_group_counts() -> None:
    """Red after red takes what is listed for it."""
    cleaning = Changeover(before="red", after="red", setup_seconds=2 * MINUTE)
    assert found(after_red(grouped("B", "red"), cleaning), RED_FIRST, second_row(2)) == []


def test_work_without_a_group_takes_its_own_setup() -> None:
    """Nobody listed a changeover for it; the same holds for all work when no changeover is listed."""
    assert found(after_red(grouped("B", None), RED_TO_BLUE), RED_FIRST, second_row(5)) == []
    assert found(after_red(grouped("B", "red")), RED_FIRST, second_row(5)) == []


def test_first_work_takes_its_own_setup() -> None:
    """Blue before red: the first takes five minutes; the second its own, as blue to red is not listed."""
    problem = after_red(grouped("B", "blue"), RED_TO_BLUE)
    assert found(problem, second_row(5, start_minutes=0), ("A", 1, 65 * MINUTE, 130 * MINUTE)) == []


def test_changeover_looks_at_the_last_work_that_ended() -> None:
    """C follows B, whatever went before that, and idle time between them changes nothing."""
    problem = replace(
        one_machine(grouped("A", "red"), grouped("B", None), grouped("C", "blue")), changeovers=(RED_TO_BLUE,)
    )
    rows = (RED_FIRST, second_row(5))
    assert found(problem, *rows, ("C", 1, 3 * HOUR, 3 * HOUR + 65 * MINUTE)) == []
    assert found(problem, *rows, ("C", 1, 3 * HOUR, 3 * HOUR + 80 * MINUTE)) == [
        (ViolationCode.WORKING_TIME_LONG, 15 * MINUTE)
    ]


def test_pinned_work_takes_its_own_setup() -> None:
    """The matrix is not asked about pinned work, but work behind it is changed over from it."""
    pinned = after_red(grouped("B", "blue", Pin(start_seconds=2 * HOUR)), RED_TO_BLUE)
    assert found(pinned, RED_FIRST, second_row(5, start_minutes=120)) == []
    running = Pin(start_seconds=-HOUR, end_seconds=5 * MINUTE)
    behind = replace(one_machine(grouped("A", "red", running), grouped("B", "blue")), changeovers=(RED_TO_BLUE,))
    assert found(behind, ("A", 1, -HOUR, 5 * MINUTE), second_row(20, start_minutes=5)) == []


def test_changeover_over_several_machines_is_the_longest() -> None:
    """Blue work needs twenty minutes on the machine that did red and five on the other, so twenty."""
    both = Alternative(machine=0, processing_seconds=HOUR, setup_seconds=5 * MINUTE, also_holds=(1,))
    blue = Operation(id="B", alternatives=(both,), setup_group="blue")
    red = replace(operation("A", 1), setup_group="red")
    problem = Problem(
        jobs=(Job(id="A", operations=(red,)), Job(id="B", operations=(blue,))),
        machines=(Machine(id=1), Machine(id=2)),
        changeovers=(RED_TO_BLUE,),
    )
    assert found(problem, ("A", 2, 0, HOUR), ("B", 1, HOUR, 140 * MINUTE)) == []
    assert found(problem, ("A", 2, 0, HOUR), ("B", 1, HOUR, 140 * MINUTE - 1)) == [
        (ViolationCode.WORKING_TIME_SHORT, 1)
    ]


def test_measures_count_the_setup_that_was_taken() -> None:
    """Five and twenty minutes of setup, and two hours of processing, fill the machine until the end."""
    measures = judge(after_red(grouped("B", "blue"), RED_TO_BLUE), schedule_of(RED_FIRST, second_row(20))).measures
    assert (measures.setup_seconds, measures.working_seconds) == (25 * MINUTE, 145 * MINUTE)
    assert measures.utilisation_percent == 100.0


def held_together(*closures: Closure, interruptible: bool = True, busy_seconds: int = 0) -> Problem:
    """An hour on machine 7 that holds 8 as well, which has the closures and the load, and other work for 8."""
    both = Alternative(machine=0, processing_seconds=HOUR, also_holds=(1,))
    return Problem(
        jobs=(
            Job(id="A", operations=(Operation(id="A", alternatives=(both,), interruptible=interruptible),)),
            Job(id="B", operations=(operation("B", 1),)),
        ),
        machines=(Machine(id=7, name="press"), Machine(id=8, closures=closures, busy_seconds=busy_seconds)),
    )


def test_work_may_not_start_while_a_second_machine_is_taken() -> None:
    """A is on machine 7 and needs 8, where B still is for one second; the violation names machine 8."""
    assert found(held_together(), ("B", 8, 0, HOUR), ("A", 7, HOUR, 2 * HOUR)) == []
    violation = only(held_together(), ("B", 8, 0, HOUR), ("A", 7, HOUR - 1, 2 * HOUR - 1))
    assert (violation.code, violation.machine_id, violation.by_seconds) == (ViolationCode.MACHINE_OVERLAP, 8, 1)
    assert violation.message.startswith("A shares machine 8 with B for 1 s from")


def test_work_pauses_while_any_of_its_machines_is_closed() -> None:
    """Half an hour of closure on the second machine makes the work as much longer."""
    closed = Closure(start_seconds=10 * MINUTE, end_seconds=40 * MINUTE)
    rest = ("B", 8, 2 * HOUR, 3 * HOUR)
    assert found(held_together(closed), ("A", 7, 0, 90 * MINUTE), rest) == []
    violation = only(held_together(closed), ("A", 7, 0, HOUR), rest)
    assert (violation.code, violation.by_seconds) == (ViolationCode.WORKING_TIME_SHORT, 30 * MINUTE)
    assert "open time on machines 7 (press) and 8, 30 min less" in violation.message
    paused = only(held_together(closed, interruptible=False), ("A", 7, 0, 90 * MINUTE), rest)
    assert paused.code is ViolationCode.INTERRUPTED
    assert "pauses for 30 min while machines 7 (press) and 8 are not all open" in paused.message


def test_work_may_not_begin_or_end_while_a_second_machine_is_closed() -> None:
    """A second of closed time at either end is named."""
    rest = ("B", 8, 3 * HOUR, 4 * HOUR)
    before, behind = Closure(start_seconds=0, end_seconds=10), Closure(start_seconds=HOUR, end_seconds=2 * HOUR)
    assert found(held_together(before), ("A", 7, 9, HOUR + 10), rest) == [(ViolationCode.STARTS_WHILE_CLOSED, 1)]
    assert found(held_together(behind), ("A", 7, 0, HOUR + 1), rest) == [(ViolationCode.ENDS_WHILE_CLOSED, 1)]


def test_work_waits_for_the_load_of_a_second_machine() -> None:
    """The load of machine 8 counts for work that is on machine 7."""
    rest = ("B", 8, 3 * HOUR, 4 * HOUR)
    problem = held_together(busy_seconds=HOUR)
    assert found(problem, ("A", 7, HOUR, 2 * HOUR), rest) == []
    violation = only(problem, ("A", 7, HOUR - 1, 2 * HOUR - 1), rest)
    assert (violation.code, violation.machine_id, violation.by_seconds) == (ViolationCode.MACHINE_BUSY, 8, 1)


def test_measures_count_every_machine_that_is_held() -> None:
    """A works on both machines for the hour before B has the second one: three of four machine hours."""
    measures = judge(held_together(), schedule_of(("A", 7, 0, HOUR), ("B", 8, HOUR, 2 * HOUR))).measures
    assert (measures.working_seconds, measures.utilisation_percent) == (3 * HOUR, 75.0)


def test_pinned_work_stays_to_the_second() -> None:
    """An hour that is pinned to 01:00 must not start a second later, and the sentence tells both times."""
    problem = one_machine(operation("A", pin=Pin(start_seconds=HOUR)), hours=LUNCH_HOURS)
    assert found(problem, ("A", 1, HOUR, 2 * HOUR)) == []
    violation = only(problem, ("A", 1, HOUR + 1, 2 * HOUR + 1))
    assert (violation.code, violation.by_seconds) == (ViolationCode.PIN_MOVED, 1)
    assert violation.message == "A starts 1 s after Mon 2025-07-21 01:00:00, where it is pinned; it must not move."
    assert found(problem, ("A", 1, HOUR - 1, 2 * HOUR - 1)) == [(ViolationCode.PIN_MOVED, 1)]


def test_pinned_work_without_an_end_is_held_to_the_calendar() -> None:
    """Its duration, its machine's openings and second 0 are rules for it as for any work."""
    late = one_machine(operation("A", pin=Pin(start_seconds=NOON)), hours=LUNCH_HOURS)
    assert found(late, ("A", 1, NOON, NOON + 90 * MINUTE)) == [(ViolationCode.STARTS_WHILE_CLOSED, 30 * MINUTE)]
    early = one_machine(operation("A", pin=Pin(start_seconds=-1)), hours=LUNCH_HOURS)
    assert found(early, ("A", 1, -1, HOUR - 1)) == [(ViolationCode.BEFORE_START, 1)]


def test_running_work_is_held_to_its_times_and_its_duration() -> None:
    """Neither material nor load hold back what runs; it pauses over lunch, though it must not, and stays as long."""
    pin = Pin(start_seconds=-HOUR, end_seconds=NOON + HOUR)
    running = operation("A", seconds=13 * HOUR + 30 * MINUTE, pin=pin, release_seconds=HOUR, interruptible=False)
    problem = one_machine(running, operation("B"), hours=LUNCH_HOURS, busy_seconds=HOUR)
    rest = ("B", 1, NOON + HOUR, NOON + 2 * HOUR)
    assert found(problem, ("A", 1, -HOUR, NOON + HOUR), rest) == []
    assert found(problem, ("A", 1, -HOUR, NOON + HOUR - 1), rest) == [
        (ViolationCode.PIN_END_MOVED, 1),
        (ViolationCode.WORKING_TIME_SHORT, 1),
    ]
    assert found(problem, ("A", 1, 1 - HOUR, NOON + HOUR), rest) == [
        (ViolationCode.PIN_MOVED, 1),
        (ViolationCode.WORKING_TIME_SHORT, 1),
    ]
    closed = Closure(start_seconds=HOUR, end_seconds=HOUR + 1)
    broken = one_machine(running, operation("B"), hours=LUNCH_HOURS, closures=(closed,))
    violation = only(broken, ("A", 1, -HOUR, NOON + HOUR), rest)
    assert (violation.code, violation.by_seconds) == (ViolationCode.WORKING_TIME_SHORT, 1)


def test_end_of_begun_work_is_told_by_the_clock() -> None:
    """The sentence names the amount and the time."""
    problem = one_machine(operation("A", seconds=HOUR, pin=Pin(start_seconds=-2 * HOUR, end_seconds=-HOUR)))
    violation = only(replace(problem, hours=LUNCH_HOURS), ("A", 1, -2 * HOUR, -HOUR - 1))
    assert violation.message == "A ends 1 s before Sun 2025-07-20 23:00:00, when work that has begun then ends."


def test_running_work_holds_its_machine() -> None:
    """Other work waits for its end, and the next step of its job as well."""
    running = operation("A", seconds=2 * HOUR, pin=Pin(start_seconds=-HOUR, end_seconds=HOUR))
    problem = Problem(jobs=(Job(id="J", operations=(running, operation("B"))),), machines=(Machine(id=1),))
    assert found(problem, ("A", 1, -HOUR, HOUR), ("B", 1, HOUR, 2 * HOUR)) == []
    assert found(problem, ("A", 1, -HOUR, HOUR), ("B", 1, HOUR - 1, 2 * HOUR - 1)) == [
        (ViolationCode.MACHINE_OVERLAP, 1),
        (ViolationCode.WRONG_SEQUENCE, 1),
    ]


def test_finished_work_needs_no_machine() -> None:
    """Three works that are over lie on one machine at once, in closed time, out of order: only their place counts."""
    pins = (Pin(start_seconds=-3 * HOUR, end_seconds=-HOUR), Pin(start_seconds=-4 * HOUR, end_seconds=0))
    over = tuple(operation(name, pin=pin) for name, pin in zip("AB", pins, strict=True))
    closed = Closure(start_seconds=-DAY, end_seconds=DAY)
    jobs = (Job(id="J", operations=over), Job(id="K", operations=(operation("C", 1),)))
    problem = Problem(jobs=jobs, machines=(Machine(id=1, closures=(closed,)), Machine(id=2)))
    rows = (("A", 1, -3 * HOUR, -HOUR), ("B", 1, -4 * HOUR, 0), ("C", 2, 0, HOUR))
    assert found(problem, *rows) == []
    assert found(problem, ("A", 1, -3 * HOUR, -HOUR - 1), *rows[1:]) == [(ViolationCode.PIN_END_MOVED, 1)]


def test_work_to_come_follows_what_has_begun() -> None:
    """Nothing that is still to come may stand ahead of work that has begun."""
    begun = operation("B", pin=Pin(start_seconds=-HOUR, end_seconds=0))
    problem = Problem(
        jobs=(Job(id="J", operations=(operation("A", 1), begun)),), machines=(Machine(id=1), Machine(id=2))
    )
    assert found(problem, ("A", 2, 0, HOUR), ("B", 1, -HOUR, 0)) == [(ViolationCode.WRONG_SEQUENCE, 2 * HOUR)]


def test_changeover_counts_from_finished_work() -> None:
    """Red work that ended before or at the start is the last on its machine: blue needs the listed 20 minutes."""
    for end in (-HOUR, 0):
        over = grouped("A", "red", Pin(start_seconds=end - HOUR, end_seconds=end))
        problem = replace(one_machine(over, grouped("B", "blue")), changeovers=(RED_TO_BLUE,))
        assert found(problem, ("A", 1, end - HOUR, end), second_row(20, start_minutes=0)) == []
        assert found(problem, ("A", 1, end - HOUR, end), second_row(5, start_minutes=0)) == [
            (ViolationCode.WORKING_TIME_SHORT, 15 * MINUTE)
        ]


def test_pinned_work_needs_its_material() -> None:
    """A pin does not make material arrive."""
    pinned = operation("A", pin=Pin(start_seconds=HOUR), release_seconds=HOUR + 1)
    assert found(one_machine(pinned), ("A", 1, HOUR, 2 * HOUR)) == [(ViolationCode.BEFORE_RELEASE, 1)]


def test_running_work_counts_only_after_the_start() -> None:
    """A day and an hour of work of which an hour is left works for that hour."""
    running = operation("A", seconds=DAY + HOUR, pin=Pin(start_seconds=-DAY, end_seconds=HOUR))
    measures = judge(one_machine(running), schedule_of(("A", 1, -DAY, HOUR))).measures
    assert (measures.working_seconds, measures.utilisation_percent) == (HOUR, 100.0)


def instant(machine: int = 0, **fields: object) -> Operation:
    """Work Z that takes no time."""
    return operation("Z", machine, seconds=0, **fields)


@pytest.mark.parametrize("at", [0, HOUR, 2 * HOUR])
def test_work_that_takes_no_time_lies_beside_other_work(at: int) -> None:
    """It ends where it starts, where other work begins or ends too, and nobody is late for it."""
    problem = one_machine(operation("A"), operation("B"), instant())
    rows = (("A", 1, 0, HOUR), ("B", 1, HOUR, 2 * HOUR), ("Z", 1, at, at))
    verdict = judge(problem, schedule_of(*rows))
    assert verdict.violations == ()
    assert (verdict.measures.working_seconds, verdict.measures.completion_percent) == (2 * HOUR, 100.0)


def test_work_that_takes_no_time_is_not_in_the_midst_of_other_work() -> None:
    """A minute before the other ends, it must wait for that minute."""
    (violation,) = violations(
        one_machine(operation("A"), instant()), schedule_of(("A", 1, 0, HOUR), ("Z", 1, 59 * MINUTE, 59 * MINUTE))
    )
    assert (violation.code, violation.by_seconds) == (ViolationCode.MACHINE_OVERLAP, MINUTE)
    assert violation.message == (
        "Z shares machine 1 with A at 59 min after the start of the schedule, 1 min before that ends; "
        "it must wait until the machine is free."
    )


def test_work_that_takes_no_time_needs_an_open_machine() -> None:
    """The instant at which a closure begins is closed, the one at which it ends is not."""
    problem = one_machine(instant(), closures=(Closure(start_seconds=HOUR, end_seconds=2 * HOUR),))
    assert found(problem, ("Z", 1, HOUR - 1, HOUR - 1)) == found(problem, ("Z", 1, 2 * HOUR, 2 * HOUR)) == []
    assert found(problem, ("Z", 1, HOUR, HOUR)) == [(ViolationCode.STARTS_WHILE_CLOSED, 0)]


def test_work_that_takes_no_time_must_not_take_any() -> None:
    """A second is one too many, and an end before the start remains impossible."""
    assert found(one_machine(instant()), ("Z", 1, 0, 1)) == [(ViolationCode.WORKING_TIME_LONG, 1)]
    assert found(one_machine(instant()), ("Z", 1, 1, 0)) == [(ViolationCode.EMPTY_SPAN, 2)]


def test_work_that_takes_no_time_is_set_up_for_all_the_same() -> None:
    """Red to blue takes twenty minutes though the blue work takes none; what follows it follows blue."""
    changes = (RED_TO_BLUE, Changeover(before="blue", after="red", setup_seconds=MINUTE))
    works = (grouped("A", "red"), instant(setup_group="blue"), replace(operation("C"), setup_group="red"))
    problem = replace(one_machine(*works), changeovers=changes)
    after = HOUR + 25 * MINUTE
    rows = (("A", 1, 0, 65 * MINUTE), ("Z", 1, 65 * MINUTE, after), ("C", 1, after, after + HOUR + MINUTE))
    assert found(problem, *rows) == []
    free = replace(problem, changeovers=(replace(RED_TO_BLUE, setup_seconds=0), changes[1]))
    at = 65 * MINUTE
    assert found(free, rows[0], ("Z", 1, at, at), ("C", 1, at, at + HOUR + MINUTE)) == []
    assert found(free, rows[0], ("Z", 1, at, at), ("C", 1, at, at + HOUR)) == [
        (ViolationCode.WORKING_TIME_SHORT, MINUTE)
    ]


def test_changeover_of_a_machine_counts_before_that_of_all() -> None:
    """Ten minutes on machine 2, twenty elsewhere."""
    works = (
        Operation(id=name, alternatives=operation(name, 0, 1).alternatives, setup_group=group)
        for name, group in (("A", "red"), ("B", "blue"))
    )
    problem = Problem(
        jobs=tuple(Job(id=each.id, operations=(each,)) for each in works),
        machines=(Machine(id=1), Machine(id=2)),
        changeovers=(RED_TO_BLUE, replace(RED_TO_BLUE, setup_seconds=10 * MINUTE, machine=1)),
    )
    for machine, setup in ((1, 20), (2, 10)):
        rows = ("A", machine, 0, HOUR), ("B", machine, HOUR, 2 * HOUR + setup * MINUTE)
        assert found(problem, *rows) == []


def test_works_of_one_instant_come_in_the_order_of_the_schedule() -> None:
    """Red, blue, green and red again need a minute for the last change; green before blue would take setups."""
    listed = {("red", "blue"): 0, ("blue", "green"): 0, ("green", "red"): 1, ("red", "green"): 5, ("green", "blue"): 5}
    changes = tuple(
        Changeover(before=before, after=after, setup_seconds=minutes * MINUTE)
        for (before, after), minutes in listed.items()
    )
    works = (
        replace(operation("A"), setup_group="red"),
        replace(operation("Y", seconds=0), setup_group="green"),
        replace(operation("Z", seconds=0), setup_group="blue"),
        replace(operation("B"), setup_group="red"),
    )
    problem = replace(one_machine(*works), changeovers=changes)
    first, green, blue = ("A", 1, 0, HOUR), ("Y", 1, HOUR, HOUR), ("Z", 1, HOUR, HOUR)
    last = ("B", 1, HOUR, 2 * HOUR + MINUTE)
    assert found(problem, last, blue, first, green) == []
    assert {code for code, _ in found(problem, first, green, blue, last)} == {
        ViolationCode.EMPTY_SPAN,
        ViolationCode.WORKING_TIME_LONG,
    }
