"""The policy that is shipped, as the rollout takes it."""

from __future__ import annotations

from deployments.settings.policy_file import shipped_policy

POLICY = shipped_policy()
CONFIGURATION = POLICY.ramp_configuration
LIMITS = CONFIGURATION.limits
GOALS = POLICY.report_goals
