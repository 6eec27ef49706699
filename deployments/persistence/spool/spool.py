"""The spool: what was appended here is on disk, whatever dies next, until it is acknowledged.

One spool per process and event loop. It knows bytes, not SQL. All blocking work is done by one
thread of its own, in order, so that segments need no lock against ourselves.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deployments.persistence.errors import SpoolClosed, SpoolError, SpoolFailed, SpoolFull
from deployments.persistence.spool.dead_letters import DeadLetter
from deployments.persistence.spool.disk import LocalDisk
from deployments.persistence.spool.segment import HEADER, Batch
from deployments.persistence.spool.segment_folder import FolderState, SegmentFolder
from deployments.runtime.background import BackgroundTask, Threads

__all__ = ["Batch", "Spool", "SpoolConfig", "SpoolDepth"]

_MEBIBYTE = 1024 * 1024
_POLL_SECONDS = 0.1
_NOT_OPEN = "the spool must be open, was closed or not yet started"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """Bounds of one spool. `capacity_bytes` counts whole files, of this process only.

    A batch holds at least one record, so a larger record travels alone.
    """

    capacity_bytes: int = 1024 * _MEBIBYTE
    segment_bytes: int = 16 * _MEBIBYTE
    group_bytes: int = 8 * _MEBIBYTE
    batch_bytes: int = 4 * _MEBIBYTE
    batch_count: int = 200
    adoption_interval_seconds: float = 1.5

    def __post_init__(self) -> None:
        if min(self.segment_bytes, self.group_bytes, self.batch_bytes, self.batch_count) < 1:
            raise ValueError("segment_bytes, group_bytes, batch_bytes and batch_count must be >= 1")
        if self.capacity_bytes < 2 * self.segment_bytes:
            wanted = f"twice segment_bytes ({2 * self.segment_bytes})"
            raise ValueError(f"capacity_bytes must be at least {wanted}, was {self.capacity_bytes}")
        if self.adoption_interval_seconds <= 0:
            raise ValueError(f"adoption_interval_seconds must be > 0, was {self.adoption_interval_seconds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolDepth:
    """How much waits for the database, and what a person should look at: for /health and the metrics."""

    records: int
    bytes: int
    oldest_age_seconds: float | None
    disk_bytes: int
    capacity_bytes: int
    damaged_regions: int
    dead_letter_files: int
    failure: str | None = None
    dead_letter_cause: str | None = None

    @property
    def has_room(self) -> bool:
        """Whether an answer can still be promised."""
        return self.disk_bytes < self.capacity_bytes

    @property
    def has_spare_room(self) -> bool:
        """Whether decisions leave room for what nobody waits for."""
        return 2 * self.disk_bytes < self.capacity_bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Waiting:
    payload: bytes
    done: asyncio.Future[None]


class Spool:
    """Append-only segments in `folder`, shared with other processes by file locks.

    `clock` gives seconds since 1970. Use `start` before and `close` after everything else.
    """

    def __init__(
        self,
        folder: Path,
        config: SpoolConfig | None = None,
        *,
        disk: LocalDisk | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config or SpoolConfig()
        self._clock = clock
        self._segments = SegmentFolder(
            folder,
            segment_bytes=self._config.segment_bytes,
            disk=disk or LocalDisk(),
            clock_us=lambda: int(clock() * 1e6),
        )
        self._state = FolderState()
        self._is_open = False
        self._threads: Threads | None = None
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._unsettled: set[_Waiting] = set()
        self._flushing: asyncio.Task[None] | None = None
        period_seconds = self._config.adoption_interval_seconds
        self._adopting = BackgroundTask("spool adoption", self._adopt_and_probe, period_seconds=period_seconds)
        self._arrived = asyncio.Event()

    async def start(self) -> None:
        """Makes the folder, adopts what dead processes left, and goes on looking. Raises `SpoolError`."""
        self._threads = Threads("spool", 1)
        await self._run(self._segments.open)
        await self.adopt_orphans()
        self._is_open = True
        self._adopting.start()

    async def close(self) -> None:
        """Finishes the appends that wait, and leaves the rest on disk for the next owner."""
        if self._threads is None:
            return
        self._is_open = False
        await self._adopting.stop()
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self._run(self._segments.close)
        self._threads.close(waits=True)
        self._threads = None

    async def append(self, payload: bytes) -> None:
        """Returns when `payload` is on the medium. Concurrent callers share one fsync.

        Raises `SpoolFull` (nothing was written), `SpoolFailed` (the disk failed) or `SpoolClosed`;
        after any of them nothing is promised. A cancelled caller may find its payload stored all the same.
        """
        frame_bytes = HEADER.size + len(payload)
        self._admit(frame_bytes)
        waiting = _Waiting(payload=payload, done=asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._unsettled.add(waiting)
        self._queued_bytes += frame_bytes
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="spool flush")
        await waiting.done

    async def read_batch(self, max_count: int | None = None, after: Batch | None = None) -> Batch | None:
        """The oldest records within the bounds of the config, or None; the same ones until acknowledged.

        At most `max_count`, and only what lies behind `after`.
        """
        count = self._config.batch_count if max_count is None else min(max_count, self._config.batch_count)
        return await self._run(self._segments.read, self._config.batch_bytes, count, after)

    async def acknowledge(self, batch: Batch) -> None:
        """The batch is stored elsewhere, committed. It may be delivered again after a crash."""
        await self._run(self._segments.acknowledge, batch)

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Keeps payloads that no database takes; on the medium when this returns. Raises `SpoolError`."""
        if letters:
            await self._run(self._segments.save_dead_letters, letters, self._config.capacity_bytes)

    async def skips(self) -> frozenset[str]:
        """SHA-256, in hexadecimal digits, of the payloads that a person wants to have skipped. Raises `SpoolError`."""
        return await self._run(self._segments.skips)

    async def forget_skips(self, digests: Iterable[str]) -> None:
        """These payloads are skipped. Raises `SpoolError`."""
        await self._run(self._segments.forget_skips, digests)

    async def tell_trouble(self, words: str | None) -> None:
        """Notes why the spool does not empty, for whoever looks from outside; None: it does. Raises `SpoolError`."""
        await self._run(self._segments.tell_trouble, words)

    @property
    def max_batch_count(self) -> int:
        """How many records a batch may hold."""
        return self._config.batch_count

    async def adopt_orphans(self) -> int:
        """Takes over all segments whose owners are gone; their number."""
        adopted = 0
        while await self._run(self._segments.adopt_orphan):
            adopted += 1
        return adopted

    @property
    def owner_id(self) -> str:
        """Who appends here: a new id with each spool."""
        return self._segments.owner_id

    async def wait_until_drained(self) -> None:
        """Returns when everything whose append began before this call is stored elsewhere, or was refused."""
        begun = set(self._unsettled)
        while not begun.isdisjoint(self._unsettled):
            await asyncio.sleep(_POLL_SECONDS)
        mark = await self._run(self._segments.mark)
        while not await self._run(self._segments.is_acknowledged, mark):
            await asyncio.sleep(_POLL_SECONDS)

    async def departed_owners(self) -> list[str]:
        """Owners of this folder that are dead, and whose every record is stored. Raises `SpoolError`."""
        return await self._run(self._segments.departed)

    async def forget_owner(self, owner_id: str) -> None:
        """A departed owner needs no more attention."""
        await self._run(self._segments.forget, owner_id)

    async def wait_for_records(self) -> None:
        """Returns when something waits to be read."""
        while not self._state.waiting_bytes:
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def depth(self) -> SpoolDepth:
        """What waits now."""
        state = self._state
        oldest_at = state.oldest_at_us
        return SpoolDepth(
            records=state.record_count,
            bytes=state.waiting_bytes,
            oldest_age_seconds=None if oldest_at is None else max(0.0, self._clock() - oldest_at / 1e6),
            disk_bytes=state.disk_bytes + self._queued_bytes,
            capacity_bytes=self._config.capacity_bytes,
            damaged_regions=state.damaged_regions,
            dead_letter_files=state.dead_letter_files,
            failure=state.failure,
            dead_letter_cause=state.dead_letter_cause,
        )

    def _admit(self, frame_bytes: int) -> None:
        if not self._is_open:
            raise SpoolClosed(_NOT_OPEN)
        wanted = self._state.disk_bytes + self._queued_bytes + frame_bytes
        if wanted > self._config.capacity_bytes:
            raise SpoolFull(f"the spool must stay within {self._config.capacity_bytes} bytes, would be {wanted}")

    async def _flush(self) -> None:
        while self._queue:
            group = self._next_group()
            failure: SpoolError | None = SpoolFailed("the append ended before it was on the medium")
            try:
                await self._run(self._segments.append, [waiting.payload for waiting in group])
                failure = None
            except SpoolError as error:
                failure = error
            finally:
                self._settle(group, failure)

    def _next_group(self) -> list[_Waiting]:
        group = [self._queue.popleft()]
        size = len(group[0].payload)
        while self._queue and size + len(self._queue[0].payload) <= self._config.group_bytes:
            group.append(self._queue.popleft())
            size += len(group[-1].payload)
        return group

    def _settle(self, group: Sequence[_Waiting], failure: SpoolError | None) -> None:
        for waiting in group:
            self._queued_bytes -= HEADER.size + len(waiting.payload)
            self._unsettled.discard(waiting)
            if waiting.done.done():
                continue
            if failure is None:
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(failure)

    async def _adopt_and_probe(self) -> None:
        await self.adopt_orphans()
        await self._run(self._segments.probe)
        await self._run(self._segments.count_dead_letters)

    async def _run(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        if self._threads is None:
            raise SpoolClosed(_NOT_OPEN)
        result = await self._threads.run(self._with_state, function, *arguments)
        if self._state.waiting_bytes:
            self._arrived.set()
        return result

    def _with_state(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        try:
            return function(*arguments)
        finally:
            self._state = self._segments.state()
