"""A plan and what it is worth: assignments are stored, every measure is derived from them.

A `Schedule` is only a claim. Nothing here checks it; the judge in `feasibility` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from env.problem import Job, Operation, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One operation on one machine (its public id) from `start_seconds` to `end_seconds`, pauses included."""

    operation_id: str
    machine_id: int
    start_seconds: int
    end_seconds: int


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Assignments in any order; may be incomplete or wrong until judged."""

    assignments: tuple[Assignment, ...]

    @cached_property
    def makespan_seconds(self) -> int:
        """End of the last assignment, 0 when there is none."""
        return max((assignment.end_seconds for assignment in self.assignments), default=0)

    @cached_property
    def by_operation(self) -> Mapping[str, Assignment]:
        """Operation id -> its (last) assignment."""
        return {assignment.operation_id: assignment for assignment in self.assignments}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What planners read off a schedule. Percentages run from 0 to 100; absent work counts against them.

    A job is on time when each of its operations ends by its own due date. `utilisation` is working
    time divided by the time that machines were open until the makespan.
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


def measure(problem: Problem, schedule: Schedule, open_seconds: int) -> Measures:
    """Measures of `schedule`; `open_seconds` is the open time of all machines together until its makespan.

    Open time comes in as an argument because the simulator and the judge each expand calendars in
    their own way, and neither may borrow the other's.
    """
    done = schedule.by_operation
    durations = _durations(problem, schedule)
    tardy = {operation.id: _tardiness(operation, done.get(operation.id)) for operation in problem.operations}
    on_time = [job for job in problem.jobs if all(tardy[operation.id] == 0 for operation in job.operations)]
    on_time = [job for job in on_time if all(operation.id in done for operation in job.operations)]
    return Measures(
        makespan_seconds=schedule.makespan_seconds,
        operations=len(problem.operations),
        scheduled_operations=sum(operation.id in done for operation in problem.operations),
        setup_seconds=sum(setup for setup, _ in durations),
        working_seconds=sum(setup + processing for setup, processing in durations),
        open_seconds=open_seconds,
        tardiness_seconds=sum(tardy.values()),
        weighted_tardiness_seconds=sum(operation.weight * tardy[operation.id] for operation in problem.operations),
        jobs=len(problem.jobs),
        jobs_on_time=len(on_time),
        important_jobs=sum(_is_important(job) for job in problem.jobs),
        important_jobs_on_time=sum(_is_important(job) for job in on_time),
    )


def setup_seconds_of(problem: Problem, schedule: Schedule) -> Mapping[str, int]:
    """Operation id -> setup seconds on the machine that it was given (0 where that machine is not eligible)."""
    return {
        assignment.operation_id: setup
        for assignment, (setup, _) in zip(schedule.by_operation.values(), _durations(problem, schedule), strict=True)
    }


def _durations(problem: Problem, schedule: Schedule) -> list[tuple[int, int]]:
    operations = {operation.id: operation for operation in problem.operations}
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    return [
        _duration(operations.get(assignment.operation_id), index_of.get(assignment.machine_id))
        for assignment in schedule.by_operation.values()
    ]


def _duration(operation: Operation | None, machine: int | None) -> tuple[int, int]:
    if operation is not None:
        for alternative in operation.alternatives:
            if alternative.machine == machine:
                return alternative.setup_seconds, alternative.processing_seconds
    return 0, 0


def _tardiness(operation: Operation, assignment: Assignment | None) -> int:
    if assignment is None or operation.due_seconds is None:
        return 0
    return max(0, assignment.end_seconds - operation.due_seconds)


def _is_important(job: Job) -> bool:
    return any(operation.is_important for operation in job.operations)


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 100.0
