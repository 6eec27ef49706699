"""The layers around all routes: identity, log lines, audit trail, bodies, HEAD, headers."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid6 import uuid7

from deployments.api.problems import unexpected_problem
from deployments.api.services import Services
from deployments.contracts.parsing import memory_bytes
from deployments.errors import (
    BodyTooDense,
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    NoRoomForBody,
    ServiceError,
    UnknownEncoding,
)
from deployments.logs import REQUEST_ID, REQUESTS
from deployments.persistence.decisions.records import MAX_DETAIL_LENGTH, AuditEvent
from deployments.runtime.clock import Clock
from deployments.runtime.metrics import HTTP_REQUESTS, HTTP_SECONDS, Meter, NoMeter
from deployments.scheduling.time_budget import LARGE_BODY_BYTES, OFFLOAD

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# An answer of the API is no page: nothing in it may run, load or be framed. Pages bring a policy of their own.
_UNLESS_SAID = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
REQUEST_ID_HEADER = "x-request-id"
_ACCEPTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_PROBES = frozenset({"/livez", "/readyz", "/health"})
# A new route is audited unless its tag says that it only makes, judges or reads schedules.
UNAUDITED_TAGS = frozenset({"scheduling", "decisions"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_TARGET_LENGTH = 500
_GZIP = frozenset({"gzip", "x-gzip"})
_WINDOW_OF_GZIP = 16 + zlib.MAX_WBITS
MAX_GZIP_MEMBERS = 100
_PART_BYTES = 2**20
MEMORY_OF_BODIES = 8
"""How many bytes of memory all bodies of one router may take together, for each byte that one may have."""
MEMORY_OF_ONE_BODY = 14
"""How many one body may take that is alone. Jobs take 8 to 14 for each byte once they are read, empty objects 90."""
_RETRY_BODY_SECONDS = 2
REMAINDER_BYTES = 2**27
"""How much of a body that nobody wants is read before it is refused: whoever still sends may never see the answer."""
REMAINDER_SECONDS = 10.0
_PAUSE_IN_REMAINDER_SECONDS = 1.0
MAX_LOGGED_LENGTH = 56
_MAX_METHOD_LENGTH = 7
_log = logging.getLogger(__name__)
_requests = logging.getLogger(REQUESTS)


class SecurityHeaders:
    """ASGI middleware that adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                for name, value in _UNLESS_SAID.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HeadAsGet:
    """ASGI middleware: HEAD is answered wherever GET is, with the headers alone (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                _allow_head(MutableHeaders(scope=message))
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send_head)


def _allow_head(headers: MutableHeaders) -> None:
    """Routes know nothing of HEAD, so what they say is allowed instead of it lacks it."""
    allowed = [method.strip() for method in headers.get("allow", "").split(",")]
    if "GET" in allowed and "HEAD" not in allowed:
        headers["allow"] = ", ".join([*allowed, "HEAD"])


@dataclass(slots=True)
class BodyMemory:
    """The memory that the bodies under way in one router take; changed under `lock`, whichever thread reads a body."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    taken_bytes: int = 0


class BodyShare:
    """What one body takes of the memory, before it takes it; small bodies, such as every rollback's, take none."""

    def __init__(self, memory: BodyMemory, limit_bytes: int) -> None:
        self._memory = memory
        self._limit_bytes = MEMORY_OF_BODIES * limit_bytes
        self._limit_alone_bytes = MEMORY_OF_ONE_BODY * limit_bytes
        self._size = 0
        self._weight = 0
        self._taken_bytes = 0
        self._is_closed = False

    def announce(self, size: int) -> None:
        """So many bytes are to come. Raises `NoRoomForBody`."""
        if size > LARGE_BODY_BYTES:
            self._take(size)

    def add(self, part: bytes, *, is_json: bool) -> None:
        """A part has come. Raises `NoRoomForBody`, or `BodyTooDense` where there would never be room."""
        if not part:
            return
        self._size += len(part)
        self._weight += memory_bytes(part) if is_json else len(part)
        if self._weight > self._limit_alone_bytes:
            raise BodyTooDense(self._limit_alone_bytes)
        if self._size > LARGE_BODY_BYTES:
            self._take(self._weight)

    def close(self) -> None:
        """The request is over, though a thread may still read its body."""
        with self._memory.lock:
            self._give_back()

    def _take(self, wanted_bytes: int) -> None:
        with self._memory.lock:
            if self._is_closed:
                raise NoRoomForBody("nobody waits for this body any more", _RETRY_BODY_SECONDS)
            others_bytes = self._memory.taken_bytes - self._taken_bytes
            if others_bytes and others_bytes + wanted_bytes > self._limit_bytes:
                # At once, so that of several that do not fit together the others go on.
                self._give_back()
                raise NoRoomForBody("other bodies take all the memory that there is for bodies", _RETRY_BODY_SECONDS)
            more_bytes = max(0, wanted_bytes - self._taken_bytes)
            self._memory.taken_bytes += more_bytes
            self._taken_bytes += more_bytes

    def _give_back(self) -> None:
        self._memory.taken_bytes -= self._taken_bytes
        self._taken_bytes, self._is_closed = 0, True


class BodyBounds:
    """ASGI middleware: whoever reads the body is told by `BodyTooLarge`, `BodyTooSlow` or `NoRoomForBody`.

    A body with `Content-Encoding: gzip` is inflated, under the same bounds; `UnknownEncoding` refuses any other.
    """

    def __init__(self, app: ASGIApp, *, services: Callable[[], Services]) -> None:
        self._app = app
        self._services = services
        self._memory = BodyMemory()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        settings, headers = self._services().settings, Headers(scope=scope)
        limit_bytes, encoding = settings.max_body_bytes, headers.get("content-encoding", "identity").strip().lower()
        is_plain = encoding == "identity"
        share = BodyShare(self._memory, limit_bytes)
        announced = headers.get("content-length", "")
        receive = _bounded(receive, announced, limit_bytes, settings.body_timeout_seconds, share, is_plain=is_plain)
        if not is_plain:
            scope, receive = _without_encoding(scope), _inflated(receive, encoding, limit_bytes, share)
        try:
            await self._app(scope, receive, send)
        finally:
            share.close()


def _bounded(
    receive: Receive, announced: str, limit_bytes: int, limit_seconds: float, share: BodyShare, *, is_plain: bool
) -> Receive:
    announced_bytes = int(announced) if announced.isascii() and announced.isdigit() else 0
    deadline = asyncio.get_running_loop().time() + limit_seconds
    received_bytes, is_begun, is_whole = 0, False, False

    async def bounded_receive() -> Message:
        nonlocal received_bytes, is_begun, is_whole
        if is_whole:
            # What comes now is the end of the connection, for which any time is right.
            return await receive()
        if announced_bytes > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        if not is_begun:
            is_begun = True
            share.announce(announced_bytes)
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow(limit_seconds) from None
        # The announcement may be absent or a lie, so what arrives is counted too.
        part = message.get("body", b"")
        received_bytes += len(part)
        if received_bytes > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        share.add(part, is_json=is_plain)
        is_whole = not message.get("more_body", False)
        return message

    return bounded_receive


def _without_encoding(scope: Scope) -> Scope:
    """The scope of the body as it is after inflation."""
    told_no_more = {b"content-encoding", b"content-length"}
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() not in told_no_more]}


def _inflated(receive: Receive, encoding: str, limit_bytes: int, share: BodyShare) -> Receive:
    is_read = False

    async def inflated_receive() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        if encoding not in _GZIP:
            raise UnknownEncoding(f"Content-Encoding must be gzip or absent, was {encoding[:100]!r}")
        compressed, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return message
            compressed += message.get("body", b"")
            more = message.get("more_body", False)
        is_read = True
        # A few bytes may become as many as are allowed, which takes longer than the event loop has.
        body = await OFFLOAD.run(inflate, bytes(compressed), limit_bytes, partial(share.add, is_json=True))
        return {"type": "http.request", "body": body, "more_body": False}

    return inflated_receive


def inflate(compressed: bytes, limit_bytes: int, on_part: Callable[[bytes], None] = lambda _: None) -> bytes:
    """What gzip (RFC 1952) made of at most `limit_bytes`; `on_part` may refuse each part before the next one.

    Raises `MalformedBody` or `BodyTooLarge`.
    """
    parts: list[bytes] = []
    members, left = 0, limit_bytes
    while compressed:
        if members == MAX_GZIP_MEMBERS:
            raise MalformedBody(f"the body must have at most {MAX_GZIP_MEMBERS} gzip members, had more")
        member, members = zlib.decompressobj(_WINDOW_OF_GZIP), members + 1
        while not member.eof:
            try:
                part = member.decompress(compressed, min(left + 1, _PART_BYTES))
            except zlib.error as error:
                raise MalformedBody(f"the body must be gzip, as its Content-Encoding says: {error}") from None
            left -= len(part)
            if left < 0:
                raise BodyTooLarge(limit_bytes)
            on_part(part)
            parts.append(part)
            compressed = member.unconsumed_tail
            if not part and not compressed and not member.eof:
                raise MalformedBody("the body must be gzip, as its Content-Encoding says: it ends too early")
        compressed = member.unused_data
    return b"".join(parts)


class Auditing:
    """ASGI middleware: the row is on disk before the answer leaves.

    A disk that fails must not keep anyone from rolling back: then the row is an error in the log instead.
    """

    def __init__(self, app: ASGIApp, *, services: Callable[[], Services]) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        begun, is_written = bytearray(), False

        async def receive_and_keep() -> Message:
            message = await receive()
            begun.extend(message.get("body", b"")[: MAX_DETAIL_LENGTH - len(begun)])
            return message

        async def write(status: int | None) -> None:
            nonlocal is_written
            if not is_written:
                is_written = True
                await self._write(scope, bytes(begun), status)

        async def write_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await write(message["status"])
            await send(message)

        try:
            await self._app(scope, receive_and_keep, write_and_send)
        finally:
            # Whoever goes away before the answer has acted all the same.
            await asyncio.shield(write(None))

    async def _write(self, scope: Scope, begun: bytes, status: int | None) -> None:
        client = scope.get("state", {}).get("client")
        if client is None or not _is_audited(scope):
            return
        services = self._services()
        event = AuditEvent(
            event_id=str(uuid7()),
            occurred_at=services.clock(),
            actor=client.actor,
            client=client.name,
            key_id=client.key_id,
            action=scope["route"].operation_id or scope["route"].name,
            target=scope["path"][:_MAX_TARGET_LENGTH],
            status=status,
            request_id=REQUEST_ID.get(),
            detail=_detail(scope, begun),
        )
        try:
            await services.journal.append(event)
        except ServiceError as error:
            _log.error("audit row could not be kept: %s", error, extra={"audit": event.to_fields()})


def _is_audited(scope: Scope) -> bool:
    """Routes of an operator, and scheduling requests that noted an `operation`, something only operators may."""
    route = scope.get("route")
    if route is None:
        return False
    return "operation" in scope["state"] or UNAUDITED_TAGS.isdisjoint(route.tags)


def _detail(scope: Scope, begun: bytes) -> str | None:
    noted: str | None = scope["state"].get("operation")
    # A character may have been cut in two at the end.
    return noted or begun.decode(errors="replace") or None


class BodyRemainder:
    """ASGI middleware: an answer leaves when its request's body has come, or as much of it as is waited for.

    A connection that is closed while bytes of a body arrive is reset, and a reset takes the answer with it, which the
    proxy in front may have begun to pass on (RFC 9112, 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Who waits to be told to go on has sent nothing, and is told not to.
        is_awaited = scope["type"] == "http" and "100-continue" not in Headers(scope=scope).get("expect", "").lower()

        async def receive_and_see() -> Message:
            nonlocal is_awaited
            message = await receive()
            is_awaited = message.get("more_body", False)
            return message

        async def send_after_body(message: Message) -> None:
            skipped_bytes = 0
            if message["type"] == "http.response.start":
                with suppress(TimeoutError):
                    async with asyncio.timeout(REMAINDER_SECONDS):
                        while is_awaited and skipped_bytes < REMAINDER_BYTES:
                            part = await asyncio.wait_for(receive_and_see(), _PAUSE_IN_REMAINDER_SECONDS)
                            skipped_bytes += len(part.get("body", b""))
            await send(message)

        await self._app(scope, receive_and_see, send_after_body)


class RequestIdentity:
    """ASGI middleware; nothing that may fail may be added after it, so that nothing happens outside of it."""

    def __init__(self, app: ASGIApp, *, clock: Clock, meter: Meter | None = None) -> None:
        self._app = app
        self._clock = clock
        self._meter = meter or NoMeter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        token = REQUEST_ID.set(request_id)
        try:
            await self._answer(scope, receive, send, request_id)
        finally:
            REQUEST_ID.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            _log.info("the client went away")
        except Exception:
            _log.exception("request failed unexpectedly")
            if status:
                raise
            await unexpected_problem(scope, self._clock)(scope, receive, send_with_id)
        level = logging.DEBUG if scope["path"] in _PROBES else logging.INFO
        seconds = time.perf_counter() - started
        _requests.log(level, short_line(scope), extra={"status": status, "ms": round(1000 * seconds, 1)})
        # A path that is no route may be anything, and so may a method, also where the path is one.
        found = scope.get("route")
        route = getattr(found, "path", "none")
        method = scope["method"] if scope["method"] in (getattr(found, "methods", None) or ()) else "other"
        self._meter.count(HTTP_REQUESTS, method=method, route=route, status=str(status))
        self._meter.observe(HTTP_SECONDS, seconds, route=route)


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else str(uuid4())


def short_line(scope: MutableMapping[str, Any]) -> str:
    """Method and path, so short that the line of a request has at most 200 bytes with an id of usual length."""
    line = f"{scope['method'][:_MAX_METHOD_LENGTH]} {scope['path']}".encode("ascii", "replace").decode()
    return line if len(line) <= MAX_LOGGED_LENGTH else f"{line[: MAX_LOGGED_LENGTH - 3]}..."
