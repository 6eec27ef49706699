"""Plans that nobody waits for, over runs in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from deployments.errors import JudgeUnavailable, Overloaded
from deployments.persistence.decisions.plan_run import BestSoFar, PlanRun, RunState
from deployments.persistence.decisions.records import DecisionRecord
from deployments.scheduling import plan_runs
from deployments.scheduling.plan_runs import PatientJudge, PlanRuns, RunProgress, Uncompared
from deployments.scheduling.ports import Proposal, ProposalCall
from env.instances.generator import toy_problem
from env.judge.anomalies import BoundedMakespan
from env.judge.judge import judge
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from tests.deployments.fakes import (
    FixedRollout,
    FullJournal,
    MemoryJournal,
    MemoryRuns,
    body,
    fixed_traffic_split,
    one_after_another,
    plan_runs_over,
    scheduling_over,
)

BEST = BestSoFar(makespan_seconds=110, bound_seconds=100, tardiness_seconds=0, found_seconds=0.5, improvements=3)


class SearchingProposer:
    """Searches until it is told to stop, as the process beside a router does."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress
        self.budgets: list[int] = []

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        call.has_begun = True
        self.budgets.append(budget_ms)
        self._progress.best = BEST
        while not self._progress.is_stopped:
            await asyncio.sleep(0.005)
        return Proposal(schedule=one_after_another(problem), method=("policy", "search"), model="full_production@1")


class World:
    """A router with runs, a journal and a search that only a stop ends."""

    def __init__(self, **scheduling: Any) -> None:
        self.progress, self.journal, self.store = RunProgress(), MemoryJournal(), MemoryRuns()
        self.events: list[object] = []
        unheard = Uncompared(FixedRollout(fixed_traffic_split(1.0, "gantry"), on_event=self.events.append))
        self.proposer = SearchingProposer(self.progress)
        values: dict[str, Any] = {"ppo": self.proposer, "rollout": unheard, "shadow": unheard, "is_compared": False}
        use_case = scheduling_over(**values | {"journal": self.journal} | scheduling)
        self.runs: PlanRuns = plan_runs_over(self.store, use_case, self.progress)

    async def accept(self, key: str | None = None, **changes: Any) -> PlanRun:
        """One request, taken."""
        raw = json.dumps(body(**changes)).encode()
        accepted = await self.runs.accept(
            raw, client="ours", plant_id="penang", key=key, is_strict=False, budget_ms=30_000
        )
        return accepted.run

    async def until(self, run: PlanRun, *states: RunState) -> PlanRun:
        """How the run stands when it is in one of the states, and has its best if it runs."""
        async with asyncio.timeout(5.0):
            while True:
                now = self.store.runs[run.run_id]
                if now.state in states and (now.state is not RunState.RUNNING or now.best is not None):
                    return now
                await asyncio.sleep(0.005)

    @property
    def decisions(self) -> list[DecisionRecord]:
        return self.journal.records


@asynccontextmanager
async def started(world: World) -> AsyncIterator[World]:
    world.runs.start()
    try:
        yield world
    finally:
        await world.runs.stop()


async def test_run_keeps_its_best_when_it_is_stopped() -> None:
    """It tells how far it is, and after a stop what was found is a decision under its id, that no statistics count."""
    async with started(World()) as world:
        run = await world.accept()
        assert run.state is RunState.QUEUED
        assert (await world.until(run, RunState.RUNNING)).best == BEST
        assert world.decisions == []
        await world.runs.stop_run(run.run_id)
        await world.until(run, RunState.STOPPED)
    (decision,) = world.decisions
    assert (decision.decision_id, decision.client, decision.is_forced) == (run.run_id, "ours", True)
    assert decision.algorithm_used == "ppo"
    assert world.events == []


async def test_end_of_the_router_keeps_the_best_too() -> None:
    """A router that closes ends its search, and its decision is kept before it is gone."""
    async with started(World()) as world:
        run = await world.accept()
        await world.until(run, RunState.RUNNING)
    assert [decision.decision_id for decision in world.decisions] == [run.run_id]
    assert world.store.runs[run.run_id].state is RunState.STOPPED


async def test_end_of_the_service_is_heard_and_waits_for_the_run() -> None:
    """Whoever ends the service counts a run among what is under way, and the run hears that it is to end."""

    class Ending:
        refuses = False
        inside = 0

        @contextmanager
        def passing(self, on_grace_over: object) -> Iterator[None]:
            self.inside += 1
            try:
                yield
            finally:
                self.inside -= 1

    async with started(World()) as world:
        gate = Ending()
        world.runs.count_in(gate)
        first, second = await world.accept(), await world.accept()
        await world.until(first, RunState.RUNNING)
        assert gate.inside == 1
        gate.refuses = True
        await world.until(first, RunState.STOPPED)
        await asyncio.sleep(0.05)
        assert (gate.inside, world.store.runs[second.run_id].state) == (0, RunState.QUEUED)


async def test_one_run_at_a_time() -> None:
    """The second waits for the first, and comes to its turn; one that is stopped before never does."""
    async with started(World()) as world:
        first, second, third = [await world.accept() for _ in range(3)]
        await world.until(first, RunState.RUNNING)
        await asyncio.sleep(0.05)
        assert world.store.runs[second.run_id].state is RunState.QUEUED
        await world.runs.stop_run(second.run_id)
        await world.runs.stop_run(first.run_id)
        await world.until(third, RunState.RUNNING)
    assert [decision.decision_id for decision in world.decisions] == [first.run_id, third.run_id]
    assert world.store.runs[second.run_id].state is RunState.STOPPED


async def test_run_that_cannot_be_planned_has_failed_and_says_why() -> None:
    """What a request leaves open may have changed since it was taken; the next one has its turn."""
    async with started(World()) as world:
        impossible = await world.accept(jobs=[{**body()["jobs"][0], "machine_types": [99]}])
        possible = await world.accept()
        failed = await world.until(impossible, RunState.FAILED)
        await world.until(possible, RunState.RUNNING)
    assert failed.reason
    assert [decision.decision_id for decision in world.decisions] == [possible.run_id]


async def test_run_survives_an_outage_of_the_database() -> None:
    """While nobody can be told it goes on, and its end is told as soon as there is somebody."""
    async with started(World()) as world:
        run = await world.accept()
        await world.until(run, RunState.RUNNING)
        world.store.is_away = True
        world.progress.is_stopped = True
        async with asyncio.timeout(5.0):
            while not world.decisions:
                await asyncio.sleep(0.005)
        assert world.store.runs[run.run_id].state is RunState.RUNNING
        world.store.is_away = False
        await world.until(run, RunState.STOPPED)


async def test_budget_is_cut_at_the_longest() -> None:
    """`GANTRY_MAX_BUDGET_SECONDS` bounds what a run may take."""
    world = World()
    accepted = await world.runs.accept(
        b"{}", client="ours", plant_id="penang", key=None, is_strict=False, budget_ms=86_400_000
    )
    assert accepted.run.budget_ms == 60_000


async def test_changes_are_told_up_to_the_end() -> None:
    """A listener hears how the run stands now and after each change, and is let go at its end."""
    async with started(World()) as world:
        run = await world.accept()
        heard: list[RunState] = []
        async for each in world.runs.changes(run):
            if each is not None and each.state not in heard:
                heard.append(each.state)
            if each is not None and each.best is not None and not world.progress.is_stopped:
                await world.runs.stop_run(run.run_id)
    assert heard == [RunState.QUEUED, RunState.RUNNING, RunState.STOPPED]


async def test_listeners_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than may listen is told to come later."""
    monkeypatch.setattr(plan_runs, "MAX_LISTENERS", 1)
    world = World()
    run = await world.accept()
    first = world.runs.changes(run)
    await anext(first)
    with pytest.raises(Overloaded, match="1 clients listen"):
        await anext(world.runs.changes(run))


def test_gap_is_what_can_be_gained_at_most() -> None:
    """110 seconds beside a bound of 100 leave a tenth; nothing is below the bound."""
    assert BEST.gap == pytest.approx(0.1)
    assert BestSoFar.of_json(BEST.to_json()) == BEST


async def test_run_that_was_given_up_leaves_no_second_decision() -> None:
    """Its key names another by now; the next one has its turn."""
    async with started(World()) as world:
        lost = await world.accept()
        await world.until(lost, RunState.RUNNING)
        world.store.lost.add(lost.run_id)
        following = await world.accept()
        await world.until(following, RunState.RUNNING)
    assert [decision.decision_id for decision in world.decisions] == [following.run_id]


class AbsentJudge:
    """Cannot be had at first."""

    def __init__(self, absences: int) -> None:
        self.left = absences

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...] = ()) -> Verdict:
        if self.left:
            self.left -= 1
            raise JudgeUnavailable("restarting", 1)
        return judge(problem, schedule, recent_makespans=recent)


async def test_judge_is_asked_again_while_it_cannot_be_had() -> None:
    """What was searched for long is not lost for a moment without a judge; for good is an error."""
    problem = toy_problem()
    schedule = dispatch(problem, Rule.PLANNER)
    assert (await PatientJudge(AbsentJudge(1), patience_seconds=30.0).judge(problem, schedule)).valid
    with pytest.raises(JudgeUnavailable):
        await PatientJudge(AbsentJudge(9), patience_seconds=0.0).judge(problem, schedule)


async def test_plan_that_the_disk_did_not_take_has_failed() -> None:
    """Nothing is left of it, so it is not done, and its key may begin anew."""
    async with started(World(journal=FullJournal())) as world:
        run = await world.accept()
        await world.until(run, RunState.RUNNING)
        await world.runs.stop_run(run.run_id)
        failed = await world.until(run, RunState.FAILED)
    assert failed.reason == "the spool must have room, had none"
