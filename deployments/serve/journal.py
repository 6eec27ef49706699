"""Where decisions are kept until the database has them: the spool, what a 200 rests on, and the way to DBWriter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from ray.exceptions import RayTaskError

from deployments.errors import DecisionTooLarge, JournalUnavailable
from deployments.persistence.decisions.records import DecisionRecord, FeedbackRecord, Record
from deployments.persistence.decisions.repository import max_body_bytes, stored_bytes
from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.errors import DatabaseUnavailable, MessageTooLarge, SpoolError
from deployments.persistence.spool.dead_letters import DeadLetter
from deployments.persistence.spool.spool import Spool
from deployments.scheduling.time_budget import run_blocking
from deployments.serve.handles import RemoteMethod
from env.errors import GantryError

_RETRY_AFTER_SECONDS = 2
# Some time-outs of the database, and the time in which the writer finds out which of a whole batch is to blame.
_WRITE_SECONDS = 30.0
# Longer than a writer that dies is away, and shorter than whoever waits for an answer.
_COMMIT_SECONDS = 5.0
# How gRPC says so, whoever wraps it.
_MESSAGE_TOO_LARGE = ("RESOURCE_EXHAUSTED", "larger than max")


class SpoolJournal:
    """Decisions are durable when they are in the spool of this replica.

    `packet_bytes` tells how large a statement of the database may be, None where there is no bound.
    """

    def __init__(self, spool: Spool, packet_bytes: Callable[[], int | None] = lambda: None) -> None:
        self._spool = spool
        self._packet_bytes = packet_bytes

    async def append(self, record: Record) -> None:
        """Returns when the record is on disk. Raises `JournalUnavailable`, or `DecisionTooLarge` for the database."""
        await self._keep(await self._payload(record))

    async def _payload(self, record: Record) -> bytes:
        size = len(record.request or b"") if isinstance(record, DecisionRecord) else 0
        return await run_blocking(size, _payload, record, self._packet_bytes())

    async def _keep(self, payload: bytes) -> None:
        try:
            await self._spool.append(payload)
        except SpoolError as failure:
            raise JournalUnavailable(f"the decision could not be kept: {failure}", _RETRY_AFTER_SECONDS) from failure


class CommittedJournal(SpoolJournal):
    """What somebody is answered a 200 for is committed in the database, so that it outlives this node and its disk.

    It goes through the spool and its batches all the same (`expecting` is that of its drain), so that many share one
    transaction. Where the commit is not heard of within `commit_seconds`, nobody learns a 200, but the record is on
    its way and will be stored. While `is_away` says so of the database, nothing is begun.
    """

    def __init__(
        self,
        spool: Spool,
        packet_bytes: Callable[[], int | None] = lambda: None,
        *,
        expecting: Callable[[bytes], AbstractContextManager[asyncio.Future[DeadLetter | None]]],
        is_away: Callable[[], bool],
        commit_seconds: float = _COMMIT_SECONDS,
    ) -> None:
        super().__init__(spool, packet_bytes)
        self._expecting = expecting
        self._is_away = is_away
        self._commit_seconds = commit_seconds

    async def append(self, record: Record) -> None:
        """Returns when a decision or feedback is committed, and anything else is on disk. Raises as that does."""
        if not isinstance(record, DecisionRecord | FeedbackRecord):
            # Of evaluations and audit rows nobody is told that they are kept.
            return await super().append(record)
        if self._is_away():
            message = "the database is not connected, and only what it has is acknowledged here"
            raise JournalUnavailable(message, _RETRY_AFTER_SECONDS)
        payload = await self._payload(record)
        with self._expecting(payload) as settled:
            await self._keep(payload)
            try:
                async with asyncio.timeout(self._commit_seconds):
                    letter = await settled
            except TimeoutError:
                message = f"the database did not commit within {self._commit_seconds:g} s: it may be stored later"
                raise JournalUnavailable(message, _RETRY_AFTER_SECONDS) from None
        if letter is not None:
            message = f"the database does not take it: {letter.public_cause}"
            raise JournalUnavailable(message, _RETRY_AFTER_SECONDS)
        return None


def _payload(record: Record, packet_bytes: int | None) -> bytes:
    """The record for the spool, unless the database could never take it."""
    if packet_bytes is not None and isinstance(record, DecisionRecord):
        limit = max_body_bytes(packet_bytes)
        # Only a body above the limit can be above it when compressed.
        bodies = (body for body in (record.request, record.answer) if body is not None and len(body) > limit)
        found = max(map(stored_bytes, bodies), default=0)
        if found > limit:
            raise DecisionTooLarge(
                f"request and answer must each have at most {limit:,} bytes when compressed, had {found:,}: send less, "
                "or have the database's max_allowed_packet raised"
            )
    return record.to_bytes()


def remote_write(
    write: RemoteMethod, timeout_seconds: float = _WRITE_SECONDS
) -> Callable[[list[bytes]], Awaitable[WriteReport]]:
    """DBWriter as the drain wants it. Not tried again here: the drain has its own patience.

    Raises `MessageTooLarge`; `DatabaseError` as the writer did, or for one that does not answer; whatever Ray raises.
    """

    async def written(payloads: list[bytes]) -> WriteReport:
        try:
            async with asyncio.timeout(timeout_seconds):
                report: WriteReport = await write.remote(payloads)
        except TimeoutError:
            raise DatabaseUnavailable(f"the writer must answer within {timeout_seconds:g} s, took longer") from None
        except Exception as error:  # the edge of this process: whatever was raised at the far side arrives here
            cause = error.cause if isinstance(error, RayTaskError) else error
            if all(words in str(cause) for words in _MESSAGE_TOO_LARGE):
                size = sum(map(len, payloads))
                raise MessageTooLarge(f"{size:,} bytes must fit into one message between deployments") from error
            if isinstance(cause, GantryError):
                raise cause from None
            raise
        return report

    return written
