"""Tells somebody outside, signed, each thing once: transitions, incidents, point breaches. Gives up in the end."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import socket
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_exponential

from deployments.errors import Overloaded, UnreadableState, reason_of
from deployments.rollout.analysis.triggers import GuardrailReading
from deployments.rollout.ramp.state import Transition
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.transition_log import Entry
from deployments.runtime.background import BackgroundTask, Threads
from deployments.runtime.durable_file import write_durably

NAME = "told.json"
MAX_KEYS = 1_000
MAX_GIVEN_UP = 100
_log = logging.getLogger(__name__)
TIMESTAMP_HEADER = "X-Gantry-Timestamp"
SIGNATURE_HEADER = "X-Gantry-Signature"
MAX_WAITING = 100
MAX_ADDRESSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A notice that a target did not take: its key, when it happened, and what went wrong the last time."""

    key: str
    at: datetime
    complaint: str


@dataclass(slots=True, kw_only=True)
class Deliveries:
    """What one target was told: when it happened, by its key; what is older than `since` counts as told.

    `given_up` are those of them that it did not take.
    """

    since: datetime
    told: OrderedDict[str, datetime] = field(default_factory=OrderedDict)
    given_up: deque[GivenUp] = field(default_factory=lambda: deque(maxlen=MAX_GIVEN_UP))

    @property
    def delivered(self) -> Mapping[str, datetime]:
        """What it took."""
        lost = {each.key for each in self.given_up}
        return {key: at for key, at in self.told.items() if key not in lost}

    def as_json(self) -> str:
        """As a file has it; `read` is the inverse."""
        told = [[key, at.isoformat()] for key, at in self.told.items()]
        lost = [[each.key, each.at.isoformat(), each.complaint] for each in self.given_up]
        return json.dumps({"since": self.since.isoformat(), "told": told, "given_up": lost})

    @classmethod
    def read(cls, path: Path) -> Deliveries:
        """Raises `FileNotFoundError`, or `UnreadableState` for anything that `as_json` did not write."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            found = cls(since=datetime.fromisoformat(document["since"]))
            found.told.update((key, datetime.fromisoformat(at)) for key, at in document["told"])
            # Versions before 0.3 kept none.
            for key, at, complaint in document.get("given_up", ()):
                found.given_up.append(GivenUp(key=key, at=datetime.fromisoformat(at), complaint=complaint))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnreadableState(f"{path} cannot be read: {error}") from error
        return found


class DeliveryLog:
    """Keeps the `Deliveries` of one target in a file: the latest `MAX_KEYS` of what it was told, and `MAX_GIVEN_UP`.

    What happened before `begun_at` counts as told where nothing has been yet. Blocking, but for `knows`.
    """

    def __init__(self, folder: Path, *, begun_at: datetime, name: str = NAME) -> None:
        self._path = folder / name
        self._deliveries = Deliveries(since=begun_at)
        try:
            self._deliveries = Deliveries.read(self._path)
        except FileNotFoundError:
            # On disk before the first news, which then survive the death of this controller.
            self._save()
        except UnreadableState as error:
            _log.error("%s: older news are not told", error)

    def knows(self, key: str, at: datetime) -> bool:
        """Whether this was delivered, or is too old to be news."""
        return key in self._deliveries.told or at < self._deliveries.since

    def add(self, key: str, at: datetime, complaint: str | None = None) -> None:
        """It was delivered, or given up for `complaint`. A disk that does not keep this may have it delivered twice."""
        deliveries = self._deliveries
        deliveries.told[key] = at
        if complaint is not None:
            deliveries.given_up.append(GivenUp(key=key, at=at, complaint=complaint))
        while len(deliveries.told) > MAX_KEYS:
            _, oldest = deliveries.told.popitem(last=False)
            deliveries.since = max(deliveries.since, oldest)
        self._save()

    def _save(self) -> None:
        try:
            write_durably(self._path, self._deliveries.as_json())
        except OSError as error:
            _log.error("%s could not be written: %s", self._path, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLimits:
    """How often something is tried; pauses double from `first_pause_seconds`."""

    attempts: int = 6
    first_pause_seconds: float = 1.0
    timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(RetryLimits):
    """Where to, with which secret, and how patiently."""

    url: str
    secret: str


class NoticeDelivery(BackgroundTask, ABC):
    """Listens to the transition log. With `MAX_WAITING` notices waiting the oldest is dropped, and logged.

    `delivery_log` remembers what an earlier controller has delivered: the transition log passes everything on again
    when it starts, and what was not delivered before a stop with it. A kind of target says how one attempt is made.
    `count` is told of each notice, with the name of the target and "delivered", "given up" or "dropped".
    """

    def __init__(
        self,
        name: str,
        limits: RetryLimits,
        *,
        delivery_log: DeliveryLog,
        sleep: Callable[[float], Awaitable[None]],
        count: Callable[[str, str], None] = lambda _target, _outcome: None,
    ) -> None:
        super().__init__(name, self._deliver_waiting, sleep=sleep)
        self._limits = limits
        self._delivery_log = delivery_log
        self._count = count
        self._disk = Threads(f"the log of the {name}", 1)
        self._waiting: deque[Entry] = deque()
        self._arrived = asyncio.Event()

    def hear(self, entry: Entry) -> None:
        """What was told before is not told twice."""
        if not isinstance(entry, GuardrailReading) and self._delivery_log.knows(_key_of(entry), entry.at):
            return
        if len(self._waiting) >= MAX_WAITING:
            dropped = notice_of(self._waiting.popleft())
            self._count(self._name, "dropped")
            _log.error("a notice was dropped, %d wait for the %s: %s", MAX_WAITING, self._name, dropped)
        self._waiting.append(entry)
        self._arrived.set()

    @abstractmethod
    async def attempt(self, entry: Entry) -> str | None:
        """What went wrong, None when it was taken."""

    async def _deliver_waiting(self) -> None:
        await self._arrived.wait()
        while self._waiting:
            entry = self._waiting.popleft()
            complaint = await self._deliver(entry)
            self._count(self._name, "delivered" if complaint is None else "given up")
            if not isinstance(entry, GuardrailReading):
                await self._disk.run(self._delivery_log.add, _key_of(entry), entry.at, complaint)
        self._arrived.clear()

    async def _deliver(self, entry: Entry) -> str | None:
        """What went wrong the last time, None when it was taken."""
        retrying = AsyncRetrying(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(self._limits.attempts),
            wait=wait_exponential(multiplier=self._limits.first_pause_seconds),
            after=self._complain,
            retry_error_callback=_last_complaint,
            sleep=self._sleep,
        )
        complaint: str | None = await retrying(self.attempt, entry)
        if complaint is not None:
            _log.error("the %s was given up: %s", self._name, json.dumps(notice_of(entry)))
        return complaint

    def _complain(self, attempt: RetryCallState) -> None:
        counted = (attempt.attempt_number, self._limits.attempts)
        _log.warning("attempt %d of %d: the %s %s", *counted, self._name, _last_complaint(attempt))


def _last_complaint(attempt: RetryCallState) -> str | None:
    return attempt.outcome.result() if attempt.outcome else None


class Webhook(NoticeDelivery):
    """Posts each notice as JSON, signed."""

    def __init__(
        self,
        destination: Destination,
        *,
        delivery_log: DeliveryLog,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        count: Callable[[str, str], None] = lambda _target, _outcome: None,
    ) -> None:
        super().__init__("webhook", destination, delivery_log=delivery_log, sleep=sleep, count=count)
        self._destination = destination
        self._clock = clock
        self._transport = transport
        self._resolver = Threads("names of the webhook", 1)

    async def attempt(self, entry: Entry) -> str | None:
        """Each attempt has a timestamp of its own."""
        body = json.dumps(notice_of(entry)).encode()
        timestamp = str(int(self._clock().timestamp()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._destination.secret, timestamp, body),
        }
        timeout, transport = self._destination.timeout_seconds, self._transport or _Resolved(self._resolver)
        try:
            # The client limits each read; a receiver that trickles is cut off all the same.
            async with (
                asyncio.timeout(2 * timeout),
                httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client,
            ):
                response = await client.post(self._destination.url, content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            return f"did not answer: {type(error).__name__}"
        return None if response.is_success else f"answered {response.status_code}"


class _Resolved(httpx.AsyncHTTPTransport):
    """Names are looked up in threads of its own: asyncio would use its pool, in which everybody waits."""

    def __init__(self, threads: Threads) -> None:
        super().__init__(trust_env=False)
        self._threads = threads

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Tries one address after the other. Raises `httpx.TransportError`."""
        host, url = request.url.host, request.url
        try:
            found = await self._threads.run(socket.getaddrinfo, host, url.port, type=socket.SOCK_STREAM)
        except (OSError, Overloaded) as error:
            raise httpx.ConnectError(f"{host} could not be looked up: {reason_of(error)}", request=request) from error
        request.extensions = {**request.extensions, "sni_hostname": host}
        failure: httpx.TransportError | None = None
        for address in list(dict.fromkeys(str(each[4][0]) for each in found))[:MAX_ADDRESSES]:
            request.url = url.copy_with(host=address)
            try:
                return await super().handle_async_request(request)
            except httpx.ConnectError as error:
                failure = error
        raise failure or httpx.ConnectError(f"{host} has no address", request=request)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `X-Gantry-Signature` must be."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def notice_of(entry: Entry) -> dict[str, Any]:
    """The body of a notice; evidence stays in the database, where it may be long."""
    if isinstance(entry, GuardrailReading):
        return {"kind": "breach", "breach": entry.as_json()}
    if isinstance(entry, Incident):
        document = {name: value for name, value in entry.as_json().items() if name != "evidence"}
        return {"kind": "incident", "incident": document | {"reason": _reason(entry)}}
    document = {name: value for name, value in entry.as_json().items() if name != "evidence"}
    return {"kind": "transition", "transition": document}


def _key_of(entry: Transition | Incident) -> str:
    return f"incident {entry.incident_id}" if isinstance(entry, Incident) else f"transition {entry.version}"


def _reason(incident: Incident) -> str:
    trigger = incident.evidence.get("trigger")
    return str(trigger.get("detail") or trigger.get("rule")) if isinstance(trigger, dict) else incident.trigger
