"""The arm of plans that nobody waits for, over a worker in this process, and over one that dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from deployments.errors import ProposalFailed
from deployments.runtime.background import Threads
from deployments.runtime.worker_process import FailureKind, NoResult, WorkerProcess
from deployments.scheduling.plan_runs import RunProgress
from deployments.scheduling.ports import ProposalCall
from deployments.serve.handles import UnattendedPolicy
from deployments.serve.policy import SearchPoll, SearchReport, SearchWorker
from deployments.serve.serialization import decode, encode
from env.errors import GantryError
from env.instances.generator import Plant, random_problem
from env.judge.judge import violations
from env.problem import Problem
from models.search.warm_up import compile_core
from tests.models.policy.test_predictor import random_predictor


class Process(WorkerProcess):
    """A worker without a process; `dies` says before which polls it is lost, and with it what it was at."""

    def __init__(self, dies: Callable[[int], bool] = lambda _: False) -> None:
        super().__init__()
        self._worker = SearchWorker(lambda _: random_predictor(), wait_seconds=0.02)
        self._dies = dies
        self.orders, self.polls = 0, 0

    def ask(self, question: bytes, limit_seconds: float) -> bytes | NoResult:
        del limit_seconds
        asked = decode(question)
        if isinstance(asked, SearchPoll):
            self.polls += 1
            if self._dies(self.polls):
                self._worker = SearchWorker(lambda _: random_predictor(), wait_seconds=0.02)
                return NoResult(kind=FailureKind.DIED, reason="the process died: exit code -9")
        else:
            self.orders += 1
        return encode(self._worker.answer(asked))


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """On a fresh checkout the core takes longer to compile than any search is waited for."""
    compile_core()


@pytest.fixture
def problem() -> Problem:
    return random_problem(np.random.default_rng(0), Plant(operations=(40, 50)))


async def test_search_tells_its_best_and_ends_when_told(problem: Problem) -> None:
    """A budget of an hour ends within seconds of a stop, with a valid plan and what was told of it."""
    progress, process = RunProgress(), Process()
    policy = UnattendedPolicy(process, Threads("search", 1), progress)
    proposing = asyncio.create_task(policy.propose(problem, 3_600_000, ProposalCall()))
    async with asyncio.timeout(60.0):
        while progress.best is None:
            await asyncio.sleep(0.01)
        progress.is_stopped = True
        proposal = await proposing
    assert [each for each in violations(problem, proposal.schedule) if each.is_critical] == []
    best = progress.best
    assert best.makespan_seconds == proposal.schedule.makespan_seconds
    assert 0 < best.bound_seconds <= best.makespan_seconds


async def test_process_that_dies_is_replaced_once(problem: Problem) -> None:
    """What is left of the budget is searched by another one."""
    progress, process = RunProgress(), Process(dies=lambda poll: poll == 1)
    proposal = await UnattendedPolicy(process, Threads("search", 1), progress).propose(problem, 300, ProposalCall())
    assert process.orders == 2
    assert len(proposal.schedule.assignments) == len(problem.operations)


async def test_search_that_two_processes_die_of_has_failed(problem: Problem) -> None:
    """The next arm takes over."""
    policy = UnattendedPolicy(Process(dies=lambda _: True), Threads("search", 1), RunProgress())
    with pytest.raises(ProposalFailed, match="2 processes died of the search"):
        await policy.propose(problem, 300, ProposalCall())


class SpoiltProcess(Process):
    """Its search meets something that nobody thought of."""

    def ask(self, question: bytes, limit_seconds: float) -> bytes | NoResult:
        if isinstance(decode(question), SearchPoll):
            return encode(SearchReport(is_known=True, failure=GantryError("KeyError: 7")))
        return super().ask(question, limit_seconds)


async def test_search_that_fails_is_a_proposal_that_failed(problem: Problem) -> None:
    """So the rule may plan, as where a policy crashes while somebody waits."""
    policy = UnattendedPolicy(SpoiltProcess(), Threads("search", 1), RunProgress())
    with pytest.raises(ProposalFailed, match="KeyError: 7"):
        await policy.propose(problem, 300, ProposalCall())
