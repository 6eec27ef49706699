"""The verdict: what is critical, what is measured, and that no claim makes the judge raise."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from env.judge.judge import ViolationCode, judge, open_seconds
from env.problem import Closure, Job, Machine, Pin, Problem, WorkingHours
from env.schedule import Schedule
from tests.construction import chosen_alternative
from tests.open_time import worked_seconds
from tests.problems import (
    ANY_HOURS,
    DAY,
    EVERY_FEATURE,
    HOUR,
    LUNCH,
    MINUTE,
    one_machine,
    open_mask,
    operation,
    problems,
    schedule_of,
    solved_problems,
)

LUNCH_HOURS = WorkingHours(origin=datetime(2025, 7, 21, tzinfo=UTC), breaks=(LUNCH,))
NOON = 12 * HOUR


def test_missed_deadline_is_reported_and_not_critical() -> None:
    """A late schedule may be served, with its lateness said and its score lowered."""
    problem = one_machine(operation("A", deadline_seconds=HOUR - 61))
    verdict = judge(problem, schedule_of(("A", 1, 0, HOUR)))
    (violation,) = verdict.violations
    assert (violation.code, violation.by_seconds, violation.is_critical) == (ViolationCode.DEADLINE_MISSED, 61, False)
    assert violation.message == (
        "A ends at 1 h after the start of the schedule, 1 min 1 s after its deadline "
        "58 min 59 s after the start of the schedule."
    )
    assert (verdict.valid, verdict.safety_score) == (True, 90.0)


def test_time_beyond_the_calendar_is_refused_and_left_out_of_the_measures() -> None:
    """A span three hundred years away cannot be judged, so it is neither valid nor measured."""
    far = 300 * 366 * DAY
    verdict = judge(one_machine(operation("A"), hours=LUNCH_HOURS), schedule_of(("A", 1, far, far + HOUR)))
    assert [violation.code for violation in verdict.violations] == [ViolationCode.OUT_OF_RANGE]
    assert (verdict.valid, verdict.measures.makespan_seconds, verdict.measures.scheduled_operations) == (False, 0, 0)


def test_open_seconds_add_up_over_machines() -> None:
    """Two machines over a day with lunch, one of them closed for an hour that covers it."""
    closed = Closure(start_seconds=NOON, end_seconds=NOON + HOUR)
    problem = Problem(
        jobs=(Job(id="J", operations=(operation("A"),)),),
        machines=(Machine(id=1), Machine(id=2, closures=(closed,))),
        hours=LUNCH_HOURS,
    )
    assert open_seconds(problem, DAY) == 2 * DAY - 30 * MINUTE - HOUR
    assert open_seconds(problem, 1) == 2
    assert open_seconds(problem, 0) == open_seconds(problem, -5) == 0
    assert open_seconds(problem, 10**30) == open_seconds(problem, 10**31)


def test_measures_use_the_open_time_of_the_judge() -> None:
    """Three quarters of an hour of work until 12:30 in a plant open from 11:30 and closed at lunch: all of it used."""
    hours = WorkingHours(origin=datetime(2025, 7, 21, 11, 30, tzinfo=UTC), breaks=(LUNCH,))
    verdict = judge(
        one_machine(operation("A", seconds=45 * MINUTE), hours=hours), schedule_of(("A", 1, 0, 75 * MINUTE))
    )
    assert (verdict.measures.open_seconds, verdict.measures.utilisation_percent) == (45 * MINUTE, 100.0)
    assert (verdict.valid, verdict.violations, verdict.anomalies, verdict.safety_score) == (True, (), (), 100.0)


def test_machines_that_no_work_may_use_are_left_out_of_utilisation() -> None:
    """An hour of work on one of two machines is all of the one, whether work of the other has ended or never was."""
    ended = operation("B", 1, pin=Pin(start_seconds=-HOUR, end_seconds=0))
    for others, rows in (((), ()), ((ended,), (("B", 2, -HOUR, 0),))):
        jobs = tuple(Job(id=each.id, operations=(each,)) for each in (operation("A"), *others))
        problem = Problem(jobs=jobs, machines=(Machine(id=1), Machine(id=2)))
        verdict = judge(problem, schedule_of(("A", 1, 0, HOUR), *rows))
        assert (verdict.valid, verdict.measures.open_seconds, verdict.measures.utilisation_percent) == (
            True,
            HOUR,
            100.0,
        )


def test_every_code_has_a_sentence() -> None:
    """The docs page is generated from these."""
    assert all(code.description.endswith(".") for code in ViolationCode)
    assert [code for code in ViolationCode if not code.is_critical] == [ViolationCode.DEADLINE_MISSED]


@given(problem=problems(ANY_HOURS), day=st.integers(0, 10), second=st.integers(0, DAY))
def test_open_seconds_agree_with_the_definition(problem: Problem, day: int, second: int) -> None:
    """The judge's total equals the count of open seconds by the definition, for plants of any kind."""
    until = day * DAY + second
    counted = sum(int(open_mask(problem, index)[:until].sum()) for index in range(len(problem.machines)))
    assert open_seconds(problem, until) == counted


@given(solved=solved_problems(EVERY_FEATURE))
def test_measures_of_continued_plans_mean_what_they_say(solved: tuple[Problem, Schedule]) -> None:
    """Working time is the open time of each row after second 0, so no machine works more than it is open."""
    problem, schedule = solved
    measures = judge(problem, schedule).measures
    worked = sum(
        len(machines) * worked_seconds(problem, machines, max(0, row.start_seconds), row.end_seconds)
        for each in problem.operations
        if (row := schedule.by_operation[each.id]).end_seconds > 0
        for machines in (chosen_alternative(problem, each, row).machines,)
    )
    assert measures.working_seconds == worked
    assert 0 <= measures.utilisation_percent <= 100.0
    assert measures.makespan_seconds >= 0
    assert (measures.flow_time_mean_seconds or 0) >= 0


def test_plan_that_is_over_has_no_makespan() -> None:
    """Its only work ended an hour ago: nothing is left to do, on no machine."""
    over = one_machine(operation("A", pin=Pin(start_seconds=-2 * HOUR, end_seconds=-HOUR)))
    verdict = judge(over, schedule_of(("A", 1, -2 * HOUR, -HOUR)))
    measures = verdict.measures
    assert (measures.makespan_seconds, measures.working_seconds, measures.open_seconds) == (0, 0, 0)
    assert (measures.utilisation_percent, measures.flow_time_mean_seconds) == (0.0, 0.0)


def test_machines_that_no_work_may_use_do_not_count() -> None:
    """The second machine has finished its work and the third never had any: the first works all the time."""
    over = operation("B", 1, pin=Pin(start_seconds=-HOUR, end_seconds=0))
    problem = Problem(
        jobs=(Job(id="A", operations=(operation("A"),)), Job(id="B", operations=(over,))),
        machines=(Machine(id=1), Machine(id=2), Machine(id=3)),
    )
    measures = judge(problem, schedule_of(("A", 1, 0, HOUR), ("B", 2, -HOUR, 0))).measures
    assert (measures.open_seconds, measures.utilisation_percent) == (HOUR, 100.0)


def test_running_work_counts_only_while_its_machine_is_open() -> None:
    """Three hours, of which one is done; the machine is closed for two hours in between."""
    running = operation("A", seconds=3 * HOUR, pin=Pin(start_seconds=-HOUR, end_seconds=4 * HOUR))
    closed = Closure(start_seconds=HOUR, end_seconds=3 * HOUR)
    measures = judge(one_machine(running, closures=(closed,)), schedule_of(("A", 1, -HOUR, 4 * HOUR))).measures
    assert (measures.working_seconds, measures.utilisation_percent) == (2 * HOUR, 100.0)


NONSENSE = st.integers(-5, 5) | st.integers() | st.sampled_from((10**18, -(10**18), 2**63, 10**5000, -(10**5000)))


@given(
    problem=problems(),
    rows=st.lists(st.tuples(st.sampled_from(("J0-0", "J1-0", "", "?")), NONSENSE, NONSENSE, NONSENSE), max_size=6),
)
def test_judge_never_raises_on_nonsense(problem: Problem, rows: list[tuple[str, int, int, int]]) -> None:
    """Any numbers and any ids get a verdict, each violation with a sentence and an amount that is not negative."""
    verdict = judge(problem, schedule_of(*rows), baseline_makespan_seconds=HOUR)
    assert all(violation.message and violation.by_seconds >= 0 for violation in verdict.violations)
    assert 0.0 <= verdict.safety_score <= 100.0
