"""The arm that did not serve: computed in turn, told and kept; dropped, counted and told when there is no room."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from deployments.persistence.decisions.records import EvaluationRecord, EvaluationStatus
from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.analysis.outcomes import (
    Alarm,
    Evaluation,
    LossCause,
    MissingPair,
    Outcome,
    PairedObservation,
    Pairing,
)
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.assignment import ArmRole
from deployments.scheduling.arms import Attempt
from deployments.scheduling.evaluations import ShadowTask
from deployments.serve.handles import RemoteFailed
from deployments.shadow.queue import QueueBounds, ShadowEvaluation, ShadowEvaluator, ShadowQueue, ShadowWork
from env.schedule import Schedule
from tests.deployments.fakes import (
    NOW,
    FixedRollout,
    FullJournal,
    MemoryJournal,
    body,
    fixed_traffic_split,
    request_of,
    scheduling_over,
)
from tests.deployments.shipped_policy import POLICY

Compute = Callable[[ShadowWork], Awaitable[ShadowEvaluation]]


async def in_process(work: ShadowWork) -> ShadowEvaluation:
    """The real computation of the rule; there is no policy."""
    return await ShadowEvaluator(_no_policy, POLICY.anomaly_limits).compute(work)


def _no_policy(arm: Any) -> Any:
    raise RuntimeError(f"no policy {arm.name}")


class Bench:
    """A queue over fakes, and everything that leaves it."""

    def __init__(self, compute: Compute = in_process, *, share: float = 1.0, **bounds: Any) -> None:
        self.events: list[Event] = []
        self.journal = MemoryJournal()
        self.shadow_tasks: list[ShadowTask] = []
        self.rollout = FixedRollout(fixed_traffic_split(share, "gantry"), on_event=self.events.append)
        self.queue = ShadowQueue(
            compute, journal=self.journal, rollout=self.rollout, bounds=QueueBounds(**bounds), clock=lambda: NOW
        )

    def is_sampled(self, decision_id: str) -> bool:
        return self.queue.is_sampled(decision_id)

    def offer(self, shadow_task: ShadowTask) -> None:
        self.shadow_tasks.append(shadow_task)

    async def shadow_task(self, **changes: Any) -> ShadowTask:
        """What the use case would offer after one served request; its own news are forgotten."""
        scheduling = scheduling_over(rollout=self.rollout, shadow=self)
        raw = json.dumps(body(**changes)).encode()
        await scheduling.schedule(request_of(**changes), client="default", raw_body=raw)
        self.events.clear()
        return self.shadow_tasks.pop()

    async def settle(self, rows: int, recomputed: int = 0) -> list[EvaluationRecord]:
        """Runs the queue until so many rows are kept, and so many served plans computed again."""
        self.queue.start()
        async with asyncio.timeout(20):
            while len(self.journal.others) < rows or len(self.of(Recomputation)) < recomputed:
                await asyncio.sleep(0)
        await self.queue.stop()
        return [row for row in self.journal.others if isinstance(row, EvaluationRecord)]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_manual_beside_ppo_is_a_row_an_event_and_a_pair() -> None:
    """Both arms on one request: the row stands beside the served one, and the pair has its ratio."""
    bench = Bench()
    bench.queue.offer(await bench.shadow_task())
    (row,) = await bench.settle(1)
    assert (row.arm, row.is_served, row.status, row.outcome) == ("manual", False, "valid", "ok")
    (event,) = bench.of(Evaluation)
    assert (event.arm, event.is_served) == (ArmRole.MANUAL, False)
    (pair,) = bench.of(PairedObservation)
    assert (pair.log_makespan_ratio, pair.assigned) == (0.0, ArmRole.PPO)
    assert pair.strata == ("plant penang", "lists with setups", "work around the clock")
    assert bench.queue.computed == 1


async def test_served_plan_is_computed_again() -> None:
    """The rule makes the same plan wherever it is asked: told once the pair is, and kept with the other arm's row."""
    bench = Bench(share=0.0)
    bench.queue.offer(await bench.shadow_task())
    (row,) = await bench.settle(1, recomputed=1)
    assert row.arm == "ppo"
    (event,) = bench.of(Recomputation)
    assert (event.arm, event.is_same, event.log_ratio, event.stage) == (ArmRole.MANUAL, True, 0.0, "shadow")
    assert row.pairing is not None
    assert Pairing.from_text(row.pairing).repetition == event.repetition
    assert Pairing.from_text(row.pairing).jobs is not None


@pytest.mark.parametrize("cpu_seconds", [None, 0.3])
async def test_plan_that_comes_out_otherwise_is_told(cpu_seconds: float | None) -> None:
    """By its hash where no time ended it, else by how much longer it is."""

    async def slower(work: ShadowWork) -> ShadowEvaluation:
        found = await in_process(work)
        proposal = found.attempt.proposal
        if proposal is None:
            return found
        later = [replace(each, end_seconds=2 * each.end_seconds) for each in proposal.schedule.assignments]
        proposal = replace(proposal, schedule=Schedule(assignments=tuple(later)))
        return replace(found, attempt=replace(found.attempt, proposal=proposal))

    bench = Bench(slower, share=0.0)
    task = await bench.shadow_task()
    served = task.attempts.served
    assert served.proposal is not None
    served = replace(served, proposal=replace(served.proposal, cpu_seconds=cpu_seconds))
    bench.queue.offer(replace(task, attempts=replace(task.attempts, all=(served,))))
    await bench.settle(1, recomputed=1)
    (event,) = bench.of(Recomputation)
    assert (event.is_same, event.log_ratio) == (None if cpu_seconds else False, pytest.approx(math.log(2.0)))


async def test_planners_own_plan_is_not_computed_again() -> None:
    """Nobody computed it: what the rule makes of the request is another plan."""
    bench = Bench(share=0.0)
    plan = [{"job_id": "JOAW001", "machine_id": 42, "start_datetime": "2025-07-22T16:48:00"}]
    bench.queue.offer(await bench.shadow_task(manual_schedule=plan))
    await bench.settle(1)
    assert bench.of(Recomputation) == []


async def test_recomputation_that_fails_loses_no_pair() -> None:
    """The pair is told before: whatever becomes of the rest, it was no missing one."""
    calls = []

    async def once(work: ShadowWork) -> ShadowEvaluation:
        calls.append(work.arm.name)
        if len(calls) > 1:
            raise RemoteFailed("gone")
        return await in_process(work)

    bench = Bench(once)
    bench.queue.offer(await bench.shadow_task())
    await bench.settle(1)
    assert calls == ["manual", "ppo"]
    assert (len(bench.of(PairedObservation)), bench.of(MissingPair), bench.queue.dropped) == (1, [], 0)


async def test_end_of_the_router_while_a_plan_is_computed_again_costs_no_row() -> None:
    """The pair was told, so its row is kept, without what nobody has waited for."""
    begun = asyncio.Event()

    async def hangs(work: ShadowWork) -> ShadowEvaluation:
        if work.arm.role is ArmRole.PPO:
            begun.set()
            await asyncio.Event().wait()
        return await in_process(work)

    bench = Bench(hangs)
    bench.queue.offer(await bench.shadow_task())
    bench.queue.start()
    async with asyncio.timeout(20):
        await begun.wait()
    assert bench.journal.others == []
    await bench.queue.stop()
    (row,) = bench.journal.others
    assert isinstance(row, EvaluationRecord)
    assert row.pairing is not None
    assert (row.arm, Pairing.from_text(row.pairing).repetition) == ("manual", None)


async def test_planners_own_plan_is_what_ppo_is_compared_with() -> None:
    """A plan that the request carries is judged as the manual arm, and the pair says so."""
    bench = Bench()
    plan = [{"job_id": "JOAW001", "machine_id": 42, "start_datetime": "2025-07-22T16:48:00"}]
    bench.queue.offer(await bench.shadow_task(manual_schedule=plan))
    (row,) = await bench.settle(1)
    assert row.baseline == "planner"
    (pair,) = bench.of(PairedObservation)
    assert pair.log_makespan_ratio == pytest.approx(-0.6931, abs=1e-4)


async def test_ppo_that_raises_in_shadow_is_a_crash() -> None:
    """An exception of the arm is its outcome, and nobody's else."""
    bench = Bench(share=0.0)
    bench.queue.offer(await bench.shadow_task())
    (row,) = await bench.settle(1)
    assert (row.arm, row.status, row.outcome) == ("ppo", "failed", "crash")
    assert row.reason == "no proposal: RuntimeError: no policy ppo"
    assert [event.outcome for event in bench.of(Evaluation)] == [Outcome.CRASH]
    assert bench.of(PairedObservation) == []
    (lost,) = bench.of(MissingPair)
    assert (lost.cause, lost.assigned) == (LossCause.CRASH, ArmRole.MANUAL)


async def test_ppo_that_hangs_is_a_crash_of_its_replica() -> None:
    """A replica that gave up says so, and who is to blame."""

    async def hung(work: ShadowWork) -> ShadowEvaluation:
        reason, source = "took longer than 45 s", "replica 7"
        attempt = Attempt(arm=work.arm, status=EvaluationStatus.TIMED_OUT, reason=reason, source=source)
        return ShadowEvaluation(attempt=attempt)

    bench = Bench(hung, share=0.0)
    bench.queue.offer(await bench.shadow_task())
    (row,) = await bench.settle(1)
    assert (row.status, row.outcome, row.source) == ("timed_out", "crash", "replica 7")


async def test_full_queue_drops_counts_and_tells() -> None:
    """What has no room is a row without figures and a missing pair; what waits comes to its turn."""
    bench = Bench(max_tasks=1)
    first, second = await bench.shadow_task(), await bench.shadow_task()
    bench.queue.offer(first)
    bench.queue.offer(second)
    rows = await bench.settle(2)
    assert sorted((row.status, row.outcome) for row in rows) == [("dropped", None), ("valid", "ok")]
    assert [event.reason for event in bench.of(MissingPair)] == ["the queue of counterfactuals is full"]
    assert bench.queue.dropped == 1


async def test_unsampled_requests_are_no_missing_pairs() -> None:
    """With sampling off nothing is computed, and nothing is said to be missing."""
    bench = Bench(share=1.0)
    sampled = await bench.shadow_task()
    bench.queue.offer(replace(sampled, context=replace(sampled.context, is_sampled=False)))
    bench.queue.start()
    await asyncio.sleep(0)
    await bench.queue.stop()
    assert (bench.events, bench.journal.others, bench.queue.dropped) == ([], [], 0)


def test_share_of_the_decisions_is_sampled() -> None:
    """By the decision alone, so that every part of the service decides the same; none at 0, all at 1."""
    shares = []
    for share in (0.0, 0.1, 1.0):
        bench = Bench()
        bench.queue = ShadowQueue(
            in_process, journal=bench.journal, rollout=bench.rollout, bounds=QueueBounds(share=share), clock=lambda: NOW
        )
        shares.append(sum(bench.queue.is_sampled(f"d{number}") for number in range(1000)) / 1000)
    assert shares == [0.0, pytest.approx(0.1, abs=0.03), 1.0]


async def test_lost_deployment_does_not_stop_the_queue() -> None:
    """An answer that never came is a missing pair; the next task is computed all the same."""
    answers: list[Any] = [RemoteFailed("gone"), None]

    async def flaky(work: ShadowWork) -> ShadowEvaluation:
        failure = answers.pop(0)
        if failure is not None:
            raise failure
        return await in_process(work)

    bench = Bench(flaky)
    bench.queue.offer(await bench.shadow_task())
    bench.queue.offer(await bench.shadow_task())
    rows = await bench.settle(2)
    assert sorted(row.status for row in rows) == ["dropped", "valid"]
    assert len(bench.of(MissingPair)) == 1


async def test_served_schedule_that_is_wrong_raises_an_alarm() -> None:
    """The other process judges what was served once more, and a wrong one is a trigger."""
    bench = Bench()
    shadow_task = await bench.shadow_task()
    proposal = shadow_task.attempts.served.proposal
    assert proposal is not None
    object.__setattr__(proposal, "schedule", Schedule(assignments=()))
    bench.queue.offer(shadow_task)
    await bench.settle(1)
    (alarm,) = bench.of(Alarm)
    assert alarm.corruption is None
    assert alarm.detail.startswith("rejected by the judge: 1 critical violation")


async def test_journal_without_room_costs_only_the_row() -> None:
    """The event is told whether or not the row can be kept."""
    bench = Bench()
    bench.queue = ShadowQueue(
        in_process, journal=FullJournal(), rollout=bench.rollout, bounds=QueueBounds(), clock=lambda: NOW
    )
    bench.queue.offer(await bench.shadow_task())
    bench.queue.start()
    async with asyncio.timeout(20):
        while not bench.queue.dropped:
            await asyncio.sleep(0)
    await bench.queue.stop()
    assert len(bench.of(PairedObservation)) == 1


async def test_budget_and_limit_are_those_of_the_served_path() -> None:
    """Both arms get the same time, or their pair would prove nothing."""
    seen: list[ShadowWork] = []

    async def remember(work: ShadowWork) -> ShadowEvaluation:
        seen.append(work)
        return await in_process(work)

    bench = Bench(remember, proposal_seconds=2.0)
    bench.queue.offer(await bench.shadow_task(time_budget_ms=500))
    await bench.settle(1)
    assert (seen[0].budget_ms, seen[0].limit_seconds) == (500, 2.5)
