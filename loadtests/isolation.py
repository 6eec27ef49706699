"""`python -m loadtests.isolation`: what a served request notices of the arm that is computed beside it.

One client posts 170 jobs at a fixed rate to a service of its own, with the shadow arm off, on, hanging and dying, and
then in the opposite order, so that a machine whose speed drifts is fair to all four. The served p99 of each, over both
its runs, may exceed that with it off by 10 % or 5 ms, whichever is more; the exit code says whether it did. In stage
`shadow` manual serves and PPO is what is computed beside it, in `full` the other way round. `--seconds` is the length
of each run after the first 15, which are not counted: then the shadow arm's process starts. At most 30 % of the
machine may be in use by the service while the shadow arm is off, and nothing else should run on it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil
import yaml

from deployments.commands.demo import use_throwaway_settings
from deployments.commands.terminal import StepDisplay
from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.processes import descendants
from deployments.local_cluster.service import DEFAULT_CONFIG, running
from deployments.settings.service import DEVELOPMENT_API_KEY, load_settings
from env.errors import GantryError
from loadtests.goals import plant_request
from models.search.warm_up import compile_core

ROOT = Path(__file__).resolve().parent.parent
MAX_START_SECONDS = 300
WARM_UP_SECONDS = 15.0
ALLOWED_SHARE = 0.10
ALLOWED_MS = 5.0
MAX_CPU_PERCENT = 30.0
MODES = {
    "off": ("deployments.app:build_app", "0"),
    "on": ("deployments.app:build_app", "100"),
    "hung": ("loadtests.faulty:build_hanging", "100"),
    "crashing": ("loadtests.faulty:build_crashing", "100"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """The served path in one mode: the milliseconds of each request, and the share of the machine that was used."""

    mode: str
    taken_ms: list[float]
    failures: int
    cpu_percent: float

    def __add__(self, other: Latencies) -> Latencies:
        """Both runs of one mode."""
        return Latencies(
            mode=self.mode,
            taken_ms=self.taken_ms + other.taken_ms,
            failures=self.failures + other.failures,
            cpu_percent=(self.cpu_percent + other.cpu_percent) / 2,
        )

    @property
    def p99_ms(self) -> float:
        """What one request in a hundred exceeds."""
        return quantile(self.taken_ms, 0.99)


def missed(found: list[Latencies]) -> Iterator[str]:
    """One line for each mode that the served path noticed, with what was required and what was found."""
    base = next(each for each in found if each.mode == "off")
    limit = base.p99_ms + max(ALLOWED_MS, ALLOWED_SHARE * base.p99_ms)
    if base.cpu_percent > MAX_CPU_PERCENT:
        used = f"{base.cpu_percent:.0f} %: lower --rate"
        yield f"off: the service must use <= {MAX_CPU_PERCENT:g} % of the machine, was {used}"
    for each in found:
        if each.failures:
            yield f"{each.mode}: no request must fail, {each.failures} of {len(each.taken_ms)} did"
        if each.p99_ms > limit:
            yield f"{each.mode}: p99 must be <= {limit:.1f} ms, was {each.p99_ms:.1f} ms"


def quantile(values: list[float], part: float) -> float:
    """The value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main(options: list[str]) -> int:
    """All modes one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.isolation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each run")
    parser.add_argument("--rate", type=float, default=3.0, help="requests a second")
    parser.add_argument("--stage", choices=("shadow", "full"), default="shadow", help="who serves")
    parser.add_argument("--mode", choices=sorted(MODES), help="run this one alone and print its figures as JSON")
    arguments = parser.parse_args(options)
    if arguments.mode is not None:
        print(json.dumps(asdict(_measured(arguments))))
        return 0
    # In a fresh clone this takes minutes, which no run's time limit has room for.
    compile_core()
    first = {mode: _in_a_process(mode, arguments) for mode in MODES}
    second = {mode: _in_a_process(mode, arguments) for mode in reversed(MODES)}
    found = [first[mode] + second[mode] for mode in MODES]
    for each in found:
        times = f"p50 {quantile(each.taken_ms, 0.5):6.1f} ms, p99 {each.p99_ms:6.1f} ms"
        print(f"{each.mode:9} {len(each.taken_ms):5} requests, {times}, {each.cpu_percent:3.0f} % CPU", flush=True)
    lines = list(missed(found))
    for line in lines:
        print(f"GOAL MISSED: {line}")
    return 1 if lines else 0


def _in_a_process(mode: str, arguments: argparse.Namespace) -> Latencies:
    command = [sys.executable, "-m", "loadtests.isolation", "--mode", mode, "--stage", arguments.stage]
    command += ["--rate", str(arguments.rate), "--seconds", str(arguments.seconds)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # noqa: S603
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=WARM_UP_SECONDS + arguments.seconds + MAX_START_SECONDS,
    )
    return Latencies(**json.loads(done.stdout.splitlines()[-1]))


def _measured(arguments: argparse.Namespace) -> Latencies:
    import_path, percent = MODES[arguments.mode]
    with tempfile.TemporaryDirectory(prefix="gantry-isolation-", ignore_cleanup_errors=True) as folder:
        use_throwaway_settings(Path(folder))
        os.environ["GANTRY_COUNTERFACTUAL_PERCENT"] = percent
        os.environ["GANTRY_ROLLOUT_INITIAL_STAGE"] = arguments.stage
        config = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
        config["applications"][0]["import_path"] = import_path
        path = Path(folder) / "serve_config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        bodies = [json.dumps(plant_request(random.Random(seed))).encode() for seed in range(20)]
        with running(load_settings(), path, free_port(), display=StepDisplay(_quiet), quiet=True) as listener:
            return _driven(arguments, listener.url, bodies)


def _driven(arguments: argparse.Namespace, url: str, bodies: list[bytes]) -> Latencies:
    """Requests leave at fixed moments; one that must wait for the last counts from when it should have left."""
    headers = {"X-API-Key": DEVELOPMENT_API_KEY, "Content-Type": "application/json"}
    rate, seconds = arguments.rate, arguments.seconds
    taken, failures = [], 0
    busy_before = _busy_seconds()
    with httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False) as client:
        begun = time.perf_counter()
        for number in range(int(rate * (WARM_UP_SECONDS + seconds))):
            due = begun + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            is_served = client.post("/schedule", content=bodies[number % len(bodies)]).is_success
            if due - begun >= WARM_UP_SECONDS:
                failures += not is_served
                taken.append(1000 * (time.perf_counter() - due))
        busy = (_busy_seconds() - busy_before) / (time.perf_counter() - begun) / (os.cpu_count() or 1)
    return Latencies(
        mode=arguments.mode,
        taken_ms=taken,
        failures=failures,
        cpu_percent=100 * busy,
    )


def _busy_seconds() -> float:
    """Processor time of all processes of the service that live now, and of this one; those that died are missing."""
    seconds = 0.0
    for process in (psutil.Process(), *descendants(os.getpid())):
        with suppress(psutil.Error):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def _quiet(_: str) -> None:
    """The parent reads nothing but the figures."""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (GantryError, subprocess.SubprocessError) as error:
        sys.exit(f"loadtests.isolation: {error}")
