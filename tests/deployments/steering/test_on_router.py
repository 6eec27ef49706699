"""What a router makes of what the Counterfactual deployment answers, and of what it does not."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from deployments.freight import pack, unpack
from deployments.niced_process import Lack, Unanswered
from deployments.persistence.evaluations import EvaluationStatus
from deployments.standing import PUBLISHED_POLICY
from deployments.steering.on_router import computed_by
from deployments.steering.recomputing import Recomputation, Recomputed
from env.dispatching_rules import Rule, dispatch
from env.generator import toy_problem
from tests.deployments.test_adapters import FakeMethod

PROBLEM = toy_problem()
WORK = Recomputation(
    problem=PROBLEM,
    planned=None,
    served=dispatch(PROBLEM, Rule.PLANNER),
    contender=PUBLISHED_POLICY,
    recent=(),
    budget_ms=0,
    limit_seconds=7.0,
)
DEAD = ActorDiedError()


async def test_work_travels_with_its_limit() -> None:
    """The replica does not look into what it hands on, and the process's answer comes back unchanged."""
    answer = Recomputed(status=EvaluationStatus.REJECTED, reason="too late")
    method = FakeMethod(pack(answer))
    assert await computed_by(method)(WORK) == answer
    ((freight, limit_seconds),) = method.calls
    assert (unpack(freight), limit_seconds) == (WORK, 7.0)


@pytest.mark.parametrize(
    ("lack", "status"),
    [
        (Lack.HUNG, EvaluationStatus.TIMED_OUT),
        (Lack.DIED, EvaluationStatus.FAILED),
        (Lack.ABSENT, EvaluationStatus.DROPPED),
    ],
)
async def test_only_an_arm_that_was_asked_can_have_failed(lack: Lack, status: EvaluationStatus) -> None:
    """One that hung or died of the request is a crash; without a process to ask, the pair is merely missing."""
    found = await computed_by(FakeMethod(Unanswered(lack=lack, reason="because")))(WORK)
    assert (found.status, found.reason) == (status, "no proposal: because")


async def test_replica_that_is_lost_or_full_has_not_asked_the_arm() -> None:
    """Neither is the arm's failure: it runs in a process beside the replica."""
    lost = await computed_by(FakeMethod(DEAD, DEAD))(WORK)
    full = await computed_by(FakeMethod(BackPressureError(num_queued_requests=32, max_queued_requests=32)))(WORK)
    assert (lost.status, full.status) == (EvaluationStatus.DROPPED, EvaluationStatus.SHED)
