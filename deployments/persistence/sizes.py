"""How much room each table takes, its indexes included."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select, text

from deployments.persistence.database import address_of
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import METADATA

# Of pages, whichever table or index they belong to.
_OF_SQLITE = "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_master USING (name) GROUP BY tbl_name"
_OF_MARIADB = (
    "SELECT table_name, data_length + index_length FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """Rows as counted; bytes as the database knows them, on MariaDB from its statistics."""

    table: str
    rows: int
    bytes: int


def table_sizes(engine: Engine) -> list[TableSize]:
    """Every table, the largest first. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.connect() as connection:
        sizes = _bytes(connection)
        found = [
            TableSize(table=name, rows=_rows(connection, name), bytes=sizes.get(name, 0)) for name in METADATA.tables
        ]
    return sorted(found, key=lambda size: -size.bytes)


def _bytes(connection: Connection) -> dict[str, int]:
    statement = _OF_SQLITE if connection.dialect.name == "sqlite" else _OF_MARIADB
    return {str(name): int(size) for name, size in connection.execute(text(statement))}


def _rows(connection: Connection, name: str) -> int:
    return connection.execute(select(func.count()).select_from(METADATA.tables[name])).scalar_one()
