"""Once the service is about to end, newcomers are told to come back, and who is inside is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from deployments.api import Services, create_api
from deployments.api.middleware import STOPPING_RETRY_SECONDS, EndOfService
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import NOW, body, services_over


class Door:
    """A gate that a test closes."""

    def __init__(self) -> None:
        self.refuses = False
        self.inside = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Counts who is inside."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


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
