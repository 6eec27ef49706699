"""The arms that did not serve: what their process computes, and the router's bounded queue and task of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from deployments.errors import JournalUnavailable, ProposalFailed
from deployments.persistence.decisions.records import EvaluationRecord, EvaluationStatus
from deployments.rollout.analysis.outcomes import Alarm, Baseline, LossCause
from deployments.rollout.analysis.recomputations import Recomputation, RecomputationSample
from deployments.rollout.assignment import is_sampled
from deployments.rollout.ramp.traffic import Arm, Rollout
from deployments.runtime.background import BackgroundTask, DetachedTasks
from deployments.scheduling.arms import ArmRunner, Attempt, objection
from deployments.scheduling.evaluations import (
    ShadowTask,
    count_changes,
    dropped_record,
    evaluation_events,
    evaluation_records,
    missing_pair,
    pair_events,
    recomputation,
    with_repetition,
)
from deployments.scheduling.ports import Journal, Proposal, ProposalCall, planners_proposal, policy_proposal
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


# The process may take the arm's limit to start and again to answer, and both once more when it dies of the question.
_LIMITS = 4
# Beyond that, for waiting behind other routers and for travelling.
PATIENCE_SECONDS = 30.0
_LOST = (EvaluationStatus.DROPPED, EvaluationStatus.SHED)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBounds:
    """`share` of the requests (0 to 1) are compared; at most `max_tasks` with `max_jobs` in all may wait."""

    share: float = 1.0
    max_tasks: int = 64
    max_jobs: int = 100_000
    proposal_seconds: float = 45.0


class ShadowQueue(BackgroundTask):
    """`offer` never waits. What has no room is dropped, counted, and reported as a missing pair.

    `compute` asks the Counterfactual deployment and gives back what came of it, failures included.
    """

    def __init__(
        self,
        compute: Callable[[ShadowWork], Awaitable[ShadowEvaluation]],
        *,
        journal: Journal,
        rollout: Rollout,
        bounds: QueueBounds,
        clock: Callable[[], datetime],
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__("counterfactuals", self._evaluate_next)
        self._compute = compute
        self._journal = journal
        self._rollout = rollout
        self._bounds = bounds
        self._clock = clock
        self._has_room = has_room
        self._waiting: deque[ShadowTask] = deque()
        self._waiting_jobs = 0
        self._arrived = asyncio.Event()
        self._keeping = DetachedTasks()
        self._sample = RecomputationSample()
        self.dropped = 0
        self.computed = 0

    def is_sampled(self, decision_id: str) -> bool:
        """Whether it is of the share that is compared."""
        return is_sampled(decision_id, self._bounds.share)

    def offer(self, shadow_task: ShadowTask) -> None:
        """Take it, or drop it and count; what is not sampled is left out."""
        if not shadow_task.context.is_sampled:
            return
        jobs = self._waiting_jobs + shadow_task.context.job_count
        if len(self._waiting) >= self._bounds.max_tasks or (self._waiting and jobs > self._bounds.max_jobs):
            self._drop(shadow_task, "the queue of counterfactuals is full")
            return
        self._waiting.append(shadow_task)
        self._waiting_jobs = jobs
        self._arrived.set()

    async def _evaluate_next(self) -> None:
        if not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        shadow_task = self._waiting.popleft()
        self._waiting_jobs -= shadow_task.context.job_count
        # Whatever it meets, a task that is lost is a missing pair.
        try:
            await self._evaluate(shadow_task)
        except Exception as error:
            _log.exception("the counterfactual of %s is lost", shadow_task.context.decision_id)
            self._drop(shadow_task, f"{type(error).__name__}: {error}")

    async def _evaluate(self, shadow_task: ShadowTask) -> None:
        served = shadow_task.attempts.served
        assert served.proposal is not None, "what is served was proposed"
        budget_ms = shadow_task.context.budget_ms
        work = ShadowWork(
            problem=shadow_task.question.problem,
            planned=shadow_task.question.planned,
            served=served.proposal.schedule,
            arm=shadow_task.arm,
            recent=shadow_task.recent,
            budget_ms=budget_ms,
            limit_seconds=self._bounds.proposal_seconds + budget_ms / 1000,
        )
        try:
            async with asyncio.timeout(_LIMITS * work.limit_seconds + PATIENCE_SECONDS):
                found = await self._compute(work)
        except TimeoutError:
            self._drop(shadow_task, "the counterfactual did not come to its turn")
            return
        if found.attempt.status in _LOST:
            self._drop(shadow_task, found.attempt.reason or found.attempt.status.value)
            return
        self.computed += 1
        await count_changes(shadow_task.context, (found.attempt,))
        record = self._tell(shadow_task, found)
        try:
            again = await self._compute_again(shadow_task, work)
            record = record if again is None else with_repetition(record, again)
        finally:
            # Also at the end of the router, which does not wait for what is computed again.
            await self._keep(record)

    def _tell(self, shadow_task: ShadowTask, found: ShadowEvaluation) -> EvaluationRecord:
        """Tells what was found, and gives the row that is still to be kept."""
        both, served = (*shadow_task.attempts.all, found.attempt), shadow_task.attempts.served
        self._alarm(shadow_task, found)
        events = evaluation_events(shadow_task.context, both, served)
        for event in events:
            if event.arm is shadow_task.arm.role:
                self._rollout.observe(event)
        for pair in pair_events(shadow_task.context, events):
            self._rollout.observe(pair)
        return evaluation_records(shadow_task.context, both, served)[-1]

    async def _compute_again(self, shadow_task: ShadowTask, work: ShadowWork) -> Recomputation | None:
        """Has the served plan computed once more where the other arm was, if it is of the sample and there is room.

        A planner's own plan is not computed at all. What comes of it besides the plan says nothing about the arm.
        """
        context, served = shadow_task.context, shadow_task.attempts.served
        is_busy = len(self._waiting) > self._bounds.max_tasks // 2
        if is_busy or served.baseline is Baseline.PLANNER or served.arm.name != context.assigned.arm.name:
            return None
        if not self._sample.takes(context.decision_id, context.assigned.assignment.unit, context.created_at):
            return None
        try:
            async with asyncio.timeout(_LIMITS * work.limit_seconds + PATIENCE_SECONDS):
                again = await self._compute(replace(work, arm=served.arm, planned=None))
        except Exception as error:  # the pair is told already, and must not be lost to this
            _log.warning("the plan of %s could not be computed again: %s", context.decision_id, error)
            return None
        event = recomputation(context, served, again.attempt)
        if event is not None:
            self._rollout.observe(event)
        return event

    def _alarm(self, shadow_task: ShadowTask, found: ShadowEvaluation) -> None:
        if found.served_objection is None:
            return
        assigned = shadow_task.context.assigned
        _log.error(
            "the schedule %s was served and is wrong: %s", shadow_task.context.decision_id, found.served_objection
        )
        self._rollout.observe(
            Alarm(
                decision_id=shadow_task.context.decision_id,
                at=self._clock(),
                ramp=assigned.ramp,
                stage=assigned.assignment.stage,
                corruption=None,
                detail=found.served_objection,
            )
        )

    def _drop(self, shadow_task: ShadowTask, reason: str) -> None:
        self.dropped += 1
        self._rollout.observe(missing_pair(shadow_task.context, LossCause.DROPPED, reason, self._clock()))
        record = dropped_record(shadow_task.context, shadow_task.arm, EvaluationStatus.DROPPED, reason)
        self._keeping.start(self._keep(record), "dropped counterfactual")

    async def _keep(self, record: EvaluationRecord) -> None:
        """Into the same spool as decisions, as long as they do not need the room."""
        if not self._has_room():
            self.dropped += 1
            return
        try:
            await self._journal.append(record)
        except JournalUnavailable as failure:
            self.dropped += 1
            _log.warning("an evaluation of %s is not kept: %s", record.decision_id, failure)
