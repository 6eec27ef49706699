"""From the spool to the database, in the background: a batch is acknowledged after it was committed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.failures import advice_for
from deployments.persistence.spool.dead_letters import DeadLetterKind
from deployments.persistence.spool.spool import Spool
from deployments.runtime.background import BackgroundTask

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainState:
    """How the drain fares: for /health and the guardrails. Instants are seconds since 1970."""

    last_success_at: float | None = None
    last_error_at: float | None = None
    last_error: str | None = None
    failures_in_a_row: int = 0
    written: int = 0
    dead_letters: int = 0
    mismatches: int = 0
    advice: str | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed; `advice` says what to do then."""
        return self.failures_in_a_row > 0


class SpoolDrain(BackgroundTask):
    """Moves batches from `spool` to `write` until stopped.

    `write` stores payloads and reports, or raises whatever it likes: then the batch stays in the
    spool and is tried again after a pause that doubles up to a bound, for ever.
    `on_mismatch` is told of each payload that contradicted a stored one, which is a guardrail event.
    """

    def __init__(
        self,
        spool: Spool,
        write: Callable[[list[bytes]], Awaitable[WriteReport]],
        *,
        on_mismatch: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("spool drain", self._move_next, on_failure=self._note_failure, sleep=sleep)
        self._spool = spool
        self._write = write
        self._on_mismatch = on_mismatch
        self._clock = clock
        self._state = DrainState()
        self._is_moving = False
        self._emptied = asyncio.Event()

    @property
    def state(self) -> DrainState:
        """A snapshot."""
        return self._state

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Ends, at once or after up to `grace_seconds` of emptying the spool.

        A batch that is under way is cut off and stays in the spool: writing it again is harmless.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._until_empty()
        await super().stop()

    async def _until_empty(self) -> None:
        # The spool is empty a moment before the batch is noted, and a mismatch must still be told.
        while self._spool.depth.bytes or self._is_moving:
            self._emptied.clear()
            await self._emptied.wait()

    async def _move_next(self) -> None:
        await self._spool.wait_for_records()
        self._is_moving = True
        try:
            await self._move_batch()
        finally:
            self._is_moving = False
            if not self._spool.depth.bytes:
                self._emptied.set()

    async def _move_batch(self) -> None:
        batch = await self._spool.read_batch()
        if batch is None:
            return
        report = await self._write(batch.payloads) if batch.payloads else WriteReport(accepted=0)
        await self._spool.dead_letter(report.poisoned)
        await self._spool.acknowledge(batch)
        self._note(report)

    def _note(self, report: WriteReport) -> None:
        self._state = replace(
            self._state,
            last_success_at=self._clock(),
            failures_in_a_row=0,
            advice=None,
            written=self._state.written + report.accepted,
            dead_letters=self._state.dead_letters + len(report.poisoned),
            mismatches=self._state.mismatches + report.mismatch_count,
        )
        for letter in report.poisoned:
            if letter.kind is DeadLetterKind.MISMATCH and self._on_mismatch is not None:
                self._on_mismatch(letter.reason)

    def _note_failure(self, error: Exception, pause_seconds: float) -> None:
        _logger.warning("decisions stay in the spool, next attempt in %.1f s: %s", pause_seconds, error)
        self._state = replace(
            self._state,
            last_error_at=self._clock(),
            last_error=f"{type(error).__name__}: {error}",
            failures_in_a_row=self._state.failures_in_a_row + 1,
            advice=advice_for(error),
        )
