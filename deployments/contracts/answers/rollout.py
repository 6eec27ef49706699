"""The bodies and answers of the rollout's routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictInt

from deployments.contracts.requests.wire import INTEGRAL, AnswerModel, Boolean, Text, WireModel

Version = Annotated[StrictInt, Field(ge=0), INTEGRAL]


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
