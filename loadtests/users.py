"""A plant that plans: it posts 170 jobs, reads the answer as a planner would, thinks, and posts again."""

from __future__ import annotations

import random
from typing import ClassVar

from locust import constant_pacing, task
from locust.contrib.fasthttp import FastHttpUser, ResponseContextManager

from loadtests.plants import JOB_COUNT, plant_request

ROUTE = "POST /schedule"
SHED_ROUTE = "POST /schedule (shed)"
_SHED_STATUSES = frozenset({429, 503})


class PlanningPlant(FastHttpUser):
    """One client of the service; its requests are drawn from a seed of its own."""

    abstract = False
    wait_time = constant_pacing(1.0)
    connection_timeout = 10.0
    network_timeout = 30.0
    _count: ClassVar[int] = 0

    def on_start(self) -> None:
        """Give each client its own plants, the same ones in every run."""
        PlanningPlant._count += 1
        options = self.environment.parsed_options
        assert options is not None
        self._rng = random.Random(options.plant_seed + PlanningPlant._count)
        self._headers = {"X-API-Key": options.api_key}

    @task
    def plan(self) -> None:
        """Post one list of jobs and check that the answer holds all of them."""
        request = plant_request(self._rng)
        with self.client.post(
            "/schedule", json=request, headers=self._headers, name=ROUTE, catch_response=True
        ) as response:
            _judge(response, request["request_id"])


def _judge(response: ResponseContextManager, request_id: str) -> None:
    """Shed requests are a deliberate answer: they are listed under a name of their own, not as errors."""
    if response.status_code in _SHED_STATUSES and "Retry-After" in (response.headers or {}):
        response.request_meta["name"] = SHED_ROUTE
        response.success()
        return
    if response.status_code != 200:
        response.failure(f"status must be 200, was {response.status_code}")
        return
    answer = response.json()
    if answer["request_id"] != request_id:
        response.failure(f"request_id must be {request_id}, was {answer['request_id']}")
    elif len(answer["scheduled_jobs"]) != JOB_COUNT or not answer["safety"]["valid"]:
        response.failure(f"all {JOB_COUNT} jobs must be in a valid schedule, were {len(answer['scheduled_jobs'])}")
    else:
        response.success()
