"""Work that has its place already: pinned by the request, or kept from an earlier schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, ValidationError, model_validator

from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import seconds_after
from deployments.contracts.translation.open_hours import PlantHours
from env.judge.verdict import amount, machine_words, quantity
from env.problem import SECONDS_PER_HOUR, Alternative, EarlierPlace, Job, Operation, Problem, StabilityLimit
from env.schedule import Assignment, Schedule

Reason = tuple[str, str]
DEFAULT_STABILITY_LIMIT = StabilityLimit(makespan_share=0.2, value_share=0.75, few_share=1 / 12, few_price_share=0.25)
"""Holds where a request names no `stability_weight`: no number of moved jobs justifies a plan that is far worse."""


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
        if end is not None and end > 0:
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
            message = f"must not overlap {holder.operation_id} on {where}, did for {shared}"
            yield path_of[span.operation_id], message + _remedy(span, holder, path_of)
        if holder is None or span.end > holder.end:
            holder = span


def _remedy(span: _Held, holder: _Held, path_of: Mapping[str, str]) -> str:
    """What to do where a pin meets work of the earlier schedule."""
    pinned = [each.operation_id for each in (span, holder) if path_of[each.operation_id].endswith(".pinned")]
    return f": pin {pinned[0]} later or on another machine, or leave it unpinned" if len(pinned) == 1 else ""


def pinned_too_early(job: Job, operation: Operation, earliest: int) -> str | None:
    """Why a pin without a known end cannot hold: the work ahead of it in the job takes until `earliest` at least."""
    pin = operation.pin
    if pin is None or pin.end_seconds is not None or pin.start_seconds >= earliest:
        return None
    early = amount(earliest - pin.start_seconds)
    return f"must wait for the jobs ahead of it in family {job.id}, was {early} too early"


class EarlierRow(BaseModel):
    """One row of an earlier answer: where a job was planned, and from when to when.

    Older answers lack what has a default.
    """

    job_id: str
    machine_id: int
    start_datetime: datetime
    end_datetime: datetime
    machine_name: str = ""
    machine_ids: tuple[int, ...] | None = None
    setup_time_included: float | None = None

    @property
    def machines(self) -> tuple[int, ...]:
        """Ids of all machines that it held, the one that did the work first."""
        return tuple(dict.fromkeys((self.machine_id, *(self.machine_ids or ()))))

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        start, end = self.start_datetime, self.end_datetime
        if (start.tzinfo is None) != (end.tzinfo is None) or end - start < timedelta(seconds=1):
            raise ValueError("end_datetime must be at least a second after start_datetime, both with a zone or neither")
        return self


class _EarlierAnswer(BaseModel):
    scheduled_jobs: list[EarlierRow]


def earlier_rows(answer: bytes) -> tuple[EarlierRow, ...]:
    """The rows of an answer of `POST /schedule`. Raises `ValueError` when it has none to read."""
    try:
        return tuple(_EarlierAnswer.model_validate_json(answer).scheduled_jobs)
    except ValidationError as error:
        raise ValueError(
            f"an earlier schedule must have scheduled_jobs, had {quantity(error.error_count(), 'fault')}"
        ) from None


def freeze_reasons(request: ScheduleRequest, earlier: tuple[EarlierRow, ...] | None) -> Iterator[Reason]:
    """(field, message) when there is a limit without a schedule, or nobody knows the earlier schedule."""
    if request.freeze_until is not None and request.previous_schedule_id is None:
        yield "previous_schedule_id", "must be given together with freeze_until, was absent"
    if request.previous_schedule_id is not None and earlier is None:
        message = f"must be one of your schedules whose payload was kept, was {request.previous_schedule_id!r}"
        yield "previous_schedule_id", message


def with_earlier_places(
    problem: Problem, request: ScheduleRequest, earlier: tuple[EarlierRow, ...] | None, start: datetime
) -> Problem:
    """`problem` knowing where the earlier schedule had its work, and what leaving that place costs."""
    if earlier is None:
        return problem
    rows = as_schedule(earlier, start).by_operation
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}

    def placed(operation: Operation) -> Operation:
        row = rows.get(operation.id)
        if row is None or row.machine_id not in index_of:
            return operation
        place = EarlierPlace(
            machine=index_of[row.machine_id], start_seconds=row.start_seconds, end_seconds=row.end_seconds
        )
        return replace(operation, earlier_place=place)

    jobs = tuple(Job(id=job.id, operations=tuple(map(placed, job.operations))) for job in problem.jobs)
    return replace(
        problem,
        jobs=jobs,
        stability_seconds=request.stability_weight * SECONDS_PER_HOUR,
        # Whoever names a price wants it to hold whatever it costs.
        stability_limit=None if "stability_weight" in request.model_fields_set else DEFAULT_STABILITY_LIMIT,
    )


def as_schedule(rows: tuple[EarlierRow, ...], start: datetime) -> Schedule:
    """The rows in seconds from `start`; a naive datetime is by the clock of `start`."""
    return Schedule(
        assignments=tuple(
            Assignment(
                operation_id=row.job_id,
                machine_id=row.machine_id,
                start_seconds=round(seconds_after(start, _by_the_clock_of(start, row.start_datetime))),
                end_seconds=round(seconds_after(start, _by_the_clock_of(start, row.end_datetime))),
            )
            for row in rows
        )
    )


def _by_the_clock_of(start: datetime, moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=start.tzinfo)


def gone_warnings(request: ScheduleRequest, earlier: tuple[EarlierRow, ...] | None) -> tuple[str, ...]:
    """One sentence when the earlier schedule has jobs that are not in the request any more."""
    wanted = {job.job_id for job in request.jobs}
    gone = [row.job_id for row in earlier or () if row.job_id not in wanted]
    if not gone:
        return ()
    return (f"{quantity(len(gone), 'job')} of previous_schedule_id not in jobs: dropped; first is {gone[0]}",)
