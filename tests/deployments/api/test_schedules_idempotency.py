"""`Idempotency-Key` over HTTP: replayed, refused, and nobody else's concern."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from deployments.api import Services
from deployments.errors import ClaimUnavailable
from deployments.scheduling.idempotency import Idempotency
from deployments.scheduling.time_budget import LoadShedding
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import (
    FullJournal,
    MemoryClaims,
    MemoryJournal,
    PlannedProposer,
    body,
    job,
    nothing,
    scheduling_over,
    services_over,
)


def _services(claims: MemoryClaims, **changes: Any) -> Services:
    return services_over(idempotency=Idempotency(claims, owner_id="0" * 32), **changes)


async def _post(services: Services, key: str = "erp-4711", path: str = "/schedule", **changes: Any) -> httpx.Response:
    return await call("POST", path, services=services, headers=KEY | {"Idempotency-Key": key}, json=body(**changes))


async def test_same_key_and_body_replays_the_first_answer() -> None:
    """Byte for byte, marked, and without a second decision; both paths are one route."""
    journal = MemoryJournal()
    services = _services(MemoryClaims(), journal=journal)
    first, again = await _post(services), await _post(services, path="/v1/schedules")
    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    (record,) = journal.records
    assert (record.claim and record.claim.key, record.decision_id) == ("erp-4711", first.json()["schedule_id"])


async def test_answer_that_was_given_is_replayed_however_much_is_under_way() -> None:
    """It costs nothing; a new key is refused, and free for the next attempt."""
    load = LoadShedding(1)
    services = _services(MemoryClaims(), scheduling=scheduling_over(load=load))
    first = await _post(services)
    with ExitStack() as crowd:
        for _ in range(200):
            crowd.enter_context(load.request(10_000))
        again, other = await _post(services), await _post(services, key="erp-4712")
    assert (again.status_code, again.content) == (200, first.content)
    assert (other.status_code, other.json()["error"]) == (503, "overloaded")
    assert (await _post(services, key="erp-4712")).status_code == 200


async def test_other_body_under_the_key_is_a_conflict() -> None:
    """422, and it says what to do; another key decides anew."""
    services = _services(MemoryClaims())
    first = await _post(services)
    other = await _post(services, jobs=[job("JOAW002")])
    assert (other.status_code, other.json()["error"]) == (422, "key_conflict")
    assert "'erp-4711' stands for another request: use a new one" in other.json()["detail"]
    assert (await _post(services, key="erp-4712")).json()["schedule_id"] != first.json()["schedule_id"]


async def test_running_request_is_in_use() -> None:
    """409 with Retry-After until there is an answer."""
    claims = MemoryClaims()
    services = _services(claims)
    await _post(services)
    claims.rows = {key: (wanted, None) for key, (wanted, _) in claims.rows.items()}
    answer = await _post(services)
    assert (answer.status_code, answer.json()["error"], answer.headers["Retry-After"]) == (409, "key_in_use", "1")


@pytest.mark.parametrize(
    ("changes", "status"), [({"jobs": [job(processing_time=-1)]}, 422), ({"jobs": [job(machine_types=[9])]}, 422)]
)
async def test_refusal_that_the_body_will_always_get_is_replayed(changes: dict[str, Any], status: int) -> None:
    """As problem details, with the request id under which it was logged."""
    services = _services(MemoryClaims())
    first, again = await _post(services, **changes), await _post(services, **changes)
    assert (first.status_code, again.status_code, again.content) == (status, status, first.content)
    assert again.headers["content-type"] == "application/problem+json"
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await _post(services)).json()["error"] == "key_conflict"


async def test_malformed_body_is_kept_too() -> None:
    """It will not become JSON."""
    services = _services(MemoryClaims())
    headers = KEY | {"Idempotency-Key": "k"}
    answers = [await call("POST", "/schedule", services=services, headers=headers, content=b"{") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("failure", ["no safe schedule", "depends on plant data"])
async def test_failure_that_may_pass_is_not_kept(failure: str) -> None:
    """The next attempt under the key is made afresh."""
    claims = MemoryClaims()
    broken = PlannedProposer(nothing)
    changes: dict[str, Any] = {"machines": None} if failure == "depends on plant data" else {}
    services = _services(claims, scheduling=scheduling_over(ppo=broken, manual=broken))
    failed = await _post(services, **changes)
    assert failed.status_code == (422 if changes else 500)
    assert claims.rows == {}
    mended = _services(claims)
    assert (await _post(mended)).status_code == 200


async def test_decision_that_may_be_spooled_keeps_its_claim() -> None:
    """A journal that failed may have written all the same: the key stays taken until that is known."""
    claims = MemoryClaims()
    services = _services(claims, scheduling=scheduling_over(journal=FullJournal()))
    assert (await _post(services)).status_code == 503
    assert (await _post(services)).status_code == 409


async def test_only_requests_with_the_header_wait_for_the_database() -> None:
    """503 with Retry-After while it is down; without the header everything goes on."""
    claims = MemoryClaims()
    claims.error = ClaimUnavailable("the database does not answer", 5)
    services = _services(claims)
    answer = await _post(services)
    assert (answer.status_code, answer.json()["error"], answer.headers["Retry-After"]) == (
        503,
        "claim_unavailable",
        "5",
    )
    assert (await call("POST", "/schedule", services=services, json=body())).status_code == 200
    headers = KEY | {"Idempotency-Key": "k"}
    assert (await call("GET", "/v1/schedules", services=services, headers=headers)).status_code == 200
    validated = {"request": body(), "scheduled_jobs": []}
    assert (await call("POST", "/v1/validate", services=services, headers=headers, json=validated)).status_code == 200


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "tab\there", "Ünï"])
async def test_key_that_is_none_is_refused(key: str) -> None:
    """Printable ASCII, 1 to 255 characters."""
    headers = [(b"x-api-key", KEY["X-API-Key"].encode()), (b"idempotency-key", key.encode("latin-1"))]
    services = _services(MemoryClaims())
    answer = await call("POST", "/schedule", services=services, headers=dict(headers), content=json.dumps(body()))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
