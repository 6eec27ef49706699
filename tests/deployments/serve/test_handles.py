"""Ports over remote methods: what is tried again, what is not, and what each failure is called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError

from deployments.errors import JournalUnavailable, JudgeUnavailable, Overloaded, ProposalFailed
from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.spool.spool import Spool, SpoolConfig
from deployments.scheduling.proposals import Proposal
from deployments.serve.handles import PlannersRule, RemoteJudge, RemotePolicy, SpoolJournal, remote_write
from deployments.serve.serialization import decode, encode
from env.errors import HorizonExceeded
from env.instances.generator import toy_problem
from env.judge.judge import judge
from env.simulator.rules import Rule, dispatch
from tests.deployments.persistence.payloads import decision

PROBLEM = toy_problem()
SCHEDULE = dispatch(PROBLEM, Rule.PLANNER)
DEAD = ActorDiedError()
AWAY = ActorUnavailableError("away", b"0" * 16)
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


async def test_proposer_hands_over_problem_and_budget() -> None:
    """The far side gets the problem unchanged, and its proposal comes back unchanged."""
    method = FakeMethod(proposal())
    found = await RemotePolicy(method, attempts=3).propose(PROBLEM, 250)
    assert found == Proposal(schedule=SCHEDULE, method=("policy",), model="m@1")
    ((payload, budget_ms),) = method.calls
    assert (decode(payload), budget_ms) == (PROBLEM, 250)


@pytest.mark.parametrize("lost", [DEAD, AWAY])
async def test_proposer_asks_again_when_the_replica_is_lost(lost: Exception) -> None:
    """Proposing is pure, so up to two lost replicas of three attempts go unnoticed."""
    method = FakeMethod(lost, lost, proposal())
    assert (await RemotePolicy(method, attempts=3).propose(PROBLEM, 0)).schedule == SCHEDULE
    assert len(method.calls) == 3


async def test_proposer_gives_up_after_its_attempts() -> None:
    """There is an end to asking again, and it is a failure of this arm only."""
    method = FakeMethod(DEAD, DEAD, proposal())
    with pytest.raises(ProposalFailed, match=r"^replica lost in each of 2 attempts$"):
        await RemotePolicy(method, attempts=2).propose(PROBLEM, 0)


@pytest.mark.parametrize("error", [ValueError("bad"), wrapped(ValueError("bad"))])
async def test_proposer_does_not_repeat_an_exception(error: Exception) -> None:
    """What the far side raised would be raised again, so it is a failure at once, wrapped by Ray or not."""
    method = FakeMethod(error)
    with pytest.raises(ProposalFailed, match=r"^ValueError: bad$"):
        await RemotePolicy(method, attempts=3).propose(PROBLEM, 0)


@pytest.mark.parametrize("error", [HorizonExceeded("too long"), wrapped(HorizonExceeded("too long"))])
async def test_proposer_keeps_errors_of_the_domain(error: Exception) -> None:
    """An error that the use case knows arrives as itself."""
    with pytest.raises(HorizonExceeded, match=r"^too long$") as raised:
        await RemotePolicy(FakeMethod(error), attempts=3).propose(PROBLEM, 0)
    assert type(raised.value) is HorizonExceeded


async def test_full_queue_is_overload_without_another_attempt() -> None:
    """Back-pressure is an answer: asking again at once would only add to it."""
    method = FakeMethod(FULL)
    with pytest.raises(Overloaded) as raised:
        await RemotePolicy(method, attempts=3).propose(PROBLEM, 0)
    assert raised.value.retry_after_seconds >= 1
    with pytest.raises(Overloaded):
        await RemoteJudge(FakeMethod(FULL), attempts=3, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE)


async def test_judge_hands_over_problem_and_schedule() -> None:
    """The verdict of the far side is the one that it came to on exactly this problem and schedule."""
    method = FakeMethod(AWAY, encode(judge(PROBLEM, SCHEDULE)))
    verdict = await RemoteJudge(method, attempts=2, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE)
    assert verdict.valid
    assert decode(method.calls[-1][0]) == (PROBLEM, SCHEDULE)


async def test_judge_hands_over_the_recent_makespans() -> None:
    """What is usual in the plant goes along with each attempt."""
    method = FakeMethod(AWAY, encode(judge(PROBLEM, SCHEDULE)))
    await RemoteJudge(method, attempts=2, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE, (3, 5))
    assert [recent for _, recent in method.calls] == [(3, 5), (3, 5)]


@pytest.mark.parametrize("outcomes", [(DEAD, DEAD), (ValueError("bad"),)])
async def test_judge_without_verdict_is_unavailable(outcomes: tuple[Exception, ...]) -> None:
    """Lost replicas and exceptions are the same to the use case: no verdict, no schedule."""
    with pytest.raises(JudgeUnavailable, match="no verdict"):
        await RemoteJudge(FakeMethod(*outcomes), attempts=2, timeout_seconds=5.0).judge(PROBLEM, SCHEDULE)


async def test_judge_that_is_silent_is_unavailable() -> None:
    """Nobody waits for a verdict for ever."""
    with pytest.raises(JudgeUnavailable, match=r"must answer within 0.01 s, took longer"):
        await RemoteJudge(SilentMethod(), attempts=2, timeout_seconds=0.01).judge(PROBLEM, SCHEDULE)


async def test_planners_rule_needs_nobody_else() -> None:
    """The manual arm plans in a thread of this process, by the planner's rule."""
    with ThreadPoolExecutor(1) as threads:
        found = await PlannersRule(threads).propose(PROBLEM, 1000)
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
