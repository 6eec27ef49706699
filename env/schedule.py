"""A plan, what it is worth, and how it differs from another: assignments are stored, all else is derived from them.

A `Schedule` is only a claim. Nothing here checks it; the judge in `env.judge` does.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

from env.problem import Alternative, Operation, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One operation on one machine (its public id) from `start_seconds` to `end_seconds`, pauses included."""

    operation_id: str
    machine_id: int
    start_seconds: int
    end_seconds: int


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Assignments in any order, but that work which takes no time comes in this order where it shares an instant.

    May be incomplete or wrong until judged.
    """

    assignments: tuple[Assignment, ...]

    @cached_property
    def makespan_seconds(self) -> int:
        """End of the last assignment, 0 when there is none or all had ended before."""
        return max((0, *(assignment.end_seconds for assignment in self.assignments)))

    @cached_property
    def by_operation(self) -> Mapping[str, Assignment]:
        """Operation id -> its (last) assignment."""
        return {assignment.operation_id: assignment for assignment in self.assignments}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigures:
    """What is kept, answered and compared of a judged schedule: its measures, each under one name everywhere.

    Amounts are seconds, shares are per cent. A figure that older records do not have is None there.
    """

    makespan_seconds: int
    tardiness_seconds: int
    setup_seconds: int
    completion_percent: float
    utilisation_percent: float
    on_time_percent: float
    important_on_time_percent: float
    flow_time_mean_seconds: float | None = None


KEY_FIGURES = tuple(field.name for field in fields(KeyFigures))


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What planners read off a schedule. Percentages run from 0 to 100; absent work counts against them.

    A job is on time when each of its operations ends by its own due date. `utilisation` is working
    time divided by the time that the machines that some operation may use were open until the makespan. Work that
    holds several machines works on each of them; of work that has begun before second 0 only what it works after it
    counts. The flow time of a job is its last end less the later of second 0 and its first release (Pinedo,
    Scheduling: the time in the system), 0 when it had ended before; its mean is over the jobs that are scheduled as a
    whole, None when there are none.
    """

    makespan_seconds: int
    operations: int
    scheduled_operations: int
    setup_seconds: int
    working_seconds: int
    open_seconds: int
    tardiness_seconds: int
    weighted_tardiness_seconds: float
    jobs: int
    jobs_on_time: int
    important_jobs: int
    important_jobs_on_time: int
    flow_time_mean_seconds: float | None = None

    @property
    def completion_percent(self) -> float:
        return _percent(self.scheduled_operations, self.operations)

    @property
    def utilisation_percent(self) -> float:
        return _percent(self.working_seconds, self.open_seconds) if self.open_seconds else 0.0

    @property
    def on_time_percent(self) -> float:
        return _percent(self.jobs_on_time, self.jobs)

    @property
    def important_on_time_percent(self) -> float:
        return _percent(self.important_jobs_on_time, self.important_jobs)

    @cached_property
    def key_figures(self) -> KeyFigures:
        """Those that outlive the schedule."""
        return KeyFigures(**{name: getattr(self, name) for name in KEY_FIGURES})


def measure(
    problem: Problem,
    schedule: Schedule,
    open_seconds: int,
    left_seconds: Mapping[str, int] | None = None,
    works: Iterable[PlacedWork] | None = None,
) -> Measures:
    """Measures of `schedule`; `open_seconds` is the open time of its usable machines together until its makespan.

    `left_seconds` is what each operation that has begun before second 0 works after it, nothing where it is not named;
    `works` are the `placed_works` of the schedule, where the caller has them. Only the last assignment of an operation
    counts. Open time comes in as an argument because the simulator and the judge each expand calendars in
    their own way, and neither may borrow the other's.
    """
    left = left_seconds or {}
    placed = placed_works(problem, schedule.assignments) if works is None else works
    done = {work.assignment.operation_id: work for work in placed}
    tardy: list[int] = []
    weighted: list[float] = []
    flow_times: list[int] = []
    working = scheduled = on_time = important = important_on_time = 0
    for job in problem.jobs:
        ends: list[int] = []
        is_on_time = True
        for operation in job.operations:
            work = done.get(operation.id)
            late = 0
            if work is not None:
                ends.append(work.assignment.end_seconds)
                working += _working_seconds(work, left)
                late = 0 if operation.due_seconds is None else max(0, ends[-1] - operation.due_seconds)
                is_on_time = is_on_time and not late
            tardy.append(late)
            weighted.append(operation.weight * late)
        is_whole = len(ends) == len(job.operations)
        is_important = any(operation.is_important for operation in job.operations)
        scheduled += len(ends)
        important += is_important
        on_time += is_whole and is_on_time
        important_on_time += is_important and is_whole and is_on_time
        if is_whole:
            released = max(0, min([operation.release_seconds for operation in job.operations]))
            flow_times.append(max(0, max(ends) - released))
    return Measures(
        makespan_seconds=schedule.makespan_seconds,
        operations=len(tardy),
        scheduled_operations=scheduled,
        setup_seconds=sum([work.setup_seconds for work in done.values()]),
        working_seconds=working,
        open_seconds=open_seconds,
        tardiness_seconds=sum(tardy),
        weighted_tardiness_seconds=sum(weighted),
        jobs=len(problem.jobs),
        jobs_on_time=on_time,
        important_jobs=important,
        important_jobs_on_time=important_on_time,
        flow_time_mean_seconds=sum(flow_times) / len(flow_times) if flow_times else None,
    )


def _working_seconds(work: PlacedWork, left_seconds: Mapping[str, int]) -> int:
    """Of all its machines together; none on a machine that is not eligible."""
    if work.alternative is None:
        return 0
    seconds = work.setup_seconds + work.alternative.processing_seconds
    if work.assignment.start_seconds < 0:
        seconds = left_seconds.get(work.assignment.operation_id, 0)
    return len(work.machines) * seconds


def setup_seconds_of(problem: Problem, schedule: Schedule) -> Mapping[str, int]:
    """Operation id -> setup seconds on the machine that it was given (0 where that machine is not eligible)."""
    works = placed_works(problem, schedule.assignments)
    return {work.assignment.operation_id: work.setup_seconds for work in works}


def alternative_on(operation: Operation, machine: int | None) -> Alternative | None:
    """How the operation is done on the machine with that index, None where it cannot be."""
    for each in operation.alternatives:
        if each.machine == machine:
            return each
    return None


class PlacedWork(NamedTuple):
    """One assignment, and what the problem knows of it: None where it knows nothing of the kind.

    `machines` are the indices of all machines that it holds, the one that it names first. `setup_seconds` is 0 where
    the operation is unknown or on a machine that is not eligible.
    """

    assignment: Assignment
    operation: Operation | None
    alternative: Alternative | None
    machines: tuple[int, ...]
    setup_seconds: int

    @property
    def is_instant(self) -> bool:
        """Whether it takes no time where it is."""
        is_empty = self.assignment.end_seconds == self.assignment.start_seconds
        return is_empty and self.alternative is not None and self.alternative.processing_seconds == 0


def placed_works(problem: Problem, assignments: Sequence[Assignment]) -> list[PlacedWork]:
    """Each assignment with its setup by the rule that `Problem` states, and with what else the problem knows of it.

    Work counts as having ended before another when it ends at or before the other's start, so work that
    overlaps is passed over.
    """
    operations = {operation.id: operation for operation in problem.operations}
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    works = []
    for assignment in assignments:
        operation, machine = operations.get(assignment.operation_id), index_of.get(assignment.machine_id)
        chosen = None if operation is None else alternative_on(operation, machine)
        named = () if machine is None else (machine,)
        if chosen is None:
            works.append(PlacedWork(assignment, operation, None, named, 0))
        else:
            machines = chosen.machines if chosen.also_holds else named
            works.append(PlacedWork(assignment, operation, chosen, machines, chosen.setup_seconds))
    if not problem.changeovers:
        return works
    ended = _ended(works)
    return [work._replace(setup_seconds=_setup(problem, work, listed, ended)) for listed, work in enumerate(works)]


_Place = tuple[int, bool, int, str]
_Ended = Mapping[int, tuple[Sequence[_Place], Sequence[str | None]]]
"""Machine index -> places of the work that holds it, in order, and the setup groups of that work."""


def _place(work: PlacedWork, listed: int) -> _Place:
    """Its place among works in the order of their ends; instants stand in the order of the schedule."""
    instant = work.is_instant
    return work.assignment.end_seconds, instant, listed if instant else 0, work.assignment.operation_id


def _ended(works: Sequence[PlacedWork]) -> _Ended:
    ended: dict[int, tuple[list[_Place], list[str | None]]] = {}
    placed = [(_place(work, listed), work) for listed, work in enumerate(works)]
    for place, work in sorted(placed, key=itemgetter(0)):
        if work.assignment.end_seconds > work.assignment.start_seconds or work.is_instant:
            for machine in work.machines:
                places, groups = ended.setdefault(machine, ([], []))
                places.append(place)
                groups.append(None if work.operation is None else work.operation.setup_group)
    return ended


def _setup(problem: Problem, work: PlacedWork, listed: int, ended: _Ended) -> int:
    if work.alternative is None or work.operation is None:
        return 0
    own, group = work.alternative.setup_seconds, work.operation.setup_group
    if group is None or work.operation.pin is not None:
        return own
    place = _place(work, listed) if work.is_instant else (work.assignment.start_seconds, True, sys.maxsize, "")
    longest = 0
    for machine in work.machines:
        places, groups = ended.get(machine, ([], []))
        last = bisect_left(places, place) - 1
        before = groups[last] if last >= 0 else None
        longest = max(longest, changeover_seconds(problem, machine, before, group, own))
    return longest


def changeover_seconds(problem: Problem, machine: int, before: str | None, after: str, own: int) -> int:
    """Setup of work of group `after` behind work of group `before` on a machine; None: no group, or no work."""
    if before is None:
        return own
    listed = problem.changeover_seconds(machine, before, after)
    return (0 if before == after else own) if listed is None else listed


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Work that is in both schedules, on another machine or at another time."""

    before: Assignment
    after: Assignment

    @property
    def changes_machine(self) -> bool:
        return self.before.machine_id != self.after.machine_id

    @property
    def start_shift_seconds(self) -> int:
        """How much later it starts, negative when it starts earlier."""
        return self.after.start_seconds - self.before.start_seconds

    @property
    def end_shift_seconds(self) -> int:
        """How much later it ends, negative when it ends earlier."""
        return self.after.end_seconds - self.before.end_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleComparison:
    """Every operation of either schedule, once: moved, kept, added (only after) or removed (only before).

    `moved` and `added` are in the order of the later schedule, `removed` in that of the earlier one.
    """

    moved: tuple[Move, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    kept_count: int

    @property
    def change_count(self) -> int:
        """Operations that somebody on the floor has to be told about."""
        return len(self.moved) + len(self.added) + len(self.removed)


def compare(before: Schedule, after: Schedule, shift_seconds: int = 0) -> ScheduleComparison:
    """What `after` changes. Second 0 of `after` is second `shift_seconds` of `before`.

    Both sides of a `Move` are told in the seconds of `before`.
    """
    earlier, later = before.by_operation, after.by_operation
    pairs = [
        Move(before=earlier[operation_id], after=_shifted(assignment, shift_seconds))
        for operation_id, assignment in later.items()
        if operation_id in earlier
    ]
    moved = tuple(pair for pair in pairs if pair.before != pair.after)
    return ScheduleComparison(
        moved=moved,
        added=tuple(operation_id for operation_id in later if operation_id not in earlier),
        removed=tuple(operation_id for operation_id in earlier if operation_id not in later),
        kept_count=len(pairs) - len(moved),
    )


def _shifted(assignment: Assignment, shift_seconds: int) -> Assignment:
    if not shift_seconds:
        return assignment
    return Assignment(
        operation_id=assignment.operation_id,
        machine_id=assignment.machine_id,
        start_seconds=assignment.start_seconds + shift_seconds,
        end_seconds=assignment.end_seconds + shift_seconds,
    )
