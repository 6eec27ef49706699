"""A key that asks too often, over HTTP."""

from __future__ import annotations

from deployments.access.key_ring import RateLimiter, rate_of
from deployments.api import create_api
from deployments.api.dependencies import NEVER_LIMITED, Caller
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, body, services_over


async def test_key_that_asks_too_often_is_told_when_to_come_back() -> None:
    """429 as problem details with Retry-After; probes are not counted, and strangers are of no account to it."""
    services = services_over(rates=RateLimiter(rate_of("2/hour")))
    for _ in range(3):
        assert (await call("GET", "/livez", services=services)).status_code == 200
    for _ in range(2):
        assert (await call("GET", "/v1/schedules", services=services, headers={})).status_code == 401
    statuses = [(await call("GET", "/v1/schedules", services=services)).status_code for _ in range(2)]
    limited = await call("POST", "/schedule", services=services, json=body())
    assert (statuses, limited.status_code) == ([200, 200], 429)
    assert limited.headers["content-type"] == "application/problem+json"
    assert limited.json()["error"] == "rate_limited"
    assert 3500 < int(limited.headers["retry-after"]) <= 3600


async def test_emergency_brake_is_never_limited() -> None:
    """A rollback is let through, whatever the key has asked before."""
    services = services_over(rates=RateLimiter(rate_of("1/hour")))
    (path,) = NEVER_LIMITED
    app = create_api(lambda: services, clock=lambda: NOW)

    async def brake(_client: Caller) -> dict[str, str]:
        return {}

    app.add_api_route(path, brake, methods=["PUT"])
    for _ in range(3):
        assert (await call("PUT", path, app=app, headers=KEY)).status_code == 200
    statuses = [(await call("GET", "/v1/schedules", app=app)).status_code for _ in range(2)]
    assert statuses == [200, 429]


async def test_stranger_that_asks_too_often_is_told_so() -> None:
    """As often as one key may ask, an address may fail; whoever has a key gets in from there all the same."""
    services = services_over(rates=RateLimiter(rate_of("2/hour")))
    wrong = {"X-API-Key": "wrong"}
    answers = [await call("GET", "/v1/schedules", services=services, headers=wrong) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert "who has no valid key may ask 2 per 1 hour" in answers[-1].json()["detail"]
    assert (await call("GET", "/v1/schedules", services=services)).status_code == 200
    (path,) = NEVER_LIMITED
    assert (await call("POST", path, services=services, headers=wrong)).status_code == 401
