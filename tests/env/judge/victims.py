"""Valid work to be spoilt, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from env.judge.judge import ViolationCode, violations
from env.problem import Alternative, Closure, Machine, Operation, Problem
from env.schedule import Assignment, Schedule
from tests.construction import chosen_alternative
from tests.open_time import worked_seconds
from tests.problems import open_mask, with_operation

NEW_MACHINE_ID = 9_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A spoilt schedule, and the violation that must be among those found, on `machine_id` if that is told."""

    problem: Problem
    schedule: Schedule
    code: ViolationCode
    operation_id: str
    by_seconds: int = 1
    machine_id: int | None = None

    @property
    def is_caught(self) -> bool:
        """Whether the judge names the broken rule, the operation, the amount and the machine."""
        return any(
            (found.code, found.operation_id, found.by_seconds) == (self.code, self.operation_id, self.by_seconds)
            and self.machine_id in {None, found.machine_id}
            for found in violations(self.problem, self.schedule)
        )


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
    def chosen(self) -> Alternative:
        return chosen_alternative(self.problem, self.operation, self.assignment)

    @property
    def has_begun(self) -> bool:
        """Whether neither material nor load nor the openings hold it back."""
        return self.operation.pin is not None and self.operation.pin.has_begun

    @property
    def is_finished(self) -> bool:
        """Whether only its place is judged."""
        return self.operation.pin is not None and self.operation.pin.is_finished

    @property
    def worked_seconds(self) -> int:
        """Open time in its span."""
        row = self.assignment
        return worked_seconds(self.problem, self.chosen.machines, row.start_seconds, row.end_seconds)

    @property
    def span_seconds(self) -> int:
        return self.assignment.end_seconds - self.assignment.start_seconds

    @property
    def last_start(self) -> int:
        """The last second in which the operation works, which is open and not its first unless it has only one."""
        return self.assignment.end_seconds - 1

    def is_open(self, second: int) -> bool:
        return bool(open_mask(self.problem, *self.chosen.machines)[second])

    def ends_ahead(self, machine: int) -> list[int]:
        """When the work that is through with the machine (index) before the start of the victim ended."""
        operations = {operation.id: operation for operation in self.problem.operations}
        rows = [row for row in self.schedule.assignments if row.end_seconds <= self.assignment.start_seconds]
        return [
            row.end_seconds
            for row in rows
            if machine in chosen_alternative(self.problem, operations[row.operation_id], row).machines
        ]

    def moved(self, code: ViolationCode, by_seconds: int = 1, **changes: int | str) -> Mutant:
        """The same problem with the assignment changed."""
        changed = replace(self.assignment, **changes)  # type: ignore[arg-type]
        rows = tuple(changed if each is self.assignment else each for each in self.schedule.assignments)
        return self._mutant(code, by_seconds, schedule=Schedule(assignments=rows))

    def added(self, code: ViolationCode, assignment: Assignment) -> Mutant:
        rows = (*self.schedule.assignments, assignment)
        return self._mutant(code, 0, schedule=Schedule(assignments=rows), operation_id=assignment.operation_id)

    def required(self, code: ViolationCode, by_seconds: int = 1, **changes: object) -> Mutant:
        """The same schedule with the operation held to something else."""
        return self._mutant(code, by_seconds, problem=with_operation(self.problem, self.operation.id, **changes))

    def on(self, machine: Machine) -> Victim:
        """The same schedule with its machine replaced."""
        machines = tuple(machine if each.id == machine.id else each for each in self.problem.machines)
        return replace(self, problem=replace(self.problem, machines=machines))

    def closed(self, index: int, start: int, end: int) -> Victim:
        """The same schedule with the machine of that index closed."""
        machine = self.problem.machines[index]
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
