"""The use case with its real arms and the real judge in this process, asked as over HTTP."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from deployments.contracts.parsing import read_schedule_request
from deployments.errors import NoSafeSchedule
from deployments.scheduling.ports import Proposal, ProposalCall, planners_proposal, policy_proposal
from env.errors import InvalidProblem
from env.problem import Problem
from models.policy.artefact import load_predictor
from models.policy.predictor import Predictor
from models.search.anytime import search
from models.search.warm_up import warm_policy, warm_rules
from tests.deployments.fakes import LIMITS, JournalDecisions, MemoryJournal, scheduling_over

CLIENT = "planner"


@cache
def shipped_policy() -> Predictor:
    """The policy that is published with the code, compiled as a replica has it before its first request."""
    warm_policy(predictor := load_predictor())
    warm_rules()
    return predictor


class ShippedPolicy:
    """Proposes by the published policy; no budget is above `max_budget_ms`.

    With `iterations` any budget is so many of them, whatever time that takes.
    """

    def __init__(self, max_budget_ms: int, iterations: int | None = None) -> None:
        self._predictor = shipped_policy()
        self._max_budget_ms = max_budget_ms
        self._iterations = iterations

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        if budget_ms and self._iterations is not None:
            found = search(self._predictor, problem, budget_ms, iterations=self._iterations, threads=1)
            return Proposal(schedule=found.schedule, method=found.method, replanned=found.replanned)
        return policy_proposal(self._predictor, problem, min(budget_ms, self._max_budget_ms), threads=1)


class PlannersRule:
    """Proposes by the planner's rule."""

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        return planners_proposal(problem)


class LocalService:
    """Remembers its answers, so that requests may continue them."""

    def __init__(self, zone: str = "UTC", max_budget_ms: int = 60_000, iterations: int | None = None) -> None:
        journal = MemoryJournal()
        self._scheduling = scheduling_over(
            ppo=ShippedPolicy(max_budget_ms, iterations),
            manual=PlannersRule(),
            journal=journal,
            archive=JournalDecisions(journal),
            zone=ZoneInfo(zone),
        )

    def post(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer."""
        raw = json.dumps(body).encode()
        try:
            received = read_schedule_request(raw, LIMITS)
            answered = asyncio.run(
                self._scheduling.schedule(received.body, client=CLIENT, raw_body=raw, warnings=received.warnings)
            )
        except InvalidProblem as problem:
            return 422, {"errors": [{"field": field, "message": message} for field, message in problem.reasons]}
        except NoSafeSchedule as failure:
            return 500, {"rejections": [rejection.reason for rejection in failure.rejections]}
        return 200, json.loads(answered.body)
