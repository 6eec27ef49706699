"""What makes a problem unsolvable before anyone tries. Each reason is a proof, never a guess."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from deployments.contracts.translation.fixed_work import pin_reasons, pinned_end, pinned_too_early
from deployments.contracts.translation.open_hours import MAX_SECONDS, PlantHours
from env.judge.verdict import amount, machine_words
from env.problem import Alternative, Job, Operation, Problem, WeeklyBreak

MAX_OPTIONS = 8
Option = tuple[tuple[int, ...], int, int]
"""Machines whose openings count (none: those of the plant), second from which they are free, seconds of work."""
_SECONDS_PER_YEAR = 365 * 24 * 3600
MAX_YEARS = MAX_SECONDS // _SECONDS_PER_YEAR
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_OPEN, _CLOSED = b"\0", b"\1"
Reason = tuple[str, str]
Paths = Mapping[str, str]


class EarliestEnds:
    """Lower bounds of the end of each operation. Exact up to `MAX_OPTIONS` different machines, looser beyond."""

    def __init__(self, problem: Problem, plant: PlantHours) -> None:
        self._problem = problem
        self._plant = plant
        self._setups_into: dict[str, int] = {}
        for change in problem.changeovers:
            known = self._setups_into.get(change.after, change.setup_seconds)
            self._setups_into[change.after] = min(known, change.setup_seconds)
        self._repeats = {change.after for change in problem.changeovers if change.before == change.after}
        # Jobs that agree share one tuple of alternatives, and then these.
        self._known: dict[tuple[int, str | None], tuple[Option, ...]] = {}

    def of(self, operation: Operation, ready: int) -> int | None:
        """The earliest end when work may start at `ready`, None when that is beyond the known calendar."""
        key = (id(operation.alternatives), operation.setup_group)
        if key not in self._known:
            self._known[key] = self._bounded(set(self._options(operation)))
        ends = [
            self._plant.of(machines).finish(max(ready, free), work, interruptible=operation.interruptible)
            for machines, free, work in self._known[key]
        ]
        return min((end for end in ends if end is not None), default=None)

    def shortest(self, operation: Operation, choice: Alternative) -> int:
        """Seconds of work; a setup matrix may shorten its setup, down to nothing between equal groups not listed."""
        setup, group = choice.setup_seconds, operation.setup_group
        if self._problem.changeovers and group is not None:
            after_same = setup if group in self._repeats else 0
            setup = min(setup, after_same, self._setups_into.get(group, setup))
        return choice.processing_seconds + setup

    def _options(self, operation: Operation) -> Iterator[Option]:
        for choice in operation.alternatives:
            has_own_calendar = any(self._problem.machines[machine].closures for machine in choice.machines)
            machines = choice.machines if has_own_calendar else ()
            yield machines, self._plant.free_from(choice.machines), self.shortest(operation, choice)

    def _bounded(self, options: set[Option]) -> tuple[Option, ...]:
        if len(options) <= MAX_OPTIONS:
            return tuple(sorted(options))
        # No machine is open while the plant is closed, so its openings are a bound for all of them.
        return (((), min(free for _, free, _ in options), min(work for _, _, work in options)),)


def precheck(problem: Problem, plant: PlantHours, path_of: Paths, pin_path_of: Paths) -> Iterator[Reason]:
    """(field, message) of each proof; the paths map an operation to its place in the request, and to its pin's."""
    if problem.hours is not None and not _opens_in_a_week(problem.hours.breaks):
        yield "calendar.breaks", "must leave the plant open at some time of the week, left none"
        return
    for operation in problem.operations:
        if operation.release_seconds > MAX_SECONDS:
            yield f"{path_of[operation.id]}.release_at", f"must be within {MAX_YEARS} years of schedule_start"
    yield from _too_much_work(problem, path_of)
    ends = EarliestEnds(problem, plant)
    are_closed = any(machine.closures for machine in problem.machines)
    for operation in problem.operations:
        # What may pause has room in the openings of the plant, wherever no machine has closures of its own.
        is_free = operation.pin is not None or (operation.interruptible and not are_closed)
        if not is_free and not _has_room(problem, operation, plant, ends):
            yield _misfit(problem, operation, plant, ends, path_of[operation.id])
    if any(operation.pin is not None for operation in problem.operations):
        yield from pin_reasons(problem, plant, pin_path_of)
    for job in problem.jobs:
        if any(operation.deadline_seconds is not None or operation.pin is not None for operation in job.operations):
            yield from _chain_reasons(job, plant, ends, path_of, pin_path_of)


def _opens_in_a_week(breaks: tuple[WeeklyBreak, ...]) -> bool:
    # A break of the last day may reach into the day behind it, which is the first one.
    is_closed = bytearray(_WEEK_MINUTES + _DAY_MINUTES)
    for rest in breaks:
        first = rest.start.hour * 60 + rest.start.minute
        last = rest.end.hour * 60 + rest.end.minute
        minutes = last - first if last > first else last - first + _DAY_MINUTES
        for weekday in rest.weekdays:
            begin = weekday * _DAY_MINUTES + first
            is_closed[begin : begin + minutes] = _CLOSED * minutes
    behind, week = is_closed[_WEEK_MINUTES:], is_closed[:_WEEK_MINUTES]
    return _OPEN in week[_DAY_MINUTES:] or any(not (a or b) for a, b in zip(week, behind, strict=False))


def _too_much_work(problem: Problem, path_of: Paths) -> Iterator[Reason]:
    """Work that shares its machines is spread over them at best."""
    if sum([operation.alternatives[0].processing_seconds for operation in problem.operations]) <= MAX_SECONDS:
        return
    seconds: dict[tuple[int, ...], int] = defaultdict(int)
    example: dict[tuple[int, ...], str] = {}
    for operation in problem.operations:
        machines = tuple([alternative.machine for alternative in operation.alternatives])
        seconds[machines] += min([alternative.processing_seconds for alternative in operation.alternatives])
        example.setdefault(machines, path_of[operation.id])
    for machines, total in seconds.items():
        years = total / len(machines) / _SECONDS_PER_YEAR
        if years > MAX_YEARS:
            field = f"{example[machines]}.machine_types"
            yield field, f"must leave each machine at most {MAX_YEARS} years of work, left {years:.0f} years"


def _has_room(problem: Problem, operation: Operation, plant: PlantHours, ends: EarliestEnds) -> bool:
    """Whether the work has room on one of its machines, while nothing else is planned there."""
    if operation.interruptible:
        return any(_is_always_plant(problem, choice) for choice in operation.alternatives) or any(
            _longest_opening(choice, plant) > 0 for choice in operation.alternatives
        )
    return any(_longest_opening(choice, plant) >= ends.shortest(operation, choice) for choice in operation.alternatives)


def _is_always_plant(problem: Problem, choice: Alternative) -> bool:
    if problem.machines[choice.machine].closures:
        return False
    return not (choice.also_holds and any(problem.machines[machine].closures for machine in choice.also_holds))


def _misfit(problem: Problem, operation: Operation, plant: PlantHours, ends: EarliestEnds, path: str) -> Reason:
    best = max(operation.alternatives, key=lambda choice: _longest_opening(choice, plant))
    where = " and ".join(machine_words(problem.machines[machine]) for machine in best.machines)
    longest = plant.of(best.machines).longest
    if longest is None:
        field = "requires_all_machines" if best.also_holds else "machine_types"
        never = "never do at the same time" if best.also_holds else "never does"
        return f"{path}.{field}", f"must name machines that open after schedule_start, {where} {never}"
    message = "must be true, or the job must fit into the longest opening of its machines: "
    message += f"{plant.moment(longest[0])} to {plant.moment(longest[1])} on {where} is "
    message += f"{amount(longest[1] - longest[0])}, the job takes {amount(ends.shortest(operation, best))}"
    return f"{path}.interruptible", message


def _longest_opening(choice: Alternative, plant: PlantHours) -> int:
    longest = plant.of(choice.machines).longest
    return 0 if longest is None else longest[1] - longest[0]


def _chain_reasons(
    job: Job, plant: PlantHours, ends: EarliestEnds, path_of: Paths, pin_path_of: Paths
) -> Iterator[Reason]:
    """Even when nothing else is planned, work takes its time after its release and its predecessors."""
    earliest = 0
    for operation in job.operations:
        if operation.pin is None:
            end = ends.of(operation, max(earliest, operation.release_seconds))
        else:
            message = pinned_too_early(job, operation, earliest)
            if message is not None:
                yield pin_path_of[operation.id], message
            end = pinned_end(operation, plant)
        # Beyond the known calendar there is no proof left, neither here nor further along the job.
        if end is None:
            return
        earliest = max(earliest, end)
        deadline = operation.deadline_seconds
        # What has begun ends when it ends: a miss is reported, and must not stop the plan from going on.
        has_begun = operation.pin is not None and operation.pin.end_seconds is not None
        if deadline is not None and deadline < earliest and not has_begun:
            late = amount(earliest - deadline)
            message = f"must be reachable, was {late} before the earliest possible completion {plant.moment(earliest)}"
            yield f"{path_of[operation.id]}.deadline_at", message
