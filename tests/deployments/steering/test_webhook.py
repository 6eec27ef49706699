"""Notices: signed, tried again, given up in the end; never in anybody's way."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from datetime import timedelta
from typing import Any

import httpx
import pytest

from deployments.rollout.stages import Action, Transition
from deployments.steering.messages import Incident
from deployments.steering.webhook import MOST_WAITING, Destination, Webhook, notice_of
from tests.deployments.steering.events import NOW, state

SECRET = "a shared secret of the plant"
INCIDENT = Incident(
    incident_id="i1",
    at=NOW,
    trigger="crash_rate",
    stage="limited",
    version=4,
    action="rolled back",
    evidence={"trigger": {"detail": "", "rule": "confidence bound"}, "recent": ["long"]},
)
TRANSITION = Transition(
    action=Action.ROLLBACK, from_stage=None, state=state(), actor="guardrail", reason="crash", evidence={"a": 1}
)


class Receiver:
    """Answers with the given statuses, then with 204; remembers what it got."""

    def __init__(self, *statuses: int | Exception) -> None:
        self.statuses = list(statuses)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 204
        if isinstance(status, Exception):
            raise status
        return httpx.Response(status)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def webhook(self, **changes: Any) -> Webhook:
        destination = Destination(url="http://plant.example/hook", secret=SECRET, **changes)
        transport = httpx.MockTransport(self.answer)
        return Webhook(destination, begun_at=NOW, clock=lambda: NOW, transport=transport, sleep=self.sleep)


async def _until(webhook: Webhook, receiver: Receiver, requests: int) -> None:
    webhook.start()
    async with asyncio.timeout(10):
        while len(receiver.requests) < requests:
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    await webhook.stop()


async def test_notice_is_signed_over_timestamp_and_body() -> None:
    """Whoever has the secret can check who sent it, what, and when; evidence stays at home."""
    receiver = Receiver()
    webhook = receiver.webhook()
    webhook.hear(INCIDENT)
    await _until(webhook, receiver, 1)
    (request,) = receiver.requests
    timestamp = request.headers["X-Gantry-Timestamp"]
    assert timestamp == str(int(NOW.timestamp()))
    expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + request.content, hashlib.sha256).hexdigest()
    assert request.headers["X-Gantry-Signature"] == f"sha256={expected}"
    notice = json.loads(request.content)
    assert (notice["kind"], notice["incident"]["trigger"]) == ("incident", "crash_rate")
    assert "evidence" not in notice["incident"]


async def test_notice_is_tried_again_with_growing_pauses() -> None:
    """A receiver that is down, or says so, gets it later."""
    receiver = Receiver(500, httpx.ConnectError("refused"), 429)
    webhook = receiver.webhook()
    webhook.hear(TRANSITION)
    await _until(webhook, receiver, 4)
    assert receiver.pauses == [1.0, 2.0, 4.0]


async def test_receiver_that_never_answers_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """After its attempts the notice is in the log alone, and the next one has its turn."""
    receiver = Receiver(*[httpx.ReadTimeout("silent")] * 3)
    webhook = receiver.webhook(attempts=3)
    webhook.hear(INCIDENT)
    webhook.hear(TRANSITION)
    with caplog.at_level(logging.ERROR):
        await _until(webhook, receiver, 4)
    assert "the webhook was given up" in caplog.text
    assert json.loads(receiver.requests[-1].content)["kind"] == "transition"


async def test_news_of_an_earlier_controller_are_not_told_twice() -> None:
    """What its predecessor heard is of the past."""
    receiver = Receiver()
    webhook = receiver.webhook()
    webhook.hear(Incident(**{**INCIDENT.as_json(), "at": NOW - timedelta(seconds=1)}))
    webhook.hear(INCIDENT)
    await _until(webhook, receiver, 1)
    assert len(receiver.requests) == 1


async def test_waiting_notices_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """The oldest one goes, and the log has it."""
    receiver = Receiver()
    webhook = receiver.webhook()
    with caplog.at_level(logging.ERROR):
        for _ in range(MOST_WAITING + 1):
            webhook.hear(INCIDENT)
    assert "a notice was dropped" in caplog.text
    await _until(webhook, receiver, MOST_WAITING)
    assert len(receiver.requests) == MOST_WAITING


def test_notice_of_a_transition_says_who_and_why() -> None:
    """Enough to act on."""
    notice = notice_of(TRANSITION)
    assert (notice["transition"]["actor"], notice["transition"]["reason"]) == ("guardrail", "crash")
