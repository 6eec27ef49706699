"""A `Problem` as the flat arrays that the compiled core works on.

Axes: `job`, `operation` (job by job), `pair` (an operation on one of its machines, operation by
operation), `machine`, `opening` (the openings of all calendars, one after the other). This is a room
of its own, and not a method of `Problem`, because it expands calendars and the judge, which imports
`problem`, must not reach the simulator's calendar even through a third room.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from env.objective import OBJECTIVE_WEIGHTS
from env.problem import Problem
from env.schedule import Assignment, Schedule
from env.shop_calendar import SECONDS_PER_DAY, Intervals, horizon_for, open_time, openings

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Number = TypeVar("Number", np.int64, np.float64)

NEVER = 2**60


class ProblemArrays(NamedTuple):
    """Read-only arrays; all times in seconds."""

    job_first: Integers  # [job + 1] first operation of each job
    operation_job: Integers  # [operation]
    operation_release: Integers  # [operation]
    operation_has_due: Booleans  # [operation]
    operation_due: Integers  # [operation] 0 where there is none
    operation_weight: Floats  # [operation]
    operation_important: Booleans  # [operation]
    operation_priority: Integers  # [operation]
    operation_interruptible: Booleans  # [operation]
    operation_shortest: Integers  # [operation] shortest duration among its pairs
    operation_remaining: Integers  # [operation] sum of `shortest` from here to the end of its job
    operation_pressure: Floats  # [operation] load of its machines per mean load, before anything is dispatched
    operation_pressed: Floats  # [operation] sum of shortest * pressure after it, to the end of its job
    operation_peak: Floats  # [operation] highest pressure after it in its job, 0 at the end
    operation_until_peak: Integers  # [operation] shortest work between it and that peak
    pair_first: Integers  # [operation + 1] first pair of each operation
    pair_machine: Integers  # [pair]
    pair_setup: Integers  # [pair]
    pair_duration: Integers  # [pair] setup and processing
    machine_busy: Integers  # [machine] open seconds before it takes new work
    machine_calendar: Integers  # [machine]
    calendar_first: Integers  # [calendar + 1] first opening of each calendar
    opening_start: Integers  # [opening]
    opening_end: Integers  # [opening]
    opening_before: Integers  # [opening] open seconds of its calendar before it
    objective: Floats  # [2] weight of the makespan, weight of the weighted tardiness sum


def compile_problem(problem: Problem) -> ProblemArrays:
    """Arrays of `problem`. Raises `HorizonExceeded` when its calendar cannot hold its work."""
    operations = problem.operations
    pairs = [pair for operation in operations for pair in operation.alternatives]
    lengths = [len(operation.alternatives) for operation in operations]
    duration = _integers(pair.setup_seconds + pair.processing_seconds for pair in pairs)
    pair_first = _offsets(lengths)
    shortest = np.minimum.reduceat(duration, pair_first[:-1])
    longest = np.maximum.reduceat(duration, pair_first[:-1])
    job_first = _offsets([len(job.operations) for job in problem.jobs])
    pair_machine = _integers(pair.machine for pair in pairs)
    pressure = _pressure(pair_machine, duration, pair_first, len(problem.machines))
    peak, until_peak = _peaks(pressure, shortest, job_first)
    makespan_weight, tardiness_weight = OBJECTIVE_WEIGHTS[problem.objective]
    total_weight = sum(operation.weight for operation in operations)
    return ProblemArrays(
        job_first=job_first,
        operation_job=np.repeat(np.arange(len(problem.jobs), dtype=np.int64), np.diff(job_first)),
        operation_release=_integers(operation.release_seconds for operation in operations),
        operation_has_due=np.array([operation.due_seconds is not None for operation in operations]),
        operation_due=_integers(operation.due_seconds or 0 for operation in operations),
        operation_weight=np.array([operation.weight for operation in operations], dtype=np.float64),
        operation_important=np.array([operation.is_important for operation in operations]),
        operation_priority=_integers(operation.priority for operation in operations),
        operation_interruptible=np.array([operation.interruptible for operation in operations]),
        operation_shortest=shortest,
        operation_remaining=_remaining(shortest, job_first),
        operation_pressure=pressure,
        operation_pressed=_remaining(shortest * pressure, job_first) - shortest * pressure,
        operation_peak=peak,
        operation_until_peak=until_peak,
        pair_first=pair_first,
        pair_machine=pair_machine,
        pair_setup=_integers(pair.setup_seconds for pair in pairs),
        pair_duration=duration,
        machine_busy=_integers(machine.busy_seconds for machine in problem.machines),
        **_calendars(problem, int(longest.sum())),
        objective=np.array([makespan_weight, tardiness_weight / total_weight]),
    )


def schedule_of(problem: Problem, pair: Integers, start: Integers, end: Integers) -> Schedule:
    """The schedule in which operation i runs on pair[i] from start[i] to end[i]; shapes [operation]."""
    machines = [alternative.machine for operation in problem.operations for alternative in operation.alternatives]
    return Schedule(
        assignments=tuple(
            Assignment(
                operation_id=operation.id,
                machine_id=problem.machines[machines[chosen]].id,
                start_seconds=begun,
                end_seconds=ended,
            )
            for operation, chosen, begun, ended in zip(
                problem.operations, pair.tolist(), start.tolist(), end.tolist(), strict=True
            )
        )
    )


def open_seconds(problem: Problem, until_seconds: int) -> int:
    """Open time of all machines together in [0, until)."""
    tables: dict[object, int] = {}
    for machine in problem.machines:
        if machine.closures not in tables:
            intervals = openings(problem.hours, machine.closures, max(1, until_seconds))
            tables[machine.closures] = open_time(intervals, 0, until_seconds)
    return sum(tables[machine.closures] for machine in problem.machines)


def _calendars(problem: Problem, work_seconds: int) -> dict[str, Integers]:
    """Machines with the same closures share one table of openings."""
    horizon = _horizon(problem, work_seconds)
    kinds = list(dict.fromkeys(machine.closures for machine in problem.machines))
    tables = [openings(problem.hours, closures, horizon) for closures in kinds]
    if problem.hours is None:
        tables = [_open_for_ever(table) for table in tables]
    before = [np.concatenate([[0], np.cumsum(table[:, 1] - table[:, 0])[:-1]]) for table in tables if len(table)]
    table = np.concatenate(tables)
    return {
        "machine_calendar": _integers(kinds.index(machine.closures) for machine in problem.machines),
        "calendar_first": _offsets([len(table) for table in tables]),
        "opening_start": np.ascontiguousarray(table[:, 0]),
        "opening_end": np.ascontiguousarray(table[:, 1]),
        "opening_before": np.concatenate([np.empty(0, dtype=np.int64), *before]).astype(np.int64),
    }


def _horizon(problem: Problem, work_seconds: int) -> int:
    """Enough for all work in a row after the last release and closure, plus a week for each unsplittable piece."""
    releases = [operation.release_seconds for operation in problem.operations]
    closed_until = [closure.end_seconds for machine in problem.machines for closure in machine.closures]
    unsplittable = sum(not operation.interruptible for operation in problem.operations)
    busy = max(machine.busy_seconds for machine in problem.machines)
    after = max(0, *releases, *closed_until) + min(unsplittable, 52) * 7 * SECONDS_PER_DAY
    if problem.hours is None:
        return after + work_seconds + busy + 1
    return horizon_for(problem.hours, after, work_seconds + busy)


def _open_for_ever(table: Intervals) -> Intervals:
    table[-1, 1] = NEVER
    return table


def _remaining(work: NDArray[Number], job_first: Integers) -> NDArray[Number]:
    """Sum of work from each operation to the end of its job, shape [operation]."""
    until_here = np.concatenate([np.zeros(1, dtype=work.dtype), np.cumsum(work)])
    until_end = np.repeat(until_here[job_first[1:]], np.diff(job_first))
    remaining: NDArray[Number] = until_end - until_here[:-1]
    return remaining


def _pressure(pair_machine: Integers, duration: Integers, pair_first: Integers, machines: int) -> Floats:
    """Mean load of each operation's machines per mean load of all, each operation spread over its pairs."""
    choices = np.diff(pair_first)
    load = np.bincount(pair_machine, duration / np.repeat(choices, choices), minlength=machines)
    pressure: Floats = np.add.reduceat(load[pair_machine], pair_first[:-1]) / choices / load.mean()
    return pressure


def _peaks(pressure: Floats, shortest: Integers, job_first: Integers) -> tuple[Floats, Integers]:
    """For each operation the highest pressure after it in its job, and the work until there."""
    peak, until_peak = np.zeros(len(pressure)), np.zeros(len(pressure), dtype=np.int64)
    lasts = set((job_first[1:] - 1).tolist())
    for operation in range(len(pressure) - 2, -1, -1):
        following = operation + 1
        if operation in lasts:
            continue
        if pressure[following] >= peak[following]:
            peak[operation], until_peak[operation] = pressure[following], 0
        else:
            peak[operation], until_peak[operation] = peak[following], until_peak[following] + shortest[following]
    return peak, until_peak


def _offsets(lengths: list[int]) -> Integers:
    return np.array([0, *accumulate(lengths)], dtype=np.int64)


def _integers(values: Iterable[int]) -> Integers:
    return np.array(list(values), dtype=np.int64)
