"""From the spool to the database, in the background: a batch is acknowledged after it was committed.

Records go in order. While the database is away they wait. A record that cannot be written holds nobody up: it goes to
the dead letters at once where it is certain that it never can be, else when it failed again and again between others
that were stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from deployments.persistence.decisions.records import label_of
from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.errors import DatabaseError, DataRejected, MessageTooLarge, SpoolError
from deployments.persistence.failures import advice_for
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.spool import Batch, Spool
from deployments.runtime.background import BackgroundTask, Threads

MAX_CONVICTIONS = 3
"""How often a record must fail beside others that are stored, before it is the record that is to blame."""
MAX_OUTAGES = 20
"""The same where the database says that it is away or not in order, which is rarely the fault of one record."""
_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_CERTAIN = (DataRejected, MessageTooLarge)


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


@dataclass(slots=True, kw_only=True)
class _Suspicion:
    """Of the record at the head of the spool, which was tried alone; `control` is one that shows who is to blame."""

    head: tuple[str, int]
    convictions: int = 0
    control: Batch | None = None


class SpoolDrain(BackgroundTask):
    """Moves batches from `spool` to `write` until stopped.

    `write` stores payloads and reports, or raises whatever it likes: then the batch stays in the spool and is tried
    again after a pause that doubles up to a bound, and in halves, down to one record.
    `on_mismatch` is told of each payload that contradicted a stored one, which is a guardrail event.

    The first record that comes waits `linger_seconds` for others: a transaction costs as much for one as for many.
    Whoever reads a decision that was just answered waits for it, and on disk it is already. While somebody waits for a
    commit (`expecting`) nothing lingers: what comes during one transaction shares the next.
    """

    def __init__(
        self,
        spool: Spool,
        write: Callable[[list[bytes]], Awaitable[WriteReport]],
        *,
        on_mismatch: Callable[[str], None] | None = None,
        linger_seconds: float = 0.0,
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
        self._linger_seconds = linger_seconds
        self._is_stopping = False
        self._is_urgent = asyncio.Event()
        self._expected: dict[bytes, asyncio.Future[DeadLetter | None]] = {}
        self._batch_count = spool.max_batch_count
        self._suspicion: _Suspicion | None = None
        self._trouble: str | None = None
        # What takes time in proportion to a record, apart from whoever else is busy or hangs in this process.
        self._threads = Threads("drain", 1)

    @property
    def state(self) -> DrainState:
        """A snapshot."""
        return self._state

    @contextmanager
    def expecting(self, payload: bytes) -> Iterator[asyncio.Future[DeadLetter | None]]:
        """What becomes of `payload`, which is about to be appended: None once it is committed, or its dead letter."""
        settled = self._expected[payload] = asyncio.get_running_loop().create_future()
        self._is_urgent.set()
        try:
            yield settled
        finally:
            del self._expected[payload]
            if not self._expected and not self._is_stopping:
                self._is_urgent.clear()

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Ends, at once or after up to `grace_seconds` of emptying the spool.

        A batch that is under way is cut off and stays in the spool: writing it again is harmless.
        """
        self._is_stopping = True
        self._is_urgent.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._until_empty()
        await super().stop()
        self._threads.close()

    async def _until_empty(self) -> None:
        # The spool is empty a moment before the batch is noted, and a mismatch must still be told.
        while self._spool.depth.bytes or self._is_moving:
            self._emptied.clear()
            await self._emptied.wait()

    async def _move_next(self) -> None:
        await self._spool.wait_for_records()
        self._is_moving = True
        try:
            await self._linger()
            await self._move_batch()
        finally:
            self._is_moving = False
            if not self._spool.depth.bytes:
                self._emptied.set()

    async def _linger(self) -> None:
        """Lets others come, unless there is a batch already, somebody waits for it, or none will come any more."""
        if self._linger_seconds and self._spool.depth.records < self._spool.max_batch_count:
            with suppress(TimeoutError):
                # `wait_for` would swallow the end of this task that comes together with the event.
                async with asyncio.timeout(self._linger_seconds):
                    await self._is_urgent.wait()

    async def _move_batch(self) -> None:
        batch = await self._spool.read_batch(self._batch_count)
        if batch is None:
            return
        skipped, payloads = await self._without_skipped(batch.payloads)
        report = await self._delivered(batch, payloads) if payloads else WriteReport(accepted=0)
        if report is None:
            return
        report = replace(report, poisoned=(*skipped.values(), *report.poisoned))
        self._settle(batch.payloads, report)
        await self._spool.dead_letter(report.poisoned)
        await self._spool.acknowledge(batch)
        await self._spool.forget_skips(skipped)
        self._suspicion = None
        self._batch_count = min(2 * self._batch_count, self._spool.max_batch_count)
        await self._note(report)

    def _settle(self, payloads: Sequence[bytes], report: WriteReport) -> None:
        if self._expected:
            dead = {letter.payload: letter for letter in report.poisoned}
            for payload in payloads:
                settled = self._expected.get(payload)
                if settled is not None and not settled.done():
                    settled.set_result(dead.get(payload))

    async def _without_skipped(self, payloads: list[bytes]) -> tuple[dict[str, DeadLetter], list[bytes]]:
        """What a person wants to have skipped, by its digest, and the rest."""
        wanted = await self._spool.skips()
        return await self._aside(parted, payloads, wanted) if wanted else ({}, payloads)

    async def _delivered(self, batch: Batch, payloads: list[bytes]) -> WriteReport | None:
        """What became of the payloads; None when fewer of them are to be tried next, at once.

        Raises what `write` raised when they must wait.
        """
        try:
            return await self._write(payloads)
        except Exception as error:  # whatever a remote call raises, it is this batch that failed
            if len(payloads) > 1:
                self._batch_count = len(payloads) // 2
                if isinstance(error, _CERTAIN):
                    return None
                raise
            if isinstance(error, _CERTAIN):
                return _dead(payloads[0], DeadLetterKind.REJECTED, error)
            if await self._is_convicted(batch, error):
                return _dead(payloads[0], DeadLetterKind.STUCK, error)
            await self._tell(f"{await self._aside(label_of, payloads[0])}: {type(error).__name__}: {error}")
            raise

    async def _is_convicted(self, batch: Batch, error: Exception) -> bool:
        """Whether a record that failed alone is to blame, which needs another one that is stored meanwhile."""
        head = (batch.segment, batch.end)
        if self._suspicion is None or self._suspicion.head != head:
            self._suspicion = _Suspicion(head=head)
        suspicion = self._suspicion
        if suspicion.control is None:
            suspicion.control = await self._spool.read_batch(1, after=batch)
            if suspicion.control is None:
                return False
        try:
            await self._write(suspicion.control.payloads)
        except Exception:  # the control may be as bad as the suspect, so the next round takes another one
            suspicion.control = await self._spool.read_batch(1, after=suspicion.control)
            return False
        # The suspect failed just before, and fails again with the next round if it is to blame.
        suspicion.convictions += 1
        is_away = isinstance(error, DatabaseError) and type(error) is not DatabaseError
        return suspicion.convictions >= (MAX_OUTAGES if is_away else MAX_CONVICTIONS)

    async def _aside(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await self._threads.run(function, *arguments)

    async def _tell(self, words: str | None) -> None:
        if words != self._trouble:
            # Only for whoever looks from outside, so that a disk that takes no file changes nothing here.
            with suppress(SpoolError):
                await self._spool.tell_trouble(words)
            self._trouble = words

    async def _note(self, report: WriteReport) -> None:
        await self._tell(None)
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
            label = await self._aside(label_of, letter.payload)
            size, cause = len(letter.payload), letter.public_cause
            _logger.error("%s of %d bytes went to the dead letters: %s: %s", label, size, cause, letter.reason)
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


def parted(payloads: Sequence[bytes], wanted: frozenset[str]) -> tuple[dict[str, DeadLetter], list[bytes]]:
    """The payloads whose SHA-256 is `wanted`, as dead letters by that digest, and the others in their order."""
    skipped: dict[str, DeadLetter] = {}
    rest: list[bytes] = []
    for payload in payloads:
        digest = hashlib.sha256(payload).hexdigest()
        if digest in wanted:
            reason = "skipped by `gantry db spool skip`"
            skipped[digest] = DeadLetter(payload=payload, kind=DeadLetterKind.SKIPPED, reason=reason)
        else:
            rest.append(payload)
    return skipped, rest


def _dead(payload: bytes, kind: DeadLetterKind, error: Exception) -> WriteReport:
    reason = f"{type(error).__name__}: {error}"
    return WriteReport(
        accepted=0, poisoned=(DeadLetter(payload=payload, kind=kind, reason=reason, cause=advice_for(error)),)
    )
