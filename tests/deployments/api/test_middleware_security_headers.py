"""What a browser must not do with an answer."""

from __future__ import annotations

import pytest

from tests.deployments.api.calls import call
from tests.deployments.fakes import body


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("GET", "/livez", {}),
        ("GET", "/v1/schedules", {}),
        ("GET", "/nowhere", {}),
        ("POST", "/schedule", {"json": body()}),
        ("POST", "/schedule", {"content": b"{"}),
        ("GET", "/static/docs.js", {}),
    ],
)
async def test_every_answer_carries_the_headers(method: str, path: str, sent: dict[str, object]) -> None:
    """Errors and files too: not sniffed, not framed, nothing loaded, no address passed on."""
    headers = (await call(method, path, **sent)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_answers_are_not_kept_by_caches() -> None:
    """A schedule is nobody's business but its client's."""
    assert (await call("POST", "/schedule", json=body())).headers["cache-control"] == "no-store"


async def test_page_keeps_its_own_policy() -> None:
    """The documentation needs its own files, and says so itself."""
    headers = (await call("GET", "/docs")).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-frame-options"] == "DENY"


async def test_origin_that_is_not_listed_gets_no_answer_it_could_read() -> None:
    """Neither a preflight nor an answer names an origin that is not on the list; no credentials are ever allowed."""
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    refused = await call("OPTIONS", "/schedule", headers=asked, cors_origins=["https://plant.example"])
    assert refused.status_code == 400
    for answer in (refused, await call("GET", "/health", headers=asked, cors_origins=["https://plant.example"])):
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers
