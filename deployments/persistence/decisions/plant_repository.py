"""Plant data: machines, pending jobs and calendars of each plant, in the words of the wire.

They are read from the views `machine_source`, `job_source` and `closure_source`, behind which an ERP may
put tables of its own, and written to the tables that the views show at first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, TableClause, column, delete, insert, select, table

from deployments.persistence.database import address_of
from deployments.persistence.decisions.audit_repository import insert_audit
from deployments.persistence.decisions.records import AuditEvent
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import PLANT_CALENDAR, PLANT_CLOSURE, PLANT_JOB, PLANT_MACHINE

Cells = Mapping[str, Any]
"""One row by its columns, as the driver gives it: a view of an ERP may have types of its own."""
Document = Mapping[str, Any]
"""A JSON object in the words of the wire, with all of its fields."""

# SQLite takes at most 32,766 values in one statement.
_KEYS_PER_STATEMENT = 1000


def _source(name: str, stored: Table) -> TableClause:
    return table(name, *(column(each.name) for each in stored.c))


MACHINE_SOURCE = _source("machine_source", PLANT_MACHINE)
JOB_SOURCE = _source("job_source", PLANT_JOB)
CLOSURE_SOURCE = _source("closure_source", PLANT_CLOSURE)


@contextmanager
def plant_work(engine: Engine) -> Iterator[PlantRepository]:
    """One transaction: committed when the block ends, rolled back when it raises. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield PlantRepository(connection)


class PlantRepository:
    """Plant data within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record(self, event: AuditEvent) -> None:
        """Who changes the plant's data, in the same transaction."""
        insert_audit(self._connection, [event])

    def machines(self, plant_id: str, limit: int) -> list[Cells]:
        """At most `limit` machines of the plant, in no order."""
        return self._read(MACHINE_SOURCE, plant_id, limit)

    def jobs(self, plant_id: str, limit: int) -> list[Cells]:
        """At most `limit` pending jobs of the plant, in no order."""
        return self._read(JOB_SOURCE, plant_id, limit)

    def closures(self, plant_id: str, limit: int) -> list[Cells]:
        """At most `limit` times when a machine of the plant is unavailable, in no order."""
        return self._read(CLOSURE_SOURCE, plant_id, limit)

    def calendar(self, plant_id: str) -> Cells | None:
        """Breaks, holidays and country of the plant, None when it has no calendar."""
        return next(iter(self._read(PLANT_CALENDAR, plant_id, 1)), None)

    def store_machines(self, plant_id: str, machines: Sequence[Document]) -> None:
        """Each machine is as given afterwards; others stay."""
        self._store(PLANT_MACHINE, PLANT_MACHINE.c.machine_id, plant_id, machines)

    def store_jobs(self, plant_id: str, jobs: Sequence[Document]) -> None:
        """Each pending job is as given afterwards; others stay."""
        self._store(PLANT_JOB, PLANT_JOB.c.job_id, plant_id, jobs)

    def store_calendar(self, plant_id: str, calendar: Document) -> None:
        """The plant has this calendar afterwards, with these closures and no others."""
        self._clear(PLANT_CALENDAR, plant_id)
        self._clear(PLANT_CLOSURE, plant_id)
        self._connection.execute(insert(PLANT_CALENDAR), [_row(PLANT_CALENDAR, plant_id, calendar)])
        closures = [_row(PLANT_CLOSURE, plant_id, closure) for closure in _closures(calendar)]
        if closures:
            self._connection.execute(insert(PLANT_CLOSURE), closures)

    def clear_machines(self, plant_id: str) -> None:
        """Forgets all machines of the plant."""
        self._clear(PLANT_MACHINE, plant_id)

    def clear_jobs(self, plant_id: str) -> None:
        """Forgets all pending jobs of the plant."""
        self._clear(PLANT_JOB, plant_id)

    def _read(self, source: Table | TableClause, plant_id: str, limit: int) -> list[Cells]:
        columns = [each for each in source.c if each.name != "plant_id"]
        query = select(*columns).where(source.c.plant_id == plant_id).limit(limit)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def _store(self, stored: Table, key: Column[Any], plant_id: str, documents: Sequence[Document]) -> None:
        # Deleted and inserted anew: one statement that does both differs between the databases.
        for first in range(0, len(documents), _KEYS_PER_STATEMENT):
            some = documents[first : first + _KEYS_PER_STATEMENT]
            known = key.in_([document[key.name] for document in some])
            self._connection.execute(delete(stored).where(stored.c.plant_id == plant_id, known))
            self._connection.execute(insert(stored), [_row(stored, plant_id, document) for document in some])

    def _clear(self, stored: Table, plant_id: str) -> None:
        self._connection.execute(delete(stored).where(stored.c.plant_id == plant_id))


def _row(stored: Table, plant_id: str, document: Document) -> dict[str, Any]:
    values = {"plant_id": plant_id, **document}
    return {each.name: _cell(values[each.name]) for each in stored.c}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _closures(calendar: Document) -> Iterator[Document]:
    """Each closure once, whatever its reason: the same hours twice close no more."""
    seen = set()
    for machine in calendar["machines"]:
        for closure in machine["unavailable"]:
            key = (machine["machine_id"], closure["from"], closure["to"])
            if key not in seen:
                seen.add(key)
                yield {
                    "machine_id": machine["machine_id"],
                    "closed_from": closure["from"],
                    "closed_to": closure["to"],
                    "reason": closure["reason"],
                }
