"""Ports over remote methods: what is tried again, what is not, and what each failure is called."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.errors import (
    DecisionTooLarge,
    JournalUnavailable,
    JudgeFailed,
    JudgeUnavailable,
    Overloaded,
    ProposalFailed,
    ProposalShed,
)
from deployments.persistence.decisions.records import AuditEvent
from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.delivery.drain import SpoolDrain
from deployments.persistence.errors import DatabaseUnavailable, DataRejected, MessageTooLarge
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.spool import Spool, SpoolConfig
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.traffic import Arm
from deployments.runtime.background import Threads
from deployments.scheduling.ports import Proposal, ProposalCall
from deployments.serve.handles import CommittedJournal, PlannersRule, RemoteJudge, RemotePolicy, SpoolJournal
from deployments.serve.policy import BEGUN, SuspectFiles
from deployments.serve.serialization import decode, encode
from deployments.serve.storage import remote_write
from env.errors import HorizonExceeded
from env.instances.generator import toy_problem
from env.judge.judge import judge
from env.simulator.rules import Rule, dispatch
from tests.deployments.persistence.payloads import decision

PROBLEM = toy_problem()
SCHEDULE = dispatch(PROBLEM, Rule.PLANNER)
DEAD = ActorDiedError()
AWAY = ActorUnavailableError("away", b"0" * 16)
FOR_EVER = object()
FULL = BackPressureError(num_queued_requests=64, max_queued_requests=64)


class FakeMethod:
    """A remote method that plays back what it was given: errors are raised, other things are the answer."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[tuple[Any, ...]] = []

    def remote(self, *arguments: Any) -> Awaitable[Any]:
        self.calls.append(arguments)
        return self._outcome(self.outcomes.pop(0))

    async def _outcome(self, outcome: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class FakeStream:
    """A streaming method that plays back one list of parts after the other: errors are raised, bytes are told."""

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = list(streams)
        self.calls: list[tuple[Any, ...]] = []
        self.cancelled = 0

    def remote(self, *arguments: Any) -> _Parts:
        self.calls.append(arguments)
        return _Parts(self, self.streams.pop(0))


class _Parts:
    def __init__(self, stream: FakeStream, parts: list[Any]) -> None:
        self._stream = stream
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            if part is FOR_EVER:
                await asyncio.Event().wait()
            yield part

    def cancel(self) -> None:
        self._stream.cancelled += 1


class SilentMethod:
    """A remote method that never answers."""

    def remote(self, *arguments: Any) -> Awaitable[Any]:
        return asyncio.Event().wait()


def proposal() -> bytes:
    return encode(Proposal(schedule=SCHEDULE, method=("policy",), model="m@1"))


def wrapped(cause: Exception) -> Exception:
    """An exception of the far side as Ray hands it over."""
    error: Exception = RayTaskError("propose", "traceback", cause).as_instanceof_cause()
    return error


@pytest.fixture
def suspects(tmp_path: Path) -> SuspectFiles:
    """Nobody is suspected."""
    return SuspectFiles(tmp_path / "suspects")


def policy_over(stream: FakeStream, suspects: SuspectFiles, attempts: int = 2) -> RemotePolicy:
    return RemotePolicy(stream, attempts=attempts, suspects=suspects)


def list_a() -> ProposalCall:
    return ProposalCall(job_list="a" * 64)


async def test_proposer_hands_over_problem_and_budget(suspects: SuspectFiles) -> None:
    """The far side gets the problem unchanged, and its proposal comes back unchanged; a replica has begun with it."""
    stream, call = FakeStream([BEGUN, proposal()]), list_a()
    found = await policy_over(stream, suspects).propose(PROBLEM, 250, call)
    assert found == Proposal(schedule=SCHEDULE, method=("policy",), model="m@1")
    ((payload, budget_ms),) = stream.calls
    assert (decode(payload), budget_ms, call.has_begun, stream.cancelled) == (PROBLEM, 250, True, 0)


async def test_policy_that_is_compared_with_another_searches_as_its_rival_does(suspects: SuspectFiles) -> None:
    """Its name and one thread travel with the request; beside the planners' rule neither is said."""
    for name, told in (("candidate@1", (None, 1)), ("ppo", ())):
        stream, arm = FakeStream([BEGUN, proposal()]), Arm(name=name, role=ArmRole.PPO)
        policy = policy_over(stream, suspects).of(arm.artefact, arm.search_threads)
        await policy.propose(PROBLEM, 250, list_a())
        assert stream.calls[0][2:] == told


@pytest.mark.parametrize("lost", [DEAD, AWAY])
async def test_proposer_asks_once_more_when_the_replica_is_lost(lost: Exception, suspects: SuspectFiles) -> None:
    """Proposing is pure, so one lost replica goes unnoticed, and the list is suspected no longer."""
    stream, call = FakeStream([BEGUN, lost], [BEGUN, proposal()]), list_a()
    assert (await policy_over(stream, suspects).propose(PROBLEM, 0, call)).schedule == SCHEDULE
    assert len(stream.calls) == 2
    assert not suspects.is_withheld(call.job_list)


async def test_list_that_kills_two_replicas_is_not_sent_to_a_third(suspects: SuspectFiles) -> None:
    """One failure of the arm, with the replica that was lost; afterwards the list is nobody's failure any more."""
    stream = FakeStream([BEGUN, DEAD], [BEGUN, AWAY], [BEGUN, proposal()])
    policy = policy_over(stream, suspects)
    with pytest.raises(ProposalFailed, match=r"^replica lost in each of 2 attempts$") as failed:
        await policy.propose(PROBLEM, 0, list_a())
    assert not isinstance(failed.value, ProposalShed)
    for _ in range(3):
        with pytest.raises(ProposalShed, match="withheld"):
            await policy.propose(PROBLEM, 0, list_a())
    assert len(stream.calls) == 2
    assert (await policy.propose(PROBLEM, 0, ProposalCall(job_list="b" * 64))).schedule == SCHEDULE


async def test_list_on_trial_is_sent_by_nobody_else(suspects: SuspectFiles) -> None:
    """While one request tries its second replica, the same list from others goes to manual."""
    first = FakeStream([BEGUN, DEAD], [BEGUN, FOR_EVER])
    trying = asyncio.create_task(policy_over(first, suspects).propose(PROBLEM, 0, list_a()))
    while len(first.calls) < 2:
        await asyncio.sleep(0.01)
    others = FakeStream()
    with pytest.raises(ProposalShed):
        await policy_over(others, suspects).propose(PROBLEM, 0, list_a())
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    assert (first.cancelled, others.calls) == (2, [])


async def test_proposer_does_not_know_work_that_only_waits(suspects: SuspectFiles) -> None:
    """Until a replica says so, nobody has begun; what is called off is called off at the far side."""
    stream, call = FakeStream([FOR_EVER]), list_a()
    waiting = asyncio.create_task(policy_over(stream, suspects).propose(PROBLEM, 0, call))
    await asyncio.sleep(0.02)
    assert not call.has_begun
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert stream.cancelled == 1


async def test_absent_policy_has_not_failed(suspects: SuspectFiles) -> None:
    """Where Serve has given up starting replicas nobody was asked, so it is no crash."""
    absent = DeploymentUnavailableError(DeploymentID(name="PPOPolicy"))
    with pytest.raises(ProposalShed, match="no replica could be started"):
        await policy_over(FakeStream([absent]), suspects, attempts=1).propose(PROBLEM, 0, list_a())


@pytest.mark.parametrize("error", [ValueError("bad"), wrapped(ValueError("bad"))])
async def test_proposer_does_not_repeat_an_exception(error: Exception, suspects: SuspectFiles) -> None:
    """What the far side raised would be raised again, so it is a failure at once, wrapped by Ray or not."""
    stream = FakeStream([BEGUN, error])
    with pytest.raises(ProposalFailed, match=r"^ValueError: bad$"):
        await policy_over(stream, suspects).propose(PROBLEM, 0, list_a())


@pytest.mark.parametrize("error", [HorizonExceeded("too long"), wrapped(HorizonExceeded("too long"))])
async def test_proposer_keeps_errors_of_the_domain(error: Exception, suspects: SuspectFiles) -> None:
    """An error that the use case knows arrives as itself."""
    with pytest.raises(HorizonExceeded, match=r"^too long$") as raised:
        await policy_over(FakeStream([BEGUN, error]), suspects).propose(PROBLEM, 0, list_a())
    assert type(raised.value) is HorizonExceeded


async def test_full_queue_is_overload_without_another_attempt(suspects: SuspectFiles) -> None:
    """Back-pressure is an answer: asking again at once would only add to it."""
    with pytest.raises(Overloaded) as raised:
        await policy_over(FakeStream([FULL]), suspects).propose(PROBLEM, 0, list_a())
    assert raised.value.retry_after_seconds >= 1
    with pytest.raises(Overloaded):
        await RemoteJudge(FakeMethod(FULL), attempts=3, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE)


async def test_judge_hands_over_problem_and_schedule() -> None:
    """The verdict of the far side is the one that it came to on exactly this problem and schedule."""
    method = FakeMethod(AWAY, encode(judge(PROBLEM, SCHEDULE)))
    verdict = await RemoteJudge(method, attempts=2, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE)
    assert verdict.valid
    problem, schedule = decode(method.calls[-1][0])
    assert (decode(problem), schedule) == (PROBLEM, SCHEDULE)


async def test_judge_hands_over_the_recent_makespans() -> None:
    """What is usual in the plant goes along with each attempt."""
    method = FakeMethod(AWAY, encode(judge(PROBLEM, SCHEDULE)))
    await RemoteJudge(method, attempts=2, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE, (3, 5))
    assert [recent for _, recent in method.calls] == [(3, 5), (3, 5)]


@pytest.mark.parametrize("outcomes", [(DEAD, DEAD), (ValueError("bad"),)])
async def test_judge_that_fails_on_a_plan_is_known_as_such(outcomes: tuple[Exception, ...]) -> None:
    """Lost replicas and exceptions are no verdict, and another plan may have one; the error survives a journey."""
    with pytest.raises(JudgeFailed, match="no verdict") as failed:
        await RemoteJudge(FakeMethod(*outcomes), attempts=2, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE)
    again = pickle.loads(pickle.dumps(failed.value))
    assert (str(again), again.retry_after_seconds, again.source) == (str(failed.value), 2, failed.value.source)


async def test_judge_that_is_absent_has_not_failed() -> None:
    """Without replicas nobody has seen the plan."""
    absent = DeploymentUnavailableError(DeploymentID(name="SafetyValidator"))
    with pytest.raises(JudgeUnavailable, match="no replica could be started") as raised:
        await RemoteJudge(FakeMethod(absent), attempts=1, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE)
    assert not isinstance(raised.value, JudgeFailed)


async def test_judge_that_is_silent_is_unavailable() -> None:
    """Nobody waits for a verdict for ever."""
    with pytest.raises(JudgeUnavailable, match=r"must answer within 0.01 s, took longer"):
        await RemoteJudge(SilentMethod(), attempts=2, timeout_seconds=0.01).judge(PROBLEM, SCHEDULE)


async def test_planners_rule_needs_nobody_else() -> None:
    """The manual arm plans in a thread of this process, by the planner's rule."""
    with closing(Threads("manual", 1)) as threads:
        found = await PlannersRule(threads).propose(PROBLEM, 1000, ProposalCall())
    assert found == Proposal(schedule=SCHEDULE, method=("planner",))


async def test_journal_keeps_the_record(tmp_path: Path) -> None:
    """What was appended is what the drain will read."""
    spool, record = Spool(tmp_path), decision()
    await spool.start()
    await SpoolJournal(spool).append(record)
    batch = await spool.read_batch()
    await spool.close()
    assert batch is not None
    assert list(batch.payloads) == [record.to_bytes()]


async def test_journal_without_room_is_unavailable(tmp_path: Path) -> None:
    """A spool that takes nothing more means that nothing more can be promised."""
    spool = Spool(tmp_path, SpoolConfig(capacity_bytes=256, segment_bytes=128))
    await spool.start()
    with pytest.raises(JournalUnavailable, match="the decision could not be kept"):
        await SpoolJournal(spool).append(decision())
    await spool.close()


async def test_remote_write_passes_on_what_happens() -> None:
    """The drain has its own patience, so a lost writer is its business, and a report comes back as it is."""
    report = WriteReport(accepted=2)
    method = FakeMethod(report, DEAD)
    assert await remote_write(method)([b"a", b"b"]) == report
    with pytest.raises(ActorDiedError):
        await remote_write(method)([b"c"])


async def test_remote_write_knows_a_message_that_is_too_large() -> None:
    """gRPC says so in words alone, bare or wrapped by Ray, and tries for ever would not help."""
    words = "RESOURCE_EXHAUSTED: SERVER: Received message larger than max (4300000 vs. 4194304)"
    for error in (RuntimeError(words), wrapped(RuntimeError(words))):
        with pytest.raises(MessageTooLarge, match="3 bytes must fit"):
            await remote_write(FakeMethod(error))([b"abc"])


@pytest.mark.parametrize("error", [DataRejected("1406"), wrapped(DataRejected("1406"))])
async def test_remote_write_keeps_errors_of_the_database(error: Exception) -> None:
    """The drain tells by them whether it should wait."""
    with pytest.raises(DataRejected) as raised:
        await remote_write(FakeMethod(error))([b"abc"])
    assert type(raised.value) is DataRejected


async def test_remote_write_does_not_wait_for_ever() -> None:
    """A writer that is silent is away."""
    with pytest.raises(DatabaseUnavailable, match=r"must answer within 0\.01 s"):
        await remote_write(SilentMethod(), timeout_seconds=0.01)([b"abc"])


async def test_journal_refuses_what_the_database_could_never_take(tmp_path: Path) -> None:
    """Before it is promised; what can be compressed enough is taken, and so is all where there is no bound."""
    spool, limit = Spool(tmp_path), 1_000_000
    await spool.start()
    journal = SpoolJournal(spool, packet_bytes=lambda: limit)
    with pytest.raises(DecisionTooLarge, match=r"at most 934,464 bytes when compressed, had 1,\d{3},\d{3}"):
        await journal.append(decision(request=os.urandom(limit)))
    await journal.append(decision(request=b"x" * 2 * limit))
    await SpoolJournal(spool).append(decision(request=os.urandom(limit)))
    assert spool.depth.records == 2
    await spool.close()


class _Database:
    """Commits batches while it is not `closed`; a payload in `poison` it never takes."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.batches: list[list[bytes]] = []
        self.poison: list[bytes] = []

    async def write(self, payloads: list[bytes]) -> WriteReport:
        await self.opened.wait()
        self.batches.append(payloads)
        dead = [DeadLetter(payload=each, kind=DeadLetterKind.REJECTED, reason="no") for each in self.poison]
        return WriteReport(accepted=len(payloads) - len(dead), poisoned=tuple(dead))


@asynccontextmanager
async def _committing(
    folder: Path, database: _Database, *, is_away: bool = False, commit_seconds: float = 10.0
) -> AsyncIterator[tuple[CommittedJournal, Spool]]:
    spool = Spool(folder)
    await spool.start()
    # So long that only whoever waits for a commit can have hurried it.
    drain = SpoolDrain(spool, database.write, linger_seconds=60.0)
    drain.start()
    yield (
        CommittedJournal(spool, expecting=drain.expecting, is_away=lambda: is_away, commit_seconds=commit_seconds),
        spool,
    )
    await drain.stop()
    await spool.close()


async def test_committed_journal_returns_after_the_commit(tmp_path: Path) -> None:
    """Not when the record is on disk: that is lost with the node."""
    database = _Database()
    async with _committing(tmp_path, database) as (journal, spool):
        appending = asyncio.create_task(journal.append(decision()))
        while not spool.depth.records:
            await asyncio.sleep(0.01)
        assert not (await asyncio.wait({appending}, timeout=0.2))[0]
        database.opened.set()
        async with asyncio.timeout(10):
            await appending
        assert database.batches == [[decision().to_bytes()]]


async def test_concurrent_records_share_transactions(tmp_path: Path) -> None:
    """What comes while one transaction is under way goes into the next one, all of it."""
    database = _Database()
    async with _committing(tmp_path, database) as (journal, spool):
        appending = asyncio.gather(*(journal.append(decision(each)) for each in range(40)))
        while spool.depth.records < 40:
            await asyncio.sleep(0.01)
        database.opened.set()
        async with asyncio.timeout(10):
            await appending
        assert len(database.batches) <= 3
        assert sum(map(len, database.batches)) == 40


async def test_commit_that_is_not_heard_of_is_no_acknowledgement(tmp_path: Path) -> None:
    """The record waits in the spool all the same, and is stored when the database is back."""
    database = _Database()
    async with _committing(tmp_path, database, commit_seconds=0.05) as (journal, spool):
        with pytest.raises(JournalUnavailable, match=r"did not commit within 0\.05 s: it may be stored later"):
            await journal.append(decision())
        assert spool.depth.records == 1
        database.opened.set()
        while spool.depth.records:
            await asyncio.sleep(0.01)
        assert database.batches == [[decision().to_bytes()]]


async def test_nothing_is_begun_behind_a_backlog(tmp_path: Path) -> None:
    """It would be refused after its time, and stored all the same."""
    async with _committing(tmp_path, _Database(), commit_seconds=0.05) as (journal, spool):
        await SpoolJournal(spool).append(decision())
        await asyncio.sleep(0.2)
        with pytest.raises(JournalUnavailable, match="before it have waited"):
            await journal.append(decision(decision_id="0" * 36))
        assert spool.depth.records == 1


async def test_record_that_the_database_refuses_is_no_acknowledgement(tmp_path: Path) -> None:
    """Its dead letter lies on this node alone."""
    database = _Database()
    database.poison = [decision().to_bytes()]
    database.opened.set()
    async with _committing(tmp_path, database) as (journal, _):
        with pytest.raises(JournalUnavailable, match="the database does not take it"):
            await journal.append(decision())


async def test_nothing_is_begun_while_the_database_is_away(tmp_path: Path) -> None:
    """What cannot be acknowledged need not be stored later; an audit row is kept, as nobody is promised it."""
    database = _Database()
    async with _committing(tmp_path, database, is_away=True) as (journal, spool):
        with pytest.raises(JournalUnavailable, match="the database is not connected"):
            await journal.append(decision())
        assert spool.depth.records == 0
        await journal.append(AuditEvent.of_machine("service", decision().created_at, "start", "here"))
        assert spool.depth.records == 1
