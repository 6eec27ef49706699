"""The key ring of a router in step with the database, and without it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.access import Client, Scope, StoredKey
from deployments.access.key_keeper import KeyKeeper, KnownKeys, load_snapshot
from deployments.access.key_ring import key_of_settings, new_key
from deployments.errors import KeysUnavailable, Unauthenticated
from deployments.persistence.errors import DatabaseUnavailable

START = datetime(2025, 7, 22, tzinfo=UTC)
KEY = new_key()
STORED = StoredKey(
    digest=KEY.digest, client=Client(name="erp", scopes=frozenset({Scope.READ}), key_id=KEY.key_id, key_name="erp")
)
OWN = "k" * 40


class Probe:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class MemoryStore:
    """Keys in memory, behind a connection that may be cut."""

    def __init__(self, clock: Callable[[], datetime], *keys: StoredKey, had_admin: bool = False) -> None:
        self._clock = clock
        self.keys, self.had_admin, self.is_away = keys, had_admin, False
        self.uses: list[dict[str, datetime]] = []

    def known_keys(self) -> KnownKeys:
        if self.is_away:
            raise DatabaseUnavailable("the database is away")
        return KnownKeys(keys=self.keys, had_admin=self.had_admin, read_at=self._clock())

    def note_uses(self, used_at: Mapping[str, datetime]) -> None:
        self.uses.append(dict(used_at))


class HangingStore(MemoryStore):
    """Never answers until it is told to."""

    def __init__(self, clock: Callable[[], datetime], *keys: StoredKey) -> None:
        super().__init__(clock, *keys)
        self.answers = threading.Event()

    def known_keys(self) -> KnownKeys:
        self.answers.wait(60)
        return super().known_keys()


class FaultyStore(MemoryStore):
    """Has a fault that nobody foresaw, once."""

    faults = 1

    def known_keys(self) -> KnownKeys:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("nobody foresaw this")
        return super().known_keys()


@pytest.fixture
def clock() -> Probe:
    """Starts at `START`."""
    return Probe()


@asynccontextmanager
async def keeping(store: MemoryStore, folder: Path, clock: Probe, **changes: Any) -> AsyncIterator[KeyKeeper]:
    """A keeper in production that asks as often as it can."""
    options: dict[str, Any] = {"own": key_of_settings(OWN), "own_always": False, "period_seconds": 0.01} | changes
    keeper = KeyKeeper(store, folder / "api_keys.json", clock=clock, **options)
    try:
        await keeper.start()
        yield keeper
    finally:
        await keeper.stop()


async def eventually(holds: Callable[[], bool]) -> None:
    """Returns when something has become true."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def opens(keeper: KeyKeeper, key: str = KEY.text) -> bool:
    """Whether a key is accepted now."""
    try:
        keeper.authenticate(key)
    except Unauthenticated:
        return False
    return True


async def test_stored_key_opens_from_the_start(tmp_path: Path, clock: Probe) -> None:
    """When `start` returns, the keys of the database are known, and their age is."""
    async with keeping(MemoryStore(clock, STORED), tmp_path, clock, period_seconds=60) as keeper:
        assert keeper.authenticate(KEY.text) == STORED.client
        clock.now += timedelta(seconds=7)
        assert keeper.age_seconds == 7


async def test_revoked_key_is_refused_at_the_next_reading(tmp_path: Path, clock: Probe) -> None:
    """A key that the database no longer shows opens nothing, and a new one opens."""
    store = MemoryStore(clock, STORED)
    async with keeping(store, tmp_path, clock) as keeper:
        store.keys = ()
        await eventually(lambda: not opens(keeper))
        store.keys = (STORED,)
        await eventually(lambda: opens(keeper))


async def test_restart_without_the_database_knows_the_keys(tmp_path: Path, clock: Probe) -> None:
    """The snapshot carries them over, with the age of the last reading."""
    store = MemoryStore(clock, STORED)
    async with keeping(store, tmp_path, clock):
        pass
    store.is_away = True
    clock.now += timedelta(hours=23)
    async with keeping(store, tmp_path, clock) as keeper:
        assert keeper.authenticate(KEY.text) == STORED.client
        assert keeper.age_seconds == timedelta(hours=23).total_seconds()


async def test_keys_are_not_believed_for_longer_than_a_day(tmp_path: Path, clock: Probe) -> None:
    """After 24 h without the database nobody can tell; when it is back everything is as before."""
    store = MemoryStore(clock, STORED)
    async with keeping(store, tmp_path, clock) as keeper:
        store.is_away = True
        await asyncio.sleep(0.05)
        clock.now += timedelta(hours=24, seconds=1)
        with pytest.raises(KeysUnavailable, match="until the database answers"):
            keeper.authenticate(KEY.text)
        with pytest.raises(Unauthenticated, match="was absent"):
            keeper.authenticate(None)
        store.is_away = False
        await eventually(lambda: keeper.age_seconds == 0)
        assert opens(keeper)


async def test_snapshot_of_yesterday_opens_nothing(tmp_path: Path, clock: Probe) -> None:
    """A start with a snapshot that is too old is a start without one."""
    store = MemoryStore(clock, STORED)
    async with keeping(store, tmp_path, clock):
        pass
    store.is_away = True
    clock.now += timedelta(hours=25)
    async with keeping(store, tmp_path, clock) as keeper:
        with pytest.raises(KeysUnavailable):
            keeper.authenticate(KEY.text)


async def test_snapshot_from_the_future_opens_nothing(tmp_path: Path, clock: Probe) -> None:
    """A clock that was set back must not make old keys young."""
    store = MemoryStore(clock, STORED)
    async with keeping(store, tmp_path, clock):
        pass
    store.is_away = True
    clock.now -= timedelta(hours=1)
    async with keeping(store, tmp_path, clock) as keeper:
        with pytest.raises(KeysUnavailable):
            keeper.authenticate(KEY.text)
        assert keeper.age_seconds is None


async def test_start_does_not_wait_for_a_database_that_hangs(tmp_path: Path, clock: Probe) -> None:
    """The snapshot serves until the first answer, and then the database does."""
    async with keeping(MemoryStore(clock, STORED), tmp_path, clock):
        pass
    store = HangingStore(clock)
    async with keeping(store, tmp_path, clock, first_answer_seconds=0.05) as keeper:
        assert opens(keeper)
        store.answers.set()
        await eventually(lambda: not opens(keeper))


async def test_keeper_goes_on_whatever_its_store_raises(
    tmp_path: Path, clock: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    """A keeper that had died would let revoked keys stay valid; what it met is in the log."""
    async with keeping(FaultyStore(clock, STORED), tmp_path, clock) as keeper:
        await eventually(lambda: keeper.age_seconds is not None)
        assert opens(keeper)
    assert "nobody foresaw this" in caplog.text


async def test_key_of_the_settings_opens_until_an_admin_key_is_stored(tmp_path: Path, clock: Probe) -> None:
    """In production GANTRY_API_KEY is for making the first admin key; afterwards nobody holds it."""
    store = MemoryStore(clock)
    async with keeping(store, tmp_path, clock) as keeper:
        assert keeper.authenticate(OWN).name == "default"
        store.had_admin = True
        await eventually(lambda: not opens(keeper, OWN))
    store.is_away = True
    async with keeping(store, tmp_path, clock) as keeper:
        assert not opens(keeper, OWN)


async def test_key_of_the_settings_is_refused_while_nobody_can_tell(tmp_path: Path, clock: Probe) -> None:
    """Without database and snapshot an admin key may exist, so the bootstrap key stays shut."""
    store = MemoryStore(clock)
    store.is_away = True
    async with keeping(store, tmp_path, clock) as keeper:
        with pytest.raises(KeysUnavailable):
            keeper.authenticate(OWN)


async def test_key_of_the_settings_always_opens_in_development(tmp_path: Path, clock: Probe) -> None:
    """A developer needs neither database nor stored keys."""
    store = MemoryStore(clock, had_admin=True)
    async with keeping(store, tmp_path, clock, own_always=True) as keeper:
        assert keeper.authenticate(OWN).name == "default"
    store.is_away = True
    async with keeping(store, tmp_path / "elsewhere", clock, own_always=True) as keeper:
        assert keeper.authenticate(OWN).name == "default"


async def test_without_a_key_of_the_settings_only_stored_ones_open(tmp_path: Path, clock: Probe) -> None:
    """GANTRY_API_KEY=off leaves nothing but the database."""
    async with keeping(MemoryStore(clock, STORED), tmp_path, clock, own=None) as keeper:
        assert opens(keeper)
        assert not opens(keeper, OWN)


async def test_last_use_is_noted_once_a_minute(tmp_path: Path, clock: Probe) -> None:
    """The store hears of a key that is in use, not of each request."""
    store = MemoryStore(clock, STORED)
    async with keeping(store, tmp_path, clock) as keeper:
        keeper.authenticate(KEY.text)
        await eventually(lambda: store.uses == [{KEY.key_id: START}])
        clock.now += timedelta(seconds=59)
        keeper.authenticate(KEY.text)
        await asyncio.sleep(0.1)
        assert len(store.uses) == 1
        clock.now += timedelta(seconds=1)
        keeper.authenticate(KEY.text)
        await eventually(lambda: len(store.uses) == 2)
        assert store.uses[1] == {KEY.key_id: START + timedelta(seconds=60)}


async def test_snapshot_that_cannot_be_written_stops_nobody(tmp_path: Path, clock: Probe) -> None:
    """A folder in the way is a warning; keys are known all the same."""
    (tmp_path / "api_keys.json").mkdir()
    async with keeping(MemoryStore(clock, STORED), tmp_path, clock) as keeper:
        assert opens(keeper)


async def test_snapshot_stays_as_young_as_the_knowledge(tmp_path: Path, clock: Probe) -> None:
    """It is written anew each minute although the keys are the same."""
    async with keeping(MemoryStore(clock, STORED), tmp_path, clock):
        clock.now += timedelta(seconds=60)
        await eventually(lambda: load_snapshot(tmp_path / "api_keys.json").read_at == clock.now)
