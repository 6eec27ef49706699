"""Plant data from the database, for the requests that leave them to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy import Engine

from deployments.contracts.parsing import RequestLimits
from deployments.errors import InvalidRequest, PlantDataUnavailable
from deployments.persistence.decisions.plant_repository import plant_work
from deployments.persistence.errors import DatabaseError
from deployments.plants.completion import PlantData, plant_data
from deployments.runtime.background import Threads

MAX_CLOSURES = 100_000
READ_SECONDS = 15.0
_RETRY_AFTER_SECONDS = 5
_UNAVAILABLE = "the database does not answer; a request that carries both machines and jobs does not need it"

_log = logging.getLogger(__name__)


class StoredPlants:
    """Reads in threads that it shares with nobody who could do without the database."""

    def __init__(
        self, engine: Engine, threads: Threads, limits: RequestLimits, *, read_seconds: float = READ_SECONDS
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._limits = limits
        self._read_seconds = read_seconds

    async def read(self, plant_id: str, *, machines: bool, jobs: bool) -> PlantData:
        """What is stored. Raises `PlantDataUnavailable` or `Overloaded`, `InvalidRequest` for rows of no use."""
        try:
            async with asyncio.timeout(self._read_seconds):
                return await self._threads.run(self._read, plant_id, machines, jobs)
        except TimeoutError:
            _log.warning("plant data must be read within %g s, took longer", self._read_seconds)
            raise PlantDataUnavailable(_UNAVAILABLE, _RETRY_AFTER_SECONDS) from None
        except DatabaseError as error:
            _log.warning("plant data cannot be read: %s", error)
            raise PlantDataUnavailable(_UNAVAILABLE, _RETRY_AFTER_SECONDS) from error

    def _read(self, plant_id: str, machines: bool, jobs: bool) -> PlantData:
        most = self._limits
        with plant_work(self._engine) as plants:
            # One row more than allowed tells that there are too many.
            found_machines = plants.machines(plant_id, most.machines + 1) if machines else []
            found_jobs = plants.jobs(plant_id, most.jobs + 1) if jobs else []
            closures = plants.closures(plant_id, MAX_CLOSURES + 1)
            calendar = plants.calendar(plant_id)
        _require_few("machines", found_machines, most.machines)
        _require_few("jobs", found_jobs, most.jobs)
        _require_few("calendar.machines", closures, MAX_CLOSURES)
        return plant_data(machines=found_machines, jobs=found_jobs, calendar=calendar, closures=closures)


def _require_few(field: str, rows: Sequence[object], limit: int) -> None:
    if len(rows) > limit:
        message = f"must have at most {limit:,} entries, the database has more: give fewer with the request"
        raise InvalidRequest(((field, message),))
