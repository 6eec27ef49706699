"""The audit trail: every request that may change more than schedules leaves a row, and here they are read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import Query
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid6 import uuid7

from deployments import access
from deployments.api.dependencies import Bound, Caller, json_answer
from deployments.api.services import Services
from deployments.contracts.answers.service import AuditPage, audit_event_answer
from deployments.errors import ServiceError
from deployments.logs import REQUEST_ID
from deployments.persistence.decisions.records import MAX_AUDIT_PAGE_SIZE, MAX_DETAIL_LENGTH, AuditEvent

# A new route is audited unless its tag says that it only makes, judges or reads schedules.
UNAUDITED_TAGS = frozenset({"scheduling", "decisions"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_TARGET_LENGTH = 500

_log = logging.getLogger(__name__)


async def list_audit(
    services: Bound,
    client: Caller,
    cursor: Annotated[str | None, Query(max_length=500, description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_AUDIT_PAGE_SIZE)] = 50,
) -> Response:
    """Who operated the service or changed its keys, newest first."""
    client.require(access.Scope.ADMIN)
    # One row more than asked for tells whether there is a next page.
    events = await services.audit.page(before=cursor, limit=limit + 1)
    shown = events[:limit]
    page = AuditPage(
        events=[audit_event_answer(event) for event in shown],
        next_cursor=shown[-1].event_id if len(events) > limit else None,
    )
    return json_answer(page)


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
