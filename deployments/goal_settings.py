"""The settings of the goals: what the plant expects of the policy, as the rollout's report reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from deployments.setting_types import PercentThreshold, Threshold

if TYPE_CHECKING:
    from deployments.rollout.goals import Goal


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
        from deployments.rollout.goals import GOALS

        targets = ((goal, getattr(self, f"goal_{goal.name}", goal.target)) for goal in GOALS)
        return tuple(replace(goal, target=target) for goal, target in targets if target is not None)
