"""A `Problem` as the flat arrays that the compiled core works on, pinned work and changeovers included."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from env.objective import MISSED_WEIGHT, OBJECTIVE_WEIGHTS
from env.problem import Alternative, Objective, Operation, Problem
from env.schedule import Assignment, Schedule
from env.simulator.calendar import NEVER, CalendarTables, calendar_tables

NO_GROUP = -1
NO_WORK = -2
"""The group of a machine that has had no work yet."""
OWN_SETUP = -1
MAKESPAN_WEIGHT, TARDINESS_WEIGHT, LATE_SECONDS, TIE, MISSED = range(5)  # entries of ProblemArrays.objective
URGENT_WEIGHT = 40.0
"""Weight of a deadline among due dates, at least: more than that of important work."""
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Number = TypeVar("Number", np.int64, np.float64)


class Setups(NamedTuple):
    """Groups by number and what changing between them takes."""

    operation_group: NDArray[np.int64]  # [operation] NO_GROUP where setups do not depend on the sequence
    changeover: NDArray[np.int64]  # [1 or machine, group, group] seconds, OWN_SETUP for an operation's own

    def bounds(
        self, own: NDArray[np.int64], pair_operation: NDArray[np.int64], pair_machine: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], ...]:
        """Shortest and longest setup of each pair over all that may precede it, both shape [pair]."""
        if not self.changeover.size:
            return own, own
        listed = self.changeover != OWN_SETUP
        least = np.where(listed, self.changeover, np.iinfo(np.int64).max).min(axis=1)
        most = np.where(listed, self.changeover, 0).max(axis=(0, 1))
        group = self.operation_group[pair_operation]
        depends = group != NO_GROUP
        shortest = np.minimum(own, least[np.minimum(pair_machine, len(least) - 1), group])
        shortest = np.where(depends, shortest, own)
        return shortest, np.where(depends, np.maximum(own, most[group]), own)


class PinnedWork(NamedTuple):
    """What is pinned, by operation and by machine."""

    operation_pinned: NDArray[np.bool_]  # [operation]
    operation_urgent: NDArray[np.bool_]  # [operation] pinned work of its job waits for it
    pin_pair: NDArray[np.int64]  # [operation] the pair of pinned work
    pin_start: NDArray[np.int64]  # [operation] 0 where it is not pinned
    pin_end: NDArray[np.int64]  # [operation] 0 where it is not pinned
    pinned_first: NDArray[np.int64]  # [machine + 1] first pinned work of each machine
    pinned_start: NDArray[np.int64]  # [pinned] sorted by start
    pinned_end: NDArray[np.int64]  # [pinned]
    pinned_group: NDArray[np.int64]  # [pinned]


def setups(problem: Problem) -> Setups:
    """Groups and changeovers of a problem; without changeovers no operation has a group."""
    if not problem.changeovers:
        return Setups(np.full(len(problem.operations), NO_GROUP, dtype=np.int64), np.empty((0, 0, 0), dtype=np.int64))
    named = [operation.setup_group for operation in problem.operations]
    listed = {name for change in problem.changeovers for name in (change.before, change.after)}
    number = {name: index for index, name in enumerate(sorted(listed | {name for name in named if name is not None}))}
    by_machine = any(change.machine is not None for change in problem.changeovers)
    tables = len(problem.machines) if by_machine else 1
    changeover = np.full((tables, len(number), len(number)), OWN_SETUP, dtype=np.int64)
    changeover[:, range(len(number)), range(len(number))] = 0
    # Those of one machine last, because they count before those of all.
    for change in sorted(problem.changeovers, key=lambda each: each.machine is not None):
        table = slice(None) if change.machine is None else change.machine
        changeover[table, number[change.before], number[change.after]] = change.setup_seconds
    group = [NO_GROUP if name is None else number[name] for name in named]
    return Setups(np.array(group, dtype=np.int64), changeover)


def pinned_work(
    problem: Problem, operation_group: NDArray[np.int64], calendars: CalendarTables, pair_first: NDArray[np.int64]
) -> PinnedWork:
    """Pins with their ends; work without a given end takes its own setup and processing on the calendar.

    Of work that is finished only the last on each machine is listed there, for the setup behind it.
    """
    operations = problem.operations
    if not any(map(attrgetter("pin"), operations)):
        return _nothing_pinned(len(operations), len(problem.machines), pair_first)
    spans = _spans(operations, calendars)
    by_machine: list[list[tuple[int, int, int]]] = [[] for _ in problem.machines]
    for operation, span, group in zip(operations, spans, operation_group.tolist(), strict=True):
        if span is not None:
            for machine in operation.alternatives[0].machines:
                by_machine[machine].append((*span, group))
    starts, ends = zip(*(span or (0, 0) for span in spans), strict=True)
    by_machine = [_still_felt(work) for work in by_machine]
    rows = np.array([row for work in by_machine for row in work], dtype=np.int64).reshape(-1, 3)
    pinned_start, pinned_end, pinned_group = rows.T.copy()
    return PinnedWork(
        operation_pinned=np.array([span is not None for span in spans]),
        operation_urgent=np.array(_urgent(problem)),
        pin_pair=pair_first[:-1],
        pin_start=np.array(starts, dtype=np.int64),
        pin_end=np.array(ends, dtype=np.int64),
        pinned_first=np.cumsum([0, *map(len, by_machine)]).astype(np.int64),
        pinned_start=pinned_start,
        pinned_end=pinned_end,
        pinned_group=pinned_group,
    )


def _nothing_pinned(operations: int, machines: int, pair_first: NDArray[np.int64]) -> PinnedWork:
    nowhere, nothing = np.zeros(operations, dtype=np.int64), np.empty(0, dtype=np.int64)
    no = np.zeros(operations, dtype=np.bool_)
    return PinnedWork(
        operation_pinned=no,
        operation_urgent=no,
        pin_pair=pair_first[:-1],
        pin_start=nowhere,
        pin_end=nowhere,
        pinned_first=np.zeros(machines + 1, dtype=np.int64),
        pinned_start=nothing,
        pinned_end=nothing,
        pinned_group=nothing,
    )


def _still_felt(work: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Start, end and group of the last finished work of a machine and of all that is not finished, by start."""
    finished = sorted((end, start, group) for start, end, group in work if end <= 0)
    last = [(start, end, group) for end, start, group in finished[-1:]]
    return [*last, *sorted((start, end, group) for start, end, group in work if end > 0)]


def _spans(operations: tuple[Operation, ...], calendars: CalendarTables) -> list[tuple[int, int] | None]:
    spans: list[tuple[int, int] | None] = []
    pair = 0
    for operation in operations:
        if operation.pin is None:
            spans.append(None)
        else:
            start, end = operation.pin.start_seconds, operation.pin.end_seconds
            if end is None:
                work = operation.alternatives[0].duration_seconds
                end = calendars.end_of_work(int(calendars.pair_calendar[pair]), start, work)
            spans.append((start, end))
        pair += len(operation.alternatives)
    return spans


def _urgent(problem: Problem) -> list[bool]:
    """Whether any later operation of the same job is pinned."""
    urgent: list[bool] = []
    for job in problem.jobs:
        last_pin = max((step for step, operation in enumerate(job.operations) if operation.pin is not None), default=0)
        urgent += [step < last_pin for step in range(len(job.operations))]
    return urgent


class ProblemArrays(NamedTuple):
    """Read-only arrays; all times in seconds."""

    job_first: Integers  # [job + 1] first operation of each job
    operation_job: Integers  # [operation]
    operation_release: Integers  # [operation]
    operation_has_due: Booleans  # [operation]
    operation_due: Integers  # [operation] 0 where there is none
    operation_deadline: Integers  # [operation] NEVER where there is none
    operation_weight: Floats  # [operation]
    operation_important: Booleans  # [operation]
    operation_priority: Integers  # [operation]
    operation_interruptible: Booleans  # [operation]
    operation_group: Integers  # [operation] setup group, NO_GROUP where setups do not depend on the sequence
    operation_pinned: Booleans  # [operation]
    operation_urgent: Booleans  # [operation] pinned work of its job waits for it
    pin_pair: Integers  # [operation] the pair of pinned work
    pin_start: Integers  # [operation] 0 where it is not pinned
    pin_end: Integers  # [operation] 0 where it is not pinned
    pinned_first: Integers  # [machine + 1] first pinned work of each machine
    pinned_start: Integers  # [pinned] sorted by start
    pinned_end: Integers  # [pinned]
    pinned_group: Integers  # [pinned]
    changeover: Integers  # [1 or machine, group, group] from one group to another, OWN_SETUP for an operation's own
    has_special_work: Booleans  # [1] whether setups, pins or several machines count at all
    operation_latest: Integers  # [operation] latest end that lets all due dates from here to the end of its job be met
    operation_is_urged: Booleans  # [operation] whether there is such a due date
    operation_shortest: Integers  # [operation] shortest duration among its pairs
    operation_remaining: Integers  # [operation] sum of `shortest` from here to the end of its job
    operation_pressure: Floats  # [operation] load of its machines per mean load, before anything is dispatched
    operation_pressed: Floats  # [operation] sum of shortest * pressure after it, to the end of its job
    operation_peak: Floats  # [operation] highest pressure after it in its job, 0 at the end
    operation_until_peak: Integers  # [operation] shortest work between it and that peak
    pair_first: Integers  # [operation + 1] first pair of each operation
    pair_operation: Integers  # [pair]
    pair_machine: Integers  # [pair]
    pair_setup: Integers  # [pair] its own setup
    pair_processing: Integers  # [pair]
    pair_calendar: Integers  # [pair] when all of its machines are open
    pair_bottleneck: Integers  # [pair] that of its machines which most pairs need
    backlog_first: Integers  # [machine + 1] where each machine's part of a backlog begins: room for its pairs
    held_first: Integers  # [pair + 1] first held machine of each pair
    held_machine: Integers  # [held] all machines of each pair, pair_machine first
    held_pair: Integers  # [held]
    machine_busy: Integers  # [machine] open seconds before it takes new work
    machine_calendar: Integers  # [machine]
    calendar_first: Integers  # [calendar + 1] first opening of each calendar
    opening_start: Integers  # [opening]
    opening_end: Integers  # [opening]
    opening_before: Integers  # [opening] open seconds of its calendar before it
    time_scale: Floats  # [1] mean shortest duration, at least 1
    objective: Floats  # [5] weight of the makespan, of the weighted tardiness sum; seconds that being late counts;
    # weight of that sum between equals, TIE; weight of missed deadlines, MISSED, 0 where there are none


def compile_problem(problem: Problem) -> ProblemArrays:
    """Arrays of `problem`. Raises `HorizonExceeded` when its calendar cannot hold its work."""
    operations = problem.operations
    alternatives = list(map(attrgetter("alternatives"), operations))
    pairs = list(chain.from_iterable(alternatives))
    choices = _integers(map(len, alternatives))
    pair_first = _offsets(choices)
    pair_operation = np.repeat(np.arange(len(operations), dtype=np.int64), choices)
    processing = _each(pairs, "processing_seconds")
    own_setup = _each(pairs, "setup_seconds")
    setup = setups(problem)
    pair_machine = _each(pairs, "machine")
    least_setup, most_setup = setup.bounds(own_setup, pair_operation, pair_machine)
    shortest = np.minimum.reduceat(processing + least_setup, pair_first[:-1])
    longest = np.maximum.reduceat(processing + most_setup, pair_first[:-1])
    together = _together(pairs)
    calendars = calendar_tables(problem, pair_machine, together, int(longest.sum()))
    pins = pinned_work(problem, setup.operation_group, calendars, pair_first)
    job_first = _offsets(_integers(len(job.operations) for job in problem.jobs))
    held_pair, held_first = np.arange(len(pairs)), np.arange(len(pairs) + 1)
    held_machine = bottleneck = pair_machine
    if together:
        held_counts = _integers(1 + len(pair.also_holds) for pair in pairs)
        held_pair, held_first = np.repeat(held_pair, held_counts), _offsets(held_counts)
        held_machine = _integers(chain.from_iterable(pair.machines for pair in pairs))
        bottleneck = _bottlenecks(held_machine, held_first)
    pressure = _pressure(pair_machine, own_setup + processing, pair_first, len(problem.machines))
    per_operation = _per_operation(operations)
    latest = _latest_ends(per_operation["operation_has_due"], per_operation["operation_due"], shortest, job_first)
    is_bound = bool(per_operation["operation_deadline"].min() < NEVER)
    weights = OBJECTIVE_WEIGHTS[problem.objective]
    total_weight = sum(per_operation["operation_weight"].tolist())
    special = bool(problem.changeovers) or bool(pins.operation_pinned.any()) or bool(together)
    return ProblemArrays(
        job_first=job_first,
        operation_job=np.repeat(np.arange(len(problem.jobs), dtype=np.int64), np.diff(job_first)),
        **per_operation,
        **setup._asdict(),
        **pins._asdict(),
        **calendars._asdict(),
        operation_latest=latest,
        operation_is_urged=latest < NEVER,
        operation_shortest=shortest,
        operation_pressure=pressure,
        **work_ahead(shortest, pressure, job_first),
        pair_first=pair_first,
        pair_operation=pair_operation,
        pair_machine=pair_machine,
        pair_setup=own_setup,
        pair_processing=processing,
        pair_bottleneck=bottleneck,
        backlog_first=_offsets(np.bincount(bottleneck, minlength=len(problem.machines))),
        held_first=held_first,
        held_machine=held_machine,
        held_pair=held_pair,
        machine_busy=_each(problem.machines, "busy_seconds"),
        has_special_work=np.array([special]),
        time_scale=np.array([max(1.0, shortest.mean())]),
        objective=np.array(
            [
                weights.makespan,
                weights.tardiness / total_weight,
                weights.late_seconds,
                weights.tie / total_weight,
                MISSED_WEIGHT if is_bound else 0.0,
            ]
        ),
    )


def has_deadlines(arrays: ProblemArrays) -> bool:
    """Whether any operation has a deadline."""
    return bool(arrays.objective[MISSED] > 0.0)


def with_urgent_due_dates(arrays: ProblemArrays) -> ProblemArrays:
    """The same plant for those who know due dates only, rules and networks: its deadlines as due dates.

    Where the makespan alone counts, its own due dates are left out and `balanced` takes its place. Only for choosing
    what to dispatch: what comes of it is worth what the plant's own arrays say. Without deadlines those themselves.
    """
    if not has_deadlines(arrays):
        return arrays
    counts_due = arrays.objective[TARDINESS_WEIGHT] > 0.0
    is_bound = arrays.operation_deadline < NEVER
    due = np.where(arrays.operation_has_due & counts_due, arrays.operation_due, NEVER)
    due = np.minimum(due, arrays.operation_deadline)
    has_due = due < NEVER
    weight = np.where(is_bound, np.maximum(arrays.operation_weight, URGENT_WEIGHT), arrays.operation_weight)
    balanced = OBJECTIVE_WEIGHTS[Objective.BALANCED]
    objective = arrays.objective.copy()
    if not counts_due:
        objective[MAKESPAN_WEIGHT] = balanced.makespan
        objective[TARDINESS_WEIGHT] = balanced.tardiness / weight.sum()
        objective[LATE_SECONDS] = balanced.late_seconds
    latest = _latest_ends(has_due, due, arrays.operation_shortest, arrays.job_first)
    return arrays._replace(
        operation_has_due=has_due,
        operation_due=np.where(has_due, due, 0),
        operation_weight=weight,
        operation_latest=latest,
        operation_is_urged=latest < NEVER,
        objective=objective,
    )


def schedule_of(
    problem: Problem, pair: Integers, start: Integers, end: Integers, sequence: Integers | None = None
) -> Schedule:
    """The schedule in which operation i runs on pair[i] from start[i] to end[i]; shapes [operation].

    In the order of operations, or by `sequence` where the setups of work that takes no time depend on it.
    """
    machines, first = problem.machines, accumulate((len(each.alternatives) for each in problem.operations), initial=0)
    assignments = tuple(
        Assignment(
            operation_id=operation.id,
            machine_id=machines[operation.alternatives[chosen - before].machine].id,
            start_seconds=begun,
            end_seconds=ended,
        )
        for operation, chosen, before, begun, ended in zip(
            problem.operations, pair.tolist(), first, start.tolist(), end.tolist(), strict=False
        )
    )
    if sequence is not None and problem.changeovers and np.any(start == end):
        assignments = tuple(assignments[operation] for operation in np.argsort(sequence, kind="stable").tolist())
    return Schedule(assignments=assignments)


def _per_operation(operations: tuple[Operation, ...]) -> dict[str, Any]:
    due, deadline = (list(map(attrgetter(name), operations)) for name in ("due_seconds", "deadline_seconds"))
    return {
        "operation_release": _each(operations, "release_seconds"),
        "operation_has_due": np.array([each is not None for each in due]),
        "operation_due": np.array([each or 0 for each in due], dtype=np.int64),
        "operation_deadline": np.array([NEVER if each is None else each for each in deadline], dtype=np.int64),
        "operation_weight": np.array(list(map(attrgetter("weight"), operations)), dtype=np.float64),
        "operation_important": np.array(list(map(attrgetter("is_important"), operations))),
        "operation_priority": _each(operations, "priority"),
        "operation_interruptible": np.array(list(map(attrgetter("interruptible"), operations))),
    }


def work_ahead(shortest: Integers, pressure: Floats, job_first: Integers) -> dict[str, Any]:
    """The arrays that say what each operation has before it in its job."""
    peak, until_peak = _peaks(pressure, shortest, job_first)
    return {
        "operation_remaining": _remaining(shortest, job_first),
        "operation_pressed": _remaining(shortest * pressure, job_first) - shortest * pressure,
        "operation_peak": peak,
        "operation_until_peak": until_peak,
    }


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
    pressure: Floats = np.add.reduceat(load[pair_machine], pair_first[:-1]) / choices / (load.mean() or 1.0)
    return pressure


def _together(pairs: list[Alternative]) -> dict[int, tuple[int, ...]]:
    """All machines of each pair that holds several, by the pair."""
    if not any(map(attrgetter("also_holds"), pairs)):
        return {}
    return {index: pair.machines for index, pair in enumerate(pairs) if pair.also_holds}


def _bottlenecks(held_machine: Integers, held_first: Integers) -> Integers:
    """Of the machines of each pair the one that most pairs need, of several such the first; shape [pair]."""
    needed = np.bincount(held_machine)[held_machine]
    most = np.maximum.reduceat(needed, held_first[:-1])
    places = np.flatnonzero(needed == np.repeat(most, np.diff(held_first)))
    bottleneck: Integers = held_machine[places[np.searchsorted(places, held_first[:-1])]]
    return bottleneck


def _peaks(pressure: Floats, shortest: Integers, job_first: Integers) -> tuple[Floats, Integers]:
    """For each operation the highest pressure after it in its job, and the work until there."""
    peak, until_peak = [0.0] * len(pressure), [0] * len(pressure)
    lasts = set((job_first[1:] - 1).tolist())
    pressures, works = pressure.tolist(), shortest.tolist()
    for operation in range(len(pressures) - 2, -1, -1):
        following = operation + 1
        if operation in lasts:
            continue
        if pressures[following] >= peak[following]:
            peak[operation] = pressures[following]
        else:
            peak[operation], until_peak[operation] = peak[following], until_peak[following] + works[following]
    return np.array(peak), np.array(until_peak, dtype=np.int64)


def _latest_ends(has_due: Booleans, due: Integers, shortest: Integers, job_first: Integers) -> Integers:
    """For each operation when it must end so that nothing from here to the end of its job is late, else NEVER."""
    if not has_due.any():
        return np.full(len(due), NEVER, dtype=np.int64)
    latest = np.where(has_due, due, NEVER).tolist()
    lasts = set((job_first[1:] - 1).tolist())
    works = shortest.tolist()
    for operation in range(len(latest) - 1, -1, -1):
        if operation not in lasts and latest[operation + 1] < NEVER:
            latest[operation] = min(latest[operation], latest[operation + 1] - works[operation + 1])
    return np.array(latest, dtype=np.int64)


def _offsets(lengths: Integers) -> Integers:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])


def _integers(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)


def _each(things: Collection[object], name: str) -> Integers:
    """That whole number of each thing."""
    return np.fromiter(map(attrgetter(name), things), dtype=np.int64, count=len(things))
