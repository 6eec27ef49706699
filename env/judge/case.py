"""The case before the judge: a schedule beside all that it is held to, looked up once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from env.judge.calendar import OpenTime, Reach, open_together, plant_open_time, reach_of
from env.judge.verdict import machines_words, moment
from env.problem import Alternative, Machine, Operation, Pin, Problem
from env.schedule import Assignment, Schedule, alternative_on, setups_taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One assignment, and what the problem knows of it: None where it knows nothing of the kind.

    `machines` are the indices of all machines that it holds, the one that it names first.
    """

    assignment: Assignment
    operation: Operation | None
    alternative: Alternative | None
    machines: tuple[int, ...]
    setup_seconds: int

    @property
    def start(self) -> int:
        return self.assignment.start_seconds

    @property
    def end(self) -> int:
        return self.assignment.end_seconds

    @property
    def is_instant(self) -> bool:
        """Whether it ends at its start, and rightly so: neither setup nor processing takes any time."""
        takes_time = self.alternative is None or self.setup_seconds + self.alternative.processing_seconds > 0
        return self.start == self.end and not takes_time

    @property
    def pin(self) -> Pin | None:
        return None if self.operation is None else self.operation.pin

    @property
    def has_begun(self) -> bool:
        """Whether it may have begun before the schedule does: then neither material nor load hold it back."""
        return self.pin is not None and self.pin.has_begun

    @property
    def is_finished(self) -> bool:
        """Whether it had ended before the schedule begins: then it holds nothing, and only its place is judged."""
        return self.pin is not None and self.pin.is_finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`works` by start, and `of_operation` likewise; `plant` is open time without the closures of machines."""

    problem: Problem
    works: tuple[Work, ...]
    of_operation: Mapping[str, Sequence[Work]]
    reach: Reach
    plant: OpenTime
    _opened: dict[tuple[int, ...], OpenTime] = field(default_factory=dict)

    def can_time(self, work: Work) -> bool:
        """Whether the calendar is known at its start and its end."""
        return self.reach.holds(work.start) and self.reach.holds(work.end)

    def opened(self, *machines: int) -> OpenTime:
        """When all of the machines with these indices are open."""
        if machines not in self._opened:
            self._opened[machines] = open_together(self.plant, (self.problem.machines[index] for index in machines))
        return self._opened[machines]

    def working_seconds(self, work: Work) -> int:
        """Setup and processing; of work that begins before second 0 the open time of its machines from then to its end.

        Only for work that is timed and has a machine.
        """
        if work.start < 0:
            return self.opened(*work.machines).between(0, work.end) if work.end > 0 else 0
        return work.setup_seconds + (0 if work.alternative is None else work.alternative.processing_seconds)

    def machines_of(self, work: Work) -> tuple[Machine, ...]:
        return tuple(self.problem.machines[index] for index in work.machines)

    def where(self, work: Work) -> str:
        """All machines that the work holds, in words."""
        return machines_words(self.machines_of(work))

    def moment(self, second: int) -> str:
        return moment(self.problem.hours, second)


def case_of(problem: Problem, schedule: Schedule) -> Case:
    """The case of `schedule`. Never raises, whatever the schedule claims."""
    instants = {
        operation.id
        for operation in problem.operations
        if any(alternative.processing_seconds == 0 for alternative in operation.alternatives)
    }
    assignments = sorted(schedule.assignments, key=lambda each: _place(each, instants))
    works = _works(problem, assignments)
    of_operation: dict[str, list[Work]] = {}
    for work in works:
        of_operation.setdefault(work.assignment.operation_id, []).append(work)
    reach = reach_of(problem.hours)
    timed = [work for work in works if reach.holds(work.start) and reach.holds(work.end)]
    times = [0, *(time for work in timed for time in (work.start, work.end))]
    return Case(
        problem=problem,
        works=works,
        of_operation=of_operation,
        reach=reach,
        # One more second, so that the second that begins at the last time has an answer too.
        plant=plant_open_time(problem.hours, min(times), max(times) + 1),
    )


def _place(assignment: Assignment, instants: set[str]) -> tuple[int, int, str, int]:
    """By start and end; work that takes no time stays in the order of the schedule, which means something."""
    start, end = assignment.start_seconds, assignment.end_seconds
    if start == end and assignment.operation_id in instants:
        return start, end, "", 0
    return start, end, assignment.operation_id, assignment.machine_id


def _works(problem: Problem, assignments: Sequence[Assignment]) -> tuple[Work, ...]:
    operations = {operation.id: operation for operation in problem.operations}
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    works = []
    for assignment, setup in zip(assignments, setups_taken(problem, assignments), strict=True):
        operation, machine = operations.get(assignment.operation_id), index_of.get(assignment.machine_id)
        alternative = None if operation is None else alternative_on(operation, machine)
        named = () if machine is None else (machine,)
        works.append(
            Work(
                assignment=assignment,
                operation=operation,
                alternative=alternative,
                machines=named if alternative is None else alternative.machines,
                setup_seconds=setup,
            )
        )
    return tuple(works)
