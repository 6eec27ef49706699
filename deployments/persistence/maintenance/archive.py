"""The backup file: all tables as gzipped JSON lines, the same for SQLite and MariaDB.

The first line is the header (format, revision, tables with the kinds of their columns). Then come the rows,
`[table, values...]`, and for each table a line with its row count and checksum; the last line says that the
file is complete. Bytes are base64, instants ISO 8601 in UTC. The checksum does not depend on the order of rows.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import LargeBinary, Table

from deployments.errors import reason_of
from deployments.persistence.errors import InvalidBackup
from deployments.persistence.tables import UtcInstant
from deployments.runtime.durable_file import replacing

FORMAT = "gantry-backup-1"
_MODULUS = 2**256
Columns = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveHeader:
    """What a backup is of: `tables` maps each table to its columns and their kinds (plain, bytes, instant)."""

    revision: str
    created_at: datetime
    tables: dict[str, Columns]


@dataclass(slots=True)
class Tally:
    """Rows of one table: how many, and the sum of their digests, whatever their order."""

    count: int = 0
    _sum: int = field(default=0, repr=False)

    def add(self, values: Sequence[Any]) -> None:
        """One row, as it stands in the file."""
        self.count += 1
        digest = hashlib.sha256(json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % _MODULUS

    @property
    def checksum(self) -> str:
        """As hexadecimal digits."""
        return f"{self._sum:064x}"


def columns_of(table: Table) -> Columns:
    """The kinds of a table's columns."""
    return {column.name: _kind(column.type) for column in table.columns}


def encoded(values: Sequence[Any], kinds: Sequence[str]) -> list[Any]:
    """Values of one row as JSON has them."""
    return [_encode(value, kind) for value, kind in zip(values, kinds, strict=True)]


def decoded(values: Sequence[Any], kinds: Sequence[str]) -> list[Any]:
    """The opposite of `encoded`. Raises `ValueError`."""
    return [_decode(value, kind) for value, kind in zip(values, kinds, strict=True)]


class ArchiveWriter:
    """Writes one backup; use within `writing`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def header(self, header: ArchiveHeader) -> None:
        """The first line."""
        self._line(
            {
                "format": FORMAT,
                "revision": header.revision,
                "created_at": header.created_at.isoformat(),
                "tables": header.tables,
            }
        )

    def row(self, table: str, values: Sequence[Any]) -> None:
        """One row, already encoded."""
        self._line([table, *values])

    def end(self, table: str, tally: Tally) -> None:
        """What the table had."""
        self._line({"table": table, "rows": tally.count, "checksum": tally.checksum})

    def _line(self, content: object) -> None:
        self._file.write(json.dumps(content, separators=(",", ":"), ensure_ascii=False) + "\n")


def require_absent(path: Path) -> None:
    """Raises `InvalidBackup`."""
    if path.exists():
        raise InvalidBackup(f"{path} must not exist yet: a backup never replaces another")


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """A new backup, under its name only once it is complete and on the medium. Raises `InvalidBackup`."""
    try:
        with replacing(path) as raw, gzip.open(raw, "wt", encoding="utf-8", compresslevel=3) as file:
            writer = ArchiveWriter(file)
            yield writer
            writer._line({"complete": True})
            require_absent(path)
    except OSError as error:
        raise InvalidBackup(f"the backup {path} could not be written: {reason_of(error)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a table ended: its tally as the writer had it."""

    table: str
    count: int
    checksum: str


Entry = tuple[str, list[Any]] | End


def read(path: Path) -> tuple[ArchiveHeader, Iterator[Entry]]:
    """The header, and then rows and ends of tables. Raises `InvalidBackup`, also while it is iterated."""
    lines = _lines(path)
    try:
        first = next(lines)
        if not isinstance(first, dict) or first.get("format") != FORMAT:
            raise InvalidBackup(f"{path} must begin with the header of a {FORMAT}")
        created_at = datetime.fromisoformat(first["created_at"])
        header = ArchiveHeader(revision=first["revision"], created_at=created_at, tables=first["tables"])
    except (StopIteration, KeyError, ValueError) as error:
        raise InvalidBackup(f"{path} must begin with the header of a {FORMAT}") from error
    return header, _entries(path, lines, header)


def _entries(path: Path, lines: Iterator[Any], header: ArchiveHeader) -> Iterator[Entry]:
    for content in lines:
        if isinstance(content, list) and content and content[0] in header.tables:
            yield content[0], content[1:]
        elif isinstance(content, dict) and content.get("complete"):
            return
        elif isinstance(content, dict) and content.get("table") in header.tables:
            yield End(table=content["table"], count=content["rows"], checksum=content["checksum"])
        else:
            raise InvalidBackup(f"{path} has a line that is neither a row nor the end of a table")
    raise InvalidBackup(f"{path} is not complete: its last line is missing")


def _lines(path: Path) -> Iterator[Any]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InvalidBackup(f"{path} cannot be read as a backup: {reason_of(error)}") from error


def _kind(column_type: Any) -> str:
    if isinstance(column_type, UtcInstant):
        return "instant"
    return "bytes" if isinstance(column_type, LargeBinary) else "plain"


def _encode(value: Any, kind: str) -> Any:
    if value is None or kind == "plain":
        return value
    if kind == "bytes":
        return base64.b64encode(value).decode()
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _decode(value: Any, kind: str) -> Any:
    if value is None or kind == "plain":
        return value
    return base64.b64decode(value) if kind == "bytes" else datetime.fromisoformat(value)
