"""No request makes the service wait for, or hold, more of a body than it is allowed to send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.services import Services
from deployments.errors import BodyTooLarge, BodyTooSlow


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
