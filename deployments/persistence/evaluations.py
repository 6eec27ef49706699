"""What one arm made of one request, and what planners said of a schedule: as they are stored.

Both travel through the spool like decisions, and may reach the database before or after theirs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class EvaluationStatus(StrEnum):
    """What became of an arm: a schedule that may be served, one that may not, or none at all."""

    VALID = "valid"
    REJECTED = "rejected"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DROPPED = "dropped"
    SHED = "shed"


class _Record:
    """A frozen dataclass with `decision_id` and `created_at` as one spool payload."""

    kind: str

    def to_bytes(self) -> bytes:
        """The record as one spool payload; `from_fields` takes the object inside."""
        values: dict[str, Any] = {"kind": self.kind} | asdict(self)  # type: ignore[call-overload]
        values["created_at"] = values["created_at"].isoformat()
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> Self:
        """The record from its JSON object. Raises `ValueError` or `TypeError` if it is not one."""
        values = {name: value for name, value in values.items() if name != "kind"}
        return cls(**values | {"created_at": datetime.fromisoformat(values["created_at"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord(_Record):
    """One arm on the request of one decision; the first record under (decision_id, arm) stays.

    `unit` to `job_list_sha256` are those of the decision, so that the statistics need no other row.
    `arm` is "ppo", "manual" or a model id; `role` is that of `rollout.assignment.Arm`, or "fallback" for the
    rule where both roles are models. `outcome` is a word of `rollout.outcomes`, None where nothing was
    computed; `baseline` is where the manual plan came from, `source` the replica that is to blame. Figures
    are None where there is no schedule; `violations` is JSON, cut to the first ones.
    """

    kind = "evaluation"

    decision_id: str
    arm: str
    role: str
    created_at: datetime
    plant_id: str
    unit: str
    stage: str
    share: float
    rollout_version: int
    ramp: int
    is_forced: bool
    job_list_sha256: str
    is_served: bool
    status: str
    outcome: str | None
    reason: str | None
    model: str | None
    source: str | None
    baseline: str
    time_budget_ms: int
    job_count: int
    makespan_seconds: int | None = None
    tardiness_seconds: int | None = None
    setup_seconds: int | None = None
    completion_percent: float | None = None
    utilisation_percent: float | None = None
    on_time_percent: float | None = None
    important_on_time_percent: float | None = None
    safety_score: float | None = None
    violation_count: int = 0
    violations: str = "[]"
    proposal_ms: float | None = None
    judge_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecord(_Record):
    """What a client said of its schedule: `rating` 1 to 5; `actual_completions` is JSON."""

    kind = "feedback"

    feedback_id: str
    decision_id: str
    client: str
    created_at: datetime
    rating: int | None
    comment: str | None
    actual_completions: str = "[]"
