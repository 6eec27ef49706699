"""The case before the judge: a schedule beside all that it is held to, looked up once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import NamedTuple

from env.judge.calendar import MachineHours, OpenSpan, Reach, reach_of
from env.judge.verdict import machines_words, moment
from env.problem import Alternative, Machine, Operation, Problem
from env.schedule import Assignment, PlacedWork, Schedule, placed_works


class Work(NamedTuple):
    """One assignment, and all that the rules ask of it: None where the problem knows nothing of the kind.

    `machines` are the indices of all machines that it holds, the one that it names first. `is_timed`: the calendar is
    known at its start and its end. `is_instant`: it ends at its start, and rightly so, for neither setup nor processing
    takes any time. `has_begun`: it may have begun before the schedule does, and then neither material nor load hold it
    back; `is_finished`: it had ended before, and then it holds nothing, and only its place is judged. `seconds` are
    setup and processing; of work that begins before second 0 the open time of its machines from then to its end, 0
    where that cannot be timed. `opened` is what all its machines have open of its span, nothing without any or a time.
    """

    assignment: Assignment
    operation: Operation | None
    alternative: Alternative | None
    machines: tuple[int, ...]
    setup_seconds: int
    start: int
    end: int
    is_timed: bool
    is_instant: bool
    has_begun: bool
    is_finished: bool
    seconds: int
    opened: OpenSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`works` by start, and `of_operation` likewise; `placed` in the order of the schedule."""

    problem: Problem
    placed: Sequence[PlacedWork]
    works: Sequence[Work]
    of_operation: Mapping[str, Sequence[Work]]
    reach: Reach
    hours: MachineHours

    def where(self, work: Work) -> str:
        """All machines that the work holds, in words."""
        return machines_words(self.machines_of(work))

    def machines_of(self, work: Work) -> tuple[Machine, ...]:
        return tuple(self.problem.machines[index] for index in work.machines)

    def moment(self, second: int) -> str:
        return moment(self.problem.hours, second)


def case_of(problem: Problem, schedule: Schedule) -> Case:
    """The case of `schedule`. Never raises, whatever the schedule claims."""
    placed = placed_works(problem, schedule.assignments)
    ordered = sorted(placed, key=_place)
    spans = [(each.assignment.start_seconds, each.assignment.end_seconds) for each in ordered]
    reach = reach_of(problem.hours)
    first, last = reach.first, reach.last
    timed = [first <= start <= last and first <= end <= last for start, end in spans]
    times = [0, *chain.from_iterable(compress(spans, timed))]
    # One more second, so that the second that begins at the last time has an answer too.
    hours = MachineHours(problem.hours, problem.machines, min(times), max(times) + 1)
    held = [each.machines if is_timed else () for each, is_timed in zip(ordered, timed, strict=True)]
    opened = hours.of_spans(held, spans)
    works = [_work(*each, hours) for each in zip(ordered, timed, opened, strict=True)]
    of_operation: dict[str, list[Work]] = {}
    for work in works:
        of_operation.setdefault(work.assignment.operation_id, []).append(work)
    return Case(problem=problem, placed=placed, works=works, of_operation=of_operation, reach=reach, hours=hours)


def _place(work: PlacedWork) -> tuple[int, int, str, int]:
    """By start and end; work that takes no time stays in the order of the schedule, which means something."""
    assignment, operation = work.assignment, work.operation
    start, end = assignment.start_seconds, assignment.end_seconds
    if start == end and operation is not None and any(not each.processing_seconds for each in operation.alternatives):
        return start, end, "", 0
    return start, end, assignment.operation_id, assignment.machine_id


def _work(placed: PlacedWork, is_timed: bool, opened: OpenSpan, hours: MachineHours) -> Work:
    assignment, operation, alternative, machines, setup = placed
    start, end = assignment.start_seconds, assignment.end_seconds
    pin = None if operation is None else operation.pin
    seconds = setup + (0 if alternative is None else alternative.processing_seconds)
    is_instant = start == end and alternative is not None and not seconds
    if start < 0:
        seconds = hours.of(machines).between(0, end) if is_timed and machines and end > 0 else 0
    return Work(
        assignment,
        operation,
        alternative,
        machines,
        setup,
        start,
        end,
        is_timed,
        is_instant,
        has_begun=pin is not None and pin.has_begun,
        is_finished=pin is not None and pin.is_finished,
        seconds=seconds,
        opened=opened,
    )
