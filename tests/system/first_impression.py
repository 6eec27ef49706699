"""`python -m tests.system.first_impression`: what a client gets that asks for nothing in particular, beside manual.

The ten reference plants are posted to a service of its own, whatever the machine is doing otherwise: by one client,
then by several at once, each of which posts all ten. `--budget` (several) asks for that many milliseconds instead of
leaving the budget out. Needs the folder that `GANTRY_BENCHMARKS` names.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

import httpx

from deployments.commands.demo import use_throwaway_settings
from deployments.commands.terminal import StepDisplay
from deployments.contracts.answers.figures import Metrics, metrics_of
from deployments.contracts.parsing import RequestLimits, read_schedule_request
from deployments.contracts.translation.problem import translate
from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.service import DEFAULT_CONFIG, running
from deployments.runtime.clock import utc_now
from deployments.settings.service import Settings, load_settings
from env.judge.judge import judge
from env.simulator.rules import Rule, dispatch
from tests.benchmark_data import reference_files

CLIENTS = (1, 16)
WARM_UP = 4
FIGURES = ("makespan", "jobs_on_time", "important_jobs_on_time", "average_utilization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Means over all answers, in hours and per cent; seconds until an answer was there."""

    who: str
    figures: tuple[float, ...]
    served: str = ""
    median_seconds: float = 0.0
    p95_seconds: float = 0.0


def main(arguments: Sequence[str]) -> int:
    """Print a table; the exit code says whether a figure of PPO was below manual's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, action="append", help="milliseconds to ask for instead of the default")
    parser.add_argument("--clients", type=int, action="append", help=f"at once; by default {CLIENTS}")
    options = parser.parse_args(arguments)
    bodies = [json.loads(path.read_text(encoding="utf-8")) for path in reference_files()]
    with tempfile.TemporaryDirectory(prefix="gantry-impression-", ignore_cleanup_errors=True) as data_folder:
        use_throwaway_settings(Path(data_folder))
        settings = load_settings()
        manual = Row(who="manual rule", figures=_means(_by_hand(body, settings) for body in bodies))
        _show(manual)
        rows = []
        with running(
            settings, DEFAULT_CONFIG, free_port(), display=StepDisplay(lambda _line: None), quiet=True
        ) as listener:
            headers = {"X-API-Key": settings.api_key.get_secret_value()}
            for budget in options.budget or (None,):
                for clients in options.clients or CLIENTS:
                    asked = [body if budget is None else body | {"time_budget_ms": budget} for body in bodies]
                    rows.append(_measured(listener.url, headers, asked, clients, budget))
                    _show(rows[-1])
    return int(any(is_worse(row, manual) for row in rows))


def is_worse(row: Row, manual: Row) -> bool:
    """Whether a figure is worse than manual's: a longer makespan, or a lower share."""
    longer = row.figures[0] > manual.figures[0]
    return longer or any(own < other for own, other in zip(row.figures[1:], manual.figures[1:], strict=True))


def _by_hand(body: dict[str, Any], settings: Settings) -> Metrics:
    limits = RequestLimits(jobs=settings.max_jobs, machines=settings.max_machines)
    request = read_schedule_request(json.dumps(body).encode(), limits).body
    problem = translate(request, zone=settings.zone, now=utc_now()).problem
    return metrics_of(judge(problem, dispatch(problem, Rule.PLANNER)).measures)


def _measured(url: str, headers: dict[str, str], bodies: list[dict[str, Any]], clients: int, budget: int | None) -> Row:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False))
            for _ in range(clients)
        ]
        for body in bodies[:WARM_UP]:
            connections[0].post("/schedule", json=body).raise_for_status()
        pool = stack.enter_context(ThreadPoolExecutor(clients))
        # Each client begins with another plant, so that they are not all at the same one.
        turns = [(own, bodies[at % len(bodies) :] + bodies[: at % len(bodies)]) for at, own in enumerate(connections)]
        answers = [each for part in pool.map(lambda turn: _post_all(*turn), turns) for each in part]
    seconds = sorted(each for _, each in answers)
    cuts = quantiles(seconds, n=20, method="inclusive")
    by_ppo = sum(answer["algorithm_used"] == "ppo" for answer, _ in answers)
    asked = "default budget" if budget is None else f"{budget} ms"
    return Row(
        who=f"{clients} client{'s' if clients > 1 else ''}, {asked}",
        figures=_means(Metrics.model_validate(answer["metrics"]) for answer, _ in answers),
        served=f"{by_ppo} of {len(answers)} by ppo",
        median_seconds=cuts[9],
        p95_seconds=cuts[18],
    )


def _post_all(client: httpx.Client, bodies: list[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    answers = []
    for body in bodies:
        began = time.perf_counter()
        answer = client.post("/schedule", json=body).raise_for_status().json()
        answers.append((answer, time.perf_counter() - began))
    return answers


def _means(metrics: Iterable[Metrics]) -> tuple[float, ...]:
    rows = [[getattr(each, name) for name in FIGURES] for each in metrics]
    return tuple(mean(column) for column in zip(*rows, strict=True))


def _show(row: Row) -> None:
    makespan, *shares = row.figures
    columns = " ".join(f"{share:6.2f} %" for share in shares)
    times = f"p50 {row.median_seconds:5.2f} s p95 {row.p95_seconds:5.2f} s {row.served}" if row.served else ""
    print(f"{row.who:26} {makespan:6.2f} h {columns}  {times}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
