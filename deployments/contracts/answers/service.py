"""The service itself on the wire: health, the audit trail, the rollout, and errors as problem details (RFC 9457)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StrictInt

from deployments.access import Client
from deployments.access.key_ring import SessionContents
from deployments.contracts.answers.planners import ComparisonAnswer
from deployments.contracts.answers.schedule import ViolationAnswer
from deployments.contracts.requests.wire import INTEGRAL, AnswerModel, Boolean, Text, WireModel
from deployments.persistence.decisions.records import AuditEvent
from deployments.settings.service import Settings

Status = Literal["healthy", "degraded", "unhealthy"]
MEDIA_TYPE = "application/problem+json"
Version = Annotated[StrictInt, Field(ge=0), INTEGRAL]


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


class SessionAnswer(AnswerModel):
    """Who is signed in, and what for."""

    actor: str = Field(description="the name of the key")
    client: str
    scopes: list[str]
    plants: list[str] | None = Field(description="the plants of the key; null: all")
    csrf_token: str | None = Field(
        description="belongs into the header X-CSRF-Token of whatever changes something by the cookie; null without one"
    )
    expires_at: datetime | None = Field(description="when the session ends; null without one")
    zone: str = Field(description="the plant's time zone")
    environment: str

    @classmethod
    def of(cls, client: Client, contents: SessionContents | None, settings: Settings) -> Self:
        """The answer about `client`; `contents` are those of its cookie, None without one."""
        return cls(
            actor=client.actor,
            client=client.name,
            scopes=sorted(client.scopes),
            plants=None if client.plants is None else sorted(client.plants),
            csrf_token=None if contents is None else contents.csrf_token,
            expires_at=None if contents is None else contents.expires_at,
            zone=settings.plant_timezone,
            environment=settings.environment.value,
        )


class DemoDataAnswer(AnswerModel):
    """Ready requests, for `GET /v1/demo-data/{name}`."""

    names: list[str]


class AuditEventAnswer(AnswerModel):
    """One act of one actor."""

    event_id: str
    occurred_at: datetime
    actor: str = Field(description="the name of the key, or who ran the command")
    client: str | None
    key_id: str | None
    action: str = Field(description="the operation of this document, or the command")
    target: str
    status: int | None = Field(description="what the actor was answered; null for a command, or nobody was there")
    request_id: str | None
    detail: str | None = Field(description="what the actor gave, its beginning")


class AuditPage(AnswerModel):
    """Events, newest first; `next_cursor` is null on the last page."""

    events: list[AuditEventAnswer]
    next_cursor: str | None


def audit_event_answer(event: AuditEvent) -> AuditEventAnswer:
    """The event in the words of the wire."""
    return AuditEventAnswer(**asdict(event))


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
    in_force: str | None = Field(default=None, description="for 409 of a release: the schedule that is in force")
    wanted: str | None = Field(default=None, description="for 409 of a release: the schedule that was to be in force")
    differences: ComparisonAnswer | None = Field(
        default=None, description="for 409 of a release: what `wanted` would change against `in_force`"
    )


class OrderRequest(WireModel):
    """An order to the rollout, and why."""

    model_config = ConfigDict(extra="forbid")

    reason: Text
    expected_version: Version | None = Field(
        None, description="the version that was looked at; another one is refused with 409. Absent: any"
    )


class PromotionRequest(OrderRequest):
    """One stage up, or after a rollback the next ramp from shadow."""

    force: Boolean = Field(
        False,
        description="skips minimum durations and missing evidence; never a breach, a trigger or what windows show",
    )


class RollbackRequest(OrderRequest):
    """Manual at once; `expected_version` is ignored."""

    force: Boolean = Field(False, description="ignored")


class RegistrationRequest(WireModel):
    """A policy that lies in a folder of GANTRY_MODELS_FOLDER."""

    model_config = ConfigDict(extra="forbid")

    folder: Text = Field(pattern=r"^[A-Za-z0-9_@.-]+$", description="its name, without a path")


class ActivationRequest(OrderRequest):
    """Which policies are compared from now on."""

    champion: Text | None = Field(
        None, description="what serves so far: manual or a model id; absent: as it is, from full the active policy"
    )
    force: Boolean = Field(False, description="keeps the stage instead of beginning the next ramp in shadow")


class StateAnswer(AnswerModel):
    """Where the rollout stands after an order."""

    version: int | None = Field(description="null when the controller has not taken the order yet")
    ramp: int | None
    stage: str
    held_stage: str | None
    share: float = Field(description="the challenger's part of the planning windows, 0 to 1")
    challenger: str | None
    champion: str | None
    changed_at: datetime
    detail: str


class RolloutAnswer(AnswerModel):
    """Everything that an operator looks at. Rates, increases and shares are fractions."""

    version: int
    ramp: int = Field(description="attempts from shadow; guardrails begin anew with each, evidence with other arms")
    stage: str
    held_stage: str | None = Field(description="the stage whose share stays while paused")
    held_back: list[str] = Field(
        [], description="kinds of lists that stay on the champion: the challenger was shown to be worse there"
    )
    serving_stage: str
    share: float = Field(description="target: the challenger's part of the planning windows, 0 to 1")
    actual_share: float | None = Field(
        description="its part of what was served in this stage; null before anything was"
    )
    seed: str
    challenger: str
    champion: str
    configuration_hash: str
    changed_at: datetime
    stage_since: datetime
    stage_seconds: float
    seconds_in_stage: float
    is_dry_run: bool
    is_owner: bool = Field(description="whether orders to the rollout are taken here; rollback always is")
    owner: str | None = Field(description="the service that takes them: its host and GANTRY_ROLLOUT_FOLDER")
    configuration: dict[str, Any] = Field(description="what each stage demands")
    gate: dict[str, Any] = Field(
        description="verdict PROMOTE, HOLD, FUTILE, ROLLBACK, INVALID or COMPLETE, its reasons, and the evidence: for "
        "each question how many to 1, how many are needed, after how many windows (plant, line, day)"
    )
    guardrails: list[dict[str, Any]] = Field(description="each rule with value, limit, n and condition")
    triggers: list[dict[str, Any]] = Field(description="what has fired in this ramp")
    routers: list[dict[str, Any]] = Field(description="when each was heard, and whether it holds a latch")


class EventsAnswer(AnswerModel):
    """The audit trail, newest first."""

    transitions: list[dict[str, Any]]
    incidents: list[dict[str, Any]]


class ModelAnswer(AnswerModel):
    """One policy."""

    model_id: str
    sha256: str = Field(description="of its manifest, which names the hashes of its files")
    created_at: str
    role: str = Field(description="challenger, champion or idle")
    is_published: bool = Field(description="whether the service was started with it")
    results: dict[str, Any]


class ModelsAnswer(AnswerModel):
    """All policies, the published one first."""

    models: list[ModelAnswer]
