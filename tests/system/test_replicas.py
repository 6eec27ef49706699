"""What clients notice while replicas die: steady requests, one death after the other, and a list that kills."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.system.faults import DIE
from tests.system.serving import FAULTY, HEADERS, Service, eventually
from tests.system.test_serve import example

pytestmark = pytest.mark.system

KILLED = ("PPOPolicy", "SafetyValidator", "DBWriter", "RolloutController")
PAUSE_SECONDS = 0.6
# A machine that does other things besides is slow all the time, so a gap is held against what there is without deaths.
BUSY_SECONDS = 8.0


@dataclass(slots=True)
class Seen:
    """What steady clients saw."""

    answers: Counter[str] = field(default_factory=Counter)
    served_at: list[float] = field(default_factory=list)
    slowest_seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def longest_gap_seconds(self) -> float:
        moments = sorted(self.served_at)
        return max(later - earlier for earlier, later in pairwise(moments))


async def _post(client: httpx.AsyncClient, seen: Seen, request: dict[str, Any]) -> None:
    begun_at = time.monotonic()
    response = await client.post("/schedule", json=request)
    seen.slowest_seconds = max(seen.slowest_seconds, time.monotonic() - begun_at)
    if response.status_code != 200:
        seen.wrong.append(f"{response.status_code}: {response.text[:300]}")
        return
    answer = response.json()
    seen.answers[answer["algorithm_used"]] += 1
    seen.served_at.append(time.monotonic())
    if not answer["safety"]["valid"] or answer["metrics"]["scheduled_jobs"] != 170:
        seen.wrong.append(response.text[:300])


async def _steadily(service: Service, seen: Seen, is_over: asyncio.Event) -> None:
    """One request after the other begins, whatever becomes of those before it."""
    async with httpx.AsyncClient(base_url=service.url, headers=HEADERS, timeout=60.0, trust_env=False) as client:
        under_way = []
        while not is_over.is_set():
            request = example(request_id=f"steady-{len(under_way)}", time_budget_ms=0)
            under_way.append(asyncio.create_task(_post(client, seen, request)))
            await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.gather(*under_way)


async def _kill_one_of_each(service: Service, is_over: asyncio.Event) -> None:
    try:
        for deployment in KILLED:
            before = await asyncio.to_thread(service.replicas, deployment)
            os.kill(before[0], signal.SIGKILL)
            await asyncio.sleep(3.0)
            assert await asyncio.to_thread(_has_replicas, service, deployment, len(before))
    finally:
        is_over.set()


def _has_replicas(service: Service, deployment: str, count: int, application: str = "gantry") -> bool:
    return eventually(lambda: len(service.replicas(deployment, application)) >= count, 90)


async def test_nobody_is_refused_while_replicas_die(service: Service) -> None:
    """Kills of policy, judge, writer and controller, one after the other: every request is answered right, in time."""
    seen, is_over = Seen(), asyncio.Event()
    await asyncio.gather(_steadily(service, seen, is_over), _kill_one_of_each(service, is_over))
    print(
        f"answered {sum(seen.answers.values())} ({dict(seen.answers)}), wrong {len(seen.wrong)}, "
        f"longest gap {seen.longest_gap_seconds:.2f} s, slowest {seen.slowest_seconds:.2f} s"
    )
    assert seen.wrong == []
    assert seen.longest_gap_seconds < BUSY_SECONDS
    assert seen.slowest_seconds < BUSY_SECONDS
    with service.client() as client:
        assert eventually(lambda: client.get("/health").json()["status"] == "healthy", 60)


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
