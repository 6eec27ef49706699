"""Once the service is about to end, newcomers are told to come back, and who is inside is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from deployments.api import Services, create_api
from deployments.api.middleware import RequestIdentity
from deployments.api.probes import STOPPING_RETRY_SECONDS, EndOfService
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, body, services_over


class Door:
    """A gate that a test closes."""

    def __init__(self) -> None:
        self.refuses = False
        self.called_off: list[Callable[[], None]] = []

    @property
    def inside(self) -> int:
        """How many are."""
        return len(self.called_off)

    @contextmanager
    def passing(self, on_grace_over: Callable[[], None]) -> Iterator[None]:
        """Remembers who is inside."""
        self.called_off.append(on_grace_over)
        try:
            yield
        finally:
            self.called_off.remove(on_grace_over)


def api(door: Door, services: Services | None = None) -> FastAPI:
    """The API behind `door`."""
    bound = services or services_over()
    return create_api(lambda: bound, clock=lambda: NOW, gate=door)


@pytest.mark.parametrize(("method", "path"), [("POST", "/schedule"), ("GET", "/readyz"), ("GET", "/nowhere")])
async def test_newcomer_is_told_when_to_come_back(method: str, path: str) -> None:
    """Problem details with Retry-After and a request id, whatever was asked, also without a key."""
    door = Door()
    door.refuses = True
    answer = await call(method, path, app=api(door), headers={})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == str(STOPPING_RETRY_SECONDS)
    assert (answer.json()["error"], answer.json()["request_id"]) == ("stopping", answer.headers["x-request-id"])
    assert door.inside == 0


async def test_process_is_alive_to_the_end() -> None:
    """An orchestrator must not kill what is finishing its work."""
    door = Door()
    door.refuses = True
    assert (await call("GET", "/livez", app=api(door))).status_code == 200


async def test_request_under_way_is_counted_and_served() -> None:
    """It came before the door closed: it is inside until its answer is complete."""
    door, seen = Door(), list[int]()

    class Watching(EndOfService):
        """Closes the door behind whoever came in."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_see(message: Message) -> None:
                door.refuses = True
                seen.append(door.inside)
                await send(message)

            await super().__call__(scope, receive, send_and_see)

    app = Watching(api(Door()), gate=door, clock=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gantry") as client:
        answers = [await client.post("/schedule", headers=KEY, json=body()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 503]
    # Head and body of the first while it was inside, head and body of the second when nobody was.
    assert seen == [1, 1, 0, 0]
    assert door.inside == 0


class Hanging:
    """An application that answers nobody, or begins to and stops in the middle."""

    def __init__(self, *, begins: bool = False) -> None:
        self.begins = begins
        self.is_called_off = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            self.is_called_off = True
            raise
        await send({"type": "http.response.body", "body": b""})


def _behind(door: Door, app: Hanging) -> RequestIdentity:
    return RequestIdentity(EndOfService(app, gate=door, clock=lambda: NOW), clock=lambda: NOW)


async def _asked(app: RequestIdentity, door: Door, method: str, path: str) -> asyncio.Task[httpx.Response]:
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gantry")
    asking = asyncio.create_task(client.request(method, path, headers={"x-request-id": "erp-4711"}))
    while not door.inside:
        await asyncio.sleep(0)
    return asking


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/schedule"), ("GET", "/v1/rollout/report"), ("POST", "/v1/rollout/rollback")]
)
async def test_request_that_outlives_the_grace_is_told_to_come_back(
    method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it asked: problem details with Retry-After instead of a cut, and a line of the log that names it."""
    door, app = Door(), Hanging()
    asking = await _asked(_behind(door, app), door, method, path)
    with caplog.at_level(logging.WARNING):
        door.called_off[0]()
        answer = await asking
    assert (answer.status_code, answer.json()["error"]) == (503, "stopping")
    assert answer.headers["retry-after"] == str(STOPPING_RETRY_SECONDS)
    assert app.is_called_off
    assert door.inside == 0
    (line,) = caplog.records
    assert line.getMessage() == f"{method} {path} was under way for 0.0 s when the grace ended"
    assert vars(line)["request_id"] == "erp-4711"


async def test_answer_that_has_begun_is_named_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Two heads are no answer: it goes on for as long as the process does."""
    door, app = Door(), Hanging(begins=True)
    asking = await _asked(_behind(door, app), door, "GET", "/v1/schedules")
    door.called_off[0]()
    await asyncio.sleep(0)
    assert not asking.done()
    assert not app.is_called_off
    assert "GET /v1/schedules was under way" in caplog.text
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_client_that_goes_away_is_answered_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A request that is cancelled before the grace ends is no end of the grace."""
    door, app = Door(), Hanging()
    asking = await _asked(_behind(door, app), door, "POST", "/schedule")
    asking.cancel()
    (found,) = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(found, asyncio.CancelledError)
    assert app.is_called_off
    assert caplog.records == []


async def test_client_that_goes_away_as_the_grace_ends_is_answered_by_nobody() -> None:
    """Both call the request off, and only one of them is ours."""
    door, app = Door(), Hanging()
    asking = await _asked(_behind(door, app), door, "POST", "/schedule")
    door.called_off[0]()
    asking.cancel()
    (found,) = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(found, asyncio.CancelledError)
