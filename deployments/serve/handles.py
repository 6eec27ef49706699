"""The ports of the use case over Serve handles, threads and the spool."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import uuid4

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential

from deployments.errors import (
    DecisionTooLarge,
    JournalUnavailable,
    JudgeFailed,
    JudgeUnavailable,
    Overloaded,
    ProposalFailed,
    ProposalShed,
)
from deployments.persistence.decisions.records import DecisionRecord, EvaluationStatus, FeedbackRecord, Record
from deployments.persistence.decisions.repository import max_body_bytes, stored_bytes
from deployments.persistence.errors import SpoolError
from deployments.persistence.spool.dead_letters import DeadLetter
from deployments.persistence.spool.spool import Spool
from deployments.rollout.model_registry import Artefact
from deployments.runtime.background import Threads
from deployments.runtime.worker_process import FailureKind, NoResult, WorkerProcess
from deployments.scheduling.arms import Attempt
from deployments.scheduling.plan_runs import RunProgress
from deployments.scheduling.ports import Proposal, ProposalCall, planners_proposal
from deployments.scheduling.time_budget import run_blocking
from deployments.serve.policy import SearchOrder, SearchPoll, SearchReport
from deployments.serve.serialization import decode, encode, encode_problem
from deployments.shadow.queue import ShadowEvaluation, ShadowWork
from env.errors import GantryError, HorizonExceeded
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule

# Roughly what one operation takes on the wire, to tell large plants from small ones before encoding.
_BYTES_PER_OPERATION = 200
_FIRST_PAUSE_SECONDS = 0.05
_RETRY_AFTER_SECONDS = 2
# Longer than a writer that dies is away, and shorter than whoever waits for an answer.
_COMMIT_SECONDS = 5.0
UNKNOWN_REPLICA = "no replica"
_REPLICA_LOST = (RayActorError, DeploymentUnavailableError)
# The arm runs in a process beside the replica, so a replica that is lost says nothing about it.
_SHADOW_ATTEMPTS = 2
_STATUS_OF = {
    FailureKind.HUNG: EvaluationStatus.TIMED_OUT,
    FailureKind.DIED: EvaluationStatus.FAILED,
    # The arm has not even been asked.
    FailureKind.ABSENT: EvaluationStatus.DROPPED,
}
# Below whoever waits for a plan, and above what may never come to its end.
SEARCH_NICENESS = 15
_SEARCH_START_SECONDS = 300.0
_SEARCH_ASK_SECONDS = 60.0
_SEARCH_PAUSE_SECONDS = 0.5
_SEARCH_STARTS = 2
_log = logging.getLogger(__name__)


class RemoteMethod(Protocol):
    """One method of a deployment, such as `handle.propose`."""

    def remote(self, *arguments: Any) -> Awaitable[Any]:
        """The call, under way."""
        ...


class StreamedResponse(Protocol):
    """Parts of an answer, as they come."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def cancel(self) -> None:
        """Nobody wants the rest."""
        ...


class StreamingMethod(Protocol):
    """One method of a deployment that answers in parts, such as `handle.stream_proposal.options(stream=True)`."""

    def remote(self, *arguments: Any) -> StreamedResponse:
        """The call, under way."""
        ...


class RemoteFailed(Exception):
    """A call into another deployment came back without a result; the message says why.

    `source` names the replica whose loss it was, None when none was lost.
    """

    def __init__(self, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.source = source


class DeploymentAbsent(RemoteFailed):
    """No replica was asked: there is none, and Serve has given up starting any."""


class SuspectLists(Protocol):
    """Job lists that replicas died of, by their digest."""

    def is_withheld(self, job_list: str) -> bool:
        """Whether no replica is to be risked for it now: it is refused, or somebody else is trying it again."""
        ...

    def is_refused(self, job_list: str) -> bool:
        """Whether two replicas died of it a while ago."""
        ...

    def suspect(self, job_list: str) -> bool:
        """A replica died of it. Whether the caller may try it once more."""
        ...

    def acquit(self, job_list: str) -> None:
        """A replica has survived it."""
        ...

    def refuse(self, job_list: str) -> None:
        """A second replica died of it, too."""
        ...


class RemotePolicy:
    """The arm behind PPOPolicy. Proposing is pure, so a call whose replica died is made again.

    `stream` is the method `stream_proposal`: what it says first is that a replica has begun. `on_answer` is told of
    each proposal.
    """

    def __init__(
        self,
        stream: StreamingMethod,
        *,
        attempts: int,
        suspects: SuspectLists,
        on_answer: Callable[[], None] = lambda: None,
        artefact: Artefact | None = None,
        threads: int | None = None,
    ) -> None:
        self._stream = stream
        self._attempts = attempts
        self._suspects = suspects
        self._on_answer = on_answer
        # Which policy travels with each request; the published one needs no name.
        self._named = (artefact, threads) if threads is not None else () if artefact is None else (artefact,)

    def of(self, artefact: Artefact | None, threads: int | None = None) -> RemotePolicy:
        """The same replicas with the policy `artefact`, None: the published one, searching on so many threads."""
        return RemotePolicy(
            self._stream,
            attempts=self._attempts,
            suspects=self._suspects,
            on_answer=self._on_answer,
            artefact=artefact,
            threads=threads,
        )

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        """What the policy proposes. Raises `ProposalFailed`, `ProposalShed`, `Overloaded`, or the domain's own error.

        A list that two replicas died of is not sent to a third.
        """
        payload = await _packed(problem, lambda: encode_problem(problem))
        try:
            streamed = _StreamedProposal(self._stream, self._suspects, call)
            answer = await ask(streamed, payload, budget_ms, *self._named, attempts=self._attempts)
        except DeploymentAbsent as failure:
            raise ProposalShed(str(failure)) from failure
        except RemoteFailed as failure:
            raise ProposalFailed(str(failure), failure.source) from failure
        self._on_answer()
        proposal: Proposal = await run_blocking(len(answer), decode, answer)
        return proposal


class UnattendedPolicy:
    """The arm of plans that nobody waits for: in a process of low priority beside this router, one search at a time.

    It tells `progress` what it finds, and ends when that says so. A process that dies is replaced once for each search.
    `thread` is one, always the same: the process dies with it.
    """

    program = ("deployments.runtime.worker_process", "deployments.serve.policy:prepared", str(SEARCH_NICENESS))

    def __init__(
        self, process: WorkerProcess, thread: Threads, progress: RunProgress, artefact: Artefact | None = None
    ) -> None:
        self._process = process
        self._thread = thread
        self._progress = progress
        self._artefact = artefact

    def of(self, artefact: Artefact | None) -> UnattendedPolicy:
        """The same process with the policy `artefact`, None: the published one."""
        return UnattendedPolicy(self._process, self._thread, self._progress, artefact)

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        """What the policy proposes. Raises `ProposalFailed`, or the domain's own error."""
        call.has_begun = True
        payload = await _packed(problem, lambda: encode_problem(problem))
        left_ms = budget_ms
        for _ in range(_SEARCH_STARTS):
            order = SearchOrder(number=uuid4().hex, problem=payload, budget_ms=left_ms, artefact=self._artefact)
            if (await self._ask(order)) is None:
                raise ProposalFailed("the process of long searches does not start")
            begun = time.monotonic()
            while True:
                report = await self._ask(SearchPoll(number=order.number, is_stopped=self._progress.is_stopped))
                if report is None or not report.is_known:
                    break
                self._progress.best = report.best or self._progress.best
                if report.failure is not None:
                    # Only what says that no plan can be made is about the request; the rule may plan after all else.
                    is_of_plant = isinstance(report.failure, HorizonExceeded)
                    raise report.failure if is_of_plant else ProposalFailed(str(report.failure))
                if report.proposal is not None:
                    return report.proposal
            left_ms = max(0, left_ms - int(1000 * (time.monotonic() - begun)))
        raise ProposalFailed(f"{_SEARCH_STARTS} processes died of the search")

    async def _ask(self, question: SearchOrder | SearchPoll) -> SearchReport | None:
        """The answer, once the process has started; None where there is none."""
        end = time.monotonic() + _SEARCH_START_SECONDS
        while True:
            answer = await self._thread.run(self._process.ask, encode(question), _SEARCH_ASK_SECONDS)
            if not isinstance(answer, NoResult):
                report: SearchReport = await run_blocking(len(answer), decode, answer)
                return report
            if time.monotonic() >= end or isinstance(question, SearchPoll) or self._progress.is_stopped:
                return None
            await asyncio.sleep(_SEARCH_PAUSE_SECONDS)


class _StreamedProposal:
    """The stream as one call that comes to its last part, and tells on the way that a replica has begun."""

    def __init__(self, stream: StreamingMethod, suspects: SuspectLists, call: ProposalCall) -> None:
        self._stream = stream
        self._suspects = suspects
        self._call = call
        self._lost: str | None = None
        self._may_retry = False

    async def remote(self, *arguments: Any) -> bytes:
        """The proposal, encoded. Raises `ProposalShed` for a list that is not sent now, `ProposalFailed` in the end."""
        self._call.has_begun = False
        job_list = self._call.job_list
        if not self._may_retry and self._suspects.is_withheld(job_list):
            if self._lost is not None and self._suspects.is_refused(job_list):
                raise ProposalFailed("two replicas of the policy died of this job list", self._lost)
            raise ProposalShed("withheld, because a replica of the policy died of this job list")
        response = self._stream.remote(*arguments)
        last, is_over = b"", False
        try:
            async for part in response:
                last, self._call.has_begun = part, True
            is_over = True
        except RayActorError as error:
            self._lost = _replica_of(error)
            if self._may_retry:
                self._suspects.refuse(job_list)
            self._may_retry = not self._may_retry and self._suspects.suspect(job_list)
            raise
        finally:
            if not is_over:
                response.cancel()
        self._suspects.acquit(job_list)
        return last


class RemoteJudge:
    """The judge behind SafetyValidator. Judging is pure, so a call whose replica died is made again.

    `on_answer` is told of each verdict.
    """

    def __init__(
        self,
        judge: RemoteMethod,
        *,
        attempts: int,
        timeout_seconds: float,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._judge = judge
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._on_answer = on_answer

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...] = ()) -> Verdict:
        """The verdict. Raises `JudgeUnavailable`, `JudgeFailed` or `Overloaded`."""
        payload = await _packed(problem, lambda: encode((encode_problem(problem), schedule)))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await ask(self._judge, payload, recent, attempts=self._attempts)
        except TimeoutError:
            message = f"the judge must answer within {self._timeout_seconds:g} s, took longer"
            raise JudgeUnavailable(message, _RETRY_AFTER_SECONDS) from None
        except DeploymentAbsent as failure:
            raise JudgeUnavailable(f"no verdict: {failure}", _RETRY_AFTER_SECONDS) from failure
        except RemoteFailed as failure:
            raise JudgeFailed(f"no verdict: {failure}", _RETRY_AFTER_SECONDS, failure.source) from failure
        self._on_answer()
        verdict: Verdict = await run_blocking(len(answer), decode, answer)
        return verdict


class PlannersRule:
    """The manual arm, in threads of this process: it must survive what it backs up."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:  # noqa: ARG002
        """The planner's schedule; a time budget changes nothing. Raises `HorizonExceeded` or `Overloaded`."""
        return await self._threads.run(planners_proposal, problem)


class RemoteShadowArm:
    """The deployment Counterfactual as the queue wants it: that there is no result is one as well."""

    def __init__(self, counterfactual: Any) -> None:
        self._compute: RemoteMethod = counterfactual.compute

    async def compute(self, work: ShadowWork) -> ShadowEvaluation:
        """What the arm of `work` made of it, or why that is not known."""
        payload = await _packed(work.problem, lambda: encode(work))
        try:
            answer = await ask(self._compute, payload, work.limit_seconds, attempts=_SHADOW_ATTEMPTS)
        except Overloaded as failure:
            return _lost(work, EvaluationStatus.SHED, str(failure))
        except RemoteFailed as failure:
            return _lost(work, EvaluationStatus.DROPPED, f"no proposal: {failure}")
        if isinstance(answer, NoResult):
            return _lost(work, _STATUS_OF[answer.kind], f"no proposal: {answer.reason}")
        found: ShadowEvaluation = await run_blocking(len(answer), decode, answer)
        return found


def _lost(work: ShadowWork, status: EvaluationStatus, reason: str) -> ShadowEvaluation:
    return ShadowEvaluation(attempt=Attempt(arm=work.arm, status=status, reason=reason))


class SpoolJournal:
    """Decisions are durable when they are in the spool of this replica.

    `packet_bytes` tells how large a statement of the database may be, None where there is no bound.
    """

    def __init__(self, spool: Spool, packet_bytes: Callable[[], int | None] = lambda: None) -> None:
        self._spool = spool
        self._packet_bytes = packet_bytes

    async def append(self, record: Record) -> None:
        """Returns when the record is on disk. Raises `JournalUnavailable`, or `DecisionTooLarge` for the database."""
        await self._keep(await self._payload(record))

    async def _payload(self, record: Record) -> bytes:
        size = len(record.request or b"") if isinstance(record, DecisionRecord) else 0
        return await run_blocking(size, _payload, record, self._packet_bytes())

    async def _keep(self, payload: bytes) -> None:
        try:
            await self._spool.append(payload)
        except SpoolError as failure:
            raise JournalUnavailable(f"the decision could not be kept: {failure}", _RETRY_AFTER_SECONDS) from failure


class CommittedJournal(SpoolJournal):
    """What somebody is answered a 200 for is committed in the database, so that it outlives this node and its disk.

    It goes through the spool and its batches all the same (`expecting` is that of its drain), so that many share one
    transaction. Where the commit is not heard of within `commit_seconds`, nobody learns a 200, but the record is on
    its way and will be stored. While `is_away` says so of the database, nothing is begun.
    """

    def __init__(
        self,
        spool: Spool,
        packet_bytes: Callable[[], int | None] = lambda: None,
        *,
        expecting: Callable[[bytes], AbstractContextManager[asyncio.Future[DeadLetter | None]]],
        is_away: Callable[[], bool],
        commit_seconds: float = _COMMIT_SECONDS,
    ) -> None:
        super().__init__(spool, packet_bytes)
        self._expecting = expecting
        self._is_away = is_away
        self._commit_seconds = commit_seconds

    async def append(self, record: Record) -> None:
        """Returns when a decision or feedback is committed, and anything else is on disk. Raises as that does."""
        if not isinstance(record, DecisionRecord | FeedbackRecord):
            # Of evaluations and audit rows nobody is told that they are kept.
            return await super().append(record)
        if self._is_away():
            message = "the database is not connected, and only what it has is acknowledged here"
            raise JournalUnavailable(message, _RETRY_AFTER_SECONDS)
        age = self._spool.depth.oldest_age_seconds
        if age is not None and age > self._commit_seconds:
            # It would wait behind them in vain, and be stored when whoever asked has been refused.
            message = f"decisions before it have waited {age:.0f} s for the database"
            raise JournalUnavailable(message, _RETRY_AFTER_SECONDS)
        payload = await self._payload(record)
        with self._expecting(payload) as settled:
            await self._keep(payload)
            try:
                async with asyncio.timeout(self._commit_seconds):
                    letter = await settled
            except TimeoutError:
                message = f"the database did not commit within {self._commit_seconds:g} s: it may be stored later"
                raise JournalUnavailable(message, _RETRY_AFTER_SECONDS) from None
        if letter is not None:
            message = f"the database does not take it: {letter.public_cause}"
            raise JournalUnavailable(message, _RETRY_AFTER_SECONDS)
        return None


def _payload(record: Record, packet_bytes: int | None) -> bytes:
    """The record for the spool, unless the database could never take it."""
    if packet_bytes is not None and isinstance(record, DecisionRecord):
        limit = max_body_bytes(packet_bytes)
        # Only a body above the limit can be above it when compressed.
        bodies = (body for body in (record.request, record.answer) if body is not None and len(body) > limit)
        found = max(map(stored_bytes, bodies), default=0)
        if found > limit:
            raise DecisionTooLarge(
                f"request and answer must each have at most {limit:,} bytes when compressed, had {found:,}: send less, "
                "or have the database's max_allowed_packet raised"
            )
    return record.to_bytes()


async def ask(method: RemoteMethod, *arguments: Any, attempts: int) -> Any:
    """The answer of a pure remote method. Raises `RemoteFailed`, `Overloaded`, or the `GantryError` of the far side."""

    async def answer() -> Any:
        return await method.remote(*arguments)

    def note_loss(attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        _log.warning("attempt %d of %d: replica lost: %s", attempt.attempt_number, attempts, type(error).__name__)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_REPLICA_LOST),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=_FIRST_PAUSE_SECONDS),
        after=note_loss,
        reraise=True,
    )
    try:
        return await retrying(answer)
    except BackPressureError as error:
        raise Overloaded("all replicas are busy and their queue is full", _RETRY_AFTER_SECONDS) from error
    except DeploymentUnavailableError as error:
        raise DeploymentAbsent("no replica could be started") from error
    except RayActorError as error:
        raise RemoteFailed(f"replica lost in each of {attempts} attempts", _replica_of(error)) from error
    except Exception as error:  # the edge of this process: whatever was raised at the far side arrives here
        # Bare, or wrapped by Ray, depending on how the replicas talk to each other.
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, GantryError):
            raise cause from None
        raise RemoteFailed(f"{type(cause).__name__}: {cause}") from error


def _replica_of(error: RayActorError) -> str:
    return str(getattr(error, "actor_id", None) or UNKNOWN_REPLICA)


async def _packed(problem: Problem, pack: Callable[[], bytes]) -> bytes:
    return await run_blocking(_BYTES_PER_OPERATION * len(problem.operations), pack)
