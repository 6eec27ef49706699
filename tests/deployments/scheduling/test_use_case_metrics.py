"""What the use case tells of each plan: who made it and why, how long each stage took, what it refused."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from deployments.errors import Overloaded, ProposalFailed
from deployments.runtime.metrics import PLAN_BUDGET, PLAN_OPERATIONS, PLAN_SECONDS, PLANS, SHED
from deployments.scheduling.time_budget import LoadShedding
from tests.deployments.fakes import FailingProposer, KeptMeter, PlannedProposer, body, request_of, scheduling_over


@pytest.mark.parametrize(
    ("ppo", "by", "fallback"),
    [(PlannedProposer(), "ppo", "none"), (FailingProposer(ProposalFailed("lost")), "manual", "crash")],
)
async def test_plan_tells_who_made_it_and_why(ppo: PlannedProposer, by: str, fallback: str) -> None:
    """Once a plan, with its size, its budget and the seconds of each stage."""
    meter = KeptMeter()
    request, raw = request_of(), json.dumps(body()).encode()
    await scheduling_over(ppo=ppo, meter=meter).schedule(request, client="planner", raw_body=raw)
    assert meter.counted == {(PLANS.name, "ppo", by, fallback): 1}
    assert meter.observed[PLAN_OPERATIONS.name,] == [len(request.jobs)]
    assert meter.observed[PLAN_BUDGET.name,] == [request.time_budget_ms]
    stages = {series[1] for series in meter.observed if series[0] == PLAN_SECONDS.name}
    assert stages == {"translate", "arms", "answer", "append", "propose", "judge"}
    parts = [sum(meter.observed[PLAN_SECONDS.name, stage]) for stage in ("propose", "judge")]
    assert sum(parts) <= sum(meter.observed[PLAN_SECONDS.name, "arms"])


async def test_refused_newcomer_is_counted() -> None:
    """As shed, once; it is no plan."""
    meter = KeptMeter()
    scheduling = scheduling_over(load=LoadShedding(2), meter=meter)
    scheduling.require_room(10_000)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(scheduling._load.request(10**9))
        with pytest.raises(Overloaded):
            scheduling.require_room(10**9)
    assert meter.counted == {(SHED.name,): 1}
