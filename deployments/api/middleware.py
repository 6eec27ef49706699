"""The layers around all routes: request ids and log lines, bounded bodies, headers for browsers."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, MutableMapping
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.problems import Clock, unexpected_problem
from deployments.api.services import Services
from deployments.errors import BodyTooLarge, BodyTooSlow
from deployments.logs import REQUEST_ID

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
_log = logging.getLogger(__name__)


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


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge` as soon as it is known to have more than `limit_bytes`."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        # The announcement may be absent or a lie, so what arrives is counted too.
        if len(body) + len(chunk) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        body += chunk
    return bytes(body)


class BodyBounds:
    """ASGI middleware: whoever reads the body is told by `BodyTooLarge` or `BodyTooSlow`."""

    def __init__(self, app: ASGIApp, *, services: Callable[[], Services]) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            settings = self._services().settings
            receive = _bounded(receive, settings.max_body_bytes, settings.body_timeout_seconds)
        await self._app(scope, receive, send)


def _bounded(receive: Receive, limit_bytes: int, limit_seconds: float) -> Receive:
    deadline = asyncio.get_running_loop().time() + limit_seconds
    received_bytes, is_whole = 0, False

    async def bounded_receive() -> Message:
        nonlocal received_bytes, is_whole
        if is_whole:
            # What comes now is the end of the connection, for which any time is right.
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow(limit_seconds) from None
        received_bytes += len(message.get("body", b""))
        if received_bytes > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        is_whole = not message.get("more_body", False)
        return message

    return bounded_receive


class RequestIdentity:
    """ASGI middleware; must be the last one added, so that nothing happens outside of it."""

    def __init__(self, app: ASGIApp, *, clock: Clock) -> None:
        self._app = app
        self._clock = clock

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
        _log.log(
            logging.DEBUG if scope["path"] in _PROBES else logging.INFO,
            "request answered",
            extra=_line(scope, status, time.perf_counter() - started),
        )


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else str(uuid4())


def _line(scope: MutableMapping[str, Any], status: int, seconds: float) -> dict[str, object]:
    return {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
    }
