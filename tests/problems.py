"""Small problems, Hypothesis strategies for random ones, and schedules that are valid by construction.

Valid schedules come from `valid_schedule`, which asks the definition of working hours about every
minute, one instant at a time, and shares no code with the simulator or the judge.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from env.problem import (
    SATURDAY,
    SUNDAY,
    Alternative,
    Closure,
    Job,
    Machine,
    Operation,
    Problem,
    WeeklyBreak,
    WorkingHours,
)
from env.schedule import Assignment, Schedule

MINUTE, HOUR, DAY = 60, 3600, 86_400
HORIZON_DAYS = 12

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


def operation(id: str, *machines: int, seconds: int = HOUR, **fields: object) -> Operation:
    """An operation that takes `seconds` on each of `machines` (indices, default only machine 0)."""
    alternatives = tuple(Alternative(machine=machine, processing_seconds=seconds) for machine in machines or (0,))
    return Operation(id=id, alternatives=alternatives, **fields)  # type: ignore[arg-type]


def one_machine(
    *operations: Operation, hours: WorkingHours | None = None, closures: tuple[Closure, ...] = (), busy_seconds: int = 0
) -> Problem:
    """Each operation its own job, on machine 1."""
    return Problem(
        jobs=tuple(Job(id=f"job of {each.id}", operations=(each,)) for each in operations),
        machines=(Machine(id=1, closures=closures, busy_seconds=busy_seconds),),
        hours=hours,
    )


def schedule_of(*rows: tuple[str, int, int, int]) -> Schedule:
    """Rows of operation id, machine id, start and end in seconds."""
    return Schedule(
        assignments=tuple(
            Assignment(operation_id=operation_id, machine_id=machine_id, start_seconds=start, end_seconds=end)
            for operation_id, machine_id, start, end in rows
        )
    )


def is_closed(hours: WorkingHours, second: int) -> bool:
    """The definition of working hours, applied to one instant."""
    local = (hours.origin + timedelta(seconds=second)).astimezone(ZoneInfo(hours.zone)).replace(tzinfo=None)
    return local.date() in hours.holidays or any(_lies_in(rule, local) for rule in hours.breaks)


def _lies_in(rule: WeeklyBreak, local: datetime) -> bool:
    over_midnight = rule.end <= rule.start
    today, yesterday = local.weekday() in rule.weekdays, (local.weekday() - 1) % 7 in rule.weekdays
    if over_midnight:
        return (today and local.time() >= rule.start) or (yesterday and local.time() < rule.end)
    return today and rule.start <= local.time() < rule.end


@lru_cache(maxsize=32)
def _plant_open(hours: WorkingHours | None) -> np.ndarray:
    """Mask of open seconds, shape [horizon]; origin and breaks of `hours` must lie on whole minutes."""
    minutes = HORIZON_DAYS * DAY // MINUTE
    if hours is None:
        return np.ones(minutes * MINUTE, dtype=bool)
    return np.repeat([not is_closed(hours, minute * MINUTE) for minute in range(minutes)], MINUTE)


def open_mask(problem: Problem, machine: int) -> np.ndarray:
    """Open seconds of a machine by its index, closures taken out, shape [horizon]."""
    mask = _plant_open(problem.hours).copy()
    for closure in problem.machines[machine].closures:
        mask[max(0, closure.start_seconds) : max(0, closure.end_seconds)] = False
    return mask


def valid_schedule(problem: Problem, choose: Callable[[int], int], longest_delay_seconds: int = 0) -> Schedule:
    """A valid schedule: operations in a chosen order, each at the first opening after a chosen delay.

    `choose(count)` picks a number below `count`. Raises `IndexError` when the horizon is too short.
    """
    open_at = [np.flatnonzero(open_mask(problem, index)) for index in range(len(problem.machines))]
    free_at = [
        int(times[machine.busy_seconds - 1]) + 1 if machine.busy_seconds else 0
        for times, machine in zip(open_at, problem.machines, strict=True)
    ]
    waiting = [(list(job.operations), 0) for job in problem.jobs]
    rows = []
    while waiting:
        operations, ready = waiting.pop(choose(len(waiting)))
        current = operations.pop(0)
        chosen = current.alternatives[choose(len(current.alternatives))]
        earliest = max(ready, free_at[chosen.machine], current.release_seconds, 0) + choose(longest_delay_seconds + 1)
        start, end = _first_fit(open_at[chosen.machine], earliest, chosen.duration_seconds, current.interruptible)
        free_at[chosen.machine] = end
        rows.append((current.id, problem.machines[chosen.machine].id, start, end))
        if operations:
            waiting.append((operations, end))
    return schedule_of(*rows)


def _first_fit(open_at: np.ndarray, earliest: int, duration: int, interruptible: bool) -> tuple[int, int]:
    first = int(np.searchsorted(open_at, earliest))
    if not interruptible:
        unbroken = open_at[duration - 1 :] - open_at[: open_at.size - duration + 1] == duration - 1
        first += int(np.flatnonzero(unbroken[first:])[0])
    return int(open_at[first]), int(open_at[first + duration - 1]) + 1


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
def operations(draw: st.DrawFn, id: str, machine_count: int) -> Operation:
    """One operation of up to two hours on some machines, each with its own times."""
    eligible = draw(st.lists(st.integers(0, machine_count - 1), min_size=1, unique=True))
    seconds = st.integers(1, 2 * HOUR)
    return Operation(
        id=id,
        alternatives=tuple(
            Alternative(
                machine=machine,
                processing_seconds=draw(seconds),
                setup_seconds=draw(st.sampled_from((0, 1, 18 * MINUTE))),
            )
            for machine in eligible
        ),
        release_seconds=draw(st.sampled_from((0, 0, 1, 5 * HOUR))),
        due_seconds=draw(st.none() | st.integers(-HOUR, 3 * DAY)),
        weight=draw(st.sampled_from((1.0, 2.5))),
        is_important=draw(st.booleans()),
        interruptible=draw(st.sampled_from((True, True, False))),
    )


@st.composite
def problems(draw: st.DrawFn, hours: st.SearchStrategy[WorkingHours | None] = ANY_HOURS) -> Problem:
    """Up to four jobs of up to three operations, without deadlines, on plants that switch every feature on and off."""
    plant = draw(machines())
    jobs = tuple(
        Job(
            id=f"J{job}",
            operations=tuple(draw(operations(f"J{job}-{step}", len(plant))) for step in range(draw(st.integers(1, 3)))),
        )
        for job in range(draw(st.integers(1, 4)))
    )
    return Problem(jobs=jobs, machines=plant, hours=draw(hours))


@st.composite
def solved_problems(draw: st.DrawFn) -> tuple[Problem, Schedule]:
    """A problem and a valid schedule of it, with idle time that nobody asked for."""
    problem = draw(problems())
    choices = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    try:
        schedule = valid_schedule(
            problem, lambda count: int(choices.integers(count)), draw(st.sampled_from((0, 1, 3 * HOUR)))
        )
    except IndexError:
        assume(False)
        raise
    return problem, schedule
