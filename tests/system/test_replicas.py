"""What clients notice while replicas die: steady requests, one death after the other, and a list that kills."""

from __future__ import annotations

import os
import signal
import time

import httpx
import pytest

from tests.system.auditing.audit import stored_rows
from tests.system.auditing.ledger import TransitionLog
from tests.system.chaos import HEADING, Clients, drill, killing, missing, settle, smallest_counts
from tests.system.faults import DIE
from tests.system.serving import ANSWERED, FAULTY, Service, eventually
from tests.system.test_serve import example

pytestmark = pytest.mark.system

KILLED = ("PPOPolicy", "SafetyValidator", "DBWriter", "RolloutController")
RATE = 1.5
# A machine that does other things besides is slow all the time, so a gap is held against what there is without deaths.
BUSY_SECONDS = 8.0


def _has_replicas(service: Service, deployment: str, count: int, application: str = "gantry") -> bool:
    return eventually(lambda: len(service.replicas(deployment, application)) >= count, 90)


async def test_nobody_is_refused_while_replicas_die(service: Service) -> None:
    """Kills of policy, judge, writer and controller, one after the other: every request is answered right, in time, and
    once."""
    log, counts = TransitionLog(), smallest_counts()
    clients = Clients(lambda: service.url, RATE, log)
    deaths = {name: killing(lambda: service, name) for name in KILLED}
    found = await drill(deaths, clients, lambda: missing(service, counts), times=1)
    with service.client() as client:
        for attempt in log.attempts:
            path = f"/v1/schedules/{attempt.decision_id}"
            assert eventually(lambda path=path: client.get(path).status_code == httpx.codes.OK), attempt
    own = {attempt.request_id for attempt in log.attempts}
    rows = [row for row in stored_rows(f"sqlite:///{service.database}") if row.request_id in own]
    settle(found, log, log.balance(rows))
    print("", HEADING, *(seen.line() for seen in found), sep="\n")
    for seen in found:
        assert (seen.sent, seen.lost, seen.doubled) == (seen.kinds[ANSWERED], 0, 0), dict(seen.kinds)
        assert seen.longest_gap_seconds < BUSY_SECONDS
        assert seen.slowest_seconds < BUSY_SECONDS


def test_list_that_kills_costs_two_replicas_and_nobody_an_answer(service: Service) -> None:
    """The first time two policies die of it; sent again it reaches none of them, and others are served as ever."""
    killer = example(request_id=f"{DIE}-again")
    killer["jobs"] = [job | {"processing_time": job["processing_time"] + 0.125} for job in killer["jobs"]]
    with service.client() as client:
        first = client.post(f"{FAULTY}/schedule", json=killer).raise_for_status().json()
        assert (first["algorithm_used"], first["metrics"]["scheduled_jobs"]) == ("manual", 170)
        # Whoever was asked a second time had to be started anew; then there are as many as before.
        assert _has_replicas(service, "PPOPolicy", 2, "faulty")
        reasons = []
        for _ in range(3):
            again = client.post(f"{FAULTY}/schedule", json=killer).raise_for_status().json()
            reasons.append(again["decision"]["fallback_reason"])
        innocent = client.post(f"{FAULTY}/schedule", json=example(request_id="innocent", time_budget_ms=0))
    print(first["decision"]["fallback_reason"], reasons)
    assert reasons[-1].startswith("no proposal: withheld, because a replica of the policy died of this job list")
    assert innocent.json()["metrics"]["scheduled_jobs"] == 170


def test_dead_policy_is_told_and_does_not_make_the_service_unready(service: Service) -> None:
    """Both policies hang: `/health` says so within seconds, `/readyz` stays at 200, and manual answers in time."""
    hung = service.replicas("PPOPolicy")
    with service.client() as client:
        try:
            for pid in hung:
                os.kill(pid, signal.SIGSTOP)
            stopped_at = time.monotonic()
            assert eventually(lambda: client.get("/health").json()["status"] == "degraded")
            told_after = time.monotonic() - stopped_at
            answer = client.post("/schedule", json=example(time_budget_ms=0)).raise_for_status()
            reasons = client.get("/health").json()["reasons"]
            ready = client.get("/readyz").status_code
        finally:
            for pid in hung:
                os.kill(pid, signal.SIGCONT)
        print(f"told after {told_after:.1f} s: {reasons}; answered in {answer.elapsed.total_seconds():.2f} s")
        assert any(reason.startswith("the policy has not answered for") for reason in reasons)
        assert (answer.json()["algorithm_used"], ready) == ("manual", 200)
        assert told_after < BUSY_SECONDS
        assert answer.elapsed.total_seconds() < BUSY_SECONDS
        assert eventually(lambda: client.get("/health").json()["status"] == "healthy", 60)
