"""Pinned work: when it ends, and why it may not stay where it was pinned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from deployments.contracts.open_hours import PlantHours
from env.planner_words import amount, machine_words
from env.problem import Alternative, Job, Operation, Pin, Problem

Reason = tuple[str, str]


def with_running_work(problem: Problem, plant: PlantHours) -> Problem:
    """The problem with an end for each pin that begins before second 0: such work is already running."""
    if not any(_runs(operation) for operation in problem.operations):
        return problem
    jobs = [
        replace(job, operations=tuple(_with_end(operation, plant) for operation in job.operations))
        for job in problem.jobs
    ]
    return replace(problem, jobs=tuple(jobs))


def _runs(operation: Operation) -> bool:
    return operation.pin is not None and operation.pin.end_seconds is None and operation.pin.start_seconds < 0


def _with_end(operation: Operation, plant: PlantHours) -> Operation:
    if operation.pin is None or not _runs(operation):
        return operation
    start, choice = operation.pin.start_seconds, operation.alternatives[0]
    end = plant.of(choice.machines).finish(start, choice.duration_seconds)
    # Without any opening left it must at least keep its machines as long as its work takes.
    end = start + choice.duration_seconds if end is None else end
    # Its material is there, whatever the request says.
    return replace(operation, release_seconds=0, pin=Pin(start_seconds=start, end_seconds=end))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A machine that pinned work holds from `start` to `end`."""

    start: int
    end: int
    operation_id: str


def pin_reasons(problem: Problem, plant: PlantHours, path_of: Mapping[str, str]) -> Iterator[Reason]:
    """(field, message) of each pin that no schedule can keep; `path_of` maps an operation to its pin's field."""
    held: dict[int, list[_Held]] = {}
    for operation in problem.operations:
        if operation.pin is None:
            continue
        for message in _place_reasons(problem, operation, plant):
            yield path_of[operation.id], message
        end = pinned_end(operation, plant)
        if end is not None:
            span = _Held(start=operation.pin.start_seconds, end=end, operation_id=operation.id)
            for machine in operation.alternatives[0].machines:
                held.setdefault(machine, []).append(span)
    for machine, spans in held.items():
        yield from _overlaps(problem, machine, spans, path_of)


def pinned_end(operation: Operation, plant: PlantHours) -> int | None:
    """When pinned work ends; None when the calendar has no room for it after its start."""
    assert operation.pin is not None
    if operation.pin.end_seconds is not None:
        return operation.pin.end_seconds
    choice = operation.alternatives[0]
    hours = plant.of(choice.machines)
    return hours.finish(operation.pin.start_seconds, choice.duration_seconds, interruptible=operation.interruptible)


def _place_reasons(problem: Problem, operation: Operation, plant: PlantHours) -> Iterator[str]:
    """Work with a known end is history, or was judged when it was planned."""
    assert operation.pin is not None
    if operation.pin.end_seconds is not None:
        return
    start, choice = operation.pin.start_seconds, operation.alternatives[0]
    if operation.release_seconds > start:
        early = amount(operation.release_seconds - start)
        yield f"must not start before its material arrives, was {early} too early"
    free = plant.free_from(choice.machines)
    if free > start:
        yield f"must wait for the current_load of its machine, was {amount(free - start)} too early"
    yield from _opening_reasons(problem, operation, choice, plant)


def _opening_reasons(problem: Problem, operation: Operation, choice: Alternative, plant: PlantHours) -> Iterator[str]:
    assert operation.pin is not None
    start, hours = operation.pin.start_seconds, plant.of(choice.machines)
    where = " and ".join(machine_words(problem.machines[machine]) for machine in choice.machines)
    opens = hours.next_open(start)
    if opens is None:
        yield f"must start while {where} is open, which never happens after it"
    elif opens > start:
        yield f"must start while {where} is open, which is next at {plant.moment(opens)}"
    elif not operation.interruptible:
        end = hours.finish(start, choice.duration_seconds, interruptible=False)
        if end != start + choice.duration_seconds:
            work = amount(choice.duration_seconds)
            yield f"must have room for {work} without a pause on {where}, which closes before that"


def _overlaps(problem: Problem, machine: int, spans: list[_Held], path_of: Mapping[str, str]) -> Iterator[Reason]:
    holder: _Held | None = None
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if holder is not None and span.start < holder.end:
            shared = amount(min(holder.end, span.end) - span.start)
            where = machine_words(problem.machines[machine])
            yield path_of[span.operation_id], f"must not overlap {holder.operation_id} on {where}, did for {shared}"
        if holder is None or span.end > holder.end:
            holder = span


def pinned_too_early(job: Job, operation: Operation, earliest: int) -> str | None:
    """Why a pin without a known end cannot hold: the work ahead of it in the job takes until `earliest` at least."""
    pin = operation.pin
    if pin is None or pin.end_seconds is not None or pin.start_seconds >= earliest:
        return None
    early = amount(earliest - pin.start_seconds)
    return f"must wait for the jobs ahead of it in family {job.id}, was {early} too early"
