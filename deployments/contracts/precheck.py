"""What makes a problem unsolvable before anyone tries. Each reason is a proof, never a guess.

What only a whole schedule could prove is still found by the proposers, which say so by `HorizonExceeded`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from deployments.contracts.earliest import EarliestEnds
from deployments.contracts.open_hours import LONGEST_SECONDS, PlantHours
from deployments.contracts.pins import pin_reasons, pinned_end, pinned_too_early
from env.planner_words import amount, machine_words
from env.problem import Alternative, Job, Operation, Problem, WeeklyBreak

_SECONDS_PER_YEAR = 365 * 24 * 3600
LONGEST_YEARS = LONGEST_SECONDS // _SECONDS_PER_YEAR
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
Reason = tuple[str, str]
Paths = Mapping[str, str]


def precheck(problem: Problem, plant: PlantHours, path_of: Paths, pin_path_of: Paths) -> Iterator[Reason]:
    """(field, message) of each proof; the paths map an operation to its place in the request, and to its pin's."""
    if problem.hours is not None and not _opens_in_a_week(problem.hours.breaks):
        yield "calendar.breaks", "must leave the plant open at some time of the week, left none"
        return
    for operation in problem.operations:
        if operation.release_seconds > LONGEST_SECONDS:
            yield f"{path_of[operation.id]}.release_at", f"must be within {LONGEST_YEARS} years of schedule_start"
    yield from _too_much_work(problem, path_of)
    ends = EarliestEnds(problem, plant)
    for operation in problem.operations:
        if operation.pin is None and not _has_room(problem, operation, plant, ends):
            yield _misfit(problem, operation, plant, ends, path_of[operation.id])
    yield from pin_reasons(problem, plant, pin_path_of)
    for job in problem.jobs:
        if any(operation.deadline_seconds is not None or operation.pin is not None for operation in job.operations):
            yield from _chain_reasons(job, plant, ends, path_of, pin_path_of)


def _opens_in_a_week(breaks: tuple[WeeklyBreak, ...]) -> bool:
    is_closed = bytearray(_WEEK_MINUTES)
    for rest in breaks:
        first = rest.start.hour * 60 + rest.start.minute
        last = rest.end.hour * 60 + rest.end.minute
        minutes = last - first if last > first else last - first + _DAY_MINUTES
        for weekday in rest.weekdays:
            for minute in range(minutes):
                is_closed[(weekday * _DAY_MINUTES + first + minute) % _WEEK_MINUTES] = 1
    return not all(is_closed)


def _too_much_work(problem: Problem, path_of: Paths) -> Iterator[Reason]:
    """Work that shares its machines is spread over them at best."""
    seconds: dict[tuple[int, ...], int] = defaultdict(int)
    example: dict[tuple[int, ...], str] = {}
    for operation in problem.operations:
        machines = tuple([alternative.machine for alternative in operation.alternatives])
        seconds[machines] += min([alternative.processing_seconds for alternative in operation.alternatives])
        example.setdefault(machines, path_of[operation.id])
    for machines, total in seconds.items():
        years = total / len(machines) / _SECONDS_PER_YEAR
        if years > LONGEST_YEARS:
            field = f"{example[machines]}.machine_types"
            yield field, f"must leave each machine at most {LONGEST_YEARS} years of work, left {years:.0f} years"


def _has_room(problem: Problem, operation: Operation, plant: PlantHours, ends: EarliestEnds) -> bool:
    """Whether the work has room on one of its machines, while nothing else is planned there."""
    if operation.interruptible:
        return any(_is_always_plant(problem, choice) for choice in operation.alternatives) or any(
            _longest_opening(choice, plant) > 0 for choice in operation.alternatives
        )
    return any(_longest_opening(choice, plant) >= ends.shortest(operation, choice) for choice in operation.alternatives)


def _is_always_plant(problem: Problem, choice: Alternative) -> bool:
    return not any(problem.machines[machine].closures for machine in choice.machines)


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
        if deadline is not None and deadline < earliest:
            late = amount(earliest - deadline)
            message = f"must be reachable, was {late} before the earliest possible completion {plant.moment(earliest)}"
            yield f"{path_of[operation.id]}.deadline_at", message
