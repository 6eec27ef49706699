"""From the spool to the database, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.delivery.drain import SpoolDrain
from deployments.persistence.errors import DatabaseUnavailable
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.spool import Batch, Spool

POISON = b"poison"


class _Database:
    """Takes batches, except while it is down; refuses POISON."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.failures_to_come = 0
        self.pauses: list[float] = []
        self.is_hanging = False

    async def write(self, payloads: list[bytes]) -> WriteReport:
        if self.is_hanging:
            await asyncio.Event().wait()
        if self.failures_to_come:
            self.failures_to_come -= 1
            raise DatabaseUnavailable("it is down")
        good = [payload for payload in payloads if payload != POISON]
        self.stored += good
        letters = [DeadLetter(payload=POISON, kind=DeadLetterKind.MISMATCH, reason="twin")] * payloads.count(POISON)
        return WriteReport(accepted=len(good), poisoned=tuple(letters))

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """A spool of this test's own."""
    spool = Spool(tmp_path)
    await spool.start()
    yield spool
    await spool.close()


async def test_drain_moves_everything_and_acknowledges(spool: Spool) -> None:
    """After a graceful stop the spool is empty and the database has each payload once."""
    database = _Database()
    drain = SpoolDrain(spool, database.write, clock=lambda: 7.0)
    drain.start()
    for payload in (b"a", b"b", b"c"):
        await spool.append(payload)
    await drain.stop(grace_seconds=10)
    assert database.stored == [b"a", b"b", b"c"]
    assert (spool.depth.records, drain.state.written, drain.state.last_success_at) == (0, 3, 7.0)
    assert not drain.state.is_failing


async def test_drain_waits_out_a_database_outage(spool: Spool) -> None:
    """Nothing is acknowledged while it is down; pauses double up to their bound; then it catches up."""
    database = _Database()
    database.failures_to_come = 7
    drain = SpoolDrain(spool, database.write, sleep=database.pause, clock=lambda: 7.0)
    await spool.append(b"a")
    drain.start()
    await drain.stop(grace_seconds=10)
    assert database.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert database.stored == [b"a"]
    assert drain.state.last_error == "DatabaseUnavailable: it is down"
    assert drain.state.failures_in_a_row == 0
    assert drain.state.advice is None


async def test_drain_survives_any_error_of_its_writer(spool: Spool) -> None:
    """Whatever a remote call raises, the loop goes on."""
    errors = [RuntimeError("replica died"), KeyError("x")]

    async def write(payloads: list[bytes]) -> WriteReport:
        if errors:
            raise errors.pop()
        return WriteReport(accepted=len(payloads))

    drain = SpoolDrain(spool, write, sleep=_Database().pause)
    drain.start()
    await spool.append(b"a")
    await drain.stop(grace_seconds=10)
    assert drain.state.written == 1


async def test_poison_is_kept_aside_and_reported(spool: Spool, tmp_path: Path) -> None:
    """It goes to the dead letters, does not hold up the rest, and a mismatch is told to the guardrail."""
    database = _Database()
    mismatches: list[str] = []
    drain = SpoolDrain(spool, database.write, on_mismatch=mismatches.append)
    await asyncio.gather(*(spool.append(payload) for payload in (b"a", POISON, b"b")))
    drain.start()
    await drain.stop(grace_seconds=10)
    assert database.stored == [b"a", b"b"]
    assert (drain.state.dead_letters, drain.state.mismatches, mismatches) == (1, 1, ["twin"])
    assert len(list((tmp_path / "dead_letters").iterdir())) == 1
    assert spool.depth.records == 0


async def test_a_stop_between_acknowledgement_and_note_loses_neither(tmp_path: Path) -> None:
    """The spool is already empty then, but the mismatch has not yet been told to the guardrail."""
    acknowledged = asyncio.Event()

    class _SlowToReturn(Spool):
        async def acknowledge(self, batch: Batch) -> None:
            await super().acknowledge(batch)
            acknowledged.set()
            await asyncio.sleep(0.05)

    spool = _SlowToReturn(tmp_path)
    await spool.start()
    mismatches: list[str] = []
    drain = SpoolDrain(spool, _Database().write, on_mismatch=mismatches.append)
    await spool.append(POISON)
    drain.start()
    await acknowledged.wait()
    await drain.stop(grace_seconds=10)
    await spool.close()
    assert (mismatches, drain.state.mismatches) == (["twin"], 1)


async def test_stop_leaves_a_hanging_batch_in_the_spool(spool: Spool) -> None:
    """A write that never answers does not hold up the end, and nothing is lost."""
    database = _Database()
    database.is_hanging = True
    drain = SpoolDrain(spool, database.write)
    drain.start()
    await spool.append(b"a")
    await drain.stop()
    await drain.stop()
    assert spool.depth.records == 1
