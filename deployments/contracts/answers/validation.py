"""The body and the answer of `POST /v1/validate`: somebody's schedule, held against somebody's request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from pydantic import Field, StrictInt

from deployments.contracts.answers.figures import Metrics, metrics_of
from deployments.contracts.answers.schedule import (
    AnomalyAnswer,
    ViolationAnswer,
    anomalies_of,
    machines_held,
    violations_of,
)
from deployments.contracts.requests.schedule_request import MAX_MACHINES_HELD, ScheduleRequest
from deployments.contracts.requests.wire import (
    AnswerModel,
    Identity,
    Instant,
    Number,
    Text,
    WireModel,
    hours_of,
    in_zone,
    seconds_after,
    seconds_of,
)
from deployments.contracts.translation.problem import Question
from env.judge.verdict import Verdict
from env.schedule import Assignment, Schedule

DATETIME_MISMATCH = "datetime_mismatch"
MACHINES_MISMATCH = "machines_mismatch"
MAX_SCHEDULE_HOURS = 1e7
Units = Annotated[StrictInt, Field(ge=0, lt=2**60)]


class ClaimedPause(WireModel):
    """A time in which the job waited for its machine."""

    from_: Instant = Field(alias="from")
    to: Instant


class ScheduledJobClaim(WireModel):
    """One row of a schedule as somebody claims it; rows of our own answers fit unchanged."""

    job_id: Text
    machine_id: Identity
    start_time: Number = Field(ge=-MAX_SCHEDULE_HOURS, le=MAX_SCHEDULE_HOURS)
    end_time: Number = Field(ge=-MAX_SCHEDULE_HOURS, le=MAX_SCHEDULE_HOURS)
    start_datetime: Instant | None = Field(None, description="when given, must agree with start_time")
    end_datetime: Instant | None = Field(None, description="when given, must agree with end_time")
    machine_ids: list[Identity] | None = Field(
        None, max_length=MAX_MACHINES_HELD, description="when given, must be all machines that the job holds"
    )
    machine_name: str | None = Field(None, description="not judged")
    setup_time_included: Number | None = Field(None, description="not judged")
    working_hours: Number | None = Field(None, description="not judged")
    pauses: list[ClaimedPause] | None = Field(None, max_length=10_000, description="not judged")


class ValidateRequest(WireModel):
    """A request and a schedule for it."""

    request: ScheduleRequest
    scheduled_jobs: list[ScheduledJobClaim]


class SolvedRow(WireModel):
    """One row of `gantry solve --json` for a benchmark file, times in the file's unit."""

    job_id: Text
    machine_id: Identity
    start: Units
    end: Units


class SolvedSchedule(WireModel):
    """What `gantry solve --json` prints for a benchmark file, as far as it is judged."""

    schedule: list[SolvedRow]


class ValidateAnswer(AnswerModel):
    """What the judge found."""

    valid: bool
    violations: list[ViolationAnswer]
    anomalies: list[AnomalyAnswer]
    safety_score: float
    metrics: Metrics
    warnings: list[str]


def claimed_schedule(claims: list[ScheduledJobClaim]) -> Schedule:
    """The claimed rows as a schedule of the domain, hours rounded to whole seconds."""
    return Schedule(
        assignments=tuple(
            Assignment(
                operation_id=claim.job_id,
                machine_id=claim.machine_id,
                start_seconds=seconds_of(claim.start_time),
                end_seconds=seconds_of(claim.end_time),
            )
            for claim in claims
        )
    )


def validate_answer(
    claims: list[ScheduledJobClaim], question: Question, verdict: Verdict, *, warnings: tuple[str, ...]
) -> ValidateAnswer:
    """The verdict, and on top of it every row that contradicts itself: hours and datetimes, or the machines held."""
    held = machines_held(question.problem)
    mismatches = [violation for claim in claims for violation in _mismatches(claim, question)]
    mismatches += [violation for claim in claims for violation in _partial(claim, held)]
    return ValidateAnswer(
        valid=verdict.valid and not mismatches,
        violations=violations_of(verdict.violations) + mismatches,
        anomalies=anomalies_of(verdict.anomalies),
        safety_score=0.0 if mismatches else verdict.safety_score,
        metrics=metrics_of(verdict.measures),
        warnings=list(warnings),
    )


def _partial(claim: ScheduledJobClaim, held: dict[str, list[int]]) -> Iterator[ViolationAnswer]:
    wanted = held.get(claim.job_id, [claim.machine_id])
    if claim.machine_ids is not None and set(claim.machine_ids) != set(wanted):
        yield ViolationAnswer(
            code=MACHINES_MISMATCH,
            job_id=claim.job_id,
            machine_id=claim.machine_id,
            message=f"machine_ids must be {wanted}, all machines that {claim.job_id} holds, was {claim.machine_ids}",
            by_hours=0.0,
        )


def _mismatches(claim: ScheduledJobClaim, question: Question) -> Iterator[ViolationAnswer]:
    pairs: tuple[tuple[str, float, datetime | None], ...] = (
        ("start", claim.start_time, claim.start_datetime),
        ("end", claim.end_time, claim.end_datetime),
    )
    for name, hours, moment in pairs:
        if moment is None:
            continue
        difference = abs(seconds_after(question.start, in_zone(moment, question.zone)) - hours * 3600)
        # Hours are floats: a difference of exactly one second may come out a little short of it.
        if difference >= 1 - 1e-6:
            yield ViolationAnswer(
                code=DATETIME_MISMATCH,
                job_id=claim.job_id,
                machine_id=claim.machine_id,
                message=f"{name}_datetime must be {name}_time after schedule_start, was {difference:.1f} s off",
                by_hours=hours_of(difference),
            )
