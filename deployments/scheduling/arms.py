"""Arms are asked in turn, each proposal meets the same judge, and what came of each is kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployments.errors import NoSafeSchedule, ProposalFailed, Rejection, TemporarilyUnavailable
from deployments.persistence.decisions.records import EvaluationStatus
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.ramp.traffic import RULE, Arm
from deployments.scheduling.ports import Judge, Proposer
from deployments.scheduling.proposals import Proposal
from env.errors import HorizonExceeded, InvalidProblem
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Verdict, ViolationCode
from env.problem import Problem
from env.schedule import Schedule

if TYPE_CHECKING:
    # A shadow process knows nothing of the wire.
    from deployments.contracts.translation.problem import Question

MAX_REASON_LENGTH = 500
PLANNERS_OWN = "planner's own plan"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one arm made of a request. `proposal` and `verdict` are None where it came to none.

    `baseline` is where a manual plan came from; `reason` says why the attempt may not be served, and `source`
    names the replica that was lost with it, if one was.
    """

    arm: Arm
    status: EvaluationStatus
    proposal: Proposal | None = None
    verdict: Verdict | None = None
    reason: str | None = None
    baseline: Baseline = Baseline.RULE
    source: str | None = None
    proposal_seconds: float | None = None
    judge_seconds: float | None = None

    @property
    def is_valid(self) -> bool:
        return self.status is EvaluationStatus.VALID

    @property
    def bounded_makespan(self) -> BoundedMakespan:
        """What the plan took beside its lower bound. Only of an attempt that was judged."""
        assert self.verdict is not None
        makespan = self.verdict.measures.makespan_seconds
        return BoundedMakespan(makespan_seconds=makespan, bound_seconds=self.verdict.bound_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """All attempts on one request, in order, each arm at most once; the last one is valid, and served."""

    all: tuple[Attempt, ...]
    warnings: tuple[str, ...] = ()
    withdrawn: str | None = None

    @property
    def served(self) -> Attempt:
        return self.all[-1]

    @property
    def fallback_reason(self) -> str | None:
        """Why the arm that was asked first did not serve; None when it did."""
        return self.withdrawn or self.all[0].reason


class ArmRunner:
    """Asks arms for proposals and has them judged: on the served path, and in shadow.

    `proposal_seconds` is the limit beyond the request's own time budget, None where somebody else watches it.
    """

    def __init__(
        self,
        proposer_of: Callable[[Arm], Proposer],
        judge: Judge,
        *,
        proposal_seconds: float | None,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._proposer_of = proposer_of
        self._judge = judge
        self._proposal_seconds = proposal_seconds
        self._stopwatch = stopwatch

    async def first_safe(
        self, question: Question, order: tuple[Arm, ...], budget_ms: int, recent: tuple[BoundedMakespan, ...]
    ) -> Attempts:
        """The attempts up to the first one that the judge accepts.

        Whoever serves, what is wrong with the planner's own plan is a warning.
        Raises `NoSafeSchedule` when there is none, `InvalidProblem` when the calendar cannot hold the work or no arm
        meets the pins of the request, and what says that asking again may help: `Overloaded`, `JudgeUnavailable`.
        """
        problem, planned = question.problem, question.planned
        # Beside the first arm at work, because the answer must not wait for it.
        own = None if planned is None else asyncio.create_task(self._own(RULE, problem, planned, recent))
        try:
            attempts: list[Attempt] = []
            for arm in order:
                attempts.append(await self._of_arm(arm, problem, own, budget_ms, recent))
                if attempts[-1].is_valid:
                    return Attempts(all=tuple(attempts), warnings=await _own_warnings(own))
                _log.warning("arm %s did not serve: %s", arm.name, attempts[-1].reason)
            _refuse_unmet_pins(problem, attempts)
            raise NoSafeSchedule(tuple(map(_rejection, attempts)))
        finally:
            if own is not None:
                own.cancel()
                await asyncio.gather(own, return_exceptions=True)

    async def replaced(
        self, question: Question, attempts: Attempts, reason: str, recent: tuple[BoundedMakespan, ...]
    ) -> Attempts:
        """The same with the rule in the end, because who served must not serve any more, for `reason`."""
        last = await self.first_safe(question, (RULE,), 0, recent)
        return Attempts(all=(*attempts.all, *last.all), warnings=last.warnings, withdrawn=reason)

    async def attempt(
        self,
        arm: Arm,
        problem: Problem,
        planned: Schedule | None,
        budget_ms: int,
        recent: tuple[BoundedMakespan, ...],
    ) -> Attempt:
        """What one arm makes of the problem, judged.

        The manual arm is the planner's own plan `planned` if there is one that the judge accepts, else the rule.
        Raises as `first_safe` does, but for `NoSafeSchedule`.
        """
        own = None if planned is None or not arm.is_rule else self._own(arm, problem, planned, recent)
        return await self._of_arm(arm, problem, own, budget_ms, recent)

    async def _of_arm(
        self,
        arm: Arm,
        problem: Problem,
        own: Awaitable[Attempt] | None,
        budget_ms: int,
        recent: tuple[BoundedMakespan, ...],
    ) -> Attempt:
        if arm.is_rule and own is not None:
            planners = await own
            if planners.is_valid:
                return replace(planners, arm=arm)
        return await self._attempt(arm, problem, budget_ms, recent)

    async def _own(self, arm: Arm, problem: Problem, planned: Schedule, recent: tuple[BoundedMakespan, ...]) -> Attempt:
        proposal = Proposal(schedule=planned, method=(PLANNERS_OWN,))
        return await self._judged(arm, problem, proposal, recent, Baseline.PLANNER)

    async def _attempt(
        self, arm: Arm, problem: Problem, budget_ms: int, recent: tuple[BoundedMakespan, ...]
    ) -> Attempt:
        started = self._stopwatch()
        limit = None if self._proposal_seconds is None else self._proposal_seconds + budget_ms / 1000
        try:
            async with asyncio.timeout(limit):
                proposal = await self._proposer_of(arm).propose(problem, budget_ms)
        except TimeoutError:
            reason = f"no proposal: took longer than {limit:g} s"
            return Attempt(arm=arm, status=EvaluationStatus.TIMED_OUT, reason=reason)
        except ProposalFailed as failure:
            return _failed(arm, failure)
        except HorizonExceeded as failure:
            if arm.is_rule:
                raise InvalidProblem([("jobs", str(failure))]) from failure
            return _failed(arm, failure)
        return await self._judged(arm, problem, proposal, recent, proposed=self._stopwatch() - started)

    async def _judged(
        self,
        arm: Arm,
        problem: Problem,
        proposal: Proposal,
        recent: tuple[BoundedMakespan, ...],
        baseline: Baseline = Baseline.RULE,
        proposed: float | None = None,
    ) -> Attempt:
        started = self._stopwatch()
        verdict = await self._judge.judge(problem, proposal.schedule, recent)
        return Attempt(
            arm=arm,
            status=EvaluationStatus.VALID if verdict.valid else EvaluationStatus.REJECTED,
            proposal=proposal,
            verdict=verdict,
            reason=None if verdict.valid else objection(verdict),
            baseline=baseline,
            proposal_seconds=proposed,
            judge_seconds=self._stopwatch() - started,
        )


def shortened(reason: str) -> str:
    """At most `MAX_REASON_LENGTH` characters of a reason."""
    return reason if len(reason) <= MAX_REASON_LENGTH else reason[: MAX_REASON_LENGTH - 1] + "…"


def objection(verdict: Verdict) -> str:
    """What the judge says against a schedule that must not be served, in one sentence."""
    critical = [violation for violation in verdict.violations if violation.is_critical]
    count = f"{len(critical):,} critical violation{'s' if len(critical) > 1 else ''}"
    return shortened(f"rejected by the judge: {count}, first {critical[0].code.value}: {critical[0].message}")


def _refuse_unmet_pins(problem: Problem, attempts: Iterable[Attempt]) -> None:
    """Raises `InvalidProblem` when all that the judge has against any arm is that pinned work comes too early.

    Whether a pin can be kept behind the work ahead of it is not proven beforehand where other work counts.
    """
    pinned = {operation.id for operation in problem.operations if operation.pin is not None}
    found = [
        violation
        for attempt in attempts
        for violation in (() if attempt.verdict is None else attempt.verdict.violations)
        if violation.is_critical
    ]
    is_judged = all(attempt.verdict is not None for attempt in attempts)
    if is_judged and all(each.code is ViolationCode.WRONG_SEQUENCE and each.operation_id in pinned for each in found):
        reasons = {each.operation_id: each.message for each in found}
        remedy = "No arm could keep this pin: pin it later, on another machine, or not at all."
        raise InvalidProblem([("jobs", f"{message} {remedy}") for message in reasons.values()])


async def _own_warnings(own: Awaitable[Attempt] | None) -> tuple[str, ...]:
    """What is wrong with the planner's own plan, whoever serves; that nobody could judge it is no reason not to."""
    if own is None:
        return ()
    try:
        planners = await own
    except TemporarilyUnavailable as failure:
        return (f"manual_schedule was not used: {failure}",)
    return () if planners.is_valid else (f"manual_schedule was not used: {planners.reason}",)


def _failed(arm: Arm, failure: Exception) -> Attempt:
    reason = shortened(f"no proposal: {failure}")
    source = failure.source if isinstance(failure, ProposalFailed) else None
    return Attempt(arm=arm, status=EvaluationStatus.FAILED, reason=reason, source=source)


def _rejection(attempt: Attempt) -> Rejection:
    violations = () if attempt.verdict is None else attempt.verdict.violations
    return Rejection(arm=attempt.arm.name, reason=attempt.reason or "", violations=violations)
