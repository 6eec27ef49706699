"""Answers as they leave: compressed when that is asked for, without a body for HEAD, to pages of this machine."""

from __future__ import annotations

import pytest

from deployments.api import create_api
from deployments.api.application import LOCAL_ORIGINS, MIN_COMPRESSED_BYTES
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, MemoryJournal, body, job, scheduling_over, services_over

PLAIN = KEY | {"Accept-Encoding": "identity"}
PATHS = ["/health", "/livez", "/readyz", "/openapi.json", "/docs", "/static/docs.js", "/v1/schedules", "/v1/models"]


@pytest.mark.parametrize("job_count", [30, 1000])
async def test_answer_is_compressed_when_asked(job_count: int) -> None:
    """Small and large answers alike; what is stored and how the layers mark an answer is the same."""
    journal = MemoryJournal()
    services = services_over(journal=journal, scheduling=scheduling_over(journal=journal))
    sent = body(jobs=[job(f"J{number}") for number in range(job_count)])
    packed = await call("POST", "/schedule", services=services, json=sent, headers=KEY | {"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(packed.content) / 4
    assert "Accept-Encoding" in packed.headers["vary"]
    assert packed.headers["x-request-id"]
    assert packed.headers["x-content-type-options"] == "nosniff"
    assert packed.content == journal.records[0].answer
    plain = await call("POST", "/schedule", services=services, json=sent, headers=PLAIN)
    assert "content-encoding" not in plain.headers
    assert int(plain.headers["content-length"]) == len(plain.content)


async def test_small_answer_is_never_compressed() -> None:
    """It would not be smaller."""
    answer = await call("GET", "/livez", headers={"Accept-Encoding": "gzip"})
    assert len(answer.content) < MIN_COMPRESSED_BYTES
    assert "content-encoding" not in answer.headers


async def test_refusal_is_compressed_like_an_answer() -> None:
    """A hundred reasons are long, and their media type stays."""
    jobs = [job(f"J{number}", processing_time=0) for number in range(100)]
    answer = await call("POST", "/schedule", json=body(jobs=jobs), headers=KEY | {"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.headers["content-encoding"]) == (422, "gzip")
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["errors"]) == 100


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_head_is_answered_as_get_without_the_body(path: str, encoding: str) -> None:
    """The same status and headers, the length of what GET would send included."""
    services = services_over()
    sent = KEY | {"Accept-Encoding": encoding, "X-Request-ID": "same"}
    got = await call("GET", path, services=services, headers=sent)
    head = await call("HEAD", path, services=services, headers=sent)
    assert (got.status_code, head.content) == (200, b"")
    assert head.headers == got.headers
    assert head.status_code == got.status_code


async def test_head_of_every_route_that_has_get() -> None:
    """No route answers GET and not HEAD, whatever either says."""
    app = create_api(services_over, clock=lambda: NOW)
    paths = [path for path, methods in app.openapi()["paths"].items() if "get" in methods]
    assert {"/v1/audit", "/v1/schedules/{schedule_id}/explanation"} < set(paths)
    for path in paths:
        asked = path.replace("{", "").replace("}", "")
        got, head = [await call(method, asked, app=app) for method in ("GET", "HEAD")]
        assert head.status_code == got.status_code


async def test_head_changes_nothing_and_needs_a_key() -> None:
    """What only POST does is refused, and whoever has no key is a stranger."""
    refused = await call("HEAD", "/schedule")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert (await call("HEAD", "/v1/schedules", headers={})).status_code == 401


async def test_what_is_allowed_includes_head() -> None:
    """As RFC 9110 wants it of every 405."""
    refused = await call("DELETE", "/health")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("origin", "is_local"),
    [
        ("http://localhost", True),
        ("http://localhost:5173", True),
        ("http://127.0.0.1:8080", True),
        ("https://localhost:5173", False),
        ("http://localhost.evil.example", False),
        ("http://evil.example/?http://localhost", False),
        ("http://127.0.0.1.evil.example:80", False),
        ("http://localhost:5173:80", False),
        ("http://127.0.0.2", False),
        ("null", False),
    ],
)
async def test_pages_of_this_machine_may_call_where_the_pattern_is_given(origin: str, is_local: bool) -> None:
    """In development it is, with any port; in production only named origins count."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key,authorization,content-type,prefer,content-encoding"
        ",idempotency-key",
    }
    local = create_api(services_over, cors_pattern=LOCAL_ORIGINS, clock=lambda: NOW)
    allowed = await call("OPTIONS", "/schedule", app=local, headers=asked)
    assert (allowed.status_code, allowed.headers.get("access-control-allow-origin")) == (
        (200, origin) if is_local else (400, None)
    )
    answered = await call("GET", "/livez", app=local, headers={"Origin": origin})
    assert answered.headers.get("access-control-allow-origin") == (origin if is_local else None)
    named = create_api(services_over, cors_origins=["https://plant.example"], clock=lambda: NOW)
    assert (await call("OPTIONS", "/schedule", app=named, headers=asked)).status_code == 400
    assert "access-control-allow-origin" not in (await call("GET", "/livez", headers={"Origin": origin})).headers
