"""What locust loads: a plant that plans, the shape that the options choose, and the goals that set the exit code."""

from __future__ import annotations

import os
import random
from argparse import ArgumentParser
from typing import Any, ClassVar

from locust import LoadTestShape, constant_pacing, events, task
from locust.contrib.fasthttp import FastHttpUser, ResponseContextManager
from locust.env import Environment

from loadtests.goals import GOALS, JOB_COUNT, SHAPES, Measured, plant_request

ROUTE = "POST /schedule"
SHED_ROUTE = "POST /schedule (shed)"
_SHED_STATUSES = frozenset({429, 503})
__all__ = ["ChosenShape", "PlanningPlant"]
_CLIENTS_PER_SECOND = 20.0
_GOALS_MISSED = 1


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


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """The options of a run, shown by `locust -f loadtests/locustfile.py --help`."""
    parser.add_argument("--load-shape", choices=sorted(SHAPES), default="constant", help="shape of the load")
    parser.add_argument("--clients", type=int, default=4, help="clients of the constant part of the shape")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds before anything is counted")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds that are counted")
    parser.add_argument("--plant-seed", type=int, default=170, help="seed of the generated plants")
    parser.add_argument(
        "--api-key",
        default=os.environ.get("GANTRY_API_KEY", "dev-api-key-change-in-production"),
        help="key of the service; default: GANTRY_API_KEY",
        is_secret=True,
    )


class ChosenShape(LoadTestShape):
    """The warm-up with the shape's first load, whose figures are thrown away, then the shape itself."""

    def __init__(self) -> None:
        super().__init__()
        self._is_warm = False

    def tick(self) -> tuple[int, float] | None:
        """Clients wanted now, None when the run is over."""
        options = self._options()
        counted_seconds = self.get_run_time() - options.warm_up
        if counted_seconds >= options.seconds:
            return None
        if counted_seconds >= 0 and not self._is_warm:
            self._is_warm = True
            self._environment().stats.reset_all()
        progress = max(0.0, counted_seconds) / options.seconds
        return SHAPES[options.load_shape](progress, options.clients), _CLIENTS_PER_SECOND

    def _environment(self) -> Environment:
        assert self.runner is not None
        return self.runner.environment

    def _options(self) -> Any:
        return self._environment().parsed_options


@events.quitting.add_listener
def judge_run(environment: Environment, **_: object) -> None:
    """Print each goal that was missed, and let the exit code say whether there was one."""
    options = environment.parsed_options
    if options is None:
        return
    measured = _measured(environment)
    missed = list(GOALS[options.load_shape].missed(measured))
    print(f"counted {measured.requests} requests, {measured.failures} failures, {measured.shed} shed")
    print(f"p50 {measured.p50_ms:.0f} ms, p95 {measured.p95_ms:.0f} ms, p99 {measured.p99_ms:.0f} ms")
    for line in missed:
        print(f"GOAL MISSED: {line}")
    environment.process_exit_code = _GOALS_MISSED if missed else 0


def _measured(environment: Environment) -> Measured:
    answered = environment.stats.get(ROUTE, "POST")
    shed = environment.stats.get(SHED_ROUTE, "POST")
    return Measured(
        requests=answered.num_requests,
        failures=answered.num_failures,
        shed=shed.num_requests,
        p50_ms=answered.get_response_time_percentile(0.50),
        p95_ms=answered.get_response_time_percentile(0.95),
        p99_ms=answered.get_response_time_percentile(0.99),
    )
