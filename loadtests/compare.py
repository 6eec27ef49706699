"""`python -m loadtests.compare`: what one stored plan of 170 jobs costs in processor time, process by process.

The service as shipped (d), and beside it: Stable-Baselines3's `predict` step by step behind FastAPI (a), the
product's own predictor behind FastAPI without judge and store (b), the service in Ray Serve's default mode (c), and
two hops of bare Ray Serve that carry as many bytes and do nothing (e). Each runs in processes of its own, is asked
for the shipped request with `time_budget_ms` 0 by one client and by sixteen, a fixed number of times, and stopped.
Processor time is what the kernel counts of each process, so another load on the machine spoils it much less than it
spoils latencies; still it makes caches colder, and the load average is told beside the figures. What the processes
use while nobody asks is measured first, and taken off. `--flames FOLDER` writes a flame graph of each process (py-spy).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from deployments.commands.demo import EXAMPLE, use_throwaway_settings
from deployments.commands.terminal import StepDisplay
from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.processes import descendants
from deployments.serve.environment import LOOPBACK
from deployments.settings.service import DEVELOPMENT_API_KEY
from env.errors import GantryError
from loadtests.isolation import quantile

ROOT = Path(__file__).resolve().parent.parent
ARMS = {
    "a": "FastAPI, SB3 predict",
    "b": "FastAPI, predictor alone",
    "c": "Gantry, default Serve",
    "d": "Gantry as shipped",
    "e": "bare Ray Serve, two hops",
}
CLIENTS = (1, 16)
WARM_UP_REQUESTS = 40
IDLE_SECONDS = 5.0
MAX_IDLE_MEASUREMENTS = 8
BUSY_SHARE = 0.2
"""Whoever uses so much of a core while nobody asks is still starting."""
SETTLING_SECONDS = 1.5
MAX_RUN_SECONDS = 900
MAX_REQUESTS = 2000
_REQUEST_SECONDS = 60.0
_START_SECONDS = 240.0
_LOAD, _NEW = _APART = "the load itself", "replicas that start meanwhile"
# What an answer and its parts take on the way between two deployments, rounded.
_PROBLEM_BYTES, _PROPOSAL_BYTES, _VERDICT_BYTES, _ANSWER_BYTES = 20_000, 8_000, 500, 50_000
# In the default mode none of these is set.
_THROUGHPUT = ("RAY_SERVE_THROUGHPUT_OPTIMIZED", "RAY_SERVE_ENABLE_HA_PROXY")
_REPLICA = re.compile(r"(?:ServeReplica:)?(?:gantry|default):(\w+)")
_TITLE = re.compile(r'(<text id="title"[^>]*>)[^<]*(</text>)')
_PARTS_OF_RAY = ("ServeController", "ProxyActor", "HAProxyManager", "DashboardAgent", "RuntimeEnvAgent", "dashboard")
Seconds = Counter[str]


def main(options: list[str]) -> int:
    """Measure the arms one after the other, each in a process of its own, and print one table for each."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.compare", description=__doc__)
    parser.add_argument("--arms", default="d", help=f"of {', '.join(ARMS)}, such as abcde")
    parser.add_argument("--requests", type=int, default=200, help=f"in each run, at most {MAX_REQUESTS}")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 10), help="runs of each kind")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="how many at a time")
    parser.add_argument("--flames", type=Path, help="folder for a flame graph of each process of arm d")
    parser.add_argument("--measure", choices=sorted(ARMS), help="run this one alone and print its figures as JSON")
    parser.add_argument("--serve", nargs=2, metavar=("ARM", "PORT"), help="only listen, as that arm")
    arguments = parser.parse_args(options)
    if arguments.serve is not None:
        _SERVERS[arguments.serve[0]](int(arguments.serve[1]))
        return 0
    if arguments.measure is not None:
        print(json.dumps(list(_measured(arguments.measure, arguments))))
        return 0
    print(f"commit {_commit()}, {os.cpu_count()} cores, shipped request, time_budget_ms 0")
    for arm in arguments.arms:
        print(f"\n## ({arm}) {ARMS[arm]}\n", flush=True)
        print(page(_in_a_process(arm, arguments)), flush=True)
    return 0


def page(runs: list[dict[str, Any]]) -> str:
    """One column for each number of clients in Markdown: the median over its runs, and their spread."""
    clients = sorted({run["clients"] for run in runs})
    of = {each: [run for run in runs if run["clients"] == each] for each in clients}
    parts = dict.fromkeys(part for run in runs for part in run["cpu_ms"] if part != _LOAD)
    rows: list[tuple[str, Callable[[dict[str, Any]], float]]] = [
        ("plans/s", lambda run: run["plans_per_second"]),
        *((f"p{share} ms", lambda run, share=share: quantile(run["taken_ms"], share / 100)) for share in (50, 95, 99)),
        (
            "CPU ms per plan",
            lambda run: sum(run["cpu_ms"].values()) - sum(run["cpu_ms"].get(part, 0) for part in _APART),
        ),
        *((f"- {part}", lambda run, part=part: run["cpu_ms"].get(part, 0.0)) for part in parts),
        ("idle: CPU ms per second", _idle_ms),
        *((f"- idle {part}", lambda run, part=part: run["idle_ms_per_second"].get(part, 0.0)) for part in parts),
        ("not answered by the policy", lambda run: run["failures"]),
        ("PSS MiB", lambda run: run["pss_mib"]),
        ("load average", lambda run: run["load_average"]),
    ]
    lines = ["| | " + " | ".join(f"{each} clients" if each > 1 else "1 client" for each in clients) + " |"]
    lines.append("|---" * (1 + len(clients)) + "|")
    for name, value in rows:
        cells = [sorted(map(value, of[each])) for each in clients]
        if any(found[-1] >= 0.05 for found in cells) or not name.startswith("- "):
            text = (f"{median(found):.1f} ({found[0]:.1f} to {found[-1]:.1f})" for found in cells)
            lines.append(f"| {name} | {' | '.join(text)} |")
    return "\n".join(lines)


def _idle_ms(run: dict[str, Any]) -> float:
    return sum(milliseconds for part, milliseconds in run["idle_ms_per_second"].items() if part not in _APART)


def _plan_ms(run: dict[str, Any]) -> float:
    return sum(milliseconds for part, milliseconds in run["cpu_ms"].items() if part not in _APART)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=9"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()  # noqa: S603


def _in_a_process(arm: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "loadtests.compare", "--measure", arm]
    command += ["--requests", str(arguments.requests), "--rounds", str(arguments.rounds)]
    command += ["--clients", *map(str, arguments.clients)]
    command += ["--flames", str(arguments.flames.resolve())] if arguments.flames is not None and arm == "d" else []
    done = subprocess.run(  # noqa: S603
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=MAX_RUN_SECONDS,
    )
    runs: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return runs


def _measured(arm: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    requests = min(arguments.requests, MAX_REQUESTS)
    body = json.dumps(json.loads(EXAMPLE.read_bytes()) | {"time_budget_ms": 0}).encode()
    with tempfile.TemporaryDirectory(prefix="gantry-compare-", ignore_cleanup_errors=True) as folder:
        use_throwaway_settings(Path(folder))
        # The shadow arm repeats each plan at the lowest priority; here it would be counted with those that are served.
        os.environ["GANTRY_COUNTERFACTUAL_PERCENT"] = "0"
        with _served(arm, body) as port:
            for clients in arguments.clients:
                load_of(port, body, clients, WARM_UP_REQUESTS)
                for _ in range(arguments.rounds):
                    yield _run(port, body, clients, requests)
                if arguments.flames is not None:
                    with _flames(arguments.flames, f"{clients}-clients"):
                        load_of(port, body, clients, requests)


@contextmanager
def _served(arm: str, body: bytes) -> Iterator[int]:
    """The port of an arm that is ready, which descends from this process."""
    port = free_port()
    if arm in _SERVERS:
        command = [sys.executable, "-m", "loadtests.compare", "--serve", arm, str(port)]
        child = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)  # noqa: S603
        try:
            _await_answer(child, port, body)
            yield port
        finally:
            child.terminate()
            child.wait(_REQUEST_SECONDS)
        return
    from deployments.local_cluster.service import DEFAULT_CONFIG, running
    from deployments.settings.service import load_settings

    os.environ |= dict.fromkeys(_THROUGHPUT, "0") if arm == "c" else {}
    with running(load_settings(), DEFAULT_CONFIG, port, display=StepDisplay(lambda _: None), quiet=True):
        yield port


def _await_answer(child: subprocess.Popen[bytes], port: int, body: bytes) -> None:
    """Returns when a plan was answered: a proxy listens before there is anybody behind it."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and child.poll() is None:
        if load_of(port, body, 1, 1)[1] == 0:
            return
        time.sleep(0.5)
    raise TimeoutError(f"the arm must answer within {_START_SECONDS:g} s, ended or did not")


def _run(port: int, body: bytes, clients: int, requests: int) -> dict[str, Any]:
    """One run: processor milliseconds per request of each part, without what it uses when idle."""
    idle, since = _idle_seconds(), time.time()
    begun, before = time.perf_counter(), _cpu_seconds(since)
    taken, failures = load_of(port, body, clients, requests)
    took = time.perf_counter() - begun
    # The last records are still on their way to the database.
    time.sleep(SETTLING_SECONDS)
    elapsed, after = time.perf_counter() - begun, _cpu_seconds(since)
    used = {part: after[part] - before[part] - elapsed * idle[part] for part in sorted(after)}
    cpu_ms = {part: 1000 * seconds / requests for part, seconds in used.items()}
    run: dict[str, Any] = {
        "clients": clients,
        "taken_ms": taken,
        "failures": failures,
        "plans_per_second": requests / took,
        "cpu_ms": cpu_ms,
        "idle_ms_per_second": {part: 1000 * idle[part] for part in idle},
        "pss_mib": sum(map(_pss_bytes, descendants(os.getpid()))) / 2**20,
        "load_average": os.getloadavg()[0],
    }
    print(f"clients {clients}: {_plan_ms(run):.1f} ms of processor time per plan", file=sys.stderr, flush=True)
    return run


def _idle_seconds() -> Seconds:
    """Processor time that each part uses in a second while nobody asks, once replicas that were added are ready."""
    for _ in range(MAX_IDLE_MEASUREMENTS):
        begun, before = time.perf_counter(), _cpu_seconds()
        time.sleep(IDLE_SECONDS)
        seconds, after = time.perf_counter() - begun, _cpu_seconds()
        idle = Counter({part: (after[part] - before[part]) / seconds for part in after})
        if max(idle.values()) < BUSY_SHARE:
            break
    return idle


def load_of(port: int, body: bytes, clients: int, requests: int) -> tuple[list[float], int]:
    """Milliseconds that each of the requests took, and how many were not answered by the arm that was asked."""
    shares = [requests // clients + (number < requests % clients) for number in range(clients)]

    def client(count: int) -> tuple[list[float], int]:
        connection = HTTPConnection(LOOPBACK, port, timeout=_REQUEST_SECONDS)
        headers = {"X-API-Key": DEVELOPMENT_API_KEY, "Content-Type": "application/json"}
        taken, failures = [], 0
        for _ in range(count):
            begun = time.perf_counter()
            try:
                connection.request("POST", "/schedule", body, headers)
                answer = connection.getresponse()
                content = answer.read()
                failures += answer.status != 200 or b'"algorithm_used":"manual"' in content
            except (OSError, HTTPException):
                failures += 1
                connection.close()
            taken.append(1000 * (time.perf_counter() - begun))
        connection.close()
        return taken, failures

    with ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(client, shares))
    return [each for taken, _ in found for each in taken], sum(failures for _, failures in found)


def _cpu_seconds(since: float | None = None) -> Seconds:
    """Processor time by part of the service; that of this process, which makes the load, apart.

    So is all that has begun `since`, such as a replica that is added under load: it reads its code first.
    """
    seconds: Seconds = Counter()
    for process in (psutil.Process(), *descendants(os.getpid())):
        with suppress(psutil.Error):
            times = process.cpu_times()
            part = _LOAD if process.pid == os.getpid() else part_of(" ".join(process.cmdline()), process.name())
            is_new = since is not None and process.create_time() > since
            seconds[_NEW if is_new else part] += times.user + times.system
    return seconds


def part_of(title: str, program: str) -> str:
    """What a process of that title is called: the deployment of a replica, else its part of Ray, else its program."""
    if replica := _REPLICA.search(title):
        return replica[1]
    return next((known for known in _PARTS_OF_RAY if known in title), program)


def _pss_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


@contextmanager
def _flames(folder: Path, name: str) -> Iterator[None]:
    """A flame graph of one process of each deployment while the block runs, by py-spy."""
    folder.mkdir(parents=True, exist_ok=True)
    first = dict(reversed(list(_replicas())))
    watchers = {
        folder / f"{part}-{name}.svg": subprocess.Popen(  # noqa: S603
            [
                str(Path(sys.executable).with_name("py-spy")),
                *("record", "--pid", str(pid), "--duration", "600", "--rate", "200", "--nonblocking"),
                *("--format", "flamegraph", "--output", str(folder / f"{part}-{name}.svg")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=sys.stderr,
        )
        for part, pid in first.items()
    }
    time.sleep(1.0)
    try:
        yield
    finally:
        for path, watcher in watchers.items():
            # Then it writes what it has.
            watcher.send_signal(signal.SIGINT)
            watcher.wait(_REQUEST_SECONDS)
            if path.exists():
                path.write_text(titled(path.read_text(encoding="utf-8"), path.stem), encoding="utf-8")


def titled(graph: str, title: str) -> str:
    """A flame graph with that title; py-spy gives it the whole command, with the paths of one machine."""
    return _TITLE.sub(rf"\g<1>{title}\g<2>", graph)


def _replicas() -> Iterator[tuple[str, int]]:
    """The deployment and the process id of each replica."""
    for process in descendants(os.getpid()):
        with suppress(psutil.Error):
            if replica := _REPLICA.search(" ".join(process.cmdline())):
                yield replica[1], process.pid


def _serve_predict(port: int) -> None:
    """(a): the policy as its library runs it, through the gymnasium environment."""
    import torch
    from sb3_contrib import MaskablePPO

    from deployments.settings.service import PUBLISHED_MODEL
    from env.gym.adapters import FlexibleJobShopEnv

    torch.set_num_threads(1)
    model = MaskablePPO.load(PUBLISHED_MODEL / "final_model.zip", device="cpu")
    env = FlexibleJobShopEnv()

    def plan(problem: Any) -> Any:
        observation, _ = env.reset(options={"problem": problem})
        is_done = False
        while not is_done:
            action, _ = model.predict(observation, action_masks=env.action_masks(), deterministic=True)
            observation, _, is_done, _, _ = env.step(action)
        return env.schedule

    _serve_plans(plan, port)


def _serve_predictor(port: int) -> None:
    """(b): the policy as the product runs it, and nothing else of the product."""
    from deployments.settings.service import PUBLISHED_MODEL
    from models.policy.artefact import load_predictor

    _serve_plans(load_predictor(PUBLISHED_MODEL).schedule, port)


def _serve_plans(plan: Callable[[Any], Any], port: int) -> None:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from deployments.contracts.requests.schedule_request import ScheduleRequest
    from deployments.contracts.translation.problem import translate

    async def schedule(request: Request) -> Response:
        asked = ScheduleRequest.model_validate_json(await request.body())
        found = plan(translate(asked, zone=ZoneInfo("UTC"), now=datetime.now(UTC)).problem)
        rows = [
            {"job_id": each.operation_id, "machine": each.machine_id, "start": each.start_seconds}
            for each in found.assignments
        ]
        return JSONResponse({"makespan": found.makespan_seconds / 3600, "scheduled_jobs": rows})

    app = Starlette(routes=[Route("/schedule", schedule, methods=["POST"])])
    uvicorn.run(app, host=LOOPBACK, port=port, log_level="warning")


def _serve_nothing(port: int) -> None:
    """(e): Ray Serve as the product sets it up, with replicas that only pass bytes on."""
    from deployments.local_cluster.service import ray_variables

    os.environ |= ray_variables(port)
    del os.environ["__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"]
    import ray
    from ray import serve
    from starlette.requests import Request
    from starlette.responses import Response

    class Worker:
        def __init__(self, size: int) -> None:
            self._out = b"x" * size

        async def work(self, _: bytes) -> bytes:
            return self._out

    class Router:
        def __init__(self, policy: Any, judge: Any) -> None:
            self._policy, self._judge = policy, judge

        async def __call__(self, request: Request) -> Response:
            body = (await request.body())[:_PROBLEM_BYTES]
            await self._judge.work.remote(body + await self._policy.work.remote(body))
            return Response(b"y" * _ANSWER_BYTES, media_type="application/json")

    ray.init(num_cpus=8, object_store_memory=128 * 2**20, include_dashboard=False, logging_level="ERROR")
    serve.start(http_options={"host": LOOPBACK, "port": port})
    worker = serve.deployment(max_ongoing_requests=64, ray_actor_options={"num_cpus": 0.1})(Worker)
    router = serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.1})(Router)
    serve.run(
        router.bind(
            worker.options(name="Policy").bind(_PROPOSAL_BYTES), worker.options(name="Judge").bind(_VERDICT_BYTES)
        ),
        route_prefix="/schedule",
    )
    while True:
        time.sleep(1.0)


_SERVERS: dict[str, Callable[[int], None]] = {"a": _serve_predict, "b": _serve_predictor, "e": _serve_nothing}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (GantryError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"loadtests.compare: {error}")
