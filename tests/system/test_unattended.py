"""Plans that nobody waits for on a real service: progress, a stop, killed routers, and the end of the service."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from deployments.persistence.database import create_engine
from deployments.persistence.decisions.plan_run import RunState
from deployments.persistence.decisions.plan_run_repository import StoredRuns
from deployments.persistence.tables import DECISION
from deployments.runtime.background import Threads
from tests.deployments.persistence.decisions.test_plan_run_repository import BEST, wanted
from tests.system.serving import Service, eventually, running_service
from tests.system.test_serve import example

pytestmark = pytest.mark.system
ASYNC = {"Prefer": "respond-async"}


def _taken(client: httpx.Client, seconds: float = 50.0, **headers: str) -> str:
    answer = client.post("/v1/schedules", json=example(time_budget_ms=int(1000 * seconds)), headers=ASYNC | headers)
    assert answer.status_code == 202, answer.text
    location: str = answer.headers["location"]
    return location


def _state(client: httpx.Client, path: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(path).raise_for_status().json()
    return found


def _is_searching(client: httpx.Client, path: str) -> bool:
    now = _state(client, path)
    return now["state"] == "running" and now["best"] is not None


def _is_planned(service: Service, path: str) -> bool:
    engine = create_engine(f"sqlite:///{service.database}")
    query = select(func.count()).where(DECISION.c.decision_id == path.rpartition("/")[2])
    with engine.connect() as connection:
        count = connection.execute(query).scalar_one()
    engine.dispose()
    return bool(count)


def test_run_is_answered_for_whatever_ends(tmp_path: Path) -> None:
    """A stop keeps the best, a killed router leaves a failure that the key begins anew, the end keeps the best."""
    with running_service(tmp_path) as service, service.client() as client:
        first = _taken(client)
        assert eventually(lambda: _is_searching(client, first), 120)
        gap = _state(client, first)["best"]["gap"]
        waiting = client.post("/schedule", json=example(time_budget_ms=0)).raise_for_status()
        print(f"gap {gap:.3f}; an ordinary request beside it took {waiting.elapsed.total_seconds():.2f} s")
        client.delete(first).raise_for_status()
        assert eventually(lambda: _state(client, first)["state"] == "stopped", 20)
        kept = _state(client, first)
        assert kept["answer"]["safety"]["valid"]
        assert kept["answer"]["decision"]["fallback_reason"] is None
        with client.stream("GET", f"{first}/progress") as events:
            assert '"state":"stopped"' in events.read().decode()

        key = {"Idempotency-Key": "long"}
        second = _taken(client, **key)
        assert eventually(lambda: _is_searching(client, second), 120)
        for pid in service.replicas("RequestRouter"):
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: _reads(service, second) == "failed", 60)
        third = _taken(client, **key)
        assert third != second
        assert eventually(lambda: _is_searching(client, third), 120)
    assert _is_planned(service, third)
    assert not _is_planned(service, second)


async def test_routers_that_meet_on_mariadb_take_each_run_once(engine: Engine) -> None:
    """Two requests with one key are one run, and of four routers that look for work at once no two get the same."""
    store = StoredRuns(engine, Threads("runs", 4))
    twice = await asyncio.gather(*(store.accept(wanted(key="k")) for _ in range(2)))
    assert sorted(each.is_replayed for each in twice) == [False, True]
    other = wanted()
    await store.accept(other)
    owners = [str(number) * 36 for number in range(1, 5)]
    found = zip(owners, await asyncio.gather(*map(store.take, owners)), strict=True)
    taken = [(owner, run) for owner, run in found if run is not None]
    run_ids = [run.run_id for _, run in taken]
    assert sorted(set(run_ids)) == sorted(run_ids) != []
    owner, first = taken[0]
    assert await store.renew(first, owner, BEST) is False
    await store.stop(first.run_id)
    assert await store.renew(first, owner, BEST)
    await store.finish(first.run_id, owner, RunState.STOPPED, None, BEST)
    ended = await store.get(first.run_id, "ours")
    assert ended is not None
    assert (ended.state, ended.best) == (RunState.STOPPED, BEST)


def _reads(service: Service, path: str) -> str | None:
    """The state, None while no router answers."""
    try:
        with service.client() as client:
            answer = client.get(path)
    except httpx.TransportError:
        return None
    return str(answer.json()["state"]) if answer.status_code == 200 else None
