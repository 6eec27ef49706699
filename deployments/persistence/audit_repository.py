"""The audit trail: who did what beyond scheduling. Rows are inserted and read, never changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection, Engine, Insert, RowMapping, and_, or_, select
from sqlalchemy.dialects import mysql, sqlite

from deployments.persistence.database import address_of
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import AUDIT_EVENT

LONGEST_AUDIT_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One act of one actor: `action` names the route or command, `target` what it was done to.

    `status` is what the actor was answered, None for a command; `detail` is what the actor gave as well.
    """

    event_id: str
    occurred_at: datetime
    actor: str
    client: str | None
    key_id: str | None
    action: str
    target: str
    status: int | None
    request_id: str | None
    detail: str | None

    def to_bytes(self) -> bytes:
        """The event as one spool payload; `from_bytes` gives it back unchanged."""
        return json.dumps(asdict(self) | {"occurred_at": self.occurred_at.isoformat()}).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """The event of one spool payload. Raises `ValueError`, `KeyError` or `TypeError` if it is not one."""
        document = json.loads(payload)
        return cls(**document | {"occurred_at": datetime.fromisoformat(document["occurred_at"])})


_FIELDS = tuple(field.name for field in fields(AuditEvent))


@contextmanager
def audit_work(engine: Engine) -> Iterator[AuditRepository]:
    """One transaction: committed when the block ends, rolled back when it raises. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield AuditRepository(connection)


class AuditRepository:
    """The audit trail within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, events: Sequence[AuditEvent]) -> None:
        """Makes sure that each event is there, exactly once."""
        if events:
            self._connection.execute(self._insert_once(), [asdict(event) for event in events])

    def page(self, *, before: AuditEvent | None = None, limit: int = LONGEST_AUDIT_PAGE) -> list[AuditEvent]:
        """The newest events, at most `limit`, older than `before`."""
        query = select(*(AUDIT_EVENT.c[name] for name in _FIELDS))
        if before is not None:
            query = query.where(
                AUDIT_EVENT.c.occurred_at <= before.occurred_at,
                or_(
                    AUDIT_EVENT.c.occurred_at < before.occurred_at,
                    and_(AUDIT_EVENT.c.occurred_at == before.occurred_at, AUDIT_EVENT.c.event_id < before.event_id),
                ),
            )
        query = query.order_by(AUDIT_EVENT.c.occurred_at.desc(), AUDIT_EVENT.c.event_id.desc()).limit(limit)
        return [_event(row) for row in self._connection.execute(query).mappings()]

    def get(self, event_id: str) -> AuditEvent | None:
        """One event, None when there is none of that id."""
        query = select(*(AUDIT_EVENT.c[name] for name in _FIELDS)).where(AUDIT_EVENT.c.event_id == event_id)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else _event(row)

    def _insert_once(self) -> Insert:
        if self._connection.dialect.name == "sqlite":
            return sqlite.insert(AUDIT_EVENT).on_conflict_do_nothing(index_elements=[AUDIT_EVENT.c.event_id])
        return mysql.insert(AUDIT_EVENT).on_duplicate_key_update(event_id=AUDIT_EVENT.c.event_id)


def _event(row: RowMapping) -> AuditEvent:
    values: dict[str, Any] = dict(row)
    return AuditEvent(**values)
