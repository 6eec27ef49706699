"""The background sample finds what was changed behind our back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, text

from deployments.persistence.decisions.records import first_id
from deployments.persistence.decisions.repository import StoredDecisions
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import CorruptionLog, FoundBy, PayloadMismatch
from deployments.persistence.maintenance.checks import IntegritySampler
from deployments.runtime.background import Threads
from tests.deployments.persistence.payloads import decision, decision_id


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """An engine on thirty decisions."""
    DecisionWriter(engine).write([decision(number).to_bytes() for number in range(1, 31)])
    return engine


def _spoil(engine: Engine, number: int) -> None:
    """Another answer under an unchanged digest, as a bad disk or a meddler would leave it."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE decision SET answer = (SELECT answer FROM decision WHERE decision_id = :other) "
                "WHERE decision_id = :spoiled"
            ),
            {"other": decision_id(30), "spoiled": decision_id(number)},
        )


def _fresh_id() -> str:
    return f"{first_id(datetime.now(UTC))}-7000-8000-000000000000"


def _watch(engine: Engine, log: CorruptionLog, regions: list[int] | None = None, **changes: object) -> IntegritySampler:
    values: dict[str, object] = {"interval_seconds": 0.001, "sample_count": 5} | changes
    depth = regions or [0]
    return IntegritySampler(engine, log, damaged_regions=lambda: depth[0], rng=np.random.default_rng(7), **values)  # type: ignore[arg-type]


def _patient(engine: Engine, seconds: float) -> StoredDecisions:
    return StoredDecisions(engine, CorruptionLog(), Threads("reads", 1), seconds)


async def test_sound_decisions_raise_no_alarm(engine: Engine) -> None:
    """Looking often finds nothing where nothing is wrong."""
    log = CorruptionLog()
    watch = _watch(engine, log)
    assert sum([await watch.look_once() for _ in range(20)]) > 20
    assert log.count == 0


async def test_spoiled_decision_is_found_and_reported_once(engine: Engine) -> None:
    """The sample wanders over all decisions."""
    _spoil(engine, 17)
    log = CorruptionLog()
    watch = _watch(engine, log)
    watch.start()
    async with asyncio.timeout(30):
        while not log.count:
            await asyncio.sleep(0.001)
    for _ in range(20):
        await watch.look_once()
    await watch.stop()
    assert log.count == 1
    assert log.last is not None
    assert log.last.found_by is FoundBy.SAMPLE
    assert decision_id(17) in log.last.detail


async def test_spoiled_decision_is_reported_by_its_reader_and_not_shown(engine: Engine) -> None:
    """Reading verifies too."""
    _spoil(engine, 17)
    log = CorruptionLog()
    decisions = StoredDecisions(engine, log, Threads("reads", 1))
    assert await decisions.get(decision_id(18), "planner") == decision(18)
    with pytest.raises(PayloadMismatch):
        await decisions.get(decision_id(17), "planner")
    assert log.last is not None
    assert log.last.found_by is FoundBy.READ


async def test_decision_on_its_way_is_waited_for(engine: Engine) -> None:
    """Whoever asks for a schedule that was just answered gets it as soon as it is stored."""
    fresh = replace(decision(31), decision_id=_fresh_id())
    asked = asyncio.create_task(_patient(engine, 60.0).get(fresh.decision_id, "planner"))
    await asyncio.sleep(0.2)
    assert not asked.done()
    DecisionWriter(engine).write([fresh.to_bytes()])
    assert await asyncio.wait_for(asked, 30.0) == fresh


async def test_decision_that_took_long_to_make_is_waited_for(engine: Engine) -> None:
    """Its id was made when its request arrived, and is old once the search is over."""
    made = first_id(datetime.now(UTC) - timedelta(seconds=5))
    late = replace(decision(31), decision_id=f"{made}-7000-8000-000000000000")
    threads = Threads("reads", 1)
    decisions = StoredDecisions(engine, CorruptionLog(), threads, 2.0, request_seconds=30.0)
    asked = asyncio.create_task(decisions.get(late.decision_id, "planner"))
    await asyncio.sleep(0.2)
    DecisionWriter(engine).write([late.to_bytes()])
    assert await asyncio.wait_for(asked, 30.0) == late
    assert await _patient(engine, 2.0).get(f"{made}-7000-8000-000000000001", "planner") is None


async def test_what_never_came_is_not_waited_for_longer_than_fresh(engine: Engine) -> None:
    """Neither an old id nor what is none; a fresh one only until it is fresh no more."""
    async with asyncio.timeout(30.0):
        for unknown in (decision_id(99), "none"):
            assert await _patient(engine, 60.0).get(unknown, "planner") is None
        fresh = _fresh_id()
        assert await _patient(engine, 0.3).get(fresh, "planner") is None


async def test_new_damage_in_the_spool_is_reported(engine: Engine) -> None:
    """Damage that was known at the start is no event of now."""
    log, regions = CorruptionLog(), [2]
    watch = _watch(engine, log, regions)
    await watch.look_once()
    assert log.count == 0
    regions[0] = 3
    await watch.look_once()
    await watch.look_once()
    assert (log.count, log.last and log.last.found_by) == (1, FoundBy.SPOOL)


async def test_empty_database_has_nothing_to_verify(engine: Engine) -> None:
    """No decision, no alarm."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM decision"))
    assert await _watch(engine, CorruptionLog()).look_once() == 0
