"""What the shadow process does with one request: the arm that did not serve, proposed and judged here.

The schedule that was served is judged once more as well: by another process, with nothing of the first verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments.persistence.decisions.records import EvaluationStatus
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.ramp.traffic import Arm
from deployments.scheduling.arms import PLANNERS_OWN, objection, shortened
from deployments.scheduling.ports import Proposal
from env.errors import GantryError
from env.judge.anomalies import AnomalyLimits
from env.judge.judge import judge
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.policy.predictor import Predictor
from models.search.anytime import search


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowWork:
    """What is to be computed: `arm` on `problem`, with the budget and the limit of the served path."""

    problem: Problem
    planned: Schedule | None
    served: Schedule
    arm: Arm
    recent: tuple[int, ...]
    budget_ms: int
    limit_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowEvaluation:
    """What came of it. `served_objection` is what is wrong with the schedule that was served, None: nothing."""

    status: EvaluationStatus
    reason: str | None = None
    proposal: Proposal | None = None
    verdict: Verdict | None = None
    baseline: Baseline = Baseline.RULE
    source: str | None = None
    proposal_seconds: float | None = None
    judge_seconds: float | None = None
    served_objection: str | None = None


class ShadowEvaluator:
    """Blocking, and as slow as the arm is. `predictor_of` loads the policy of an arm."""

    def __init__(
        self,
        predictor_of: Callable[[Arm], Predictor],
        limits: AnomalyLimits,
        *,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._predictor_of = predictor_of
        self._limits = limits
        self._stopwatch = stopwatch

    def compute(self, work: ShadowWork) -> ShadowEvaluation:
        """Never raises for what the arm does wrong: that is the result."""
        served = judge(work.problem, work.served, self._limits)
        wrong = None if served.valid else objection(served)
        if work.arm.is_rule and work.planned is not None:
            own = Proposal(schedule=work.planned, method=(PLANNERS_OWN,))
            found = self._judged(work, own, None, Baseline.PLANNER, wrong)
            if found.status is EvaluationStatus.VALID:
                return found
        started = self._stopwatch()
        try:
            proposal = self._proposal(work)
        except Exception as error:  # the edge of the arm: whatever it raised is what it made of the request
            cause = str(error) if isinstance(error, GantryError) else f"{type(error).__name__}: {error}"
            reason = shortened(f"no proposal: {cause}")
            return ShadowEvaluation(status=EvaluationStatus.FAILED, reason=reason, served_objection=wrong)
        return self._judged(work, proposal, self._stopwatch() - started, Baseline.RULE, wrong)

    def _proposal(self, work: ShadowWork) -> Proposal:
        if work.arm.is_rule:
            return Proposal(schedule=dispatch(work.problem, Rule.PLANNER), method=(Rule.PLANNER.name.lower(),))
        predictor = self._predictor_of(work.arm)
        found = search(predictor, work.problem, work.budget_ms, threads=1)
        return Proposal(
            schedule=found.schedule,
            method=found.method,
            model=predictor.model_id,
            policy_makespan_seconds=found.policy_makespan_seconds,
            gains=found.gains,
        )

    def _judged(
        self, work: ShadowWork, proposal: Proposal, seconds: float | None, baseline: Baseline, wrong: str | None
    ) -> ShadowEvaluation:
        started = self._stopwatch()
        verdict = judge(work.problem, proposal.schedule, self._limits, recent_makespans_seconds=work.recent)
        return ShadowEvaluation(
            status=EvaluationStatus.VALID if verdict.valid else EvaluationStatus.REJECTED,
            reason=None if verdict.valid else objection(verdict),
            proposal=proposal,
            verdict=verdict,
            baseline=baseline,
            proposal_seconds=seconds,
            judge_seconds=self._stopwatch() - started,
            served_objection=wrong,
        )
