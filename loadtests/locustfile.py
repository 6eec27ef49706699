"""What locust loads: the client, the shape that the options choose, and the goals that set the exit code."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from locust import LoadTestShape, events
from locust.env import Environment

from loadtests.goals import GOALS, Measured
from loadtests.shapes import SHAPES
from loadtests.users import ROUTE, SHED_ROUTE, PlanningPlant

__all__ = ["ChosenShape", "PlanningPlant"]

_CLIENTS_PER_SECOND = 20.0
_GOALS_MISSED = 1


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
