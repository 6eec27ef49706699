"""The rollout on the running service with two routers: up through all stages, and down again for each reason.

`python -m tests.system.test_rollout` prints the walk and, for each trigger, how long PPO still answered.
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.serving import DEFAULT_CONFIG
from tests.deployments.fakes import body, job
from tests.system.faults import CRASH, INCOMPLETE, LATE, TOO_EARLY
from tests.system.serving import Service, running_service

pytestmark = pytest.mark.system

# The promise is one second. What is asserted leaves room for a machine that does many other things.
ALLOWED_SECONDS = 5.0
ASKING_SECONDS = 0.3
VARIABLES = {
    "GANTRY_ROLLOUT_INITIAL_STAGE": "shadow",
    "GANTRY_ROLLOUT_SHADOW_MINIMUM_HOURS": "0",
    "GANTRY_ROLLOUT_LIMITED_MINIMUM_HOURS": "0",
    "GANTRY_ROLLOUT_EXPANDED_MINIMUM_HOURS": "0",
    "GANTRY_ROLLOUT_SHADOW_MINIMUM_PAIRS": "3",
    "GANTRY_ROLLOUT_LIMITED_MINIMUM_PAIRS": "3",
    "GANTRY_ROLLOUT_EXPANDED_MINIMUM_PAIRS": "3",
}
MOST_REQUESTS = 400
_numbers = itertools.count()


def request(fault: str = "", **changes: Any) -> dict[str, Any]:
    """A request with a job list of its own, which is a pair of its own."""
    number = next(_numbers)
    name = f"{fault}-{number}" if fault else f"fine-{number}"
    jobs = [job("A", processing_time=2.0 + number / 1000), job("B", processing_time=1.0)]
    return body(jobs=jobs, request_id=name, experiment_unit=f"unit-{number}") | changes


@dataclass
class Operator:
    """Gives orders to the service and remembers what it saw."""

    service: Service
    client: httpx.Client
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/v1/rollout").raise_for_status().json()
        return found

    def order(self, action: str, **sent: Any) -> httpx.Response:
        return self.client.post(f"/v1/rollout/{action}", json={"reason": "system test"} | sent)

    def climb(self, top: str = "full") -> None:
        """Up to `top`, by force: there are too few pairs to be sure of anything."""
        while (stage := self.rollout()["stage"]) != top:
            found = self.order("promote", force=True)
            assert found.status_code == 200, found.text
            assert found.json()["stage"] != stage
            self.heard(found.json()["version"])

    def heard(self, version: int) -> None:
        """Waits until every router serves by this version."""
        assert eventually(lambda: len({self.post()["version"] for _ in range(6)} - {version}) == 0)

    def post(self, fault: str = "", **changes: Any) -> dict[str, Any]:
        """One request; the version it was assigned under, who was assigned and who served."""
        answer = self.client.post("/schedule", json=request(fault, **changes)).raise_for_status().json()
        return answer | {"version": self._version(answer["decision"]["stage"])}

    def _version(self, stage: str) -> int:
        # A decision tells its stage; the version of a stage is the newest one that led there.
        transitions = self.client.get("/v1/rollout/events").json()["transitions"]
        return next((row["version"] for row in transitions if row["to_stage"] == stage), 0)


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether something became true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def operated(folder: Path) -> Iterator[Operator]:
    """The service with a policy that fails on demand, behind two routers."""
    config = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    application["import_path"] = "tests.system.faults:build_alone"
    for deployment in application["deployments"]:
        if deployment["name"] == "RequestRouter":
            deployment["num_replicas"] = 2
    path = folder / "two_routers.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with running_service(folder, variables=VARIABLES, config=path) as service, service.client() as client:
        yield Operator(service=service, client=client)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One service for the tests of this module, which go on where the last one left it."""
    with operated(tmp_path_factory.mktemp("rollout")) as found:
        yield found


def test_walk_through_all_stages_ends_in_an_incident(operator: Operator) -> None:
    """Shadow serves manual beside PPO, each stage its share, and one critical violation ends it all."""
    walk(operator)


def walk(operator: Operator) -> None:
    """The recorded walk."""
    found = operator.rollout()
    assert (found["stage"], found["share"]) == ("shadow", 0.0)
    in_shadow = [operator.post() for _ in range(4)]
    assert {answer["algorithm_used"] for answer in in_shadow} == {"manual"}
    operator.say(f"shadow: served {len(in_shadow)} by manual")
    detail = f"/v1/schedules/{in_shadow[0]['schedule_id']}"
    assert eventually(lambda: _arms_of(operator, detail) == {"manual", "ppo"})
    for stage, share in (("limited", 0.1), ("expanded", 0.5), ("full", 1.0)):
        refused = operator.order("promote")
        assert (refused.status_code, refused.json()["error"]) == (409, "transition_refused")
        version = operator.rollout()["version"]
        assert operator.order("promote", force=True, expected_version=version - 1).status_code == 409
        moved = operator.order("promote", force=True, expected_version=version).json()
        assert (moved["stage"], moved["share"]) == (stage, share)
        assert eventually(lambda: all(operator.post()["decision"]["stage"] == stage for _ in range(6)))  # noqa: B023
        served = [operator.post()["algorithm_used"] for _ in range(20)]
        operator.say(f"{stage}: target {share:.0%}, PPO served {served.count('ppo')} of {len(served)}")
        assert share < 1.0 or set(served) == {"ppo"}
    last_ppo_seconds = seconds_until_manual(operator, lambda: operator.post(TOO_EARLY))
    operator.say(f"critical violation: last PPO answer {last_ppo_seconds:.2f} s after the trigger")
    assert last_ppo_seconds < ALLOWED_SECONDS
    assert eventually(lambda: operator.rollout()["stage"] == "rolled_back")
    assert eventually(lambda: bool(operator.client.get("/v1/rollout/events").json()["incidents"]))
    events = operator.client.get("/v1/rollout/events").json()
    incident = events["incidents"][0]
    assert (incident["trigger"], incident["action"], incident["stage"]) == ("critical_violation", "rolled back", "full")
    stages = [row["to_stage"] for row in reversed(events["transitions"])]
    assert stages == ["shadow", "limited", "expanded", "full", "rolled_back"]
    operator.say(f"incident {incident['incident_id']}: {incident['evidence']['trigger']['detail'][:100]}")
    report = operator.client.get("/v1/rollout/report").raise_for_status().json()
    assert report["state"]["stage"] == "rolled_back"
    assert report["integrity"]["findings"] == []


def _arms_of(operator: Operator, path: str) -> set[str]:
    answer = operator.client.get(path)
    arms = answer.json()["arms"] if answer.status_code == 200 else {}
    return {name for name, figures in arms.items() if figures is not None}


def _corrupt(operator: Operator) -> None:
    """A stored decision is changed behind the service's back, and then read."""
    answer = operator.post()
    path = f"/v1/schedules/{answer['schedule_id']}"
    assert eventually(lambda: operator.client.get(path).status_code == 200)
    database = sqlite3.connect(operator.service.database, timeout=30)
    with database:
        database.execute(
            "UPDATE decision SET payload_sha256 = ? WHERE decision_id = ?", ("0" * 64, answer["schedule_id"])
        )
    database.close()
    assert operator.client.get(path).status_code == 500


def _repeated(fault: str, count: int) -> Callable[[Operator], None]:
    def trigger(operator: Operator) -> None:
        for _ in range(count):
            if operator.post(fault)["algorithm_used"] == "manual" and _is_rolled_back(operator):
                return

    return trigger


def _is_rolled_back(operator: Operator) -> bool:
    return bool(operator.rollout()["stage"] == "rolled_back")


def _late(operator: Operator) -> None:
    """PPO's plans are served, valid and too long: a third longer than manual's, pair after pair."""
    for _ in range(MOST_REQUESTS):
        if operator.post(LATE)["decision"]["stage"] == "rolled_back":
            return


TRIGGERS: dict[str, Callable[[Operator], None]] = {
    "critical_violation": _repeated(TOO_EARLY, 1),
    "crash_rate": _repeated(CRASH, 20),
    "data_corruption": _corrupt,
    "completion_rate": _repeated(INCOMPLETE, 20),
    "makespan_increase": _late,
}


@pytest.mark.parametrize("name", TRIGGERS)
def test_each_trigger_ends_ppo_on_all_routers(operator: Operator, name: str) -> None:
    """Whatever the reason, the last answer of PPO comes soon after it, and the incident says what it was."""
    drill(operator, name)


def drill(operator: Operator, name: str) -> None:
    """One trigger, from a new ramp up."""
    operator.climb()
    fault = LATE if name == "makespan_increase" else ""
    seconds = seconds_until_manual(operator, lambda: TRIGGERS[name](operator), fault)
    assert eventually(lambda: operator.rollout()["stage"] == "rolled_back"), name
    assert eventually(lambda: operator.client.get("/v1/rollout/events").json()["incidents"][0]["trigger"] == name)
    operator.say(f"{name}: last PPO answer {seconds:.2f} s after the trigger")
    assert seconds < ALLOWED_SECONDS


def test_rollback_needs_no_controller(operator: Operator) -> None:
    """With the controller just killed, a person's rollback ends PPO on both routers, and survives its return."""
    drill_without_controller(operator)


def drill_without_controller(operator: Operator) -> None:
    """A rollback by hand while nobody owns the stage."""
    operator.climb()

    def trigger() -> None:
        for pid in operator.service.replicas("RolloutController"):
            os.kill(pid, signal.SIGKILL)
        assert operator.order("rollback").status_code in (200, 202)

    seconds = seconds_until_manual(operator, trigger)
    operator.say(f"rollback by hand, controller killed: last PPO answer {seconds:.2f} s after the order")
    assert seconds < ALLOWED_SECONDS
    assert eventually(lambda: operator.client.get("/v1/rollout").status_code == 200)
    assert eventually(lambda: operator.rollout()["stage"] == "rolled_back")
    assert {operator.post()["algorithm_used"] for _ in range(6)} == {"manual"}


def seconds_until_manual(operator: Operator, trigger: Callable[[], object], fault: str = "") -> float:
    """How long after the trigger PPO still answered; both routers are asked all the while.

    The trigger is when the last of its requests was answered, or when the rollback says that it was, if earlier.
    """
    last_ppo: list[float] = [0.0]
    stop = threading.Event()

    def ask() -> None:
        with operator.service.client() as client:
            while not stop.is_set():
                answer = client.post("/schedule", json=request(fault)).raise_for_status().json()
                if answer["algorithm_used"] == "ppo":
                    last_ppo[0] = max(last_ppo[0], time.time())
                # Not too often: healthy answers among the bad ones are what makes a trigger slow.
                stop.wait(ASKING_SECONDS)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    time.sleep(0.5)
    trigger()
    fired_at = time.time()
    assert eventually(lambda: _rolled_back_at(operator) is not None)
    time.sleep(ALLOWED_SECONDS + 1.0)
    stop.set()
    for asker in askers:
        asker.join()
    rolled_back_at = _rolled_back_at(operator)
    assert rolled_back_at is not None
    return max(0.0, last_ppo[0] - min(fired_at, rolled_back_at))


def _rolled_back_at(operator: Operator) -> float | None:
    """When the rollback that is in force says that it was; None while there is none, or nobody knows."""
    events = operator.client.get("/v1/rollout/events").json()
    newest = events["transitions"][0]
    return datetime.fromisoformat(newest["created_at"]).timestamp() if newest["to_stage"] == "rolled_back" else None


def main() -> None:
    """Everything, printed."""
    with tempfile.TemporaryDirectory(prefix="gantry-drill-") as folder, operated(Path(folder)) as operator:
        walk(operator)
        for name in TRIGGERS:
            drill(operator, name)
        drill_without_controller(operator)


if __name__ == "__main__":
    sys.exit(main())
