"""One decision as it is stored: immutable, with its key figures beside the whole request and answer."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from deployments.persistence.audit_event import AuditEvent
from deployments.persistence.evaluations import EvaluationRecord, FeedbackRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMark:
    """Under which idempotency key a decision was made; `answer` when the decision itself does not keep it."""

    route: str
    key: str
    answer: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision that was, or is about to be, answered with 200.

    `request` and `answer` are the JSON bodies as UTF-8 bytes, None when the client asked not to keep
    them. `payload_sha256` covers both and is checked whenever they are read back. `unit` to `share`
    are what the arm was assigned by, so that the assignment can be recomputed from the row. `evaluations`
    are what became of the arms that were asked on the way; they are rows of their own. `claim` is the
    idempotency key that the decision was made under, if any; it is finished when the decision is stored.
    """

    decision_id: str
    created_at: datetime
    client: str
    request_id: str | None
    plant_id: str | None
    line_id: str | None
    unit: str
    bucket: float
    seed: str
    hash_version: int
    stage: str
    share: float
    arm: str
    algorithm_used: str
    model: str | None
    fallback_reason: str | None
    objective: str
    time_budget_ms: int
    job_count: int
    machine_count: int
    makespan_seconds: int
    tardiness_seconds: int
    setup_seconds: int
    completion_percent: float
    utilisation_percent: float
    on_time_percent: float
    important_on_time_percent: float
    safety_score: float
    generation_ms: float
    request: bytes | None
    answer: bytes | None
    payload_sha256: str
    rollout_version: int = 0
    is_forced: bool = False
    job_list_sha256: str | None = None
    evaluations: tuple[EvaluationRecord, ...] = ()
    claim: ClaimMark | None = None

    def to_bytes(self) -> bytes:
        """The record as one spool payload; `from_bytes` gives it back unchanged."""
        fields: dict[str, Any] = asdict(replace(self, evaluations=()))
        fields["evaluations"] = [evaluation.to_bytes().decode() for evaluation in self.evaluations]
        fields["created_at"] = self.created_at.isoformat()
        for name in ("request", "answer"):
            fields[name] = _packed(fields[name])
        if self.claim is not None:
            fields["claim"]["answer"] = _packed(self.claim.answer)
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> DecisionRecord:
        """The record of one spool payload. Raises `ValueError` or `TypeError` if it is not one."""
        return cls.from_fields(json.loads(payload))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> DecisionRecord:
        """The record from its JSON object. Raises `ValueError` or `TypeError` if it is not one."""
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        earlier = fields.get("evaluations", ())
        fields["evaluations"] = tuple(EvaluationRecord.from_fields(json.loads(text)) for text in earlier)
        for name in ("request", "answer"):
            fields[name] = _unpacked(fields[name])
        if (mark := fields.get("claim")) is not None:
            fields["claim"] = ClaimMark(**mark | {"answer": _unpacked(mark["answer"])})
        return cls(**fields)


Record = DecisionRecord | EvaluationRecord | FeedbackRecord | AuditEvent
"""Whatever travels through the spool."""


def record_of(payload: bytes) -> Record:
    """The record of one spool payload of any kind. Raises `ValueError` or `TypeError` if it is none."""
    fields = json.loads(payload)
    kind = fields.get("kind")
    for others in (EvaluationRecord, FeedbackRecord, AuditEvent):
        if kind == others.kind:
            return others.from_fields(fields)
    return DecisionRecord.from_fields(fields)


def payload_digest(request: bytes | None, answer: bytes | None) -> str:
    """SHA-256 over both bodies, each preceded by its length, so that no other split gives the same digest."""
    digest = hashlib.sha256()
    for body in (request, answer):
        digest.update(b"-" if body is None else str(len(body)).encode() + b":" + body)
    return digest.hexdigest()


def _packed(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(zlib.compress(body, 1)).decode()


def _unpacked(text: str | None) -> bytes | None:
    return None if text is None else zlib.decompress(base64.b64decode(text))
