"""The settings of the rollout: where it begins, who computes the other arm, and whom it tells."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

MIN_SECRET_CHARACTERS = 16


class RolloutSettings(BaseModel):
    """Part of `Settings`. Percentages run from 0 to 100."""

    assignment_seed: str = Field("gantry", min_length=1, max_length=64, description="seed of the split by hash")
    rollout_initial_stage: Literal["shadow", "limited", "expanded", "full"] | None = Field(
        None, description="first stage of a new database; default: full in development, shadow in production"
    )
    rollout_dry_run: bool = Field(False, description="guardrails that fire open an incident and roll nothing back")
    counterfactual_percent: float = Field(100.0, ge=0, le=100, description="requests on which both arms are computed")
    counterfactual_queue: int = Field(64, ge=1, le=10_000, description="requests that may wait for their other arm")
    webhook_url: str | None = Field(None, pattern="^https?://", description="is told of transitions and incidents")
    webhook_secret: SecretStr | None = Field(None, validate_default=True, description="signs what the webhook is told")

    @field_validator("webhook_secret")
    @classmethod
    def _signs_what_it_tells(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        length = 0 if value is None else len(value.get_secret_value())
        if info.data.get("webhook_url") is not None and length < MIN_SECRET_CHARACTERS:
            needed = f"must have at least {MIN_SECRET_CHARACTERS} characters when there is a webhook_url"
            raise ValueError(f"{needed}, had {length}")
        return value
