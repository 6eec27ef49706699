"""Bodies that are too large, too deep or too slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from deployments.api import create_api
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, development_settings, services_over

LIMIT_BYTES = 2000


async def _in_pieces(*pieces: bytes, pause_seconds: float = 0.0) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(pause_seconds)
        yield piece


@pytest.mark.parametrize("path", ["/schedule", "/v1/schedules", "/v1/validate"])
async def test_large_body_is_refused_whether_announced_or_not(path: str) -> None:
    """413, before more than the limit is held."""
    services = services_over(settings=development_settings(max_body_bytes=LIMIT_BYTES))
    for content in (b"x" * (LIMIT_BYTES + 1), _in_pieces(*[b"x" * 500] * 5)):
        answer = await call("POST", path, services=services, content=content)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/schedule", "/v1/validate"])
async def test_slow_body_is_given_up(path: str) -> None:
    """408 when the body is not there in time, however small and steady its pieces are."""
    services = services_over(settings=development_settings(body_timeout_seconds=0.05))
    answer = await call("POST", path, services=services, content=_in_pieces(*[b" "] * 100, pause_seconds=0.02))
    assert (answer.status_code, answer.json()["error"]) == (408, "too_slow")
    assert answer.json()["detail"] == "the body must arrive within 0.05 s"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"jobs":['])
async def test_deep_body_is_refused(opening: bytes) -> None:
    """400 for a document of a million levels, in an instant and without a trace of recursion."""
    answer = await call("POST", "/schedule", content=opening * 1_000_000)
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_json")
    assert len(answer.content) < 2000


async def test_bounds_hold_for_bodies_that_the_framework_reads() -> None:
    """A route that declares its body is bounded like one that reads it."""
    services = services_over(settings=development_settings(max_body_bytes=LIMIT_BYTES, body_timeout_seconds=0.5))
    app = create_api(lambda: services, clock=lambda: NOW)
    _add_declared(app)
    large = await call("POST", "/declared", app=app, json={"text": "x" * LIMIT_BYTES})
    pieces = _in_pieces(*[b" "] * 100, pause_seconds=0.05)
    slow = await call("POST", "/declared", app=app, content=pieces, headers=KEY | {"content-type": "application/json"})
    assert (large.status_code, slow.status_code) == (413, 408)
    assert (large.json()["error"], slow.json()["error"]) == ("too_large", "too_slow")


def _add_declared(app: FastAPI) -> None:
    async def declared(body: dict[str, str]) -> dict[str, str]:
        return body

    # The annotation is text here, and the framework would look for it in this module.
    declared.__annotations__ = {"body": dict[str, str], "return": dict[str, str]}
    app.add_api_route("/declared", declared, methods=["POST"])
