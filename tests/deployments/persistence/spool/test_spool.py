"""The spool as the service sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployments.persistence.errors import SpoolClosed, SpoolFailed, SpoolFull
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind, load_dead_letters
from deployments.persistence.spool.spool import Spool, SpoolConfig
from tests.deployments.persistence.faulty_disk import FaultyDisk

SMALL = SpoolConfig(capacity_bytes=400, segment_bytes=100)


class _Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def _started(
    folder: Path, config: SpoolConfig | None = None, disk: FaultyDisk | None = None
) -> AsyncIterator[Spool]:
    spool = Spool(folder, config, disk=disk, clock=_Clock())
    await spool.start()
    try:
        yield spool
    finally:
        await spool.close()


async def _drained(spool: Spool) -> list[bytes]:
    payloads = []
    while batch := await spool.read_batch():
        payloads += batch.payloads
        await spool.acknowledge(batch)
    return payloads


async def test_appended_payload_outlives_its_spool(tmp_path: Path) -> None:
    """What was appended is there for the next owner of the folder."""
    async with _started(tmp_path) as spool:
        await spool.append(b"promise")
    async with _started(tmp_path) as heir:
        assert heir.depth.records == 1
        assert await _drained(heir) == [b"promise"]


async def test_append_returns_after_the_fsync(tmp_path: Path) -> None:
    """An append that was awaited has been synced."""
    disk = FaultyDisk()
    async with _started(tmp_path, disk=disk) as spool:
        await spool.append(b"promise")
        assert disk.fsyncs == 1


async def test_concurrent_appends_share_fsyncs_and_keep_their_order(tmp_path: Path) -> None:
    """A hundred callers at once need far fewer than a hundred fsyncs."""
    disk = FaultyDisk()
    payloads = [str(number).encode() for number in range(100)]
    async with _started(tmp_path, disk=disk) as spool:
        await asyncio.gather(*(spool.append(payload) for payload in payloads))
        assert disk.fsyncs <= 2
        assert await _drained(spool) == payloads


async def test_group_stays_within_its_bound(tmp_path: Path) -> None:
    """Payloads that do not fit into one group are written in several."""
    disk = FaultyDisk()
    async with _started(tmp_path, SpoolConfig(group_bytes=10), disk) as spool:
        await asyncio.gather(*(spool.append(b"x" * 4) for _ in range(6)))
        assert disk.fsyncs == 3


async def test_depth_counts_what_waits(tmp_path: Path) -> None:
    """Records, their bytes with headers, and the age of the oldest one that is not acknowledged."""
    clock = _Clock()
    spool = Spool(tmp_path, SpoolConfig(batch_count=1), clock=clock)
    await spool.start()
    assert spool.depth.oldest_age_seconds is None
    await spool.append(b"one")
    clock.seconds += 5
    await spool.append(b"three")
    clock.seconds += 2
    depth = spool.depth
    assert (depth.records, depth.bytes, depth.oldest_age_seconds) == (2, 48, 7.0)
    batch = await spool.read_batch()
    assert batch is not None
    await spool.acknowledge(batch)
    depth = spool.depth
    assert (depth.records, depth.bytes, depth.oldest_age_seconds) == (1, 25, 2.0)
    await spool.close()


async def test_full_spool_refuses_and_recovers(tmp_path: Path) -> None:
    """At its bound nothing is written; once the database has caught up there is room again."""
    async with _started(tmp_path, SMALL) as spool:
        for _ in range(4):
            await spool.append(b"x" * 80)
        full = spool.depth
        with pytest.raises(SpoolFull, match="must stay within 400 bytes, would be 421"):
            await spool.append(b"x")
        assert len(await _drained(spool)) == 4
        assert (full.has_room, spool.depth.has_room) == (False, True)
        await spool.append(b"x")


async def test_bound_counts_appends_that_are_under_way(tmp_path: Path) -> None:
    """Callers at the same moment cannot exceed the bound together."""
    async with _started(tmp_path, SMALL) as spool:
        done = await asyncio.gather(*(spool.append(b"x" * 80) for _ in range(9)), return_exceptions=True)
        assert [type(result) for result in done] == [type(None)] * 4 + [SpoolFull] * 5
        assert spool.depth.disk_bytes == 400


async def test_failed_fsync_reaches_every_caller_of_the_group(tmp_path: Path) -> None:
    """None of them was promised anything, and the next append works."""
    disk = FaultyDisk()
    disk.is_syncing = False
    async with _started(tmp_path, disk=disk) as spool:
        done = await asyncio.gather(spool.append(b"a"), spool.append(b"b"), return_exceptions=True)
        assert [type(result) for result in done] == [SpoolFailed, SpoolFailed]
        disk.is_syncing = True
        await spool.append(b"c")
        assert await _drained(spool) == [b"c"]


async def test_failure_of_the_disk_is_known_until_it_works_again(tmp_path: Path) -> None:
    """A router whose disk fails gets no request that could show it mended: it tries for itself."""
    disk = FaultyDisk()
    disk.is_syncing = False
    async with _started(tmp_path, SpoolConfig(adoption_interval_seconds=0.01), disk) as spool:
        with pytest.raises(SpoolFailed):
            await spool.append(b"a")
        assert spool.depth.failure == "could not append to the spool: Input/output error"
        fsyncs = disk.fsyncs
        async with asyncio.timeout(10):
            while disk.fsyncs == fsyncs:
                await asyncio.sleep(0.001)
            assert spool.depth.failure is not None
            disk.is_syncing = True
            while spool.depth.failure is not None:
                await asyncio.sleep(0.001)
        assert list(tmp_path.glob("*.probe")) == []


async def test_cancelled_append_does_not_disturb_the_others(tmp_path: Path) -> None:
    """A client that hangs up takes nobody else's answer with it."""
    async with _started(tmp_path) as spool:
        gone = asyncio.create_task(spool.append(b"gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await spool.append(b"stays")
        assert b"stays" in await _drained(spool)


async def test_orphans_are_adopted_while_running(tmp_path: Path) -> None:
    """Segments of a router that dies later are found without a restart."""
    config = SpoolConfig(adoption_interval_seconds=0.01)
    async with _started(tmp_path, config) as heir, _started(tmp_path) as owner:
        await owner.append(b"promise")
        assert heir.depth.records == 0
        await owner.close()
        async with asyncio.timeout(10):
            await heir.wait_for_records()
        assert await _drained(heir) == [b"promise"]


async def test_waiting_for_records_ends_with_the_first_append(tmp_path: Path) -> None:
    """The drain need not poll."""
    async with _started(tmp_path) as spool:
        waiting = asyncio.create_task(spool.wait_for_records())
        await asyncio.sleep(0)
        assert not waiting.done()
        await spool.append(b"x")
        async with asyncio.timeout(10):
            await waiting


async def test_spool_that_is_not_open_refuses(tmp_path: Path) -> None:
    """Neither before `start` nor after `close` is anything promised."""
    spool = Spool(tmp_path)
    with pytest.raises(SpoolClosed):
        await spool.append(b"early")
    await spool.start()
    await spool.close()
    await spool.close()
    with pytest.raises(SpoolClosed):
        await spool.append(b"late")


async def test_spool_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """The way to the folder leads through a file."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolFailed, match="could not open the spool folder"):
        await Spool(tmp_path / "file" / "spool").start()


async def test_dead_letters_are_kept_and_counted(tmp_path: Path) -> None:
    """They lie in a folder of their own, out of the way of adoption."""
    letter = DeadLetter(payload=b"poison", kind=DeadLetterKind.REJECTED, reason="too long")
    async with _started(tmp_path) as spool:
        await spool.dead_letter([])
        await spool.dead_letter([letter])
        assert spool.depth.dead_letter_files == 1
    (path,) = (tmp_path / "dead_letters").iterdir()
    assert load_dead_letters(path) == [letter]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity_bytes": 199, "segment_bytes": 100}, r"twice segment_bytes \(200\), was 199"),
        ({"batch_count": 0}, "batch_count must be >= 1"),
        ({"adoption_interval_seconds": 0.0}, "adoption_interval_seconds must be > 0, was 0.0"),
    ],
)
def test_config_refuses_what_cannot_work(changes: dict[str, int], message: str) -> None:
    """Bounds that would let the spool stop for ever are no bounds."""
    with pytest.raises(ValueError, match=message):
        SpoolConfig(**changes)
