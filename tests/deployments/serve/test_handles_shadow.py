"""What a router makes of what the Counterfactual deployment answers, and of what it does not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from deployments.persistence.decisions.records import EvaluationStatus
from deployments.rollout.ramp.traffic import PUBLISHED_POLICY
from deployments.runtime.worker_process import FailureKind, NoResult
from deployments.scheduling.arms import Attempt
from deployments.serve.handles import RemoteShadowArm
from deployments.serve.serialization import decode, encode
from deployments.shadow.queue import ShadowEvaluation, ShadowWork
from env.instances.generator import toy_problem
from env.simulator.rules import Rule, dispatch
from tests.deployments.serve.test_handles import FakeMethod

PROBLEM = toy_problem()
WORK = ShadowWork(
    problem=PROBLEM,
    planned=None,
    served=dispatch(PROBLEM, Rule.PLANNER),
    arm=PUBLISHED_POLICY,
    recent=(),
    budget_ms=0,
    limit_seconds=7.0,
)
DEAD = ActorDiedError()


def _arm(compute: FakeMethod) -> RemoteShadowArm:
    return RemoteShadowArm(SimpleNamespace(compute=compute))


async def test_work_travels_with_its_limit() -> None:
    """The replica does not look into what it hands on, and the process's answer comes back unchanged."""
    answer = ShadowEvaluation(attempt=Attempt(arm=WORK.arm, status=EvaluationStatus.REJECTED, reason="too late"))
    method = FakeMethod(encode(answer))
    assert await _arm(method).compute(WORK) == answer
    ((payload, limit_seconds),) = method.calls
    assert (decode(payload), limit_seconds) == (WORK, 7.0)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.HUNG, EvaluationStatus.TIMED_OUT),
        (FailureKind.DIED, EvaluationStatus.FAILED),
        (FailureKind.ABSENT, EvaluationStatus.DROPPED),
    ],
)
async def test_only_an_arm_that_was_asked_can_have_failed(kind: FailureKind, status: EvaluationStatus) -> None:
    """One that hung or died of the request is a crash; without a process to ask, the pair is merely missing."""
    found = await _arm(FakeMethod(NoResult(kind=kind, reason="because"))).compute(WORK)
    assert (found.attempt.status, found.attempt.reason) == (status, "no proposal: because")


async def test_replica_that_is_lost_or_full_has_not_asked_the_arm() -> None:
    """Neither is the arm's failure: it runs in a process beside the replica."""
    lost = await _arm(FakeMethod(DEAD, DEAD)).compute(WORK)
    full = await _arm(FakeMethod(BackPressureError(num_queued_requests=32, max_queued_requests=32))).compute(WORK)
    assert (lost.attempt.status, full.attempt.status) == (EvaluationStatus.DROPPED, EvaluationStatus.SHED)
