"""Every way to spoil a valid schedule by the smallest amount, and what the judge must say about it.

A mutation changes one assignment, or moves one requirement of the problem to the other side of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from env.feasibility import ViolationCode
from env.problem import Closure, Machine, Operation, Problem
from env.schedule import Assignment, Schedule
from tests.problems import DAY, HOUR, open_mask

NEW_MACHINE_ID = 9_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A spoilt schedule, and the violation that must be among those found."""

    problem: Problem
    schedule: Schedule
    code: ViolationCode
    operation_id: str
    by_seconds: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A valid schedule and the assignment in it that is to be spoilt."""

    problem: Problem
    schedule: Schedule
    assignment: Assignment

    @property
    def operation(self) -> Operation:
        return next(each for each in self.problem.operations if each.id == self.assignment.operation_id)

    @property
    def machine_index(self) -> int:
        return next(
            index for index, machine in enumerate(self.problem.machines) if machine.id == self.assignment.machine_id
        )

    @property
    def span_seconds(self) -> int:
        return self.assignment.end_seconds - self.assignment.start_seconds

    @property
    def last_start(self) -> int:
        """The last second in which the operation works, which is open and not its first unless it has only one."""
        return self.assignment.end_seconds - 1

    def is_open(self, second: int) -> bool:
        return bool(open_mask(self.problem, self.machine_index)[second])

    def moved(self, code: ViolationCode, by_seconds: int = 1, **changes: int | str) -> Mutant:
        """The same problem with the assignment changed."""
        changed = replace(self.assignment, **changes)  # type: ignore[arg-type]
        rows = tuple(changed if each is self.assignment else each for each in self.schedule.assignments)
        return self._mutant(code, by_seconds, schedule=Schedule(assignments=rows))

    def added(self, code: ViolationCode, assignment: Assignment) -> Mutant:
        rows = (*self.schedule.assignments, assignment)
        return self._mutant(code, 0, schedule=Schedule(assignments=rows), operation_id=assignment.operation_id)

    def required(self, code: ViolationCode, **changes: int | bool) -> Mutant:
        """The same schedule with the operation held to something else."""
        jobs = tuple(
            replace(
                job,
                operations=tuple(
                    replace(each, **changes) if each.id == self.assignment.operation_id else each  # type: ignore[arg-type]
                    for each in job.operations
                ),
            )
            for job in self.problem.jobs
        )
        return self._mutant(code, 1, problem=replace(self.problem, jobs=jobs))

    def on(self, machine: Machine) -> Victim:
        """The same schedule with its machine replaced."""
        machines = tuple(machine if each.id == machine.id else each for each in self.problem.machines)
        return replace(self, problem=replace(self.problem, machines=machines))

    def closed(self, start: int, end: int) -> Victim:
        machine = self.problem.machines[self.machine_index]
        closure = Closure(start_seconds=start, end_seconds=end)
        return self.on(replace(machine, closures=(*machine.closures, closure)))

    def unchanged(self, code: ViolationCode) -> Mutant:
        return self._mutant(code, 1)

    def _mutant(self, code: ViolationCode, by_seconds: int, **changes: object) -> Mutant:
        fields: dict[str, object] = {
            "problem": self.problem,
            "schedule": self.schedule,
            "operation_id": self.assignment.operation_id,
        }
        return Mutant(code=code, by_seconds=by_seconds, **(fields | changes))  # type: ignore[arg-type]


def _missing(victim: Victim) -> Mutant:
    rows = tuple(each for each in victim.schedule.assignments if each is not victim.assignment)
    mutant = victim.moved(ViolationCode.MISSING_OPERATION, 0)
    return replace(mutant, schedule=Schedule(assignments=rows))


def _repeated_at_once(victim: Victim) -> Mutant:
    return victim.added(ViolationCode.DUPLICATE_OPERATION, replace(victim.assignment))


def _repeated_later(victim: Victim) -> Mutant:
    start = victim.schedule.makespan_seconds + DAY
    again = replace(victim.assignment, start_seconds=start, end_seconds=start + victim.span_seconds)
    return victim.added(ViolationCode.DUPLICATE_OPERATION, again)


def _renamed(victim: Victim) -> Mutant:
    mutant = victim.moved(ViolationCode.UNKNOWN_OPERATION, 0, operation_id="nobody's")
    return replace(mutant, operation_id="nobody's")


def _machine_of_nobody(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.UNKNOWN_MACHINE, 0, machine_id=NEW_MACHINE_ID)


def _machine_that_cannot(victim: Victim) -> Mutant:
    machines = (*victim.problem.machines, Machine(id=NEW_MACHINE_ID))
    wider = replace(victim, problem=replace(victim.problem, machines=machines))
    return wider.moved(ViolationCode.INELIGIBLE_MACHINE, 0, machine_id=NEW_MACHINE_ID)


def _no_span(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.EMPTY_SPAN, 1, end_seconds=victim.assignment.start_seconds)


def _backward_span(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.EMPTY_SPAN, 2, end_seconds=victim.assignment.start_seconds - 1)


def _beyond_the_calendar(victim: Victim) -> Mutant | None:
    if victim.problem.hours is None:
        return None
    last = 250 * 366 * DAY
    return victim.moved(ViolationCode.OUT_OF_RANGE, start_seconds=last + 1 - victim.span_seconds, end_seconds=last + 1)


def _early_end(victim: Victim) -> Mutant | None:
    if victim.span_seconds == 1:
        return None
    return victim.moved(ViolationCode.WORKING_TIME_SHORT, end_seconds=victim.assignment.end_seconds - 1)


def _late_end(victim: Victim) -> Mutant | None:
    if not victim.is_open(victim.assignment.end_seconds):
        return None
    return victim.moved(ViolationCode.WORKING_TIME_LONG, end_seconds=victim.assignment.end_seconds + 1)


def _late_start(victim: Victim) -> Mutant | None:
    if victim.span_seconds == 1:
        return None
    return victim.moved(ViolationCode.WORKING_TIME_SHORT, start_seconds=victim.assignment.start_seconds + 1)


def _early_start(victim: Victim) -> Mutant | None:
    start = victim.assignment.start_seconds - 1
    return (
        victim.moved(ViolationCode.WORKING_TIME_LONG, start_seconds=start)
        if start >= 0 and victim.is_open(start)
        else None
    )


def _end_in_closed_time(victim: Victim) -> Mutant:
    end = victim.assignment.end_seconds
    return victim.closed(end, end + HOUR).moved(ViolationCode.ENDS_WHILE_CLOSED, end_seconds=end + 1)


def _start_in_closed_time(victim: Victim) -> Mutant | None:
    start = victim.assignment.start_seconds
    if start == 0:
        return None
    return victim.closed(start - HOUR, start).moved(ViolationCode.STARTS_WHILE_CLOSED, start_seconds=start - 1)


def _work_through_a_closure(victim: Victim) -> Mutant:
    return victim.closed(victim.last_start, victim.last_start + 1).unchanged(ViolationCode.WORKING_TIME_SHORT)


def _pause_of_one_second(victim: Victim) -> Mutant | None:
    end = victim.assignment.end_seconds
    if victim.span_seconds == 1 or victim.operation.interruptible or not victim.is_open(end):
        return None
    paused = victim.closed(victim.last_start, victim.last_start + 1)
    return paused.moved(ViolationCode.INTERRUPTED, end_seconds=end + 1)


def _start_before_zero(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.BEFORE_START, start_seconds=-1, end_seconds=victim.span_seconds - 1)


def _start_before_material(victim: Victim) -> Mutant:
    return victim.required(ViolationCode.BEFORE_RELEASE, release_seconds=victim.assignment.start_seconds + 1)


def _start_before_earlier_load(victim: Victim) -> Mutant:
    opened = int(open_mask(victim.problem, victim.machine_index)[: victim.assignment.start_seconds].sum())
    machine = victim.problem.machines[victim.machine_index]
    return victim.on(replace(machine, busy_seconds=opened + 1)).unchanged(ViolationCode.MACHINE_BUSY)


def _overlap(victim: Victim) -> Mutant | None:
    start, machine_id = victim.assignment.start_seconds, victim.assignment.machine_id
    rivals = [each for each in victim.schedule.assignments if each.machine_id == machine_id]
    ahead = max((each.end_seconds for each in rivals if each.end_seconds <= start), default=None)
    return None if ahead is None else victim.moved(ViolationCode.MACHINE_OVERLAP, start_seconds=ahead - 1)


def _before_the_step_ahead(victim: Victim) -> Mutant | None:
    for job in victim.problem.jobs:
        steps = [operation.id for operation in job.operations]
        if victim.assignment.operation_id in steps[1:]:
            ahead = victim.schedule.by_operation[steps[steps.index(victim.assignment.operation_id) - 1]]
            return victim.moved(ViolationCode.WRONG_SEQUENCE, start_seconds=ahead.end_seconds - 1)
    return None


def _after_deadline(victim: Victim) -> Mutant:
    return victim.required(ViolationCode.DEADLINE_MISSED, deadline_seconds=victim.assignment.end_seconds - 1)


MUTATIONS: dict[str, Callable[[Victim], Mutant | None]] = {
    "missing operation": _missing,
    "operation repeated in place": _repeated_at_once,
    "operation repeated later": _repeated_later,
    "unknown operation": _renamed,
    "unknown machine": _machine_of_nobody,
    "machine that cannot do it": _machine_that_cannot,
    "no span": _no_span,
    "backward span": _backward_span,
    "beyond the calendar": _beyond_the_calendar,
    "end a second early": _early_end,
    "end a second late": _late_end,
    "start a second late": _late_start,
    "start a second early": _early_start,
    "end a second into closed time": _end_in_closed_time,
    "start a second into closed time": _start_in_closed_time,
    "work through a closure of a second": _work_through_a_closure,
    "pause of a second that is not allowed": _pause_of_one_second,
    "start a second before the schedule": _start_before_zero,
    "start a second before material": _start_before_material,
    "start a second before earlier load ends": _start_before_earlier_load,
    "overlap of a second": _overlap,
    "a second before the step ahead ends": _before_the_step_ahead,
    "a second after the deadline": _after_deadline,
}
"""Name -> mutation; a mutation answers None where a schedule has no place for it."""
