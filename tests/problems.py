"""Small problems, and Hypothesis strategies for random ones with schedules that are valid by construction."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from enum import StrEnum

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from env.problem import (
    SATURDAY,
    SUNDAY,
    Alternative,
    Changeover,
    Closure,
    Job,
    Machine,
    Operation,
    Problem,
    WeeklyBreak,
    WorkingHours,
)
from env.schedule import Schedule
from tests.construction import continued, pinned_in_place, schedule_of, valid_schedule
from tests.open_time import DAY, HOUR, MINUTE, is_closed, open_mask

__all__ = [
    "ANY_HOURS",
    "DAY",
    "EVERY_FEATURE",
    "HOUR",
    "HOURS",
    "LUNCH",
    "MINUTE",
    "NIGHT",
    "PLAIN",
    "SMALL_HOURS",
    "WEEKEND",
    "WITH_INSTANTS",
    "Feature",
    "is_closed",
    "one_machine",
    "open_mask",
    "operation",
    "problems",
    "schedule_of",
    "solved_problems",
    "with_deadlines",
    "with_operation",
]


class Feature(StrEnum):
    """What a random problem may have beyond calendars, releases and machines of different speed."""

    CHANGEOVERS = "changeovers"
    PINS = "pins"
    SEVERAL_MACHINES = "several machines"
    INSTANTS = "work that takes no time"


PLAIN: frozenset[Feature] = frozenset()
WITH_INSTANTS = frozenset(Feature)
"""Everything that a file may ask for."""
EVERY_FEATURE = WITH_INSTANTS - {Feature.INSTANTS}
"""Everything that a request may ask for."""

NIGHT = WeeklyBreak(name="night", start=time(22, 0), end=time(6, 0))
LUNCH = WeeklyBreak(name="lunch", start=time(12, 0), end=time(12, 30))
WEEKEND = WeeklyBreak(name="weekend", start=time(0, 0), end=time(0, 0), weekdays=frozenset({SATURDAY, SUNDAY}))
SMALL_HOURS = WeeklyBreak(name="small hours", start=time(2, 0), end=time(3, 0))

HOURS = (
    None,
    WorkingHours(origin=datetime(2025, 7, 22, 6, 0, tzinfo=UTC), zone="Asia/Kuala_Lumpur"),
    WorkingHours(origin=datetime(2025, 3, 29, 20, 0, tzinfo=UTC), zone="Europe/Berlin", breaks=(SMALL_HOURS, LUNCH)),
    WorkingHours(origin=datetime(2025, 10, 25, 20, 0, tzinfo=UTC), zone="Europe/Berlin", breaks=(SMALL_HOURS, NIGHT)),
    WorkingHours(origin=datetime(2025, 11, 1, 12, 0, tzinfo=UTC), zone="America/New_York"),
    WorkingHours(origin=datetime(2025, 1, 3, 17, 30, tzinfo=UTC), breaks=(NIGHT, LUNCH, WEEKEND)),
    WorkingHours(
        origin=datetime(2025, 5, 1, 8, 0, tzinfo=UTC), holidays=frozenset({date(2025, 5, 1), date(2025, 5, 3)})
    ),
)
"""Working hours to draw from: continuous, the default plant, both nights of changing clocks, a weekend, holidays."""
ANY_HOURS = st.sampled_from(HOURS)

GROUPS = ("red", "green", "blue")


def operation(id: str, *machines: int, seconds: int = HOUR, **fields: object) -> Operation:
    """An operation that takes `seconds` on each of `machines` (indices, default only machine 0)."""
    alternatives = tuple(Alternative(machine=machine, processing_seconds=seconds) for machine in machines or (0,))
    return Operation(id=id, alternatives=alternatives, **fields)  # type: ignore[arg-type]


def with_operation(problem: Problem, operation_id: str, **changes: object) -> Problem:
    """The problem with something else required of one operation."""
    jobs = tuple(
        replace(
            job,
            operations=tuple(
                replace(each, **changes) if each.id == operation_id else each  # type: ignore[arg-type]
                for each in job.operations
            ),
        )
        for job in problem.jobs
    )
    return replace(problem, jobs=jobs)


def one_machine(
    *operations: Operation, hours: WorkingHours | None = None, closures: tuple[Closure, ...] = (), busy_seconds: int = 0
) -> Problem:
    """Each operation its own job, on machine 1."""
    return Problem(
        jobs=tuple(Job(id=f"job of {each.id}", operations=(each,)) for each in operations),
        machines=(Machine(id=1, closures=closures, busy_seconds=busy_seconds),),
        hours=hours,
    )


def closures() -> st.SearchStrategy[tuple[Closure, ...]]:
    """Up to three closures within the first two days; they may touch and overlap."""
    closure = st.builds(
        lambda start, length: Closure(start_seconds=start, end_seconds=start + length),
        st.integers(-HOUR, 2 * DAY),
        st.integers(1, 5 * HOUR),
    )
    return st.lists(closure, max_size=3).map(tuple)


@st.composite
def machines(draw: st.DrawFn) -> tuple[Machine, ...]:
    """One to four machines with public ids that are not their indices."""
    return tuple(
        Machine(
            id=10 * (index + 1), busy_seconds=draw(st.sampled_from((0, 0, 1, 2 * HOUR + 7))), closures=draw(closures())
        )
        for index in range(draw(st.integers(1, 4)))
    )


@st.composite
def operations(draw: st.DrawFn, id: str, machine_count: int, features: frozenset[Feature] = PLAIN) -> Operation:
    """One operation of up to two hours on some machines, each with its own times."""
    eligible = draw(st.lists(st.integers(0, machine_count - 1), min_size=1, unique=True))
    has_group = Feature.CHANGEOVERS in features
    return Operation(
        id=id,
        alternatives=tuple(draw(alternatives(machine, machine_count, features)) for machine in eligible),
        release_seconds=draw(st.sampled_from((0, 0, 1, 5 * HOUR))),
        due_seconds=draw(st.none() | st.integers(-HOUR, 3 * DAY)),
        weight=draw(st.sampled_from((1.0, 2.5))),
        is_important=draw(st.booleans()),
        interruptible=draw(st.sampled_from((True, True, False))),
        setup_group=draw(st.sampled_from((None, *GROUPS))) if has_group else None,
    )


@st.composite
def alternatives(draw: st.DrawFn, machine: int, machine_count: int, features: frozenset[Feature]) -> Alternative:
    """One alternative on a machine, which may hold up to two more."""
    others = [other for other in range(machine_count) if other != machine]
    takes_none = Feature.INSTANTS in features and draw(st.booleans())
    several = others and Feature.SEVERAL_MACHINES in features
    return Alternative(
        machine=machine,
        processing_seconds=0 if takes_none else draw(st.integers(1, 2 * HOUR)),
        setup_seconds=draw(st.sampled_from((0, 0, 1) if takes_none else (0, 1, 18 * MINUTE))),
        also_holds=tuple(draw(st.lists(st.sampled_from(others), unique=True, max_size=2))) if several else (),
    )


def changeovers(machine_count: int) -> st.SearchStrategy[tuple[Changeover, ...]]:
    """Some pairs of groups, in both directions and with themselves, on all machines or on one, each with its setup."""
    seconds = st.sampled_from((0, 1, 7 * MINUTE, 30 * MINUTE))
    entries = [(None, before, after) for before in GROUPS for after in GROUPS]
    entries += [(machine, before, after) for machine in range(machine_count) for _, before, after in entries[:9]]
    return st.dictionaries(st.sampled_from(entries[:9]) | st.sampled_from(entries), seconds).map(
        lambda listed: tuple(
            Changeover(before=before, after=after, setup_seconds=setup, machine=machine)
            for (machine, before, after), setup in listed.items()
        )
    )


@st.composite
def problems(
    draw: st.DrawFn,
    hours: st.SearchStrategy[WorkingHours | None] = ANY_HOURS,
    features: frozenset[Feature] = PLAIN,
) -> Problem:
    """Up to four jobs of up to three operations, without deadlines, on plants that switch every feature on and off.

    Each of `features` is switched on in about half of the problems; the others have nothing of it. Pinned
    work comes first in its job, so whoever dispatches in any order finds room behind it.
    """
    on = frozenset(feature for feature in sorted(features) if draw(st.booleans()))
    plant = draw(machines())
    jobs = tuple(
        Job(
            id=f"J{job}",
            operations=tuple(
                draw(operations(f"J{job}-{step}", len(plant), on)) for step in range(draw(st.integers(1, 3)))
            ),
        )
        for job in range(draw(st.integers(1, 4)))
    )
    changes = draw(changeovers(len(plant))) if Feature.CHANGEOVERS in on else ()
    problem = Problem(jobs=jobs, machines=plant, hours=draw(hours), changeovers=changes)
    return draw(pinned(problem)) if Feature.PINS in on else problem


@st.composite
def with_deadlines(draw: st.DrawFn, problem: Problem) -> Problem:
    """The problem with deadlines of some operations; many can be met, some cannot."""
    for operation in problem.operations:
        if draw(st.booleans()):
            problem = with_operation(problem, operation.id, deadline_seconds=draw(st.integers(0, 2 * DAY)))
    return problem


@st.composite
def pinned(draw: st.DrawFn, problem: Problem) -> Problem:
    """The problem with the first operations of some jobs pinned where they disturb nobody; some may have begun."""
    schedule = draw(schedules(problem))
    ids = {each.id for job in problem.jobs for each in job.operations[: draw(st.integers(0, _leading(schedule, job)))]}
    return continued(pinned_in_place(problem, schedule, ids), schedule, draw(moments(schedule)))[0]


def moments(schedule: Schedule) -> st.SearchStrategy[int]:
    """A whole minute until shortly after the end of a schedule; often the first, before anything has begun.

    None after work that takes no time: that cannot be pinned as work that has begun.
    """
    instants = (row.start_seconds // MINUTE for row in schedule.assignments if row.end_seconds == row.start_seconds)
    last = min(instants, default=schedule.makespan_seconds // MINUTE + 60)
    return st.one_of(st.just(0), st.integers(0, last)).map(lambda minutes: minutes * MINUTE)


def _leading(schedule: Schedule, job: Job) -> int:
    """How many operations of a job take time before the first one that takes none, which cannot be pinned."""
    rows = [schedule.by_operation[operation.id] for operation in job.operations]
    return next((step for step, row in enumerate(rows) if row.end_seconds == row.start_seconds), len(rows))


@st.composite
def schedules(draw: st.DrawFn, problem: Problem) -> Schedule:
    """A valid schedule of the problem, with idle time that nobody asked for."""
    choices = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    delay = draw(st.sampled_from((0, 1, 3 * HOUR)))
    try:
        return valid_schedule(problem, lambda count: int(choices.integers(count)), delay)
    except IndexError:
        assume(False)
        raise


@st.composite
def solved_problems(draw: st.DrawFn, features: frozenset[Feature] = PLAIN) -> tuple[Problem, Schedule]:
    """A problem and a valid schedule of it; with the feature of pins some of its work is pinned, and some has begun."""
    problem = draw(problems(features=features - {Feature.PINS}))
    schedule = draw(schedules(problem))
    if Feature.PINS not in features:
        return problem, schedule
    rows = schedule.by_operation.values()
    lasting = sorted(row.operation_id for row in rows if row.end_seconds > row.start_seconds)
    ids = draw(st.sets(st.sampled_from(lasting), max_size=3)) if lasting else set()
    return continued(pinned_in_place(problem, schedule, ids), schedule, draw(moments(schedule)))
