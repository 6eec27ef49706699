"""The lease of the rollout by the database's clock, and how incidents reach the database: late perhaps, but once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.errors import DatabaseUnavailable
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.state import Action, Stage, Transition
from deployments.rollout_control.database_sync import LEASE_SECONDS, TAKEOVER_SECONDS, DatabaseSync
from deployments.runtime.background import Threads
from tests.deployments.rollout_control.events import Clock, state
from tests.deployments.rollout_control.shared_database import SharedDatabase
from tests.deployments.rollout_control.test_webhook import INCIDENT


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(clock: Clock) -> Iterator[SharedDatabase]:
    database = SharedDatabase(clock.now, clock.steady)
    yield database
    database.close()


def transition(version: int, stage: Stage = Stage.EXPANDED) -> Transition:
    """To that version and stage, by whatever way."""
    share = 0.0 if stage is Stage.ROLLED_BACK else 0.5
    return Transition(
        action=Action.PAUSE,
        from_stage=None,
        state=state(version=version, stage=stage, share=share),
        actor="ops",
        reason="because",
        evidence={"pairs": 3},
    )


def _service(database: SharedDatabase, name: str) -> DatabaseSync:
    service = database.sync(database.line(), name)
    service.owner_id = name
    return service


async def test_first_service_owns_and_the_second_follows(database: SharedDatabase, clock: Clock) -> None:
    """For as long as the owner renews."""
    first, second = _service(database, "a"), _service(database, "b")
    for _ in range(10):
        await first.meet(None)
        await second.meet(None)
        assert (first.is_owner, second.is_owner, second.is_follower) == (True, False, True)
        clock.seconds += LEASE_SECONDS / 2
    assert second.lease is not None
    assert (second.lease.owner_name, second.lease.token) == ("a", 1)


async def test_second_service_takes_over_at_once_what_was_given_back(database: SharedDatabase, clock: Clock) -> None:
    """An owner that ends in order leaves nobody waiting; that it comes again changes nothing."""
    first, second = _service(database, "a"), _service(database, "b")
    await first.meet(None)
    await second.meet(None)
    await first.stop()
    await second.meet(None)
    assert (first.is_owner, second.is_owner) == (False, True)
    assert second.lease is not None
    assert (second.lease.owner_name, second.lease.token) == ("b", 2)
    again = _service(database, "a")
    await again.meet(None)
    assert (again.is_owner, again.is_follower) == (False, True)


async def test_lease_that_cannot_be_given_back_expires(database: SharedDatabase, clock: Clock) -> None:
    """Without the database the end is the same, and what somebody else has taken is left alone."""
    line = database.line()
    first, second = database.sync(line, "a"), _service(database, "b")
    await first.meet(None)
    line.is_cut = True
    await first.stop()
    await second.meet(None)
    assert not second.is_owner
    clock.seconds += LEASE_SECONDS
    await second.meet(None)
    clock.seconds += TAKEOVER_SECONDS
    await second.meet(None)
    assert second.is_owner
    database.line().release_lease(1)
    await second.meet(None)
    assert second.is_owner


async def test_second_service_takes_over_after_the_lease_with_a_higher_token(
    database: SharedDatabase, clock: Clock
) -> None:
    """Neither before it has expired, nor at once when it has: the owner may have lost the database just as long."""
    first, second = _service(database, "a"), _service(database, "b")
    await first.meet(None)
    await second.meet(None)
    clock.seconds += LEASE_SECONDS
    await second.meet(None)
    clock.seconds += TAKEOVER_SECONDS - 0.01
    await second.meet(None)
    assert not second.is_owner
    clock.seconds += 0.01
    await second.meet(None)
    assert second.is_owner
    assert second.lease is not None
    assert second.lease.token == 2
    # What the first one still believes is refused by the database.
    assert first.is_owner
    assert not await first.append(transition(1), 0)
    await first.meet(None)
    assert first.is_follower
    assert await second.append(transition(1), 0)


async def test_outage_leaves_the_owner_the_owner(database: SharedDatabase, clock: Clock) -> None:
    """Ten minutes without the database; whoever asks first afterwards, the owner has renewed before the other may."""
    lines = database.line(), database.line()
    first, second = database.sync(lines[0], "a"), database.sync(lines[1], "b")
    first.owner_id, second.owner_id = "a", "b"
    await first.meet(None)
    await second.meet(None)
    for line in lines:
        line.is_cut = True
    for _ in range(60):
        clock.seconds += 10.0
        for service in (first, second):
            with pytest.raises(DatabaseUnavailable):
                await service.meet(None)
            assert not service.is_owner
            assert service.failure == "it is unreachable, read-only or busy, and is tried again by itself"
    for line in lines:
        line.is_cut = False
    await second.meet(None)
    clock.seconds += 1.0
    await first.meet(None)
    clock.seconds += TAKEOVER_SECONDS
    await second.meet(None)
    assert (first.is_owner, second.is_owner) == (True, False)


async def test_owner_that_comes_back_owns_at_once(database: SharedDatabase) -> None:
    """The next controller on the same folder need not wait for the lease of the one that died, and fences it."""
    died = _service(database, "a")
    await died.meet(None)
    back = _service(database, "a")
    await back.meet(None)
    assert back.is_owner
    assert not await died.append(transition(1), 0)
    assert await back.append(transition(1), 0)


def test_lease_is_taken_once_and_only_when_it_has_expired(database: SharedDatabase, clock: Clock) -> None:
    """Of two that saw the same token one gets the next; nobody gets one that still holds, but who had it himself."""
    rows = database.line()

    def take(owner_id: str, seen_token: int, *, is_own: bool = False) -> int | None:
        return rows.take_lease(owner_id, "", seen_token=seen_token, lease_seconds=LEASE_SECONDS, is_own=is_own)

    assert (take("a", 0), take("b", 0)) == (1, None)
    assert (take("b", 1), take("b", 1, is_own=True)) == (None, None)
    clock.seconds += LEASE_SECONDS
    assert (take("b", 1), take("a", 1), take("a", 1, is_own=True)) == (2, None, None)
    assert take("b", 2, is_own=True) == 3
    assert (rows.renew_lease(2, LEASE_SECONDS), rows.renew_lease(3, LEASE_SECONDS)) == (False, True)


async def test_transition_is_stored_once_and_in_order(database: SharedDatabase, clock: Clock) -> None:
    """The version must follow the newest one; what is stored is read back as it was."""
    service = _service(database, "a")
    assert await service.meet(None) == ()
    assert await service.append(transition(1), 0)
    for version, expected in ((1, 0), (3, 2), (2, 0)):
        assert not await service.append(transition(version), expected)
    assert await service.append(transition(2), 1)
    assert await service.meet(None) == (transition(2),)
    assert await service.meet(1) == (transition(1), transition(2))
    assert await service.meet(7) == (transition(2),), "nothing from there on: the newest"
    clock.seconds += LEASE_SECONDS
    assert not await service.append(transition(3), 2), "the lease has expired"


async def test_rollback_is_stored_for_whoever_has_seen_the_newest_version(database: SharedDatabase) -> None:
    """A follower may do nothing else, and not even that under a token of the past."""
    owner, follower = _service(database, "a"), _service(database, "b")
    await owner.meet(None)
    await follower.meet(None)
    assert await owner.append(transition(1), 0)
    assert not await follower.append(transition(2), 1)
    rollback = transition(2, Stage.ROLLED_BACK)
    assert not await follower.append(rollback, 0)
    assert follower.lease is not None
    follower.lease = replace(follower.lease, token=0)
    assert not await follower.append(rollback, 1)
    await follower.meet(None)
    assert await follower.append(rollback, 1)


async def _filed(database_sync: DatabaseSync, rows: RolloutRows) -> None:
    database_sync.start()
    async with asyncio.timeout(10):
        while not rows.incidents():
            await asyncio.sleep(0.01)
    await database_sync.stop()


async def test_incidents_are_filed_once_whoever_tells_them_again(database: SharedDatabase) -> None:
    """A new controller tells all that it remembers; a transition is no business of this way."""
    rows = RolloutRows(database.engine)
    for _ in range(2):
        database_sync = _service(database, "a")
        for entry in (transition(1), INCIDENT):
            database_sync.hear(entry)
        await _filed(database_sync, rows)
    assert [row["trigger"] for row in rows.incidents()] == ["crash_rate"]
    assert rows.transitions() == []


class SlowHistory(RolloutRows):
    """A history that is read as long as nobody lets it end."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.may_end = threading.Event()

    def all_transitions(self) -> list[dict[str, Any]]:
        assert self.may_end.wait(10.0)
        return super().all_transitions()


async def test_lease_is_renewed_while_the_history_is_read(database: SharedDatabase, clock: Clock) -> None:
    """Months of rows are read beside the lease, and not before it."""
    line, history = database.line(), SlowHistory(database.engine)
    with closing(Threads("lease", 1)) as threads, closing(Threads("history", 1)) as history_threads:
        owner = DatabaseSync(
            line,
            threads,
            history=history,
            history_threads=history_threads,
            owner_name="a",
            steady=clock.steady,
        )
        await owner.meet(None)
        reading = asyncio.create_task(
            owner.compared(clock.now(), challenger="published", champion="manual", is_same=lambda _: True)
        )
        for _ in range(10):
            clock.seconds += LEASE_SECONDS / 2
            await owner.meet(None)
            assert owner.is_owner
        assert owner.lease is not None
        assert owner.lease.seconds_left > 0.0
        history.may_end.set()
        assert await reading == ((), [])


class DownAtFirst(RolloutRows):
    """A database that takes nothing twice."""

    failures = 2

    def save_incidents(self, incidents: Sequence[object]) -> None:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("down")
        super().save_incidents(incidents)  # type: ignore[arg-type]


async def test_incidents_wait_for_the_database(database: SharedDatabase) -> None:
    """Tried again after pauses that grow, until all is there."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    rows = DownAtFirst(database.engine)
    with closing(Threads("the rows of the rollout", 1)) as threads:
        database_sync = DatabaseSync(rows, threads, history=rows, history_threads=threads, owner_name="a", sleep=sleep)
        database_sync.hear(INCIDENT)
        await _filed(database_sync, rows)
    assert pauses == [0.1, 0.2]


async def test_state_that_cannot_be_read_is_told_from_none(database: SharedDatabase) -> None:
    """A new database knows nothing; a damaged row is an error."""
    service = _service(database, "a")
    assert await service.meet(None) == ()
    database.put(state(version=1), {"state": "{"})
    with pytest.raises(UnreadableState, match="a stored transition must be JSON"):
        await service.meet(None)
    database.put(state(version=2), {"evidence": "{}"})
    with pytest.raises(UnreadableState, match="transition cannot be read"):
        await service.meet(None)
