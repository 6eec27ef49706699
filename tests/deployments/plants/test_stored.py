"""Plant data from the database: what is read, and what is said when it cannot be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deployments.contracts.parsing import RequestLimits
from deployments.errors import InvalidRequest, PlantDataUnavailable
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.decisions.plant_repository import plant_work
from deployments.plants.stored import StoredPlants
from deployments.runtime.background import Threads
from tests.deployments.fakes import LIMITS
from tests.deployments.plants.rows import CALENDAR, job_document, machine_document


@pytest.fixture
def threads() -> Iterator[Threads]:
    """One thread."""
    with closing(Threads("plant", 1)) as threads:
        yield threads


def _plants(folder: Path, threads: Threads, limits: RequestLimits = LIMITS, *, migrated: bool = True) -> StoredPlants:
    url = f"sqlite:///{folder / 'gantry.sqlite3'}"
    if migrated:
        upgrade(url)
    engine = create_engine(url)
    if migrated:
        with plant_work(engine) as plants:
            plants.store_machines("penang", [machine_document(1), machine_document(2)])
            plants.store_jobs("penang", [job_document("A"), job_document("B")])
            plants.store_calendar("penang", CALENDAR)
    return StoredPlants(engine, threads, limits, read_seconds=5.0)


async def test_only_what_is_asked_for_is_read(tmp_path: Path, threads: Threads) -> None:
    """The calendar always comes along."""
    plants = _plants(tmp_path, threads)
    both = await plants.read("penang", machines=True, jobs=True)
    assert (len(both.machines), len(both.jobs), both.calendar is None) == (2, 2, False)
    machines = await plants.read("penang", machines=True, jobs=False)
    assert (len(machines.machines), len(machines.jobs)) == (2, 0)
    jobs = await plants.read("penang", machines=False, jobs=True)
    assert (len(jobs.machines), len(jobs.jobs)) == (0, 2)


async def test_more_than_a_request_may_have_is_refused(tmp_path: Path, threads: Threads) -> None:
    """The limits of a body hold for what the database adds to it."""
    plants = _plants(tmp_path, threads, RequestLimits(jobs=1, machines=1))
    with pytest.raises(InvalidRequest, match="machines: must have at most 1 entries, the database has more"):
        await plants.read("penang", machines=True, jobs=False)
    with pytest.raises(InvalidRequest, match="jobs: must have at most 1 entries, the database has more"):
        await plants.read("penang", machines=False, jobs=True)


async def test_database_that_does_not_work_is_told_without_its_words(tmp_path: Path, threads: Threads) -> None:
    """Neither path nor SQL reaches the client, only that it may come back, or send all itself."""
    plants = _plants(tmp_path, threads, migrated=False)
    with pytest.raises(PlantDataUnavailable, match=r"^the database does not answer; a request that carries") as caught:
        await plants.read("penang", machines=True, jobs=True)
    assert caught.value.retry_after_seconds == 5


async def test_database_that_hangs_is_given_up(tmp_path: Path, threads: Threads) -> None:
    """A read that finds no free thread in time ends as unavailable."""
    release = threading.Event()
    threads.submit(release.wait)
    plants = StoredPlants(create_engine(f"sqlite:///{tmp_path / 'x'}"), threads, LIMITS, read_seconds=0.01)
    with pytest.raises(PlantDataUnavailable, match="the database does not answer"):
        await plants.read("penang", machines=True, jobs=True)
    release.set()
