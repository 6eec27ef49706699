"""The audit trail: who did what beyond scheduling. Rows are inserted and read, never changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, and_, insert, or_, select

from deployments.persistence.database import address_of
from deployments.persistence.decisions.records import MAX_AUDIT_PAGE_SIZE, AuditEvent
from deployments.persistence.errors import InvalidCursor
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import AUDIT_EVENT
from deployments.runtime.background import Threads

_COLUMNS = tuple(AUDIT_EVENT.c[field.name] for field in fields(AuditEvent))


@contextmanager
def audit_work(engine: Engine) -> Iterator[AuditRepository]:
    """One transaction: committed when the block ends, rolled back when it raises. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield AuditRepository(connection)


class AuditRepository:
    """The audit trail within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def insert(self, events: Sequence[AuditEvent]) -> None:
        """Makes sure that each event is there, exactly once."""
        insert_audit(self.connection, events)

    def page(self, *, before: str | None = None, limit: int = MAX_AUDIT_PAGE_SIZE) -> list[AuditEvent]:
        """The newest events, at most `limit`, older than that of the id `before`. Raises `InvalidCursor`."""
        last = None if before is None else self._event(before)
        query = newest_audit_query(None if last is None else (last.occurred_at, last.event_id))
        return [_event(row) for row in self.connection.execute(query.limit(limit)).mappings()]

    def newest_of(self, actions: Collection[str], limit: int = 1) -> list[AuditEvent]:
        """The newest events of some actions, at most `limit`."""
        query = newest_audit_query().where(AUDIT_EVENT.c.action.in_(sorted(actions))).limit(limit)
        return [_event(row) for row in self.connection.execute(query).mappings()]

    def _event(self, event_id: str) -> AuditEvent:
        found = self.connection.execute(select(*_COLUMNS).where(AUDIT_EVENT.c.event_id == event_id)).mappings().first()
        if found is None:
            raise InvalidCursor(f"cursor must be one that an earlier page gave, was {event_id[:100]!r}")
        return _event(found)


class StoredAudit:
    """The audit trail in the database, read in threads that are for reads alone."""

    def __init__(self, engine: Engine, threads: Threads) -> None:
        self._engine = engine
        self._threads = threads

    async def page(self, *, before: str | None, limit: int) -> list[AuditEvent]:
        """The newest events, older than that of the id `before`.

        Raises `InvalidCursor`, `DatabaseError` or `Overloaded`.
        """

        def read() -> list[AuditEvent]:
            with audit_work(self._engine) as trail:
                return trail.page(before=before, limit=limit)

        return await self._threads.run(read)


def newest_audit_query(before: tuple[datetime, str] | None = None) -> Select[Any]:
    """The audit trail, newest first, older than the instant and id of `before`."""
    query = select(*_COLUMNS).order_by(AUDIT_EVENT.c.occurred_at.desc(), AUDIT_EVENT.c.event_id.desc())
    if before is None:
        return query
    occurred_at, event_id = before
    return query.where(
        AUDIT_EVENT.c.occurred_at <= occurred_at,
        or_(
            AUDIT_EVENT.c.occurred_at < occurred_at,
            and_(AUDIT_EVENT.c.occurred_at == occurred_at, AUDIT_EVENT.c.event_id < event_id),
        ),
    )


def insert_audit(connection: Connection, events: Sequence[AuditEvent]) -> None:
    """Makes sure, within a transaction of somebody else, that each event is there, exactly once.

    Not by an upsert: for one MariaDB wants the right to update every column, and nobody has that for this table.
    """
    ids = [event.event_id for event in events]
    present = select(AUDIT_EVENT.c.event_id).where(AUDIT_EVENT.c.event_id.in_(ids))
    known = set(connection.execute(present).scalars()) if events else set()
    rows = [asdict(event) for event in events if event.event_id not in known]
    if rows:
        connection.execute(insert(AUDIT_EVENT), rows)


def _event(row: RowMapping) -> AuditEvent:
    values: dict[str, Any] = dict(row)
    return AuditEvent(**values)
