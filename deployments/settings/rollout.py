"""The settings of the rollout: where it begins, what each stage demands, whom it tells, and the goals of its report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

if TYPE_CHECKING:
    from deployments.rollout.ramp.state import RampConfiguration, StageStep
    from deployments.rollout.report.goals import Goal

OFF = "off"
SECONDS_PER_HOUR = 3600.0
MIN_SECRET_CHARACTERS = 16


def none_when_off(value: object) -> object:
    """None for the word `off`, else the value itself."""
    return None if value == OFF else value


Threshold = Annotated[float | None, Field(ge=0, allow_inf_nan=False), BeforeValidator(none_when_off)]
PercentThreshold = Annotated[float | None, Field(ge=0, le=100, allow_inf_nan=False), BeforeValidator(none_when_off)]


class GoalSettings(BaseModel):
    """Part of `Settings`: the target of each goal, by its name; None leaves the goal out of the report."""

    goal_makespan_hours: Threshold = Field(45.0, description="mean planned makespan lies below")
    goal_completion_percent: PercentThreshold = Field(100.0, description="complete schedules, at least where it is 100")
    goal_utilisation_percent: PercentThreshold = Field(80.0, description="mean planned utilisation lies above")
    goal_on_time_percent: PercentThreshold = Field(95.0, description="families on time by LCD lie above")
    goal_error_percent: PercentThreshold = Field(1.0, description="crashes and critical outcomes lie below")
    goal_response_seconds: Threshold = Field(2.0, description="95th percentile of proposals lies below")
    goal_throughput_percent: Threshold = Field(15.0, description="shorter makespan in pairs, as throughput, lies above")
    goal_satisfaction_percent: PercentThreshold = Field(90.0, description="ratings of 4 or 5 lie above")
    goal_uptime_percent: PercentThreshold = Field(99.9, description="answered probes lie above")

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The goals with these targets. No critical violation is a goal that nobody may soften."""
        # Imported here: of all replicas only the routers report.
        from deployments.rollout.report.goals import GOALS

        targets = ((goal, getattr(self, f"goal_{goal.name}", goal.target)) for goal in GOALS)
        return tuple(replace(goal, target=target) for goal, target in targets if target is not None)


class RolloutSettings(BaseModel):
    """Part of `Settings`. Percentages run from 0 to 100."""

    assignment_seed: str = Field("gantry", min_length=1, max_length=64, description="seed of the split by hash")
    rollout_initial_stage: Literal["shadow", "limited", "expanded", "full"] | None = Field(
        None, description="first stage of a new database; default: full in development, shadow in production"
    )
    rollout_limited_percent: float = Field(10.0, gt=0, lt=100, description="share of PPO in the stage limited")
    rollout_expanded_percent: float = Field(50.0, gt=0, lt=100, description="share of PPO in the stage expanded")
    rollout_shadow_min_hours: float = Field(168.0, ge=0, le=87_600, description="before limited")
    rollout_limited_min_hours: float = Field(168.0, ge=0, le=87_600, description="before expanded")
    rollout_expanded_min_hours: float = Field(336.0, ge=0, le=87_600, description="before full")
    rollout_shadow_min_pairs: int = Field(100, ge=0, description="paired requests before limited")
    rollout_limited_min_pairs: int = Field(100, ge=0, description="paired requests before expanded")
    rollout_expanded_min_pairs: int = Field(100, ge=0, description="paired requests before full")
    rollout_max_missing_percent: float = Field(5.0, ge=0, le=100, description="missing pairs that promotion bears")
    rollout_min_completion_percent: float = Field(95.0, ge=70, lt=100, description="complete plans; fewer: rollback")
    rollout_max_crash_percent: float = Field(1.0, gt=0, le=50, description="crashes of the policy; more: rollback")
    rollout_max_makespan_increase_percent: float = Field(
        10.0, gt=0, le=1000, description="makespan above the champion's; more: rollback"
    )
    rollout_dry_run: bool = Field(False, description="guardrails that fire open an incident and roll nothing back")
    counterfactual_percent: float = Field(100.0, ge=0, le=100, description="requests on which both arms are computed")
    counterfactual_queue: int = Field(64, ge=1, le=10_000, description="requests that may wait for their other arm")
    webhook_url: str | None = Field(None, pattern="^https?://", description="is told of transitions and incidents")
    webhook_secret: SecretStr | None = Field(None, validate_default=True, description="signs what the webhook is told")

    @field_validator("rollout_expanded_percent")
    @classmethod
    def _is_a_ramp(cls, value: float, info: ValidationInfo) -> float:
        limited = info.data.get("rollout_limited_percent", 0.0)
        if value < limited:
            raise ValueError(f"must be at least rollout_limited_percent {limited:g}, was {value:g}")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _signs_what_it_tells(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        length = 0 if value is None else len(value.get_secret_value())
        if info.data.get("webhook_url") is not None and length < MIN_SECRET_CHARACTERS:
            needed = f"must have at least {MIN_SECRET_CHARACTERS} characters when there is a webhook_url"
            raise ValueError(f"{needed}, had {length}")
        return value

    @property
    def ramp_configuration(self) -> RampConfiguration:
        """What each stage of the ramp demands."""
        # Only the controller asks; the statistics behind it are 40 MB that no other replica needs.
        from deployments.rollout.analysis.triggers import limits_at
        from deployments.rollout.ramp.state import RampConfiguration

        return RampConfiguration(
            shadow=_step(0.0, self.rollout_shadow_min_hours, self.rollout_shadow_min_pairs),
            limited=_step(self.rollout_limited_percent, self.rollout_limited_min_hours, self.rollout_limited_min_pairs),
            expanded=_step(
                self.rollout_expanded_percent, self.rollout_expanded_min_hours, self.rollout_expanded_min_pairs
            ),
            most_missing_pairs=self.rollout_max_missing_percent / 100.0,
            limits=limits_at(
                completion=self.rollout_min_completion_percent / 100.0,
                crash_rate=self.rollout_max_crash_percent / 100.0,
                makespan_increase=self.rollout_max_makespan_increase_percent / 100.0,
            ),
        )


def _step(percent: float, hours: float, pairs: int) -> StageStep:
    from deployments.rollout.ramp.state import StageStep

    return StageStep(share=percent / 100.0, minimum_seconds=hours * SECONDS_PER_HOUR, minimum_pairs=pairs)
