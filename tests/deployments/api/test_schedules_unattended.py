"""`Prefer: respond-async`: 202, how it stands, a stop, events, and the decision in the end."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from deployments.access import Client, Scope, StoredKey, key_digest
from deployments.api import Services
from deployments.persistence.decisions.plan_run import BestSoFar, RunState
from deployments.persistence.decisions.records import AuditEvent
from deployments.rollout.ramp.traffic import Rollout
from deployments.scheduling.plan_runs import Uncompared
from tests.deployments.api.calls import call
from tests.deployments.fakes import (
    FixedKeys,
    FixedRollout,
    MemoryJournal,
    MemoryRuns,
    body,
    fixed_traffic_split,
    plan_runs_over,
    scheduling_over,
    services_over,
)

ASYNC = {"Prefer": "respond-async"}
BEST = BestSoFar(makespan_seconds=3960, bound_seconds=3600, tardiness_seconds=0, found_seconds=0.5, improvements=3)


class World:
    """A service whose runs are planned when `plan` is called."""

    def __init__(self) -> None:
        self.journal, self.store = MemoryJournal(), MemoryRuns()
        rollout: Rollout = FixedRollout(fixed_traffic_split(1.0, "gantry"))
        unheard = Uncompared(rollout)
        unattended = scheduling_over(journal=self.journal, rollout=unheard, shadow=unheard, is_compared=False)
        self.services: Services = services_over(
            journal=self.journal, runs=plan_runs_over(self.store, unattended), access=FixedKeys(_keys())
        )

    async def ask(self, method: str, path: str, key: str = "ours", **sent: Any) -> httpx.Response:
        headers = {"X-API-Key": key, **sent.pop("headers", {})}
        return await call(method, path, services=self.services, headers=headers, **sent)

    async def taken(self, **headers: str) -> str:
        """The id of one request that was taken."""
        answer = await self.ask("POST", "/v1/schedules", headers=ASYNC | headers, json=body(time_budget_ms=30_000))
        assert answer.status_code == 202, answer.text
        schedule_id: str = answer.json()["schedule_id"]
        return schedule_id

    async def plan(self, schedule_id: str) -> None:
        """Has the run planned to its end."""
        self.services.runs.start()
        try:
            async for _ in self.services.runs.changes(self.store.runs[schedule_id]):
                pass
        finally:
            await self.services.runs.stop()


def _keys() -> list[StoredKey]:
    clients = {
        "ours": Client(name="ours", scopes=frozenset({Scope.SCHEDULE})),
        "reader": Client(name="ours", scopes=frozenset({Scope.READ})),
        "elsewhere": Client(name="ours", scopes=frozenset({Scope.SCHEDULE}), plants=frozenset({"kulim"})),
        "theirs": Client(name="theirs", scopes=frozenset({Scope.SCHEDULE})),
    }
    return [StoredKey(digest=key_digest(text), client=client) for text, client in clients.items()]


async def test_request_is_taken_at_once() -> None:
    """202 with id, state and where to ask; nothing is planned yet."""
    world = World()
    answer = await world.ask("POST", "/v1/schedules", headers=ASYNC, json=body(time_budget_ms=30_000))
    assert answer.status_code == 202
    schedule_id = answer.json()["schedule_id"]
    assert answer.headers["location"] == f"/v1/schedules/{schedule_id}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.json()["state"] == "queued"
    assert answer.json()["time_budget_ms"] == 30_000
    assert world.journal.records == []


async def test_how_it_stands_can_be_asked_until_there_is_a_decision() -> None:
    """The best so far with its gap; then the decision, whose answer is what would have been answered."""
    world = World()
    schedule_id = await world.taken()
    world.store.change(schedule_id, state=RunState.RUNNING, best=BEST)
    running = (await world.ask("GET", f"/v1/schedules/{schedule_id}")).json()
    assert running["state"] == "running"
    assert running["best"]["makespan"] == 1.1
    assert running["best"]["gap"] == pytest.approx(0.1)
    world.store.change(schedule_id, state=RunState.QUEUED)
    await world.plan(schedule_id)
    done = (await world.ask("GET", f"/v1/schedules/{schedule_id}")).json()
    assert done["state"] == "done"
    waited = (await world.ask("POST", "/v1/schedules", json=body(time_budget_ms=0))).json()
    assert done["answer"]["schedule_id"] == schedule_id
    assert done["answer"].keys() == waited.keys()
    assert done["answer"]["scheduled_jobs"] == waited["scheduled_jobs"]


async def test_finished_plan_is_explained_and_exported() -> None:
    """It is a decision like any other."""
    world = World()
    schedule_id = await world.taken()
    await world.plan(schedule_id)
    for ending in ("/explanation", ".csv"):
        assert (await world.ask("GET", f"/v1/schedules/{schedule_id}{ending}")).status_code == 200
    listed = (await world.ask("GET", "/v1/schedules")).json()["schedules"]
    assert [each["schedule_id"] for each in listed] == [schedule_id]


@pytest.mark.parametrize(
    "wrong",
    [{"jobs": None}, {"machines": [{"machine_id": 1, "machine_name": "M", "machine_type": 99}]}, {"nonsense": 1}],
)
async def test_bad_request_is_refused_as_if_somebody_waited(wrong: dict[str, Any]) -> None:
    """The same status and reasons at once, and nothing is taken."""
    world, strict = World(), {"Prefer": "handling=strict"}
    waited = await world.ask("POST", "/v1/schedules", headers=strict, json=body(**wrong))
    refused = await world.ask(
        "POST", "/v1/schedules", headers={"Prefer": "respond-async, handling=strict"}, json=body(**wrong)
    )
    assert refused.status_code == waited.status_code == 422
    assert refused.json()["errors"] == waited.json()["errors"]
    assert world.store.runs == {}


async def test_what_is_not_to_be_kept_must_be_waited_for() -> None:
    """There would be nothing to read in the end."""
    answer = await World().ask("POST", "/v1/schedules", headers=ASYNC, json=body(save_to_database=False))
    assert answer.status_code == 422
    assert "nobody waits" in answer.text


async def test_arm_is_for_operators_here_too() -> None:
    """A scope that waiting would take is taken without."""
    assert (await World().ask("POST", "/v1/schedules", headers=ASYNC, json=body(arm="ppo"))).status_code == 403


async def test_stop_is_audited_and_idempotent() -> None:
    """What waits is over at once; a second stop changes nothing, and leaves no row."""
    world = World()
    schedule_id = await world.taken()
    for _ in range(2):
        answer = await world.ask("DELETE", f"/v1/schedules/{schedule_id}")
        assert (answer.status_code, answer.json()["state"]) == (202, "stopped")
    events = [each for each in world.journal.others if isinstance(each, AuditEvent)]
    assert [(event.action, event.client) for event in events] == [("stop_schedule", "ours")]


@pytest.mark.parametrize(("key", "status"), [("theirs", 404), ("elsewhere", 404), ("reader", 403), ("ours", 202)])
async def test_run_belongs_to_its_client_and_plant(key: str, status: int) -> None:
    """For everybody else there is none; who may only read cannot stop it."""
    world = World()
    schedule_id = await world.taken()
    assert (await world.ask("DELETE", f"/v1/schedules/{schedule_id}", key=key)).status_code == status
    reads = 200 if status != 404 else 404
    for ending in ("", "/progress"):
        world.store.change(schedule_id, state=RunState.STOPPED)
        answer = await world.ask("GET", f"/v1/schedules/{schedule_id}{ending}", key=key)
        assert answer.status_code == reads


async def test_same_key_is_the_same_run_until_it_has_failed() -> None:
    """Sent again it is replayed; another body is refused; what has failed starts again."""
    world = World()
    key = {"Idempotency-Key": "k"}
    first = await world.taken(**key)
    again = await world.ask("POST", "/v1/schedules", headers=ASYNC | key, json=body(time_budget_ms=30_000))
    assert (again.json()["schedule_id"], again.headers["idempotency-replayed"]) == (first, "true")
    other = await world.ask("POST", "/v1/schedules", headers=ASYNC | key, json=body(time_budget_ms=20_000))
    assert other.status_code == 422
    world.store.change(first, state=RunState.FAILED, reason="because")
    failed = (await world.ask("GET", f"/v1/schedules/{first}")).json()
    assert (failed["state"], failed["reason"]) == ("failed", "because")
    assert await world.taken(**key) != first


async def test_events_tell_up_to_the_end() -> None:
    """One `progress` event for each change; the stream ends with the run."""
    world = World()
    schedule_id = await world.taken()
    await world.plan(schedule_id)
    answer = await world.ask("GET", f"/v1/schedules/{schedule_id}/progress")
    assert answer.headers["content-type"].startswith("text/event-stream")
    event, data = answer.text.strip().split("\n")
    assert event == "event: progress"
    assert json.loads(data.removeprefix("data: "))["state"] == "done"


async def test_without_the_database_it_is_to_come_later_and_others_are_served() -> None:
    """503 with Retry-After for what needs the row; whoever waits for a plan gets it."""
    world = World()
    world.store.is_away = True
    answer = await world.ask("POST", "/v1/schedules", headers=ASYNC, json=body())
    assert (answer.status_code, answer.json()["error"]) == (503, "run_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert (await world.ask("POST", "/v1/schedules", json=body())).status_code == 200


async def test_first_path_waits() -> None:
    """`POST /schedule` answers its old clients as ever, whatever they prefer."""
    assert (await World().ask("POST", "/schedule", headers=ASYNC, json=body())).status_code == 200
