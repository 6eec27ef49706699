"""An earlier schedule beside a new request: what of it must not move, and what has changed against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError, model_validator

from deployments.contracts.amounts import in_zone, seconds_after
from deployments.contracts.request import ScheduleRequest
from env.problem import SECONDS_PER_HOUR, Job, Operation, Place, Problem
from env.schedule import Assignment, Schedule

Reason = tuple[str, str]


class EarlierRow(BaseModel):
    """One row of an earlier answer: where a job was planned, and from when to when."""

    job_id: str
    machine_id: int
    start_datetime: datetime
    end_datetime: datetime

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
        raise ValueError(f"an earlier schedule must have scheduled_jobs, had {error.error_count()} faults") from None


def freeze_reasons(request: ScheduleRequest, earlier: tuple[EarlierRow, ...] | None) -> Iterator[Reason]:
    """(field, message) when one of the two fields stands alone, or nobody knows the earlier schedule."""
    if request.freeze_until is not None and request.previous_schedule_id is None:
        yield "previous_schedule_id", "must be given together with freeze_until, was absent"
    if request.previous_schedule_id is None:
        return
    if request.freeze_until is None:
        yield "freeze_until", "must be given together with previous_schedule_id, was absent"
    if earlier is None:
        message = f"must be one of your schedules whose payload was kept, was {request.previous_schedule_id!r}"
        yield "previous_schedule_id", message


def frozen_assignments(
    request: ScheduleRequest, earlier: tuple[EarlierRow, ...] | None, start: datetime, zone: ZoneInfo
) -> Mapping[str, Assignment]:
    """Job id -> its place in the earlier schedule, for each job that starts there before `freeze_until`.

    Seconds count from `start`, the new beginning; they are negative for work that is already running.
    """
    if request.freeze_until is None or earlier is None:
        return {}
    until = seconds_after(start, in_zone(request.freeze_until, zone))
    wanted = {job.job_id for job in request.jobs}
    rows = as_schedule(earlier, start).assignments
    return {row.operation_id: row for row in rows if row.operation_id in wanted and row.start_seconds < until}


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
        place = Place(machine=index_of[row.machine_id], start_seconds=row.start_seconds)
        return replace(operation, earlier_place=place)

    jobs = tuple(Job(id=job.id, operations=tuple(map(placed, job.operations))) for job in problem.jobs)
    return replace(problem, jobs=jobs, stability_seconds=request.stability_weight * SECONDS_PER_HOUR)


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
    count = f"{len(gone):,} job{'s' if len(gone) > 1 else ''}"
    return (f"{count} of previous_schedule_id not in jobs: dropped; first is {gone[0]}",)


def loose_warnings(loose: list[str]) -> tuple[str, ...]:
    """One sentence when frozen jobs cannot stay, because their machine cannot do them any more."""
    if not loose:
        return ()
    count = f"{len(loose):,} frozen job{'s' if len(loose) > 1 else ''}"
    return (f"{count} planned anew: no longer possible on the machine of the earlier schedule; first is {loose[0]}",)
