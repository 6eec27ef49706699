"""What Prometheus scrapes, and what it is told of each answer."""

from __future__ import annotations

import httpx
import pytest

from deployments.api import create_api
from deployments.runtime.metrics import HTTP_REQUESTS, HTTP_SECONDS
from deployments.settings.service import Environment
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, KeptMeter, body, development_settings, services_over


async def test_anybody_scrapes_in_development() -> None:
    """The text of the exporter, with its media type."""
    answer = await call("GET", "/metrics", headers={})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text == "ray_gantry_plans_total 1.0\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"X-API-Key": "wrong"}, 401), (KEY, 200), ({"Authorization": f"Bearer {KEY['X-API-Key']}"}, 200)],
)
async def test_elsewhere_a_key_is_needed(headers: dict[str, str], status: int) -> None:
    """In the header of the other routes, or as a bearer token, which is what Prometheus sends."""
    settings = development_settings().model_copy(update={"environment": Environment.PRODUCTION})
    services = services_over(settings=settings)
    assert (await call("GET", "/metrics", services=services, headers=headers)).status_code == status


async def test_every_answer_is_counted_by_its_route() -> None:
    """By the template, never by what a client has written into the path or as a method."""
    meter, services = KeptMeter(), services_over()
    app = create_api(lambda: services, clock=lambda: NOW, meter=meter)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gantry") as client:
        await client.post("/schedule", headers=KEY, json=body())
        await client.get("/v1/schedules/nothing", headers=KEY)
        await client.get("/v1/schedules/nothing-else", headers=KEY)
        await client.request("BREW", "/coffee", headers=KEY)
        await client.request("BREW", "/schedule", headers=KEY)
        await client.request("STIR", "/schedule", headers=KEY)
    assert meter.counted == {
        (HTTP_REQUESTS.name, "POST", "/schedule", "200"): 1,
        (HTTP_REQUESTS.name, "GET", "/v1/schedules/{schedule_id}", "404"): 2,
        (HTTP_REQUESTS.name, "other", "none", "404"): 1,
        (HTTP_REQUESTS.name, "other", "/schedule", "405"): 2,
    }
    assert {series: len(seconds) for series, seconds in meter.observed.items()} == {
        (HTTP_SECONDS.name, "/schedule"): 3,
        (HTTP_SECONDS.name, "/v1/schedules/{schedule_id}"): 2,
        (HTTP_SECONDS.name, "none"): 1,
    }
