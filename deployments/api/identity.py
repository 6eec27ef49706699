"""The outermost layer: gives each request its id, logs it, and turns what nobody expected into a plain 500."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.problems import Clock, unexpected_problem
from deployments.logs import REQUEST_ID

REQUEST_ID_HEADER = "x-request-id"
_ACCEPTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_PROBES = frozenset({"/livez", "/readyz", "/health"})

_log = logging.getLogger(__name__)


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
