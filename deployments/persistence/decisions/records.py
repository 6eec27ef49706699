"""What is stored, as plain data that knows no database: decisions, evaluations, feedback, audit events, claims."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Self
from uuid import UUID

from uuid6 import uuid7

from env.schedule import KEY_FIGURES, KeyFigures

_TIME_ORDERED = 7
MAX_DETAIL_LENGTH = 2000
MAX_PAGE_SIZE = 100
MAX_AUDIT_PAGE_SIZE = 100
_LABELLED = ("client", "plant_id", "arm")


class EvaluationStatus(StrEnum):
    """What became of an arm: a schedule that may be served, one that may not, or none at all."""

    VALID = "valid"
    REJECTED = "rejected"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DROPPED = "dropped"
    SHED = "shed"
    LATE = "late"
    UNJUDGED = "unjudged"
    UNANSWERED = "unanswered"
    CLIENT_GONE = "client_gone"


class _Record:
    """A frozen dataclass with `decision_id` and `created_at` as one spool payload."""

    kind: str

    def to_bytes(self) -> bytes:
        """The record as one spool payload; `from_fields` takes the object inside."""
        values: dict[str, Any] = {"kind": self.kind} | columns_of(self)  # type: ignore[arg-type]
        values["created_at"] = values["created_at"].isoformat()
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> Self:
        """The record from its JSON object. Raises `ValueError` or `TypeError` if it is not one."""
        values = with_figures({name: value for name, value in values.items() if name != "kind"})
        return cls(**values | {"created_at": datetime.fromisoformat(values["created_at"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord(_Record):
    """One arm on the request of one decision; the first record under (decision_id, arm) stays.

    `unit` to `job_list_sha256` are those of the decision, so that the statistics need no other row.
    `arm` is "ppo", "manual" or a model id; `role` is that of `rollout.assignment.Arm`, or "fallback" for the
    rule where both roles are models. `outcome` is a word of `rollout.outcomes`, None where nothing was
    computed; `baseline` is where the manual plan came from, `source` the replica that is to blame. `figures`
    and score are None where there is no schedule; `violations` is JSON, cut to the first ones.
    `pairing` is JSON too, and tells the statistics what a pair is compared by; rows from before 0.3.0 have None.
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
    figures: KeyFigures | None = None
    safety_score: float | None = None
    violation_count: int = 0
    violations: str = "[]"
    proposal_ms: float | None = None
    judge_ms: float | None = None
    pairing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecord(_Record):
    """What `author` (None: unknown) said of a schedule of `client`: `rating` 1 to 5; `actual_completions` is JSON."""

    kind = "feedback"

    feedback_id: str
    decision_id: str
    client: str
    created_at: datetime
    rating: int | None
    comment: str | None
    actual_completions: str = "[]"
    author: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutLease:
    """Who owns the rollout. `seconds_left` is by the database's clock, and not above 0 when the lease has expired."""

    owner_id: str
    owner_name: str
    token: int
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One act of one actor: `action` names the route or command, `target` what it was done to.

    `status` is what the actor was answered, None for a command; `detail` is what the actor gave as well.
    """

    kind: ClassVar[str] = "audit"

    event_id: str
    occurred_at: datetime
    actor: str
    client: str | None
    key_id: str | None
    action: str
    target: str
    status: int | None
    request_id: str | None
    detail: str | None

    def to_bytes(self) -> bytes:
        """The event as one spool payload; `from_fields` gives it back unchanged."""
        return json.dumps(self.to_fields() | {"kind": self.kind}).encode()

    def to_fields(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return asdict(self) | {"occurred_at": self.occurred_at.isoformat()}

    @classmethod
    def of_machine(cls, actor: str, at: datetime, action: str, target: str, detail: str | None = None) -> AuditEvent:
        """What somebody does on the machine itself, as no client."""
        return cls(
            event_id=str(uuid7()),
            occurred_at=at,
            actor=actor,
            client=None,
            key_id=None,
            action=action,
            target=target,
            status=None,
            request_id=None,
            detail=detail,
        )

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> AuditEvent:
        """The event from its JSON object. Raises `ValueError` or `TypeError` if it is not one."""
        values = {name: value for name, value in fields.items() if name != "kind"}
        return cls(**values | {"occurred_at": datetime.fromisoformat(values["occurred_at"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimKey:
    """What is claimed: the key as the client chose it, one namespace for each client and route."""

    client: str
    route: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A claim that somebody wants: the id its decision will have, the owner of the spool it will go to."""

    claim: ClaimKey
    request_sha256: str
    decision_id: str
    owner_id: str
    lease_seconds: float
    kept_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The claim is the asker's, until its lease ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """There is an answer; `body` is exactly what was answered."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Somebody is at it, or left something that is not stored yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherBody:
    """The key belongs to another request."""


ClaimOutcome = Granted | Finished | Running | OtherBody


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
    figures: KeyFigures
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

    @property
    def stored_bytes(self) -> int:
        """How many bytes of request and answer were kept: what reading the decision costs."""
        return len(self.request or b"") + len(self.answer or b"")

    def to_bytes(self) -> bytes:
        """The record as one spool payload; `from_bytes` gives it back unchanged."""
        fields: dict[str, Any] = columns_of(self)
        fields["evaluations"] = [evaluation.to_bytes().decode() for evaluation in self.evaluations]
        fields["created_at"] = self.created_at.isoformat()
        for name in ("request", "answer"):
            fields[name] = _packed(fields[name])
        if self.claim is not None:
            fields["claim"] = asdict(self.claim) | {"answer": _packed(self.claim.answer)}
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> DecisionRecord:
        """The record of one spool payload. Raises `ValueError` or `TypeError` if it is not one."""
        return cls.from_fields(json.loads(payload))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> DecisionRecord:
        """The record from its JSON object. Raises `ValueError` or `TypeError` if it is not one."""
        fields = with_figures(fields)
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        earlier = fields.get("evaluations", ())
        fields["evaluations"] = tuple(EvaluationRecord.from_fields(json.loads(text)) for text in earlier)
        for name in ("request", "answer"):
            fields[name] = _unpacked(fields[name])
        if (mark := fields.get("claim")) is not None:
            fields["claim"] = ClaimMark(**mark | {"answer": _unpacked(mark["answer"])})
        return cls(**fields)


class ReleaseAction(StrEnum):
    """What a person did to the plan in force."""

    RELEASE = "release"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRecord:
    """One step of the plan in force of a plant and line (None: no line), by `version` from 1 on.

    `decision_id` is in force from then on (None: nothing that was released), `previous_id` was until then;
    `released_version` is the release by which it is in force, 0 for none. `is_what_if` is of `decision_id`.
    """

    plant_id: str
    line_id: str | None
    version: int
    action: ReleaseAction
    decision_id: str | None
    released_version: int
    previous_id: str | None
    is_what_if: bool
    client: str
    actor: str
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInForce:
    """The plan of a plant and line: by `release`, or for want of any the newest decision that is no what-if."""

    decision: DecisionRecord
    release: ReleaseRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOrder:
    """A person's order about `decision`: `expected` is what he believes to be in force, None: nothing."""

    decision: DecisionRecord
    expected: str | None
    client: str
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFilter:
    """Which decisions a list shows; None: whatever it is, "": without any. [`since`, `until`) is when they were made.

    `is_late`: whether any of their jobs ends after its due date.
    """

    plant_id: str | None = None
    line_id: str | None = None
    request_id: str | None = None
    arm: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_late: bool | None = None


ANY_DECISION = DecisionFilter()


Record = DecisionRecord | EvaluationRecord | FeedbackRecord | AuditEvent
"""Whatever travels through the spool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPage:
    """Decisions, newest first, and the cursor of the next page (None: this is the last one)."""

    records: tuple[DecisionRecord, ...]
    next_cursor: str | None


def columns_of(record: DecisionRecord | EvaluationRecord | FeedbackRecord) -> dict[str, Any]:
    """The record as a flat object, its figures beside the rest; `with_figures` is the inverse.

    What else it is made of stays as it is: to go through it costs more than to write it.
    """
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    if "figures" in values:
        figures: KeyFigures | None = values.pop("figures")
        values |= {name: None if figures is None else getattr(figures, name) for name in KEY_FIGURES}
    return values


def with_figures(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record from a flat object; without a makespan there are no figures.

    A figure that is not there, because the record is older than it, is None.
    """
    values = dict(columns)
    if "makespan_seconds" in values:
        figures = {name: values.pop(name, None) for name in KEY_FIGURES}
        values["figures"] = None if figures["makespan_seconds"] is None else KeyFigures(**figures)
    return values


def record_of(payload: bytes) -> Record:
    """The record of one spool payload of any kind. Raises `ValueError` or `TypeError` if it is none."""
    fields = json.loads(payload)
    kind = fields.get("kind")
    for others in (EvaluationRecord, FeedbackRecord, AuditEvent):
        if kind == others.kind:
            return others.from_fields(fields)
    return DecisionRecord.from_fields(fields)


def opened_fields(payload: bytes) -> dict[str, Any]:
    """The JSON object of a spool payload with its bodies as text, for people. Raises `ValueError` if it is none."""
    fields = json.loads(payload)
    if not isinstance(fields, dict):
        raise ValueError(f"payload must be a JSON object, was {type(fields).__name__}")
    try:
        bodies = {name: _unpacked(fields[name]) for name in ("request", "answer") if name in fields}
    except (zlib.error, TypeError) as error:
        raise ValueError(f"bodies must be compressed: {error}") from error
    return fields | {name: None if body is None else body.decode(errors="replace") for name, body in bodies.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLabel:
    """What a spool payload is, for people; None is what it does not say. What is no record is called by its SHA-256."""

    record_id: str
    kind: str
    client: str | None = None
    plant: str | None = None
    arm: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.record_id} (client {self.client}, plant {self.plant}, arm {self.arm})"


def label_of(payload: bytes) -> RecordLabel:
    """The label of one spool payload, whatever it is; takes time in proportion to it."""
    try:
        fields = json.loads(payload)
        kind = fields.get("kind", "decision")
        record_id = fields["event_id" if kind == AuditEvent.kind else "decision_id"]
        if kind == FeedbackRecord.kind:
            record_id = fields["feedback_id"]
        elif kind == EvaluationRecord.kind:
            record_id = f"{record_id}/{fields['arm']}"
    except (ValueError, AttributeError, KeyError, TypeError):
        return RecordLabel(record_id=f"sha256-{hashlib.sha256(payload).hexdigest()[:16]}", kind="unreadable")
    client, plant, arm = (None if (value := fields.get(name)) is None else str(value) for name in _LABELLED)
    return RecordLabel(record_id=str(record_id), kind=str(kind), client=client, plant=plant, arm=arm)


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


def first_id(at: datetime) -> str:
    """The beginning of an id that no id made at `at` or later is less than, and every earlier one is. `at` is aware."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def made_at(decision_id: str) -> float | None:
    """Seconds since 1970 at which an id was made, None for what is no such id."""
    try:
        parsed = UUID(decision_id)
    except ValueError:
        return None
    return (parsed.int >> 80) / 1000.0 if parsed.version == _TIME_ORDERED else None
