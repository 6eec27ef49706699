"""Backup of a whole database into one file, restore into an empty one, and the proof that both are equal.

A format of our own rather than the servers' tools: it moves a plant from the embedded default to MariaDB and
back, needs nothing installed, streams in one consistent snapshot while the service writes, and can be checked
row by row. For very large databases, physical copies by the server's own tools are faster; the documentation
of durability says when to take which.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, LargeBinary, TableClause, column, func, insert, inspect, select, table, text

from deployments.persistence.database import (
    address_of,
    create_engine,
    current_revision,
    downgrade,
    head_revision,
    require_current_schema,
    sqlite_files,
    upgrade,
)
from deployments.persistence.errors import InvalidBackup, SchemaMismatch
from deployments.persistence.failures import database_errors
from deployments.persistence.maintenance import archive
from deployments.persistence.maintenance.archive import ArchiveHeader, End, Tally
from deployments.persistence.tables import METADATA, UtcInstant
from deployments.runtime.clock import utc_now
from deployments.runtime.durable_file import temporary_folder

_ROWS_AT_ONCE = 200
_OF_ALEMBIC = "alembic_version"
_LOG_STATUS = "SHOW STATUS WHERE Variable_name IN ('Binlog_snapshot_file', 'Binlog_snapshot_position')"
OnRow = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupComparison:
    """Rows and checksums of one table, in the file and in the database."""

    table: str
    wanted_rows: int
    found_rows: int
    is_equal: bool


def row_counts(url: str) -> dict[str, int]:
    """How many rows each table has, for a progress bar. Raises `DatabaseError`."""
    with using(url) as engine:
        require_current_schema(engine)
        with database_errors(address_of(engine)), engine.connect() as connection:
            return {
                name: connection.execute(select(func.count()).select_from(each)).scalar_one()
                for name, each in METADATA.tables.items()
            }


def back_up(
    url: str, path: Path, on_row: OnRow, now: datetime | None = None, *, recipients: Sequence[str] = ()
) -> tuple[ArchiveHeader, dict[str, int]]:
    """Writes all tables as they are at one instant, encrypted for `recipients`; the header, and rows by table.

    Raises `DatabaseError` or `InvalidBackup`.
    """
    archive.require_absent(path)
    with using(url) as engine:
        require_current_schema(engine)
        tables = {each.name: archive.columns_of(each) for each in METADATA.sorted_tables}
        with archive.writing(path, recipients) as writer, _snapshot(engine) as connection:
            header = ArchiveHeader(
                revision=head_revision(),
                created_at=now or utc_now(),
                tables=tables,
                binary_log=_binary_log(connection),
            )
            writer.header(header)
            counts = {}
            for name, kinds in tables.items():
                tally = Tally()
                for values in _encoded_rows(connection, name, kinds):
                    writer.row(name, values)
                    tally.add(values)
                    on_row()
                writer.end(name, tally)
                counts[name] = tally.count
    return header, counts


def restore(url: str, path: Path, on_row: OnRow, identity: Path | None = None) -> list[BackupComparison]:
    """Fills an empty database, brings it up to date, and compares what is in it with the file.

    Raises `InvalidBackup`, `DatabaseError`, and `SchemaMismatch` for a database that is not empty or a backup
    of a newer program.
    """
    header, entries = archive.read(path, identity)
    _require_empty(url)
    upgrade(url, header.revision)
    with using(url) as engine:
        ends = _fill(engine, header, entries, path, on_row)
        comparisons = _compare(engine, header, ends)
    upgrade(url)
    return comparisons


def verify(
    path: Path, on_row: OnRow, url: str | None = None, *, identity: Path | None = None
) -> list[BackupComparison]:
    """Restores into an empty database, by default a throwaway SQLite file, and compares. Raises as `restore` does."""
    if url is not None:
        return restore(url, path, on_row, identity)
    with temporary_folder("verify") as folder:
        return restore(f"sqlite:///{folder}/gantry.sqlite3", path, on_row, identity)


@contextmanager
def scratch(url: str) -> Iterator[None]:
    """An empty database that is empty again afterwards, whatever went wrong. Raises `SchemaMismatch` if it is not."""
    _require_empty(url)
    try:
        yield
    finally:
        if files := sqlite_files(url):
            for file in files:
                file.unlink(missing_ok=True)
        else:
            downgrade(url, "base")


@contextmanager
def using(url: str) -> Iterator[Engine]:
    """An engine for a large table, which may take its time between two rows, and its end."""
    engine = create_engine(url, statement_timeout_seconds=600)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection on which all tables stand still, while others go on writing."""
    if engine.dialect.name == "sqlite":
        with _copy_of(engine) as copy, copy.connect() as connection:
            yield connection
        return
    with database_errors(address_of(engine)):
        isolated = engine.execution_options(isolation_level="REPEATABLE READ")
        with isolated.connect() as connection:
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            yield connection


@contextmanager
def _copy_of(engine: Engine) -> Iterator[Engine]:
    """A copy of an SQLite file: a long read of the file itself would keep writers out with a rollback journal."""
    with temporary_folder("backup") as folder:
        path = folder / "copy.sqlite3"
        with database_errors(address_of(engine)), engine.connect() as connection:
            source: Any = connection.connection.driver_connection
            with closing(sqlite3.connect(path)) as target:
                source.backup(target)
        with using(f"sqlite:///{path}") as copy:
            yield copy


def _binary_log(connection: Connection) -> dict[str, str] | None:
    """Where the binary log of MariaDB stood when the snapshot was taken; None where there is none, and on SQLite."""
    if connection.dialect.name == "sqlite":
        return None
    found = {str(name).lower(): str(value) for name, value in connection.exec_driver_sql(_LOG_STATUS)}
    file, position = found.get("binlog_snapshot_file"), found.get("binlog_snapshot_position", "0")
    if not file:
        return None
    gtid = connection.execute(text("SELECT BINLOG_GTID_POS(:file, :position)"), {"file": file, "position": position})
    return {"file": file, "position": position, "gtid": gtid.scalar() or ""}


def _encoded_rows(connection: Connection, name: str, kinds: dict[str, str]) -> Iterator[list[Any]]:
    query = select(*_table(name, kinds).columns)
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
    for row in rows:
        yield archive.encoded(row, list(kinds.values()))


def _table(name: str, kinds: dict[str, str]) -> TableClause:
    """A table as the file knows it, whatever this program's own schema says."""
    types: dict[str, Any] = {"bytes": LargeBinary(), "instant": UtcInstant()}
    return table(name, *(column(field, types.get(kind)) for field, kind in kinds.items()))


def _require_empty(url: str) -> None:
    if url.startswith("sqlite") and not Path(url.split("///", 1)[-1]).exists():
        return
    with using(url) as engine:
        current_revision(url)
        with database_errors(address_of(engine)):
            names = [name for name in inspect(engine).get_table_names() if name != _OF_ALEMBIC]
            with engine.connect() as connection:
                full = [
                    name for name in names if connection.execute(select(func.count()).select_from(table(name))).scalar()
                ]
        if full:
            raise SchemaMismatch(f"{address_of(engine)} must be empty for a restore, had rows in {', '.join(full)}")


def _fill(
    engine: Engine, header: ArchiveHeader, entries: Iterator[archive.Entry], path: Path, on_row: OnRow
) -> dict[str, End]:
    ends: dict[str, End] = {}
    tallies = {name: Tally() for name in header.tables}
    for name, group in groupby(entries, key=lambda entry: "" if isinstance(entry, End) else entry[0]):
        if not name:
            ends |= {end.table: end for end in group if isinstance(end, End)}
            continue
        for chunk in _chunks(values for _, values in group if not isinstance(values, str)):  # type: ignore[misc]
            _insert(engine, name, header.tables[name], chunk)
            for values in chunk:
                tallies[name].add(values)
                on_row()
    for name, tally in tallies.items():
        end = ends.get(name)
        if end is None or (end.count, end.checksum) != (tally.count, tally.checksum):
            raise InvalidBackup(f"{path}: rows of table {name} are not those that were backed up; the restore is void")
    return ends


def _chunks(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    chunk: list[list[Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _insert(engine: Engine, name: str, kinds: dict[str, str], rows: list[list[Any]]) -> None:
    decoded = [dict(zip(kinds, archive.decoded(row, list(kinds.values())), strict=True)) for row in rows]
    with database_errors(address_of(engine)), engine.begin() as connection:
        connection.execute(insert(_table(name, kinds)), decoded)


def _compare(engine: Engine, header: ArchiveHeader, ends: dict[str, End]) -> list[BackupComparison]:
    comparisons = []
    with database_errors(address_of(engine)), engine.connect() as connection:
        for name, kinds in header.tables.items():
            tally = Tally()
            for values in _encoded_rows(connection, name, kinds):
                tally.add(values)
            comparisons.append(
                BackupComparison(
                    table=name,
                    wanted_rows=ends[name].count,
                    found_rows=tally.count,
                    is_equal=ends[name].checksum == tally.checksum,
                )
            )
    return comparisons
