"""Arms are asked in turn, each proposal meets the same judge, and what came of each is kept; for how long either."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.errors import (
    JudgeFailed,
    JudgeUnavailable,
    NoSafeSchedule,
    Overloaded,
    ProposalFailed,
    ProposalShed,
    Rejection,
    TemporarilyUnavailable,
)
from deployments.persistence.decisions.records import EvaluationStatus
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.ramp.traffic import RULE, Arm
from deployments.scheduling.ports import Judge, Proposal, ProposalCall, Proposer
from env.errors import HorizonExceeded, InvalidProblem
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Verdict, ViolationCode, quantity
from env.problem import Problem
from env.schedule import Schedule

if TYPE_CHECKING:
    # A shadow process knows nothing of the wire.
    from deployments.contracts.translation.problem import Question

MAX_REASON_LENGTH = 500
PLANNERS_OWN = "planner's own plan"
JUDGING_SECONDS = 1.5
ANSWER_SECONDS = 1.0
ANSWER_SECONDS_PER_OPERATION = 0.001
MAX_CALLS = 3
MAX_REPEATS = 10.0
REPEATS_PER_ANSWER = 0.1
Result = TypeVar("Result")
# While others are answered, whoever waits looks this often whether they still are.
_SLICE_SECONDS = 0.1
_RETRY_AFTER_SECONDS = 2
_log = logging.getLogger(__name__)


class Patience:
    """How long the arms and the judge may take for one request, so that its answer is there in time whatever dies.

    An answer has its time budget, `ANSWER_SECONDS`, and a term in operations. A policy is waited for until half of
    what comes on top of the budget is left. The other half is for the rule and for verdicts, and a quarter is the
    least that any verdict gets.
    """

    def __init__(self, budget_ms: int, operations: int, clock: Callable[[], float]) -> None:
        on_top = ANSWER_SECONDS + ANSWER_SECONDS_PER_OPERATION * operations
        self._clock = clock
        self._end = clock() + budget_ms / 1000 + on_top
        self._half, self._quarter = on_top / 2, on_top / 4

    def proposal_seconds(self) -> float:
        """How long a policy may still take for its proposal."""
        return max(0.0, self._end - self._half - self._clock())

    def verdict_seconds(self, *, is_last: bool) -> float:
        """How long a verdict may take now; one that is not the last leaves time for another."""
        end = self._end if is_last else self._end - self._quarter
        return max(self._quarter, end - self._clock())


class RepeatAllowance:
    """How many questions may be asked a second time while the first call still runs: a few at once, then one in ten.

    Whoever is overloaded would otherwise get twice the work.
    """

    def __init__(self) -> None:
        self._left = MAX_REPEATS

    def earn(self) -> None:
        """A question was answered."""
        self._left = min(MAX_REPEATS, self._left + REPEATS_PER_ANSWER)

    def spend(self) -> bool:
        """Whether one may be asked again now."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


async def first_answer(
    ask: Callable[[], Coroutine[Any, Any, Result]],
    seconds: float,
    *,
    is_worth_waiting: Callable[[], bool],
    allowance: RepeatAllowance,
) -> Result:
    """The first answer to a question that is asked again, besides, of somebody else while nobody answers.

    Raises what was raised when no call is left, and `TimeoutError` after `seconds`; later only for as long as
    `is_worth_waiting`, which is asked again and again.
    """
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    end, calls, made = begun_at + seconds, set[asyncio.Task[Result]](), 0
    try:
        while True:
            now = loop.time()
            if now >= end and not is_worth_waiting():
                raise TimeoutError
            if made < MAX_CALLS and now >= begun_at + made * seconds / 2:
                if not made or allowance.spend():
                    calls.add(asyncio.create_task(ask()))
                made += 1
            next_at = begun_at + made * seconds / 2 if made < MAX_CALLS else end
            pause = _SLICE_SECONDS if now >= end else min(end, next_at) - now
            done, calls = await asyncio.wait(calls, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            failures = [_failure_of(call) for call in done]
            for call, failure in zip(done, failures, strict=True):
                if failure is None:
                    allowance.earn()
                    return call.result()
            if not calls:
                raise next(filter(None, failures))
    finally:
        for call in calls:
            call.cancel()


def _failure_of(call: asyncio.Task[Any]) -> BaseException | None:
    return TimeoutError("called off at the far side") if call.cancelled() else call.exception()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one arm made of a request. `proposal` and `verdict` are None where it came to none.

    `baseline` is where a manual plan came from; `reason` says why the attempt may not be served, and `source`
    names the replica that was lost with it, if one was. An arm that was late works on as `pending`, which comes to
    the attempt that it was after all; None where nothing is still to come.
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
    pending: asyncio.Task[Attempt] | None = field(default=None, compare=False, repr=False)

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
    """All attempts on one request, in order, each arm at most once; the last one is valid, and `served`.

    `settled` are those of which nothing is still to come; `fallback_reason` is why the arm that was asked first did not
    serve, None when it did.
    """

    all: tuple[Attempt, ...]
    warnings: tuple[str, ...] = ()
    withdrawn: str | None = None
    served: Attempt = field(init=False)
    settled: tuple[Attempt, ...] = field(init=False)
    fallback_reason: str | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "served", self.all[-1])
        object.__setattr__(self, "settled", tuple([attempt for attempt in self.all if attempt.pending is None]))
        object.__setattr__(self, "fallback_reason", self.withdrawn or self.all[0].reason)

    def searched_seconds(self, budget_ms: int) -> float:
        """How much of a time budget was used: none by a rule, and less than all where a search ended early."""
        taken = [attempt.proposal_seconds or 0.0 for attempt in self.all if not attempt.arm.is_rule]
        return sum([min(budget_ms / 1000, seconds) for seconds in taken])

    def call_off(self) -> None:
        """Nobody wants to know any more what is still to come."""
        _call_off(self.all)


@dataclass(slots=True, kw_only=True)
class Turn:
    """The arm whose proposal a request is waiting for, in its queue or while it works; None: nobody's."""

    arm: Arm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What holds for each arm that is asked about one request. `patience` is None where somebody else watches."""

    budget_ms: int
    recent: tuple[BoundedMakespan, ...]
    job_list: str = ""
    patience: Patience | None = None
    turn: Turn = field(default_factory=Turn)


class ArmRunner:
    """Asks arms for proposals and has them judged: on the served path, and in shadow.

    `proposal_seconds` is the limit beyond the request's own time budget after which an arm has crashed, None where
    somebody else watches it; the rule has none, since nobody could take over from it: it has the request's own time.
    On the served path manual takes over long before (`Patience`), and the arm may end in peace. `judge_answered_at` is
    when the judge answered anybody last, by the event loop's clock: while it does, verdicts are waited for. Where
    nobody waits for an answer (`is_waited_for`), arms and judge have all the time that they take.
    """

    def __init__(
        self,
        proposer_of: Callable[[Arm], Proposer],
        judge: Judge,
        *,
        proposal_seconds: float | None,
        stopwatch: Callable[[], float] = time.perf_counter,
        judge_answered_at: Callable[[], float | None] = lambda: None,
        is_waited_for: bool = True,
    ) -> None:
        self._proposer_of = proposer_of
        self._judge = judge
        self._proposal_seconds = proposal_seconds
        self._stopwatch = stopwatch
        self._judge_answered_at = judge_answered_at
        self._is_waited_for = is_waited_for
        self._repeats = RepeatAllowance()

    async def first_safe(
        self,
        question: Question,
        order: tuple[Arm, ...],
        budget_ms: int,
        recent: tuple[BoundedMakespan, ...],
        job_list: str = "",
        turn: Turn | None = None,
    ) -> Attempts:
        """The attempts up to the first one that the judge accepts; `job_list` is the digest of what is planned.

        When it raises, or is called off, `turn` names the arm that had not answered. Whoever serves, what is wrong with
        the planner's own plan is a warning.
        Raises `NoSafeSchedule` when there is none, `InvalidProblem` when the calendar cannot hold the work or no arm
        meets the pins of the request, and what says that asking again may help: `Overloaded`, `JudgeUnavailable`.
        """
        problem, planned = question.problem, question.planned
        clock = asyncio.get_running_loop().time
        patience = Patience(budget_ms, len(problem.operations), clock) if self._is_waited_for else None
        terms = _Terms(budget_ms=budget_ms, recent=recent, job_list=job_list, patience=patience, turn=turn or Turn())
        # Beside the first arm at work, because the answer must not wait for it.
        own = None if planned is None else asyncio.create_task(self._own(RULE, problem, planned, terms))
        attempts: list[Attempt] = []
        try:
            for arm in order:
                attempts.append(await self._of_arm(arm, problem, own, terms))
                if attempts[-1].is_valid:
                    return Attempts(all=tuple(attempts), warnings=await _own_warnings(own))
                _log.warning("arm %s did not serve: %s", arm.name, attempts[-1].reason)
            _refuse_unmet_pins(problem, attempts)
            raise NoSafeSchedule(tuple(map(_rejection, attempts)))
        except BaseException:
            _call_off(attempts)
            raise
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
        """What one arm makes of the problem, judged, however long it takes.

        The manual arm is the planner's own plan `planned` if there is one that the judge accepts, else the rule.
        Raises as `first_safe` does, but for `NoSafeSchedule`.
        """
        terms = _Terms(budget_ms=budget_ms, recent=recent)
        own = None if planned is None or not arm.is_rule else self._own(arm, problem, planned, terms)
        return await self._of_arm(arm, problem, own, terms)

    async def _of_arm(self, arm: Arm, problem: Problem, own: Awaitable[Attempt] | None, terms: _Terms) -> Attempt:
        if arm.is_rule and own is not None:
            planners = await own
            if planners.is_valid:
                return replace(planners, arm=arm)
        return await self._attempt(arm, problem, terms)

    async def _own(self, arm: Arm, problem: Problem, planned: Schedule, terms: _Terms) -> Attempt:
        proposal = Proposal(schedule=planned, method=(PLANNERS_OWN,))
        made = Attempt(arm=arm, status=EvaluationStatus.UNJUDGED, proposal=proposal, baseline=Baseline.PLANNER)
        return await self._judged(made, problem, terms, is_last=False)

    async def _attempt(self, arm: Arm, problem: Problem, terms: _Terms) -> Attempt:
        terms.turn.arm = arm
        made = await self._in_time(arm, problem, terms)
        terms.turn.arm = None
        return made if made.proposal is None else await self._judged(made, problem, terms, is_last=arm.is_rule)

    async def _in_time(self, arm: Arm, problem: Problem, terms: _Terms) -> Attempt:
        """As `_proposed`; one that is late, or has not begun, when there is no more time to wait."""
        call = ProposalCall(job_list=terms.job_list)
        proposing = asyncio.create_task(self._proposed(arm, problem, terms.budget_ms, call))
        # The rule is the last resort: there is nobody to take over from it.
        patience = None if arm.is_rule else terms.patience
        seconds = None if patience is None else patience.proposal_seconds()
        is_given_up = False
        try:
            await asyncio.wait({proposing}, timeout=seconds)
            if not proposing.done():
                is_given_up = call.has_begun
                return _late(arm, proposing) if is_given_up else _not_begun(arm)
        finally:
            if not is_given_up:
                proposing.cancel()
        return proposing.result()

    async def _proposed(self, arm: Arm, problem: Problem, budget_ms: int, call: ProposalCall) -> Attempt:
        """An attempt that nobody has judged yet, or one that failed."""
        started = self._stopwatch()
        seconds = None if arm.is_rule else self._proposal_seconds
        limit = None if seconds is None else seconds + budget_ms / 1000
        try:
            async with asyncio.timeout(limit):
                proposal = await self._proposer_of(arm).propose(problem, budget_ms, call)
        except TimeoutError:
            reason = f"no proposal: took longer than {limit:g} s"
            return Attempt(arm=arm, status=EvaluationStatus.TIMED_OUT, reason=reason)
        except ProposalFailed as failure:
            return _failed(arm, failure)
        except HorizonExceeded as failure:
            if arm.is_rule:
                raise InvalidProblem([("jobs", str(failure))]) from failure
            return _failed(arm, failure)
        taken = self._stopwatch() - started
        return Attempt(arm=arm, status=EvaluationStatus.UNJUDGED, proposal=proposal, proposal_seconds=taken)

    async def _judged(self, made: Attempt, problem: Problem, terms: _Terms, *, is_last: bool) -> Attempt:
        """The attempt with its verdict. One without, when another plan may still be judged; else `JudgeUnavailable`."""
        assert made.proposal is not None, "what is judged was proposed"
        started = self._stopwatch()
        try:
            verdict = await self._verdict(problem, made.proposal.schedule, terms, is_last=is_last)
        except JudgeUnavailable as failure:
            if is_last or terms.patience is None:
                raise
            return _unjudged(made, failure)
        return replace(
            made,
            status=EvaluationStatus.VALID if verdict.valid else EvaluationStatus.REJECTED,
            verdict=verdict,
            reason=None if verdict.valid else objection(verdict),
            judge_seconds=self._stopwatch() - started,
        )

    async def _verdict(self, problem: Problem, schedule: Schedule, terms: _Terms, *, is_last: bool) -> Verdict:
        if terms.patience is None:
            return await self._judge.judge(problem, schedule, terms.recent)
        seconds = terms.patience.verdict_seconds(is_last=is_last)
        try:
            return await first_answer(
                lambda: self._judge.judge(problem, schedule, terms.recent),
                seconds,
                is_worth_waiting=self._is_judging,
                allowance=self._repeats,
            )
        except TimeoutError:
            message = f"the judge must answer within {seconds:.2g} s, took longer"
            raise JudgeUnavailable(message, _RETRY_AFTER_SECONDS) from None

    def _is_judging(self) -> bool:
        """Whether the judge has answered anybody a moment ago: then it is busy, not away."""
        answered_at = self._judge_answered_at()
        return answered_at is not None and asyncio.get_running_loop().time() - answered_at < JUDGING_SECONDS


def shortened(reason: str) -> str:
    """At most `MAX_REASON_LENGTH` characters of a reason."""
    return reason if len(reason) <= MAX_REASON_LENGTH else reason[: MAX_REASON_LENGTH - 1] + "…"


def objection(verdict: Verdict) -> str:
    """What the judge says against a schedule that must not be served, in one sentence."""
    critical = [violation for violation in verdict.violations if violation.is_critical]
    count = quantity(len(critical), "critical violation")
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
    status = EvaluationStatus.SHED if isinstance(failure, ProposalShed) else EvaluationStatus.FAILED
    return Attempt(arm=arm, status=status, reason=reason, source=source)


def _not_begun(arm: Arm) -> Attempt:
    return Attempt(arm=arm, status=EvaluationStatus.SHED, reason="no proposal: no replica had room for it in time")


def _late(arm: Arm, proposing: asyncio.Task[Attempt]) -> Attempt:
    reason = "no proposal in time"

    async def settled() -> Attempt:
        try:
            found = await proposing
        except Overloaded as failure:
            return _failed(arm, ProposalShed(str(failure)))
        if found.proposal is None:
            return found
        return replace(found, status=EvaluationStatus.LATE, reason=f"{reason}: it took {found.proposal_seconds:.3g} s")

    pending = asyncio.create_task(settled())
    return Attempt(arm=arm, status=EvaluationStatus.LATE, reason=reason, pending=pending)


def _unjudged(made: Attempt, failure: JudgeUnavailable) -> Attempt:
    """A plan that the judge failed on is not like one for which it had no time."""
    is_failure = isinstance(failure, JudgeFailed)
    return replace(
        made,
        status=EvaluationStatus.UNJUDGED if is_failure else EvaluationStatus.LATE,
        reason=shortened(str(failure)),
        source=failure.source if isinstance(failure, JudgeFailed) else None,
    )


def _call_off(attempts: Iterable[Attempt]) -> None:
    for attempt in attempts:
        if attempt.pending is not None:
            attempt.pending.cancel()


def _rejection(attempt: Attempt) -> Rejection:
    violations = () if attempt.verdict is None else attempt.verdict.violations
    return Rejection(arm=attempt.arm.name, reason=attempt.reason or "", violations=violations)
