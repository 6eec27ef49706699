"""The audit trail: who did what beyond scheduling."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response

from deployments.access import Client, Scope, StoredKey, key_digest
from deployments.api import Services, create_api
from deployments.api.dependencies import Caller
from deployments.persistence.decisions.records import MAX_DETAIL_LENGTH, AuditEvent
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, FixedKeys, FullJournal, MemoryJournal, body, services_over

OPERATOR = {"X-API-Key": "operator"}


def ring(*scopes: Scope) -> FixedKeys:
    """One key, "operator", of the client "plant"."""
    client = Client(name="plant", scopes=frozenset(scopes), key_id="0123456789ab", key_name="night shift")
    return FixedKeys([StoredKey(digest=key_digest("operator"), client=client)])


def app_with_operation(services: Services) -> FastAPI:
    """The API with one more route, as a new one would be added."""
    app = create_api(lambda: services, clock=lambda: NOW)

    async def operate(request: Request, client: Caller) -> Response:
        client.require(Scope.OPERATE)
        return Response(await request.body())

    app.add_api_route("/v1/valves/{valve}", operate, methods=["POST"], operation_id="open_valve")
    return app


def trail(journal: MemoryJournal) -> list[AuditEvent]:
    """What was written."""
    return [each for each in journal.others if isinstance(each, AuditEvent)]


async def test_new_route_is_audited_without_being_told() -> None:
    """Whoever adds a route that changes something gets the row: who, what, with which answer."""
    journal = MemoryJournal()
    app = app_with_operation(services_over(journal=journal, access=ring(Scope.OPERATE)))
    headers = OPERATOR | {"x-request-id": "r-1"}
    answer = await call("POST", "/v1/valves/7", app=app, headers=headers, json={"reason": "Prüfung"})
    assert answer.status_code == 200
    (event,) = trail(journal)
    assert (event.actor, event.client, event.key_id) == ("night shift", "plant", "0123456789ab")
    assert (event.action, event.target, event.status) == ("open_valve", "/v1/valves/7", 200)
    assert (event.request_id, event.occurred_at) == ("r-1", NOW)
    assert json.loads(event.detail or "") == {"reason": "Prüfung"}


async def test_refused_attempt_is_audited_too() -> None:
    """A known key that tries what it may not leaves a row with the refusal; a stranger leaves none."""
    journal = MemoryJournal()
    app = app_with_operation(services_over(journal=journal, access=ring(Scope.READ)))
    assert (await call("POST", "/v1/valves/7", app=app, headers=OPERATOR)).status_code == 403
    assert (await call("POST", "/v1/valves/7", app=app, headers={})).status_code == 401
    assert [(event.actor, event.status) for event in trail(journal)] == [("night shift", 403)]


async def test_scheduling_leaves_no_row_unless_the_arm_is_forced() -> None:
    """Schedules have rows of their own; choosing one's arm is an operation."""
    journal = MemoryJournal()
    services = services_over(journal=journal, access=ring(*Scope))
    await call("POST", "/schedule", services=services, headers=OPERATOR, json=body())
    assert trail(journal) == []
    await call("POST", "/schedule", services=services, headers=OPERATOR, json=body(arm="manual"))
    (event,) = trail(journal)
    assert (event.action, event.detail) == ("schedule", "arm 'manual', experiment_unit None")


async def test_reading_leaves_no_row() -> None:
    """Looking at the trail does not make it longer."""
    journal = MemoryJournal()
    await call("GET", "/v1/audit", services=services_over(journal=journal))
    assert trail(journal) == []


async def test_detail_is_bounded() -> None:
    """Of a large body only the beginning is kept."""
    journal = MemoryJournal()
    app = app_with_operation(services_over(journal=journal, access=ring(Scope.OPERATE)))
    await call("POST", "/v1/valves/7", app=app, headers=OPERATOR, content="ü" * 100_000)
    (event,) = trail(journal)
    assert event.detail == "ü" * (MAX_DETAIL_LENGTH // 2)


async def test_full_disk_does_not_stop_an_operator(caplog: pytest.LogCaptureFixture) -> None:
    """The act is answered, and the row that could not be kept is an error in the log, whole."""
    app = app_with_operation(services_over(journal=FullJournal(), access=ring(Scope.OPERATE)))
    with caplog.at_level(logging.ERROR, logger="deployments"):
        assert (await call("POST", "/v1/valves/7", app=app, headers=OPERATOR)).status_code == 200
    (record,) = [each for each in caplog.records if each.message.startswith("audit row could not be kept")]
    assert vars(record)["audit"]["actor"] == "night shift"


async def test_act_of_someone_who_went_away_is_audited() -> None:
    """A request that is cancelled while it acts leaves its row, without an answer."""
    journal, entered = MemoryJournal(), asyncio.Event()
    services = services_over(journal=journal, access=ring(Scope.OPERATE))
    app = create_api(lambda: services, clock=lambda: NOW)

    async def hang(client: Caller) -> None:
        client.require(Scope.OPERATE)
        entered.set()
        await asyncio.Event().wait()

    app.add_api_route("/v1/valves", hang, methods=["POST"], operation_id="hang", response_model=None)
    asked = asyncio.create_task(call("POST", "/v1/valves", app=app, headers=OPERATOR))
    await asyncio.wait_for(entered.wait(), 30)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert [(event.action, event.status) for event in trail(journal)] == [("hang", None)]


async def test_trail_is_read_in_pages_by_administrators() -> None:
    """Newest first, page by page, with the scope admin and no other."""
    journal = MemoryJournal()
    services = services_over(journal=journal, access=ring(*Scope))
    app = app_with_operation(services)
    for valve in range(3):
        await call("POST", f"/v1/valves/{valve}", app=app, headers=OPERATOR)
    first = (await call("GET", "/v1/audit?limit=2", app=app, headers=OPERATOR)).json()
    rest = (await call("GET", f"/v1/audit?limit=2&cursor={first['next_cursor']}", app=app, headers=OPERATOR)).json()
    targets = [event["target"] for event in first["events"] + rest["events"]]
    assert (targets, rest["next_cursor"]) == (["/v1/valves/2", "/v1/valves/1", "/v1/valves/0"], None)
    lost = await call("GET", "/v1/audit?cursor=nothing", app=app, headers=OPERATOR)
    assert (lost.status_code, lost.json()["errors"][0]["field"]) == (422, "cursor")


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
async def test_trail_is_for_administrators_alone(scope: Scope) -> None:
    """Every other scope is refused."""
    services: Any = services_over(access=ring(scope))
    assert (await call("GET", "/v1/audit", services=services, headers=OPERATOR)).status_code == 403


async def test_key_is_nowhere_in_the_trail() -> None:
    """Whatever was sent, the key that was used is not in the row."""
    journal = MemoryJournal()
    await call("POST", "/schedule", services=services_over(journal=journal), json=body(arm="ppo"))
    (event,) = trail(journal)
    assert KEY["X-API-Key"] not in event.to_bytes().decode()
