"""The Counterfactual deployment and its process: what is computed, what is lacking, and what a replica is spared."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from deployments.counterfactual import Counterfactual
from deployments.freight import pack, unpack
from deployments.niced_process import Lack, Unanswered
from deployments.persistence.evaluations import EvaluationStatus
from deployments.standing import PUBLISHED_POLICY, RULE, Contender
from deployments.steering.recomputing import Recomputation, Recomputed
from env.dispatching_rules import Rule, dispatch
from env.generator import toy_problem
from loadtests.faulty import CrashingCounterfactual, HangingCounterfactual

PROBLEM = toy_problem()
SCHEDULE = dispatch(PROBLEM, Rule.PLANNER)
# Long, because the process of lowest priority may start beside anything.
PATIENCE_SECONDS = 600.0

Make = Callable[[type[Counterfactual]], Counterfactual]


@pytest.fixture
def make(_restored_loggers: None) -> Iterator[Make]:
    """Makes a replica whose process ends with the test."""
    made: list[Counterfactual] = []

    def one(kind: type[Counterfactual]) -> Counterfactual:
        made.append(kind())
        return made[-1]

    yield one
    for replica in made:
        replica.__del__()


def work(contender: Contender) -> bytes:
    return pack(
        Recomputation(
            problem=PROBLEM,
            planned=None,
            served=SCHEDULE,
            contender=contender,
            recent=(),
            budget_ms=0,
            limit_seconds=PATIENCE_SECONDS,
        )
    )


async def test_both_arms_are_computed_and_judged(make: Make) -> None:
    """By the real process, one after the other: the rule as it would serve, and the published policy."""
    replica = make(Counterfactual)
    for contender in (RULE, PUBLISHED_POLICY):
        answer = await replica.compute(work(contender), PATIENCE_SECONDS)
        assert isinstance(answer, bytes)
        found: Recomputed = unpack(answer)
        assert (found.status, found.served_objection) == (EvaluationStatus.VALID, None)
        assert found.proposal is not None
        assert (found.proposal.model is None) is contender.is_rule


async def test_replica_outlives_an_arm_that_dies(make: Make) -> None:
    """The load test's deadly arm kills its process, twice, and what is lacking is told as an arm that died."""
    replica = make(CrashingCounterfactual)
    answer = await replica.compute(work(PUBLISHED_POLICY), PATIENCE_SECONDS)
    assert answer == Unanswered(lack=Lack.DIED, reason="the process died: exit code 1")


async def test_replica_outlives_an_arm_that_hangs(make: Make) -> None:
    """The load test's hanging arm never answers; its start does not count as hanging, however long it takes."""
    replica = make(HangingCounterfactual)
    while (answer := await replica.compute(work(PUBLISHED_POLICY), 1.0)) == Unanswered(
        lack=Lack.ABSENT, reason="the process is still starting"
    ):
        pass
    assert answer == Unanswered(lack=Lack.HUNG, reason="took longer than 1 s")


@pytest.mark.parametrize("room", ["counterfactual", "counterfactual_process"])
def test_nothing_of_weight_is_imported_at_the_priority_of_all(room: str) -> None:
    """Neither by the replica, which computes nothing itself, nor by its process before it steps back."""
    program = (
        "from deployments.memory import leave_out_unused; leave_out_unused();"
        f"import sys, deployments.{room}; print({{'numpy', 'numba', 'models', 'sqlalchemy'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
