"""A plan and what it is worth: assignments are stored, every measure is derived from them.

A `Schedule` is only a claim. Nothing here checks it; the judge in `env.judge` does.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

from env.problem import Alternative, Job, Operation, Problem


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


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @property
    def key_figures(self) -> KeyFigures:
        """Those that outlive the schedule."""
        return KeyFigures(**{name: getattr(self, name) for name in KEY_FIGURES})


def measure(
    problem: Problem, schedule: Schedule, open_seconds: int, left_seconds: Mapping[str, int] | None = None
) -> Measures:
    """Measures of `schedule`; `open_seconds` is the open time of its usable machines together until its makespan.

    `left_seconds` is what each operation that has begun before second 0 works after it, nothing where it is not named.
    Open time comes in as an argument because the simulator and the judge each expand calendars in
    their own way, and neither may borrow the other's.
    """
    done = schedule.by_operation
    setups = setup_seconds_of(problem, schedule)
    tardy = {operation.id: _tardiness(operation, done.get(operation.id)) for operation in problem.operations}
    on_time = [job for job in problem.jobs if all(tardy[operation.id] == 0 for operation in job.operations)]
    on_time = [job for job in on_time if all(operation.id in done for operation in job.operations)]
    return Measures(
        makespan_seconds=schedule.makespan_seconds,
        operations=len(problem.operations),
        scheduled_operations=sum(operation.id in done for operation in problem.operations),
        setup_seconds=sum(setups.values()),
        working_seconds=_working_seconds(problem, schedule, left_seconds or {}, setups),
        open_seconds=open_seconds,
        tardiness_seconds=sum(tardy.values()),
        weighted_tardiness_seconds=sum(operation.weight * tardy[operation.id] for operation in problem.operations),
        jobs=len(problem.jobs),
        jobs_on_time=len(on_time),
        important_jobs=sum(_is_important(job) for job in problem.jobs),
        important_jobs_on_time=sum(_is_important(job) for job in on_time),
        flow_time_mean_seconds=_flow_time_mean(problem, done),
    )


def _flow_time_mean(problem: Problem, done: Mapping[str, Assignment]) -> float | None:
    """Mean seconds from release to last end of the jobs whose operations are all `done`."""
    flow_times = [
        max(0, max(done[operation.id].end_seconds for operation in job.operations) - _first_release(job))
        for job in problem.jobs
        if all(operation.id in done for operation in job.operations)
    ]
    return sum(flow_times) / len(flow_times) if flow_times else None


def _first_release(job: Job) -> int:
    return max(0, min(operation.release_seconds for operation in job.operations))


def setup_seconds_of(problem: Problem, schedule: Schedule) -> Mapping[str, int]:
    """Operation id -> setup seconds on the machine that it was given (0 where that machine is not eligible)."""
    taken = setups_taken(problem, schedule.assignments)
    return {each.operation_id: setup for each, setup in zip(schedule.assignments, taken, strict=True)}


def _working_seconds(
    problem: Problem, schedule: Schedule, left_seconds: Mapping[str, int], setups: Mapping[str, int]
) -> int:
    """Working seconds of all machines together; each operation counts on each machine that it holds, with its setup.

    Only the last assignment of an operation counts, and none on a machine that is not eligible. What begins before
    second 0 works as many seconds as `left_seconds` says.
    """
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    working = 0
    for operation in problem.operations:
        assignment = schedule.by_operation.get(operation.id)
        chosen = None if assignment is None else alternative_on(operation, index_of.get(assignment.machine_id))
        if assignment is None or chosen is None:
            continue
        seconds = setups[operation.id] + chosen.processing_seconds
        if assignment.start_seconds < 0:
            seconds = left_seconds.get(operation.id, 0)
        working += (1 + len(chosen.also_holds)) * seconds
    return working


def alternative_on(operation: Operation, machine: int | None) -> Alternative | None:
    """How the operation is done on the machine with that index, None where it cannot be."""
    for each in operation.alternatives:
        if each.machine == machine:
            return each
    return None


_Place = tuple[int, bool, int, str]
_Ended = Mapping[int, tuple[Sequence[_Place], Sequence[str | None]]]
"""Machine index -> places of the work that holds it, in order, and the setup groups of that work."""


def setups_taken(problem: Problem, assignments: Sequence[Assignment]) -> tuple[int, ...]:
    """Setup seconds of each assignment, by the rule that `Problem` states.

    Work counts as having ended before another when it ends at or before the other's start, so work that
    overlaps is passed over. 0 where the operation is unknown or on a machine that is not eligible.
    """
    operations = {operation.id: operation for operation in problem.operations}
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    known = [(operations.get(each.operation_id), index_of.get(each.machine_id), each) for each in assignments]
    if not problem.changeovers:
        return tuple(_own_setup(operation, machine) for operation, machine, _ in known)
    works = [_work(*each, listed) for listed, each in enumerate(known)]
    ended = _ended(works)
    return tuple(_setup(problem, work, ended) for work in works)


def _own_setup(operation: Operation | None, machine: int | None) -> int:
    chosen = None if operation is None else alternative_on(operation, machine)
    return 0 if chosen is None else chosen.setup_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """An assignment with what the problem knows of it."""

    assignment: Assignment
    operation: Operation | None
    chosen: Alternative | None
    machines: tuple[int, ...]
    listed: int

    @property
    def group(self) -> str | None:
        return None if self.operation is None else self.operation.setup_group

    @property
    def is_instant(self) -> bool:
        """Whether it takes no time where it is."""
        is_empty = self.assignment.end_seconds == self.assignment.start_seconds
        return is_empty and self.chosen is not None and self.chosen.processing_seconds == 0

    @property
    def place(self) -> _Place:
        """Its place among works in the order of their ends; instants stand in the order of the schedule."""
        instant = self.is_instant
        return self.assignment.end_seconds, instant, self.listed if instant else 0, self.assignment.operation_id


def _work(operation: Operation | None, machine: int | None, assignment: Assignment, listed: int) -> _Work:
    chosen = None if operation is None else alternative_on(operation, machine)
    named = () if machine is None else (machine,)
    return _Work(
        assignment=assignment,
        operation=operation,
        chosen=chosen,
        machines=named if chosen is None else chosen.machines,
        listed=listed,
    )


def _ended(works: list[_Work]) -> _Ended:
    ended: dict[int, tuple[list[_Place], list[str | None]]] = {}
    for work in sorted(works, key=lambda each: each.place):
        if work.assignment.end_seconds > work.assignment.start_seconds or work.is_instant:
            for machine in work.machines:
                places, groups = ended.setdefault(machine, ([], []))
                places.append(work.place)
                groups.append(work.group)
    return ended


def _setup(problem: Problem, work: _Work, ended: _Ended) -> int:
    if work.chosen is None or work.operation is None:
        return 0
    own, group = work.chosen.setup_seconds, work.group
    if group is None or work.operation.pin is not None:
        return own
    place = work.place if work.is_instant else (work.assignment.start_seconds, True, sys.maxsize, "")
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


def _tardiness(operation: Operation, assignment: Assignment | None) -> int:
    if assignment is None or operation.due_seconds is None:
        return 0
    return max(0, assignment.end_seconds - operation.due_seconds)


def _is_important(job: Job) -> bool:
    return any(operation.is_important for operation in job.operations)


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 100.0
