"""The body and the answer of `POST /v1/schedules/{id}/feedback`: how good a schedule was, and what became of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from deployments.contracts.amounts import in_zone
from deployments.contracts.freezing import earlier_rows
from deployments.contracts.wire import INTEGRAL, AnswerModel, FreeText, Instant, Text, WireModel
from deployments.errors import InvalidRequest
from deployments.persistence.evaluations import FeedbackRecord
from deployments.persistence.records import DecisionRecord

MOST_COMPLETIONS = 20_000
FIRST_YEAR, LAST_YEAR = 1970, 2200
Rating = Annotated[StrictInt, Field(ge=1, le=5), INTEGRAL]


class ActualCompletion(WireModel):
    """When a job of the schedule was really done."""

    job_id: Text
    completed_at: Instant


class FeedbackRequest(WireModel):
    """What a planner or the shop floor has to say; at least one of the three."""

    model_config = ConfigDict(extra="forbid")

    rating: Rating | None = Field(None, description="1 useless to 5 as I would have done it")
    comment: FreeText | None = None
    actual_completions: list[ActualCompletion] = Field(
        default_factory=list, max_length=MOST_COMPLETIONS, description="naive instants are by the plant's clock"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rating is None and not self.comment and not self.actual_completions:
            raise PydanticCustomError("empty", "must have a rating, a comment or actual_completions")
        return self


class FeedbackAnswer(AnswerModel):
    """The feedback is on disk, and reaches the database as decisions do."""

    feedback_id: str
    schedule_id: str
    rating: int | None
    comment: str | None
    actual_completions: int = Field(description="how many were taken")
    timestamp: datetime


def feedback_record(
    feedback: FeedbackRequest, decision: DecisionRecord, *, feedback_id: str, now: datetime, zone: ZoneInfo
) -> FeedbackRecord:
    """The feedback as it is stored. Raises `InvalidRequest` for jobs that the schedule does not have."""
    _refuse_strangers(feedback, decision)
    completions = [
        {"job_id": each.job_id, "completed_at": in_zone(each.completed_at, zone).astimezone(UTC).isoformat()}
        for each in feedback.actual_completions
    ]
    return FeedbackRecord(
        feedback_id=feedback_id,
        decision_id=decision.decision_id,
        client=decision.client,
        created_at=now,
        rating=feedback.rating,
        comment=feedback.comment,
        actual_completions=json.dumps(completions, ensure_ascii=False),
    )


def feedback_answer(record: FeedbackRecord, feedback: FeedbackRequest) -> FeedbackAnswer:
    """What is said back."""
    return FeedbackAnswer(
        feedback_id=record.feedback_id,
        schedule_id=record.decision_id,
        rating=record.rating,
        comment=record.comment,
        actual_completions=len(feedback.actual_completions),
        timestamp=record.created_at,
    )


def _refuse_strangers(feedback: FeedbackRequest, decision: DecisionRecord) -> None:
    """Each job once, at an instant that a calendar knows, and of this schedule as far as its answer was kept."""
    known = None if decision.answer is None else {row.job_id for row in earlier_rows(decision.answer)}
    seen: set[str] = set()
    reasons = []
    for index, each in enumerate(feedback.actual_completions):
        field = f"actual_completions[{index}]"
        if each.job_id in seen:
            reasons.append((f"{field}.job_id", f"must be unique, was {each.job_id!r} again"))
        elif known is not None and each.job_id not in known:
            reasons.append((f"{field}.job_id", f"must be a job of the schedule, was {each.job_id!r}"))
        if not FIRST_YEAR < each.completed_at.year < LAST_YEAR:
            written = each.completed_at.isoformat()
            reasons.append(
                (f"{field}.completed_at", f"must be after {FIRST_YEAR} and before {LAST_YEAR}, was {written}")
            )
        seen.add(each.job_id)
    if reasons:
        raise InvalidRequest(tuple(reasons))
