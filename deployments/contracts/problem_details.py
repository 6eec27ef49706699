"""Errors as problem details (RFC 9457), with the extra members that existing clients read."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from deployments.contracts.answer import ViolationAnswer
from deployments.contracts.wire import AnswerModel

MEDIA_TYPE = "application/problem+json"


class FieldError(AnswerModel):
    """What is wrong with one field of the request, by its path, such as `jobs[3].machine_types`."""

    field: str
    message: str


class RejectionAnswer(AnswerModel):
    """Why one arm did not serve; `violations` are the first ones, `violation_count` is the number of all."""

    arm: str
    reason: str
    violation_count: int
    violations: list[ViolationAnswer]


class ProblemDetails(AnswerModel):
    """One error. `error` and `message` repeat `type` and `detail` for clients that look for them."""

    type: str = Field(description="a URN that ends in `error`")
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path that was asked")
    error: str
    message: str
    request_id: str | None = Field(description="the x-request-id of this answer")
    timestamp: datetime
    errors: list[FieldError] | None = Field(default=None, description="for 422: each thing that is wrong")
    errors_omitted: int | None = Field(default=None, description="how many more things are wrong")
    reasons: list[str] | None = Field(default=None, description="for 409: everything that stands in the way")
    rejections: list[RejectionAnswer] | None = Field(default=None, description="when no schedule was safe: why, by arm")
