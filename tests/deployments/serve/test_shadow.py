"""The Counterfactual deployment and its process: what is computed, what is lacking, and what a replica is spared."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from deployments.persistence.decisions.records import EvaluationStatus
from deployments.rollout.ramp.traffic import PUBLISHED_POLICY, RULE, Arm
from deployments.runtime.worker_process import FailureKind, NoResult
from deployments.serve.serialization import decode, encode
from deployments.serve.shadow import ShadowArm
from deployments.shadow.queue import ShadowEvaluation, ShadowWork
from env.instances.generator import toy_problem
from env.simulator.rules import Rule, dispatch
from loadtests.faulty import CrashingCounterfactual, HangingCounterfactual

pytestmark = pytest.mark.system

PROBLEM = toy_problem()
SCHEDULE = dispatch(PROBLEM, Rule.PLANNER)
# Long, because the process of lowest priority may start beside anything.
PATIENCE_SECONDS = 600.0

Make = Callable[[type[ShadowArm]], ShadowArm]


@pytest.fixture
def make(_restored_loggers: None) -> Iterator[Make]:
    """Makes a replica whose process ends with the test."""
    made: list[ShadowArm] = []

    def one(kind: type[ShadowArm]) -> ShadowArm:
        made.append(kind())
        return made[-1]

    yield one
    for replica in made:
        replica.__del__()


def work(arm: Arm) -> bytes:
    return encode(
        ShadowWork(
            problem=PROBLEM,
            planned=None,
            served=SCHEDULE,
            arm=arm,
            recent=(),
            budget_ms=0,
            limit_seconds=PATIENCE_SECONDS,
        )
    )


async def test_both_arms_are_computed_and_judged(make: Make) -> None:
    """By the real process, one after the other: the rule as it would serve, and the published policy."""
    replica = make(ShadowArm)
    for arm in (RULE, PUBLISHED_POLICY):
        answer = await replica.compute(work(arm), PATIENCE_SECONDS)
        assert isinstance(answer, bytes)
        found: ShadowEvaluation = decode(answer)
        assert (found.attempt.status, found.served_objection) == (EvaluationStatus.VALID, None)
        assert found.attempt.proposal is not None
        assert (found.attempt.proposal.model is None) is arm.is_rule


async def test_replica_outlives_an_arm_that_dies(make: Make) -> None:
    """The load test's deadly arm kills its process, twice, and what is lacking is told as an arm that died."""
    replica = make(CrashingCounterfactual)
    answer = await replica.compute(work(PUBLISHED_POLICY), PATIENCE_SECONDS)
    assert answer == NoResult(kind=FailureKind.DIED, reason="the process died: exit code 1")


async def test_replica_outlives_an_arm_that_hangs(make: Make) -> None:
    """The load test's hanging arm never answers; its start does not count as hanging, however long it takes."""
    replica = make(HangingCounterfactual)
    while (answer := await replica.compute(work(PUBLISHED_POLICY), 1.0)) == NoResult(
        kind=FailureKind.ABSENT, reason="the process is still starting"
    ):
        pass
    assert answer == NoResult(kind=FailureKind.HUNG, reason="took longer than 1 s")


def test_nothing_of_weight_is_imported_at_the_priority_of_all() -> None:
    """Neither by the replica, which computes nothing itself, nor by its process before it steps back."""
    program = (
        "from deployments.serve.process import leave_out_unused; leave_out_unused();"
        "import sys, deployments.serve.shadow; print({'numpy', 'numba', 'models', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
