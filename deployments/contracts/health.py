"""The answers of `/health`, `/livez` and `/readyz`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from deployments.contracts.wire import AnswerModel

Status = Literal["healthy", "degraded", "unhealthy"]


class SpoolAnswer(AnswerModel):
    """Decisions on local disk that the database does not have yet."""

    records: int
    bytes: int
    oldest_seconds: float = Field(description="age of the oldest of them, 0 when there is none")


class HealthAnswer(AnswerModel):
    """Degraded: schedules are served, but something is missing. Unhealthy: none can be served (status 503)."""

    status: Status
    version: str
    model_loaded: bool
    database_connected: bool
    uptime: float = Field(description="seconds")
    last_schedule_time: datetime | None
    environment: str
    spool: SpoolAnswer
    rollout_stage: str
    keys_age: float | None = Field(
        description="seconds since the stored API keys were last read from the database; null when they never were"
    )
    reasons: list[str] = Field(description="what is missing, empty when healthy")


class ProbeAnswer(AnswerModel):
    """The answer of a probe that succeeds."""

    status: Literal["alive", "ready"]
