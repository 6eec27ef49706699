"""Two routers, one spool folder, one database: what one leaves behind under a key, the other replays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.errors import ClaimUnavailable
from deployments.persistence.database import create_engine
from deployments.persistence.decisions.claims import DrainReports, StoredClaims
from deployments.persistence.decisions.records import ClaimKey, ClaimMark, Finished, Granted, Running, Wanted
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.spool.spool import Spool
from deployments.runtime.background import Threads
from tests.deployments.persistence.payloads import decision, decision_id

CLAIM = ClaimKey(client="planner", route="schedule", key="k")
NO_TIME = 1e-6


@contextmanager
def _stored(engine: Engine) -> Iterator[StoredClaims]:
    with closing(Threads("claims", 4)) as threads:
        yield StoredClaims(engine, threads)


def _wanted(number: int, owner_id: str, lease_seconds: float = 30.0) -> Wanted:
    return Wanted(
        claim=CLAIM,
        request_sha256="a" * 64,
        decision_id=decision_id(number),
        owner_id=owner_id,
        lease_seconds=lease_seconds,
        kept_seconds=86_400.0,
    )


async def _drain(spool: Spool, engine: Engine) -> None:
    while batch := await spool.read_batch():
        DecisionWriter(engine).write(batch.payloads)
        await spool.acknowledge(batch)


async def test_spooled_answer_of_a_dead_router_is_replayed(engine: Engine, tmp_path: Path) -> None:
    """Its heir first stores what it left; only then may anybody act on the key, and then there is the answer."""
    dead, heir = Spool(tmp_path / "spool"), Spool(tmp_path / "spool")
    await dead.start()
    await heir.start()
    with _stored(engine) as claims:
        reports = DrainReports(heir, claims)
        assert await claims.claim(_wanted(1, dead.owner_id, NO_TIME)) == Granted()
        record = decision(1, claim=ClaimMark(route=CLAIM.route, key=CLAIM.key))
        await dead.append(record.to_bytes())
        await dead.close()
        await heir.adopt_orphans()
        reporting = asyncio.create_task(reports.report_once())
        await asyncio.sleep(0.05)
        assert await claims.claim(_wanted(2, heir.owner_id)) == Running()
        await _drain(heir, engine)
        await reporting
        await reports.report_once()
        assert await claims.claim(_wanted(2, heir.owner_id)) == Finished(status=200, body=record.answer or b"")
    await heir.close()


async def test_key_of_a_dead_router_without_an_answer_is_free(engine: Engine, tmp_path: Path) -> None:
    """It died before it appended anything: once that is certain, the next one decides."""
    dead, heir = Spool(tmp_path / "spool"), Spool(tmp_path / "spool")
    await dead.start()
    await heir.start()
    with _stored(engine) as claims:
        await claims.claim(_wanted(1, dead.owner_id, NO_TIME))
        await DrainReports(heir, claims).report_once()
        assert await claims.claim(_wanted(2, heir.owner_id)) == Running()
        await dead.close()
        await DrainReports(heir, claims).report_once()
        assert await heir.departed_owners() == []
        assert await claims.claim(_wanted(2, heir.owner_id)) == Granted()
    await heir.close()


async def test_key_that_a_living_router_gave_up_is_free_after_its_lease(engine: Engine, tmp_path: Path) -> None:
    """Its release was lost, but its spool is drained beyond the end of the lease."""
    spool = Spool(tmp_path / "spool")
    await spool.start()
    with _stored(engine) as claims:
        await claims.claim(_wanted(1, spool.owner_id, NO_TIME))
        reports = DrainReports(spool, claims, pause_seconds=0.01)
        reports.start()
        async with asyncio.timeout(30):
            while await claims.claim(_wanted(2, spool.owner_id)) == Running():
                await asyncio.sleep(0.01)
        await reports.stop()
    await spool.close()


async def test_wait_until_drained_counts_appends_that_are_under_way(tmp_path: Path) -> None:
    """What began before the wait is waited for; what begins later is not."""
    spool = Spool(tmp_path)
    await spool.start()
    append = asyncio.create_task(spool.append(b"before"))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(spool.wait_until_drained())
    await append
    await asyncio.sleep(0.25)
    assert not waiting.done()
    batch = await spool.read_batch()
    assert batch is not None
    await spool.append(b"after")
    await spool.acknowledge(batch)
    async with asyncio.timeout(10):
        await waiting
    await spool.close()


async def test_concurrent_claims_have_one_winner(engine: Engine) -> None:
    """Eight at once: one is granted, the others hear that it is running."""
    with _stored(engine) as claims:
        outcomes = await asyncio.gather(*(claims.claim(_wanted(number, "0" * 32)) for number in range(1, 9)))
    assert (outcomes.count(Granted()), outcomes.count(Running())) == (1, 7)


async def test_database_that_is_gone_makes_keys_unavailable(tmp_path: Path) -> None:
    """One error with the seconds to wait."""
    engine = create_engine(f"sqlite:///{tmp_path / 'absent' / 'gantry.sqlite3'}")
    with _stored(engine) as claims, pytest.raises(ClaimUnavailable, match="waits for the database") as caught:
        await claims.claim(_wanted(1, "0" * 32))
    assert caught.value.retry_after_seconds == 5
    engine.dispose()


async def test_database_that_hangs_makes_keys_unavailable(engine: Engine) -> None:
    """Nobody waits for ever."""
    with engine.connect() as connection, closing(Threads("claims", 1)) as threads:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        claims = StoredClaims(engine, threads, max_wait_seconds=0.05)
        with pytest.raises(ClaimUnavailable):
            await claims.claim(_wanted(1, "0" * 32))
        connection.rollback()


@pytest.mark.parametrize("patience_seconds", [0.1, 10.0])
async def test_claim_that_nobody_waits_for_any_more_is_freed(engine: Engine, patience_seconds: float) -> None:
    """The client hangs up, or the time is over, while the database is busy: the key is then free, not leased."""
    with closing(Threads("claims", 4)) as threads:
        claims = StoredClaims(engine, threads, max_wait_seconds=patience_seconds)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            asked = asyncio.create_task(claims.claim(_wanted(1, "0" * 32)))
            await asyncio.wait({asked}, timeout=0.3)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            connection.rollback()
        # The thread that was left behind goes first: it looks for the database again every tenth of a second.
        await asyncio.sleep(1.0)
        async with asyncio.timeout(20):
            while await claims.claim(_wanted(2, "0" * 32)) != Granted():
                await asyncio.sleep(0.01)
