"""The audit trail on its way to the database: late perhaps, but whole and once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.persistence.database import create_engine
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.errors import DatabaseUnavailable
from deployments.persistence.tables import METADATA, ROLLOUT_TRANSITION
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.state import Action, Transition
from deployments.rollout_control.database_sync import DatabaseSync
from tests.deployments.rollout_control.events import state
from tests.deployments.rollout_control.test_webhook import INCIDENT


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'gantry.sqlite3'}")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


def _transition(version: int) -> Transition:
    return Transition(
        action=Action.PAUSE,
        from_stage=None,
        state=state(version=version),
        actor="ops",
        reason="because",
        evidence={"pairs": 3},
    )


async def _filed(database_sync: DatabaseSync, rows: RolloutRows, transitions: int) -> None:
    database_sync.start()
    async with asyncio.timeout(10):
        while len(rows.transitions()) < transitions:
            await asyncio.sleep(0.01)
    await database_sync.stop()


async def test_entries_are_filed_once_whoever_tells_them_again(engine: Engine) -> None:
    """A new controller tells all that it remembers; the rows stay as they are, newest first."""
    rows = RolloutRows(engine)
    for _ in range(2):
        database_sync = DatabaseSync(rows)
        for entry in (_transition(1), _transition(2), INCIDENT):
            database_sync.hear(entry)
        await _filed(database_sync, rows, 2)
    assert [row["version"] for row in rows.transitions()] == [2, 1]
    assert rows.transitions()[0]["evidence"] == {"pairs": 3, "action": "pause", "is_forced": False}
    assert [row["trigger"] for row in rows.incidents()] == ["crash_rate"]
    assert await DatabaseSync(rows).newest_state() == state(version=2)


class DownAtFirst(RolloutRows):
    """A database that takes nothing twice."""

    failures = 2

    def save(self, transitions: object, incidents: object) -> None:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("down")
        super().save(transitions, incidents)  # type: ignore[arg-type]


async def test_entries_wait_for_the_database(engine: Engine) -> None:
    """Tried again after pauses that grow, until all is there."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    rows = DownAtFirst(engine)
    database_sync = DatabaseSync(rows, sleep=sleep)
    database_sync.hear(_transition(1))
    await _filed(database_sync, rows, 1)
    assert pauses == [0.1, 0.2]


async def test_state_that_cannot_be_read_is_told_from_none(engine: Engine) -> None:
    """A new database knows nothing; a damaged row is an error."""
    database_sync = DatabaseSync(RolloutRows(engine))
    assert await database_sync.newest_state() is None
    for text in ("{", '{"version": 1}'):
        with engine.begin() as connection:
            connection.execute(ROLLOUT_TRANSITION.delete())
            row = {"version": 1, "created_at": INCIDENT.at, "from_stage": "", "to_stage": "full", "actor": "a"}
            row |= {"reason": "r", "evidence": "{}", "configuration_sha256": "0" * 64, "state": text}
            connection.execute(ROLLOUT_TRANSITION.insert().values(row))
        with pytest.raises(UnreadableState):
            await database_sync.newest_state()
