"""Notices: signed, tried again, given up in the end; never in anybody's way."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from deployments.rollout.ramp.state import Action, Transition
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.webhook import MAX_KEYS, MAX_WAITING, DeliveryLog, Destination, Webhook, notice_of
from tests.deployments.rollout_control.events import NOW, state

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

    def __init__(self, folder: Path, *statuses: int | Exception) -> None:
        self.folder = folder
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
        delivery_log = DeliveryLog(self.folder, begun_at=NOW)
        return Webhook(destination, delivery_log=delivery_log, clock=lambda: NOW, transport=transport, sleep=self.sleep)


async def _until(webhook: Webhook, receiver: Receiver, requests: int) -> None:
    webhook.start()
    async with asyncio.timeout(10):
        while len(receiver.requests) < requests:
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    await webhook.stop()


async def test_notice_is_signed_over_timestamp_and_body(tmp_path: Path) -> None:
    """Whoever has the secret can check who sent it, what, and when; evidence stays at home."""
    receiver = Receiver(tmp_path)
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


async def test_notice_is_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    """A receiver that is down, or says so, gets it later."""
    receiver = Receiver(tmp_path, 500, httpx.ConnectError("refused"), 429)
    webhook = receiver.webhook()
    webhook.hear(TRANSITION)
    await _until(webhook, receiver, 4)
    assert receiver.pauses == [1.0, 2.0, 4.0]


async def test_receiver_that_never_answers_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After its attempts the notice is in the log alone, and the next one has its turn."""
    receiver = Receiver(tmp_path, *[httpx.ReadTimeout("silent")] * 3)
    webhook = receiver.webhook(attempts=3)
    webhook.hear(INCIDENT)
    webhook.hear(TRANSITION)
    with caplog.at_level(logging.ERROR):
        await _until(webhook, receiver, 4)
    assert "the webhook was given up" in caplog.text
    assert json.loads(receiver.requests[-1].content)["kind"] == "transition"


async def test_news_from_before_the_first_webhook_are_not_told(tmp_path: Path) -> None:
    """Whoever sets a webhook up is not told the history of the plant."""
    receiver = Receiver(tmp_path)
    webhook = receiver.webhook()
    webhook.hear(Incident(**{**INCIDENT.as_json(), "at": NOW - timedelta(seconds=1)}))
    webhook.hear(INCIDENT)
    await _until(webhook, receiver, 1)
    assert len(receiver.requests) == 1


async def test_notice_outlives_its_controller(tmp_path: Path) -> None:
    """What was told is not told again by the next controller; what was not, is, however long ago it happened."""
    receiver = Receiver(tmp_path)
    first = receiver.webhook()
    first.hear(INCIDENT)
    first.start()
    async with asyncio.timeout(60):
        while not DeliveryLog(tmp_path, begun_at=NOW).knows("incident i1", NOW):
            await asyncio.sleep(0.01)
    await first.stop()
    first.hear(TRANSITION)
    second = receiver.webhook()
    for entry in (INCIDENT, TRANSITION):
        second.hear(entry)
    await _until(second, receiver, 2)
    assert [json.loads(request.content)["kind"] for request in receiver.requests] == ["incident", "transition"]


def test_memory_of_what_was_told_is_bounded(tmp_path: Path) -> None:
    """What is older than all that it remembers counts as told, and so does everything when it cannot be read."""
    delivery_log = DeliveryLog(tmp_path, begun_at=NOW)
    for number in range(MAX_KEYS + 1):
        delivery_log.add(f"transition {number}", NOW + timedelta(seconds=number))
    again = DeliveryLog(tmp_path, begun_at=NOW + timedelta(days=1))
    assert again.knows("transition 1", NOW + timedelta(seconds=1))
    assert again.knows("transition 0", NOW - timedelta(seconds=1))
    assert not again.knows("transition 9999", NOW + timedelta(hours=1))
    (tmp_path / "told.json").write_text("{", encoding="utf-8")
    assert DeliveryLog(tmp_path, begun_at=NOW).knows("transition 9999", NOW - timedelta(hours=1))


async def test_waiting_notices_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest one goes, and the log has it."""
    receiver = Receiver(tmp_path)
    webhook = receiver.webhook()
    with caplog.at_level(logging.ERROR):
        for _ in range(MAX_WAITING + 1):
            webhook.hear(INCIDENT)
    assert "a notice was dropped" in caplog.text
    await _until(webhook, receiver, MAX_WAITING)
    assert len(receiver.requests) == MAX_WAITING


def test_notice_of_a_transition_says_who_and_why() -> None:
    """Enough to act on."""
    notice = notice_of(TRANSITION)
    assert (notice["transition"]["actor"], notice["transition"]["reason"]) == ("guardrail", "crash")


class Listener:
    """A receiver on a socket of this machine: it keeps silent for as many calls as it is told, then answers 204."""

    def __init__(self, *, silent_calls: int, name: str = "127.0.0.1") -> None:
        self._silent_calls = silent_calls
        self._name = name
        self._server: asyncio.Server | None = None
        self.received: list[tuple[dict[str, str], bytes]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://{self._name}:{self._server.sockets[0].getsockname()[1]}/hook"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = dict(line.lower().split(": ", 1) for line in head)
        self.received.append((headers, await reader.readexactly(int(headers["content-length"]))))
        if len(self.received) <= self._silent_calls:
            # Until the other side hangs up.
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()


async def _tell(listener: Listener, folder: Path, heard: int, **changes: Any) -> None:
    """The incident and the transition, until the listener has heard of `heard` attempts."""
    destination = Destination(url=listener.url, secret=SECRET, first_pause_seconds=0.01, **changes)
    webhook = Webhook(destination, delivery_log=DeliveryLog(folder, begun_at=NOW), clock=lambda: NOW)
    webhook.hear(INCIDENT)
    webhook.hear(TRANSITION)
    webhook.start()
    async with asyncio.timeout(60):
        while len(listener.received) < heard:
            await asyncio.sleep(0.01)
    await webhook.stop()


async def test_notice_survives_a_receiver_that_is_silent_at_first(tmp_path: Path) -> None:
    """Over a real socket: two calls that nobody answers, the third is taken, and each is signed anew."""
    async with Listener(silent_calls=2) as listener:
        await _tell(listener, tmp_path, 4, timeout_seconds=0.1)
    kinds = [json.loads(body)["kind"] for _, body in listener.received]
    assert kinds == ["incident", "incident", "incident", "transition"]
    for headers, body in listener.received:
        signed = f"{headers['x-gantry-timestamp']}.".encode() + body
        assert (
            headers["x-gantry-signature"] == "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        )


async def test_receiver_that_never_answers_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Over a real socket: every attempt at both notices runs into its limit, and the log has them."""
    async with Listener(silent_calls=1000) as listener:
        with caplog.at_level(logging.WARNING):
            await _tell(listener, tmp_path, 4, timeout_seconds=0.5, attempts=2)
    assert [json.loads(body)["kind"] for _, body in listener.received] == ["incident"] * 2 + ["transition"] * 2
    assert "attempt 2 of 2: the webhook did not answer: ReadTimeout" in caplog.text
    assert "the webhook was given up" in caplog.text


async def test_name_is_looked_up_beside_everybody_else(tmp_path: Path) -> None:
    """Not in asyncio's pool, which raises here; the receiver is called by its name."""
    async with Listener(silent_calls=0, name="localhost") as listener:
        await _tell(listener, tmp_path, 2)
    assert {headers["host"].partition(":")[0] for headers, _ in listener.received} == {"localhost"}


async def test_unknown_name_is_an_attempt_that_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next attempt looks again."""
    destination = Destination(url="http://plant.invalid/hook", secret=SECRET, attempts=2, first_pause_seconds=0.01)
    webhook = Webhook(destination, delivery_log=DeliveryLog(tmp_path, begun_at=NOW), clock=lambda: NOW)
    webhook.hear(INCIDENT)
    webhook.start()
    async with asyncio.timeout(60):
        while "given up" not in caplog.text:
            await asyncio.sleep(0.01)
    await webhook.stop()
    assert caplog.text.count("did not answer: ConnectError") == 2
