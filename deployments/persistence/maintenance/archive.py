"""The backup file: all tables as gzipped JSON lines, the same for SQLite and MariaDB.

The first line is the header (format, revision, tables with the kinds of their columns). Then come the rows,
`[table, values...]`, and for each table a line with its row count and checksum; the last line says that the
file is complete. Bytes are base64, instants ISO 8601 in UTC. The checksum does not depend on the order of rows.

A file for recipients is encrypted as age does it (https://age-encryption.org/v1), so that `age` itself opens it, too.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import pyrage  # type: ignore[import-untyped]
from sqlalchemy import LargeBinary, Table

from deployments.errors import reason_of
from deployments.persistence.errors import InvalidBackup
from deployments.persistence.tables import UtcInstant
from deployments.runtime.durable_file import replacing

FORMAT = "gantry-backup-1"
ENCRYPTED_SUFFIX = ".age"
_MAGIC = b"age-encryption.org/"
_MODULUS = 2**256
Columns = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveHeader:
    """What a backup is of: `tables` maps each table to its columns and their kinds (plain, bytes, instant).

    `binary_log` is where MariaDB's binary log stood at that instant, where there is one: file, position and gtid.
    """

    revision: str
    created_at: datetime
    tables: dict[str, Columns]
    binary_log: dict[str, str] | None = None


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
                "binary_log": header.binary_log,
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
def writing(path: Path, recipients: Sequence[str] = ()) -> Iterator[ArchiveWriter]:
    """A new backup, under its name only once it is complete and on the medium; for `recipients` it is encrypted.

    Raises `InvalidBackup`.
    """
    try:
        with (
            replacing(path) as raw,
            _encrypted(raw, recipients) as target,
            gzip.open(target, "wt", encoding="utf-8", compresslevel=3) as file,
        ):
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


def new_identity() -> tuple[str, str]:
    """An identity, which alone opens what was encrypted for its recipient, and that recipient."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def is_encrypted(path: Path) -> bool:
    """Whether an identity is needed to read the file. Raises `OSError`."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_header(path: Path, identity: Path | None = None) -> ArchiveHeader:
    """The header alone. Raises as `read` does."""
    with closing(_lines(path, identity)) as lines:
        return _header(path, lines)


def read(path: Path, identity: Path | None = None) -> tuple[ArchiveHeader, Iterator[Entry]]:
    """The header, and then rows and ends of tables. Raises `InvalidBackup`, also while it is iterated.

    An encrypted file is opened by the file `identity`, as age-keygen and `gantry db backup-key` write it.
    """
    lines = _lines(path, identity)
    header = _header(path, lines)
    return header, _entries(path, lines, header)


def _header(path: Path, lines: Iterator[Any]) -> ArchiveHeader:
    try:
        first = next(lines)
        if not isinstance(first, dict) or first.get("format") != FORMAT:
            raise InvalidBackup(f"{path} must begin with the header of a {FORMAT}")
        created_at = datetime.fromisoformat(first["created_at"])
        return ArchiveHeader(
            revision=first["revision"],
            created_at=created_at,
            tables=first["tables"],
            binary_log=first.get("binary_log"),
        )
    except (StopIteration, KeyError, ValueError) as error:
        raise InvalidBackup(f"{path} must begin with the header of a {FORMAT}") from error


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


def _lines(path: Path, identity: Path | None) -> Generator[Any, None, None]:
    try:
        with _decrypted(path, identity) as source, gzip.open(source, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InvalidBackup(f"{path} cannot be read as a backup: {reason_of(error)}") from error


@contextmanager
def _encrypted(target: BinaryIO, recipients: Sequence[str]) -> Iterator[BinaryIO]:
    """What goes in comes out in `target`, encrypted: never plain on a disk, and never whole in memory.

    Raises `InvalidBackup` and `OSError`.
    """
    if not recipients:
        yield target
        return
    try:
        keys = [pyrage.x25519.Recipient.from_str(each) for each in recipients]
    except pyrage.RecipientError as error:
        raise InvalidBackup(f"a recipient must be a public key as `gantry db backup-key` prints it: {error}") from None
    outlet, inlet = os.pipe()

    def encrypt() -> None:
        # Closed whatever happens: whoever writes would else wait for ever.
        with open(outlet, "rb") as source:
            pyrage.encrypt_io(source, target, keys)

    with ThreadPoolExecutor(1, "age") as thread:
        done = thread.submit(encrypt)
        try:
            with open(inlet, "wb") as writer:
                yield cast(BinaryIO, writer)
        except BrokenPipeError:
            _require(done.exception(), "encrypted")
            raise
        _require(done.exception(), "encrypted")


@contextmanager
def _decrypted(path: Path, identity: Path | None) -> Iterator[BinaryIO]:
    """The plain content of a backup, piece by piece. Raises `InvalidBackup` and `OSError`."""
    if not is_encrypted(path):
        with path.open("rb") as plain:
            yield plain
        return
    if identity is None:
        raise InvalidBackup(f"{path} is encrypted: give the file of its identity by --identity")
    keys = _identities(identity)
    outlet, inlet = os.pipe()

    def decrypt() -> None:
        with path.open("rb") as source, open(inlet, "wb") as target:
            pyrage.decrypt_io(source, target, keys)

    with ThreadPoolExecutor(1, "age") as thread:
        done = thread.submit(decrypt)
        try:
            with open(outlet, "rb") as reader:
                yield cast(BinaryIO, reader)
        except (OSError, EOFError, ValueError, zlib.error):
            # A file that cannot be decrypted ends too early for whoever reads it: that is no more than a sign of it.
            _require(done.exception(), f"decrypted with {identity}")
            raise
        _require(done.exception(), f"decrypted with {identity}")


def _identities(path: Path) -> list[pyrage.x25519.Identity]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        found = []
    if not found:
        # Without the library's words: they might repeat what stands in the file.
        raise InvalidBackup(f"{path} must have identities, one AGE-SECRET-KEY-1... a line, had none that can be read")
    return found


def _require(failure: BaseException | None, what: str) -> None:
    if failure is not None and not isinstance(failure, BrokenPipeError):
        raise InvalidBackup(f"the backup cannot be {what}: {failure}") from failure


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
