"""Somebody who operates a rollout on a running service: gives orders, sends requests, and times how soon PPO stops."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from deployments.commands.bench.benchmark_sets import data_folder
from deployments.commands.demo import EXAMPLE
from deployments.persistence.database import create_engine, upgrade
from tests.deployments.fakes import body, job
from tests.requirements import required
from tests.system import serving
from tests.system.mariadb import PrivateMariaDb, is_installed, private_mariadb
from tests.system.receiver import SECRET, Receiver, listening
from tests.system.serving import Service, config_with, running_service

ASKING_SECONDS = 0.05
ASKERS = 2
QUIET_SECONDS = 2.0
POLICY = """
[ramp]
min_shadow_hours = 0
min_limited_hours = 0
min_expanded_hours = 0
"""
_numbers = itertools.count()


def request(fault: str = "", **changes: Any) -> dict[str, Any]:
    """Two jobs on one machine, as a list of their own in a unit of their own, so a pair of their own."""
    number = next(_numbers)
    jobs = [job("A", processing_time=2.0 + number / 1000), job("B", processing_time=1.0)]
    return body(jobs=jobs) | _named(fault, number) | changes


def plants() -> list[dict[str, Any]]:
    """The shared reference workloads where they are, else the shipped example: 170 jobs each."""
    files = sorted((data_folder() / "workloads" / "reference-170").glob("[0-9][0-9].json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files or [EXAMPLE]]


def of_plant(plant: dict[str, Any], fault: str = "") -> dict[str, Any]:
    """One more request of a plant, in a unit of its own."""
    return plant | _named(fault, next(_numbers))


def _named(fault: str, number: int) -> dict[str, Any]:
    return {"request_id": f"{fault or 'fine'}-{number}", "experiment_unit": f"unit-{number}"}


def eventually(holds: Callable[[], bool], seconds: float = 60.0, pause_seconds: float = 0.05) -> bool:
    """Whether something became true in time; a service that does not answer yet has not said so."""

    def says_so() -> bool:
        try:
            return holds()
        except httpx.HTTPError:
            return False

    return serving.eventually(says_so, seconds, pause_seconds)


@dataclass
class Operator:
    """Gives orders to the service and remembers what it saw. `server` is the MariaDB below it, None on SQLite."""

    service: Service
    client: httpx.Client
    receiver: Receiver
    database_url: str
    server: PrivateMariaDb | None = None
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """For whoever watches, and for the record."""
        self.lines.append(line)
        print(line, flush=True)

    def rollout(self) -> dict[str, Any]:
        """Where the rollout stands, from the controller: no database is asked."""
        found: dict[str, Any] = self.client.get("/v1/rollout").raise_for_status().json()
        return found

    def events(self) -> dict[str, Any]:
        """The trail."""
        found: dict[str, Any] = self.client.get("/v1/rollout/events").raise_for_status().json()
        return found

    def order(self, action: str, **sent: Any) -> httpx.Response:
        """An order with a reason."""
        return self.client.post(f"/v1/rollout/{action}", json={"reason": "system test"} | sent)

    def post(self, sent: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        found: dict[str, Any] = self.client.post("/schedule", json=sent).raise_for_status().json()
        return found

    def climb(self, top: str = "full") -> None:
        """Up to `top`, by force: no window has closed, so nothing is sure."""
        assert eventually(lambda: bool(self.rollout()))
        while (stage := self.rollout()["stage"]) != top:
            found = self.order("promote", force=True)
            assert found.status_code == 200, found.text
            assert found.json()["stage"] != stage
        self.heard(top)

    def heard(self, stage: str) -> None:
        """Waits until every router serves by this stage; requests are dealt to the routers in turn."""
        assert eventually(lambda: all(self.post(request())["decision"]["stage"] == stage for _ in range(8)))

    def rolled_back_at(self) -> float | None:
        """When the rollback that is in force was decided; None while there is none."""
        found = self.rollout()
        return datetime.fromisoformat(found["changed_at"]).timestamp() if found["stage"] == "rolled_back" else None

    def arms_of(self, schedule_id: str) -> set[str]:
        """The arms whose outcome on a request is stored."""
        answer = self.client.get(f"/v1/schedules/{schedule_id}")
        arms = answer.json()["arms"] if answer.status_code == 200 else {}
        return {name for name, figures in arms.items() if figures is not None}

    def corrupt(self) -> None:
        """A stored decision is changed behind the service's back, and then read."""
        schedule_id = self.post(request())["schedule_id"]
        path = f"/v1/schedules/{schedule_id}"
        assert eventually(lambda: self.client.get(path).status_code == 200)
        engine = create_engine(self.database_url)
        with engine.begin() as connection:
            statement = text("UPDATE decision SET payload_sha256 = :digest WHERE decision_id = :id")
            connection.execute(statement, {"digest": "0" * 64, "id": schedule_id})
        engine.dispose()
        assert self.client.get(path).status_code == 500

    def signal_controller(self, number: int) -> None:
        """SIGKILL: gone until Serve starts another one. SIGSTOP: there, and silent, until SIGCONT."""
        pids = self.service.replicas("RolloutController")
        assert pids
        for pid in pids:
            os.kill(pid, number)


@contextmanager
def operated(folder: Path) -> Iterator[Operator]:
    """The service with a policy that fails on demand, behind two routers, on a private MariaDB if one is installed."""
    with _own_database(folder) as (url, server), listening() as receiver:
        (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
        variables = {
            "GANTRY_POLICY_FILE": str(folder / "policy.toml"),
            "GANTRY_ROLLOUT_INITIAL_STAGE": "shadow",
            "GANTRY_WEBHOOK_SECRET": SECRET,
            "GANTRY_WEBHOOK_URL": receiver.url,
        } | ({"GANTRY_DATABASE_URL": url} if server else {})
        config = config_with(folder, "tests.system.faults:build_alone")
        with running_service(folder, variables=variables, config=config) as service, service.client() as client:
            yield Operator(service=service, client=client, receiver=receiver, database_url=url, server=server)


@contextmanager
def _own_database(folder: Path) -> Iterator[tuple[str, PrivateMariaDb | None]]:
    if not (is_installed() or "mariadb" in required()):
        yield f"sqlite:///{folder / 'data' / 'gantry.sqlite3'}", None
        return
    with private_mariadb() as server, server.schema() as url:
        upgrade(url)
        yield url, server


@dataclass
class Probe:
    """What requests met that were sent all the while: how many were answered, when PPO answered last, and failures."""

    answers: int = 0
    last_ppo_at: float = 0.0
    failures: list[str] = field(default_factory=list)


@contextmanager
def watched(operator: Operator, fault: str = "") -> Iterator[Probe]:
    """Requests from several clients, one after the other each, until the end of the block."""
    watch, stop = Probe(), threading.Event()

    def ask() -> None:
        with operator.service.client() as client:
            while not stop.wait(ASKING_SECONDS):
                try:
                    answer = client.post("/schedule", json=request(fault)).raise_for_status().json()
                except httpx.HTTPError as failure:
                    watch.failures.append(str(failure))
                    continue
                watch.answers += 1
                if answer["algorithm_used"] == "ppo":
                    watch.last_ppo_at = max(watch.last_ppo_at, time.time())

    askers = [threading.Thread(target=ask) for _ in range(ASKERS)]
    for asker in askers:
        asker.start()
    try:
        yield watch
    finally:
        stop.set()
        for asker in askers:
            asker.join()


def seconds_until_manual(operator: Operator, trigger: Callable[[], object], fault: str = "") -> float:
    """How long after the trigger PPO still answered anybody; no request may fail meanwhile.

    The trigger is when it was answered, or when the rollback says that it was decided, whichever is earlier.
    """
    with watched(operator, fault) as watch:
        assert eventually(lambda: watch.last_ppo_at > 0.0), "PPO must serve before"
        trigger()
        fired_at = time.time()
        assert eventually(lambda: time.time() - max(fired_at, watch.last_ppo_at) > QUIET_SECONDS), "PPO goes on"
    assert watch.failures == []
    assert eventually(lambda: operator.rolled_back_at() is not None), "nobody knows of a rollback"
    decided_at = operator.rolled_back_at()
    assert decided_at is not None
    return max(0.0, watch.last_ppo_at - min(fired_at, decided_at))


@contextmanager
def silenced_controller(operator: Operator, number: int) -> Iterator[None]:
    """The controller is killed, or stopped for the length of the block."""
    operator.signal_controller(number)
    try:
        yield
    finally:
        if number == signal.SIGSTOP:
            operator.signal_controller(signal.SIGCONT)
