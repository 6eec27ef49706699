"""What the shadow process does with one request: the arm that did not serve, proposed and judged here.

The schedule that was served is judged once more as well: by another process, with nothing of the first verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments.errors import ProposalFailed
from deployments.rollout.ramp.traffic import Arm
from deployments.scheduling.arms import ArmRunner, Attempt, objection
from deployments.scheduling.ports import Proposal, ProposalCall, planners_proposal, policy_proposal
from env.errors import GantryError
from env.judge.anomalies import AnomalyLimits, BoundedMakespan
from env.judge.judge import judge
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule
from models.policy.predictor import Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowWork:
    """What is to be computed: `arm` on `problem`, with the budget and the limit of the served path."""

    problem: Problem
    planned: Schedule | None
    served: Schedule
    arm: Arm
    recent: tuple[BoundedMakespan, ...]
    budget_ms: int
    limit_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowEvaluation:
    """What came of it. `served_objection` is what is wrong with the schedule that was served, None: nothing."""

    attempt: Attempt
    served_objection: str | None = None


class ShadowEvaluator:
    """As slow as the arm is, and it blocks its loop. `predictor_of` loads the policy of an arm."""

    def __init__(
        self,
        predictor_of: Callable[[Arm], Predictor],
        limits: AnomalyLimits,
        *,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._judge = _LocalJudge(limits)
        self._runner = ArmRunner(
            lambda arm: _LocalProposer(arm, predictor_of), self._judge, proposal_seconds=None, stopwatch=stopwatch
        )

    async def compute(self, work: ShadowWork) -> ShadowEvaluation:
        """Never raises for what the arm does wrong: that is the result."""
        served = await self._judge.judge(work.problem, work.served, ())
        attempt = await self._runner.attempt(work.arm, work.problem, work.planned, work.budget_ms, work.recent)
        return ShadowEvaluation(attempt=attempt, served_objection=None if served.valid else objection(served))


class _LocalProposer:
    """An arm in this process."""

    def __init__(self, arm: Arm, predictor_of: Callable[[Arm], Predictor]) -> None:
        self._arm = arm
        self._predictor_of = predictor_of

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:  # noqa: ARG002
        """Raises `ProposalFailed`, whatever the arm raised: here the rule may fail like any other arm."""
        try:
            if self._arm.is_rule:
                return planners_proposal(problem)
            return policy_proposal(self._predictor_of(self._arm), problem, budget_ms, threads=self._arm.search_threads)
        except Exception as error:  # the edge of the arm: whatever it raised is what it made of the request
            cause = str(error) if isinstance(error, GantryError) else f"{type(error).__name__}: {error}"
            raise ProposalFailed(cause) from error


class _LocalJudge:
    """The judge in this process."""

    def __init__(self, limits: AnomalyLimits) -> None:
        self._limits = limits

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...]) -> Verdict:
        """The verdict."""
        return judge(problem, schedule, self._limits, recent_makespans=recent)
