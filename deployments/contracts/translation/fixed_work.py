"""Work that has its place already: pinned by the request, kept from an earlier schedule, in the planner's own plan.

A planner says where and when work begins; that it ends once its setup and processing have had their open
time is arithmetic. Whatever is wrong with that plan is left in it, for the judge to name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, ValidationError, model_validator

from deployments.contracts.requests.schedule_request import ManualRow, ScheduleRequest
from deployments.contracts.requests.wire import first_second_from, seconds_after
from deployments.contracts.translation.open_hours import PlantHours
from env.judge.verdict import amount, machine_words, quantity
from env.problem import SECONDS_PER_HOUR, Alternative, EarlierPlace, Job, Operation, Problem, StabilityLimit
from env.schedule import Assignment, Schedule, alternative_on, changeover_seconds

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


class _StoredDecision(BaseModel):
    answer: _EarlierAnswer


def earlier_rows(answer: bytes) -> tuple[EarlierRow, ...]:
    """The rows of an answer of `POST /schedule` or `GET /v1/schedules/{id}`. Raises `ValueError` when it has none."""
    try:
        return tuple(_EarlierAnswer.model_validate_json(answer).scheduled_jobs)
    except ValidationError as error:
        with suppress(ValidationError):
            return tuple(_StoredDecision.model_validate_json(answer).answer.scheduled_jobs)
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
    problem: Problem, request: ScheduleRequest, earlier: tuple[EarlierRow, ...], start: datetime
) -> Problem:
    """`problem` knowing where the earlier schedule had its work, and what leaving that place costs."""
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


def gone_warnings(request: ScheduleRequest, earlier: tuple[EarlierRow, ...]) -> tuple[str, ...]:
    """One sentence when the earlier schedule has jobs that are not in the request any more."""
    wanted = {job.job_id for job in request.jobs}
    gone = [row.job_id for row in earlier if row.job_id not in wanted]
    if not gone:
        return ()
    return (f"{quantity(len(gone), 'job')} of previous_schedule_id not in jobs: dropped; first is {gone[0]}",)


def planned_schedule(rows: Sequence[ManualRow], problem: Problem, plant: PlantHours, start: datetime) -> Schedule:
    """The rows with their ends, in seconds from `start`; a naive instant is by its clock."""
    plan = _Plan(problem, plant)
    placed = [(first_second_from(start, _by_the_clock_of(start, row.start_datetime)), row) for row in rows]
    # In the order of their starts, because a changeover depends on what its machines did before.
    for second, row in sorted(placed, key=lambda each: (each[0], each[1].job_id)):
        plan.place(row.job_id, row.machine_id, second)
    return Schedule(assignments=tuple(plan.assignments))


def plan_warnings(rows: Sequence[ManualRow], problem: Problem) -> tuple[str, ...]:
    """One sentence for each kind of row that makes the plan useless, whoever serves: PPO does not look at it."""
    named = Counter(row.job_id for row in rows)
    jobs = {operation.id: None for operation in problem.operations}
    machines = {machine.id for machine in problem.machines}
    faults = (
        ("names jobs that the request does not have", [job for job in named if job not in jobs]),
        ("puts jobs on machines that are not at work", [row.job_id for row in rows if row.machine_id not in machines]),
        ("names jobs twice", [job for job, count in named.items() if count > 1]),
        ("leaves jobs out", [job for job in jobs if job not in named]),
    )
    return tuple(
        f"manual_schedule {fault}, {len(found):,} of them, first is {found[0]}: the planner's rule takes its place"
        for fault, found in faults
        if found
    )


class _Plan:
    """Assignments so far, and the last work of each machine."""

    def __init__(self, problem: Problem, plant: PlantHours) -> None:
        self.assignments: list[Assignment] = []
        self._plant = plant
        self._operations = {operation.id: operation for operation in problem.operations}
        self._index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
        self._problem = problem
        self._last: dict[int, tuple[int, str | None]] = {}

    def place(self, job_id: str, machine_id: int, start: int) -> None:
        operation = self._operations.get(job_id)
        choice = None if operation is None else alternative_on(operation, self._index_of.get(machine_id))
        # Work that nobody knows, or that its machine cannot do, has no duration: any will do for the judge.
        end = start + 1 if operation is None or choice is None else self._end(operation, choice, start)
        if operation is not None and choice is not None:
            self._last.update(dict.fromkeys(choice.machines, (end, operation.setup_group)))
        self.assignments.append(
            Assignment(operation_id=job_id, machine_id=machine_id, start_seconds=start, end_seconds=end)
        )

    def _end(self, operation: Operation, choice: Alternative, start: int) -> int:
        if operation.pin is not None and operation.pin.end_seconds is not None:
            return operation.pin.end_seconds
        work = self._setup_seconds(operation, choice, start) + choice.processing_seconds
        end = self._plant.of(choice.machines).finish(start, work)
        return start + work if end is None else end

    def _setup_seconds(self, operation: Operation, choice: Alternative, start: int) -> int:
        """By the rule that `Problem` states, for work that does not overlap; what does is rejected anyway."""
        own, group = choice.setup_seconds, operation.setup_group
        if not self._problem.changeovers or group is None or operation.pin is not None:
            return own
        longest = 0
        for machine in choice.machines:
            end, before = self._last.get(machine, (start, None))
            known = before if end <= start else None
            longest = max(longest, changeover_seconds(self._problem, machine, known, group, own))
        return longest
