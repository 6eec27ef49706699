"""The whole product on real Ray Serve: over HTTP, with real replicas that really die."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.commands.demo import EXAMPLE
from deployments.commands.validate import judge_files
from deployments.settings.service import load_settings
from tests.system.faults import CRASH, INCOMPLETE
from tests.system.serving import FAULTY, Service, eventually

pytestmark = pytest.mark.system

TELLING_SECONDS = 12.0
MAX_REPLICA_BYTES = 250 * 10**6
# A driver of Ray that has imported Serve has 88 MiB by itself.
MAX_LAUNCHER_BYTES = 110 * 2**20
MAX_ROUTER_BYTES = 600 * 10**6


def example(**changes: object) -> dict[str, Any]:
    """The shipped plant of 170 jobs."""
    request: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return request | changes


def test_service_schedules_170_jobs(service: Service, tmp_path: Path) -> None:
    """All 170 jobs are placed by PPO, and the judge, asked again with files alone, finds nothing."""
    with service.client() as client:
        answer = client.post("/schedule", json=example()).raise_for_status().json()
    assert (answer["algorithm_used"], answer["decision"]["arm"]) == ("ppo", "ppo")
    assert len(answer["scheduled_jobs"]) == answer["metrics"]["scheduled_jobs"] == 170
    assert answer["decision"]["fallback_reason"] is None
    (tmp_path / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    found = judge_files(EXAMPLE, tmp_path / "answer.json", load_settings())
    assert found.valid
    assert found.violations == []
    assert found.metrics.makespan == pytest.approx(answer["metrics"]["makespan"])


def test_service_stores_what_it_answered(service: Service) -> None:
    """The decision can be read back over HTTP and stands, once, in the database."""
    with service.client() as client:
        answer = client.post("/schedule", json=example(request_id="stored")).raise_for_status().json()
        path = f"/v1/schedules/{answer['schedule_id']}"
        assert eventually(lambda: client.get(path).status_code == 200)
        assert client.get(path).json()["schedule_id"] == answer["schedule_id"]
    with sqlite3.connect(service.database) as database:
        rows = database.execute("SELECT request_id, arm FROM decision WHERE decision_id = ?", (answer["schedule_id"],))
        assert rows.fetchall() == [("stored", "ppo")]
    database.close()


def test_metrics_of_all_routers_count_every_request(service: Service) -> None:
    """Whichever router is asked, the text has what both of them did; policy, judge and writer are in it as well."""
    with service.client() as client:
        # A process tells its numbers every ten seconds; those of earlier tests must have been told.
        time.sleep(TELLING_SECONDS)
        before = _counted(client, "ray_gantry_http_requests_total", route="/schedule", status="200")
        for _ in range(20):
            client.post("/schedule", json=example(time_budget_ms=0)).raise_for_status()
        after = before + 20
        served = {"route": "/schedule", "status": "200"}
        assert eventually(lambda: _counted(client, "ray_gantry_http_requests_total", **served) == after, 60)
        for name in ("proposal_seconds_count", "verdicts_total", "database_statement_seconds_count"):
            assert eventually(lambda name=name: _counted(client, f"ray_gantry_{name}") > 0), name
        stage = {"stage": "full", "application": "gantry"}
        # A router that an earlier test has killed is told of for a while.
        assert _counted(client, "ray_gantry_rollout_stage", **stage) >= len(service.replicas("RequestRouter"))


def _counted(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of all series of that name with those labels, as Prometheus would read them now."""
    families = text_string_to_metric_families(client.get("/metrics").raise_for_status().text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.mark.parametrize("megabytes", [4.3, 12, 31])
def test_large_body_is_stored_and_holds_nobody_up(service: Service, megabytes: float) -> None:
    """A field that nobody knows and that hardly shrinks: kept with its decision, and the next one follows."""
    noise = base64.b64encode(os.urandom(int(megabytes * 0.75 * 10**6))).decode()
    ids = []
    with service.client() as client:
        for request in (example(time_budget_ms=0, noise=noise), example(time_budget_ms=0)):
            ids.append(client.post("/schedule", json=request).raise_for_status().json()["schedule_id"])
        stored = [eventually(lambda name=name: client.get(f"/v1/schedules/{name}").status_code == 200) for name in ids]
        assert (stored, client.get("/health").json()["reasons"]) == ([True, True], [])
    with sqlite3.connect(service.database) as database:
        ((size,),) = database.execute("SELECT length(request) FROM decision WHERE decision_id = ?", ids[:1])
    database.close()
    assert size > megabytes * 0.7 * 10**6


def test_bodies_of_nothing_take_no_memory(service: Service) -> None:
    """Four of 31 MiB at once, four of them unpacked to as much, and four that are read: a router stays below 600 MB."""
    nothing = b'{"junk": [{}' + b",{}" * (31 * 2**20 // 3) + b"]}"
    numbers = json.dumps(example())[:-1].encode() + b', "junk": [1' + b",1.5" * (4 * 2**20) + b"]}"
    packed = {"Content-Encoding": "gzip"}
    before, peaks, is_over = _router_bytes(service), [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            peaks.append(_router_bytes(service))

    with service.client() as client, ThreadPoolExecutor(5) as threads:
        threads.submit(watch)
        try:
            for content, headers, statuses in (
                (nothing, {}, {413, 503}),
                (gzip.compress(nothing, 1), packed, {413, 503}),
                (numbers, {}, {200, 503}),
            ):
                asked = [threads.submit(client.post, "/schedule", content=content, headers=headers) for _ in range(4)]
                answers = [each.result() for each in asked]
                assert {answer.status_code for answer in answers} <= statuses
                assert {answer.headers.get("retry-after") for answer in answers if answer.status_code == 503} <= {"2"}
                assert 200 not in statuses or any(answer.status_code == 200 for answer in answers)
        finally:
            is_over.set()
    print(f"router: {before / 1e6:.0f} MB before, at most {max(peaks) / 1e6:.0f} MB")
    assert max(peaks) < MAX_ROUTER_BYTES


def _router_bytes(service: Service) -> int:
    """Of the larger one, resident."""
    return max(psutil.Process(pid).memory_info().rss for pid in service.replicas("RequestRouter"))


def test_launcher_that_waits_is_small(service: Service) -> None:
    """What it needed for the checks went with the process that made them."""
    own_bytes = psutil.Process(service.process.pid).memory_full_info().pss
    print(f"launcher: {own_bytes / 2**20:.0f} MiB")
    assert own_bytes < MAX_LAUNCHER_BYTES


def test_explanations_of_a_large_plan_hold_up_no_small_one(service: Service) -> None:
    """Six of a plan of 5,100 jobs at once: while they are made, small plans take at most twice as long as before."""
    copies, plant = 30, example(time_budget_ms=0)
    plant["jobs"] = [
        each | {"job_id": f"{each['job_id']}-{copy}", "family_id": f"{each['family_id']}-{copy}"}
        for copy in range(copies)
        for each in plant["jobs"]
    ]
    small = example(time_budget_ms=0)
    small["jobs"] = small["jobs"][:5]

    with service.client() as client, ThreadPoolExecutor(6) as threads:

        def seconds() -> float:
            begun = time.perf_counter()
            client.post("/schedule", json=small).raise_for_status()
            return time.perf_counter() - begun

        path = f"/v1/schedules/{client.post('/schedule', json=plant).raise_for_status().json()['schedule_id']}"
        assert eventually(lambda: client.get(path).status_code == 200)
        client.get(f"{path}/explanation", timeout=120).raise_for_status()
        idle = sorted(seconds() for _ in range(100))
        asked = [threads.submit(client.get, f"{path}/explanation", timeout=120) for _ in range(6)]
        busy = []
        while len(busy) < 20 or not all(each.done() for each in asked):
            busy.append(seconds())
        answers = [each.result() for each in asked]
    statuses = sorted(answer.status_code for answer in answers)
    print(f"explanations: {statuses}, the last after {sum(busy):.1f} s")
    print(f"small plans: p99 {_p99(idle):.3f} s alone, {_p99(busy):.3f} s of {len(busy)} beside them")
    assert statuses == [200] * 6
    assert len({answer.content for answer in answers}) == 1
    # A machine that others use as well has slow moments of its own.
    assert _p99(busy) < 2 * _p99(idle) + 1.0


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.99 * (len(seconds) - 1))]


def test_request_leaves_one_short_line(service: Service) -> None:
    """At most 200 bytes in the service's own log, with its id, and no more than that one line in Ray's folder."""
    run = service.folder / "data" / "run"
    sessions = [
        Path(line) for line in (run / "sessions").read_text(encoding="utf-8").splitlines() if "session_" in line
    ]
    logs, own = sessions[-1] / "logs", run / "gantry.log"
    request, ids = example(time_budget_ms=0), [str(uuid4()) for _ in range(50)]
    request["jobs"] = request["jobs"][:5]
    before = _bytes_below(logs)
    with service.client() as client:
        for request_id in ids:
            client.post("/schedule", json=request, headers={"x-request-id": request_id}).raise_for_status()
    assert eventually(lambda: all(each in own.read_text(encoding="utf-8") for each in ids))
    lines = [line for line in own.read_text(encoding="utf-8").splitlines() if any(each in line for each in ids)]
    print(f"Ray's folder: {(_bytes_below(logs) - before) / len(ids):.0f} bytes a request; {lines[0]}")
    assert len(lines) == len(ids)
    assert max(len(line.encode()) for line in lines) <= 200
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in logs.rglob("*") if path.is_file()]
    assert {sum(text.count(each) for text in texts) for each in ids} == {1}


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_service_schedules_as_many_jobs_as_it_allows(service: Service) -> None:
    """20,000 jobs on 20 machines, which are more than fits into a message of Ray's default size."""
    machines = [{"machine_id": number, "machine_name": f"m{number}", "machine_type": 1} for number in range(1, 21)]
    jobs = [
        {"job_id": f"j{number}", "family_id": f"f{number}", "sequence": 1, "processing_time": 1 + number % 7 / 10}
        | {"machine_types": [1], "priority": 2}
        for number in range(20_000)
    ]
    request = {"jobs": jobs, "machines": machines, "time_budget_ms": 0}
    with service.client() as client:
        answer = client.post("/schedule", json=request, timeout=150.0)
    assert (answer.status_code, len(answer.json().get("scheduled_jobs", answer.text))) == (200, 20_000)


def test_half_open_connections_shut_nobody_out(service: Service) -> None:
    """More of them than HAProxy's own 4,096, each with the beginning of a request: others are served, and within the
    limit for headers all of them are ended."""
    with ExitStack() as stack, service.client() as client:
        half_open = []
        for _ in range(4_150):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30.0))
            connection.sendall(b"POST /schedule HTTP/1.1\r\nHost: gantry\r\n")
            half_open.append(connection)
        answer = client.post("/schedule", json=example(time_budget_ms=0)).raise_for_status()
        print(f"answered beside them in {answer.elapsed.total_seconds():.2f} s")
        assert [connection.recv(12) for connection in half_open] == [b"HTTP/1.1 408"] * len(half_open)


def test_service_answers_the_same_request_alike(service: Service) -> None:
    """Without a time budget, which ends by the clock, the same question twice gives the same schedule."""
    request = example(time_budget_ms=0)
    with service.client() as client:
        first, second = (client.post("/schedule", json=request).raise_for_status().json() for _ in range(2))
    assert first["scheduled_jobs"] == second["scheduled_jobs"]
    assert first["schedule_id"] != second["schedule_id"]


def test_service_survives_a_killed_policy(service: Service) -> None:
    """A request that meets the death of all replicas of the policy is answered all the same."""
    killed = service.replicas("PPOPolicy")
    assert killed
    with service.client() as client:
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        answer = client.post("/schedule", json=example()).raise_for_status().json()
        assert answer["safety"]["valid"]
        assert eventually(lambda: bool(service.replicas("PPOPolicy")), 60)
        assert eventually(lambda: client.get("/health").json()["status"] == "healthy", 60)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (CRASH, "no proposal: RuntimeError: crashed as asked"),
        (INCOMPLETE, "rejected by the judge: 1 critical violation"),
    ],
)
def test_service_falls_back_to_manual(service: Service, fault: str, reason: str) -> None:
    """Whatever is wrong with PPO, the planner's rule serves, and the answer says so."""
    with service.client() as client:
        answer = client.post(f"{FAULTY}/schedule", json=example(request_id=fault)).raise_for_status().json()
    assert (answer["decision"]["arm"], answer["algorithm_used"]) == ("ppo", "manual")
    assert answer["decision"]["fallback_reason"].startswith(reason)
    assert answer["decision"]["model"] is None
    assert (answer["metrics"]["scheduled_jobs"], answer["safety"]["valid"]) == (170, True)


def test_policy_replicas_are_small_and_know_no_torch(service: Service) -> None:
    """A warm replica takes less than 250 MB and has not loaded the learner's library; one that still starts may."""
    assert eventually(lambda: bool(service.replicas("PPOPolicy")))
    eventually(lambda: max(map(resident_bytes, service.replicas("PPOPolicy"))) < MAX_REPLICA_BYTES, 60)
    sizes = [resident_bytes(pid) for pid in service.replicas("PPOPolicy")]
    assert max(sizes) < MAX_REPLICA_BYTES, sizes
    for pid in service.replicas("PPOPolicy"):
        assert "torch" not in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def resident_bytes(pid: int) -> int:
    """Memory that a process takes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (resident,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident) * 1024


def test_service_listens_to_this_machine_only(service: Service) -> None:
    """In development the port of the API is bound to the loopback interface."""
    bound = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    listening = {local for _, local, _, state, *_ in bound if state == "0A"}
    assert f"0100007F:{service.port:04X}" in listening
    assert f"00000000:{service.port:04X}" not in listening
