"""The lower bound of the makespan: known answers, and the law that no valid plan is shorter."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given

from env.judge.bound import MakespanBound
from env.judge.case import case_of
from env.judge.judge import judge
from env.problem import Changeover, Closure, Job, Machine, Operation, Pin, Problem, WorkingHours
from env.schedule import Schedule
from tests.problems import DAY, EVERY_FEATURE, HOUR, LUNCH, operation, schedule_of, solved_problems

NOON = WorkingHours(origin=datetime(2025, 7, 21, 11, 0, tzinfo=UTC), breaks=(LUNCH,))


def bound(*jobs: tuple[Operation, ...], machines: int = 2, **fields: object) -> int:
    """That of jobs on machines without closures or load."""
    plant = tuple(Machine(id=index) for index in range(machines))
    return bound_of(Problem(jobs=_jobs(jobs), machines=plant, **fields))  # type: ignore[arg-type]


def bound_of(problem: Problem) -> int:
    """Whatever is planned, as long as the calendar must be known for it: here a day."""
    return judge(problem, schedule_of(("?", 1, 0, DAY))).bound_seconds


def _jobs(jobs: tuple[tuple[Operation, ...], ...]) -> tuple[Job, ...]:
    return tuple(Job(id=f"J{index}", operations=operations) for index, operations in enumerate(jobs))


def test_job_alone_takes_its_operations_in_a_row() -> None:
    """Two hours after a release at one o'clock, however many machines there are."""
    assert bound((operation("A", 0, 1, release_seconds=HOUR), operation("B", 0, 1))) == 3 * HOUR


def test_machines_share_the_work_that_only_they_can_do() -> None:
    """Three hours of work of two machines take an hour and a half; one more hour of a third machine takes no more."""
    jobs = [(operation(name, 0, 1),) for name in "ABC"]
    assert bound(*jobs) == 3 * HOUR // 2
    assert bound(*jobs, (operation("D", 2),), machines=3) == 3 * HOUR // 2
    assert bound(*jobs, (operation("D", 0, seconds=2 * HOUR),)) == 5 * HOUR // 2


def test_head_and_tail_of_shared_work_count() -> None:
    """Two jobs meet at a machine that both reach after an hour and leave with an hour to go: four hours in all."""
    meeting = [(operation(f"{job}1", job), operation(f"{job}2", 2), operation(f"{job}3", job)) for job in (0, 1)]
    assert bound(*meeting, machines=3) == 4 * HOUR


def test_calendar_closures_and_earlier_load_count() -> None:
    """Two hours from eleven with lunch from twelve; an hour of load before; a machine that is away until five."""
    assert bound((operation("A", seconds=2 * HOUR),), hours=NOON) == 5 * HOUR // 2
    job = _jobs(((operation("A"),),))
    assert bound_of(Problem(jobs=job, machines=(Machine(id=1, busy_seconds=HOUR),))) == 2 * HOUR
    away = Closure(start_seconds=0, end_seconds=5 * HOUR)
    assert bound_of(Problem(jobs=job, machines=(Machine(id=1, closures=(away,)),))) == 6 * HOUR


def test_changeover_may_take_no_time() -> None:
    """The setup of work that a matrix may replace is left out."""
    first = operation("A", setup_group="red")
    changes = (Changeover(before="red", after="red", setup_seconds=0),)
    assert bound((first,), (operation("B", setup_group="red"),), machines=1, changeovers=changes) == 2 * HOUR


@pytest.mark.parametrize(("start", "end", "expected"), [(-HOUR, HOUR, 2 * HOUR), (-2 * HOUR, -HOUR, HOUR)])
def test_settled_work_takes_the_rest_of_its_time(start: int, end: int, expected: int) -> None:
    """What is running holds its machine until its end, what has ended does not."""
    running = operation("A", pin=Pin(start_seconds=start, end_seconds=end))
    assert bound((running,), (operation("B"),), machines=1) == expected


def test_bound_with_durations_takes_them_as_given() -> None:
    """Work that took three hours counts three, whatever its alternatives say."""
    problem = Problem(jobs=_jobs(((operation("A"),),)), machines=(Machine(id=1),))
    case = case_of(problem, schedule_of(("A", 1, 0, HOUR)))
    assert MakespanBound(case).seconds_with({"A": 3 * HOUR}) == 3 * HOUR


@given(solved=solved_problems(EVERY_FEATURE))
def test_no_valid_plan_is_shorter(solved: tuple[Problem, Schedule]) -> None:
    """Whatever features a plant has, a valid plan takes at least the bound."""
    verdict = judge(*solved)
    assert verdict.valid
    assert 0 <= verdict.bound_seconds <= max(0, verdict.measures.makespan_seconds)


def test_work_of_no_time_bounds_nothing_but_what_follows_its_release() -> None:
    """It ends no sooner than it may begin, also in a break."""
    assert bound((operation("A", 0, seconds=0, release_seconds=HOUR + 60),), hours=NOON) == HOUR + 60
