"""Reaching the database: engines for SQLite and MariaDB, the schema's revisions, and the database's clock."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event, make_url, text
from sqlalchemy.exc import ArgumentError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from deployments.errors import Overloaded, TemporarilyUnavailable
from deployments.persistence.errors import DatabaseError, DatabaseUnavailable, InvalidDatabaseUrl, SchemaMismatch
from deployments.persistence.failures import database_errors
from deployments.runtime.background import Threads
from deployments.runtime.clock import Clock
from deployments.runtime.durable_file import OWNER_ONLY
from deployments.runtime.metrics import STATEMENT_SECONDS, Meter

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

_log = logging.getLogger(__name__)
_MIGRATIONS = Path(__file__).parent / "migrations"
_SQLITE_DRIVERS = {"sqlite", "sqlite+pysqlite"}
_MARIADB_DRIVER = "mariadb+pymysql"
# Strict, so that a value that does not fit is an error and never silently cut.
_SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
_VERB = re.compile(
    r"\s*(INSERT|SELECT|UPDATE|DELETE)\b(?:(?:\s+IGNORE|\s+OR\s+IGNORE)?\s+INTO\s+`?(\w+)|\s+FROM\s+`?(\w+)|"
    r"\s+`?(\w+)`?\s+SET\b|.*?\sFROM\s+`?(\w+))?",
    re.IGNORECASE | re.DOTALL,
)
MAX_SKEW_SECONDS = 2.0
MAX_WAIT_SECONDS = 10.0
"""So long a transaction of `Transactions` is waited for."""
_ATTEMPTS = 3
_RETRY_AFTER_SECONDS = 5
_Repository = TypeVar("_Repository")
_Result = TypeVar("_Result")
DEFAULT_PACKET_BYTES = 16 * 2**20
"""What MariaDB takes as one statement unless it is told otherwise: its `max_allowed_packet`."""
_NOW = {
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "mariadb": "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%d %H:%i:%s.%f')",
}


def create_engine(
    url: str,
    *,
    connect_timeout_seconds: int = 5,
    statement_timeout_seconds: int = 30,
    pool_recycle_seconds: int = 300,
    pool_size: int = 4,
    is_impatient: bool = False,
) -> Engine:
    """An engine that connects lazily. Raises `InvalidDatabaseUrl`.

    A statement that gets no answer for `statement_timeout_seconds` loses its connection; on SQLite
    `connect_timeout_seconds` is how long to wait for another writer. With `is_impatient` the server itself
    gives up a second earlier, locks of rows and of tables included, and says why.
    """
    parsed = _parsed(url)
    if parsed.drivername == _MARIADB_DRIVER:
        return sqlalchemy.create_engine(
            parsed,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_recycle=pool_recycle_seconds,
            pool_size=pool_size,
            pool_timeout=connect_timeout_seconds,
            hide_parameters=True,
            connect_args={
                "charset": "utf8mb4",
                "sql_mode": _SQL_MODE,
                "connect_timeout": connect_timeout_seconds,
                "read_timeout": statement_timeout_seconds,
                "write_timeout": statement_timeout_seconds,
                "init_command": _impatience(statement_timeout_seconds - 1) if is_impatient else None,
            },
        )
    engine = sqlalchemy.create_engine(
        parsed, pool_size=pool_size, hide_parameters=True, connect_args={"timeout": connect_timeout_seconds}
    )
    event.listen(engine, "do_connect", _make_sqlite_file)
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def create_delivery_engine(url: str) -> Engine:
    """An engine for what must not wait: no connection, statement or lock takes longer than 5 s. Raises as above."""
    return create_engine(url, connect_timeout_seconds=3, statement_timeout_seconds=5, pool_size=1, is_impatient=True)


def time_statements(engine: Engine, meter: Meter) -> None:
    """Tells how long each statement took, by its verb and table, such as "insert decision"."""

    def begin(
        _connection: Connection, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        context.begun_at = time.perf_counter()

    def end(_connection: Connection, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        seconds = time.perf_counter() - context.begun_at
        meter.observe(STATEMENT_SECONDS, seconds, statement=_verb_and_table(statement))

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)


def _verb_and_table(statement: str) -> str:
    found = _VERB.match(statement)
    if found is None:
        return "other"
    table = next(filter(None, found.groups()[1:]), "")
    return f"{found[1]} {table}".strip().lower()


def _impatience(seconds: int) -> str:
    # A client that only hangs up leaves its statement, and the locks that it holds, to go on at the server.
    # Locks end first, because that error says more.
    locks = ", ".join(f"{name} = {seconds - 1}" for name in ("innodb_lock_wait_timeout", "lock_wait_timeout"))
    return f"SET SESSION max_statement_time = {seconds}, {locks}"


def address_of(engine: Engine) -> str:
    """The URL without its password: for messages and logs."""
    return _without_secrets(engine.url)


def place_of(url: str) -> str:
    """Where the database of a URL is, for people: its file, or its schema and host. Raises `InvalidDatabaseUrl`."""
    parsed = _parsed(url)
    if parsed.drivername in _SQLITE_DRIVERS:
        return f"file {Path(parsed.database or '').absolute()}"
    port = "" if parsed.port is None else f":{parsed.port}"
    host = parsed.query.get("unix_socket", f"{parsed.host or 'localhost'}{port}")
    return f"schema {parsed.database} on {host}"


def sqlite_files(url: str) -> tuple[Path, ...]:
    """The file of a SQLite database and the journals beside it, there or not. Raises `InvalidDatabaseUrl`."""
    parsed = _parsed(url)
    name = parsed.database or ""
    if parsed.drivername not in _SQLITE_DRIVERS or name.startswith("file:"):
        return ()
    return tuple(Path(name + suffix) for suffix in ("", "-journal", "-wal", "-shm"))


def upgrade(url: str, revision: str = "head") -> None:
    """Brings the schema to `revision`, creating the SQLite file and its folder when they are missing.

    Raises `SchemaMismatch` for a schema that is newer than this program, else a `DatabaseError`.
    """
    from alembic import command

    parsed = _parsed(url)
    if parsed.drivername in _SQLITE_DRIVERS:
        _make_folder(parsed)
    with _migrating(url) as config:
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Takes the schema back to `revision` ("base": nothing is left). Raises as `upgrade` does."""
    from alembic import command

    with _migrating(url) as config:
        command.downgrade(config, revision)


def current_revision(url: str) -> str | None:
    """The revision that the database is at, None when it was never migrated. Raises `DatabaseError`."""
    engine = create_engine(url)
    try:
        return _revision_of(engine)
    finally:
        engine.dispose()


def head_revision() -> str:
    """The revision that this program was written for."""
    head = _revisions().get_current_head()
    assert head is not None, "there is at least one migration"
    return head


def is_behind(found: str | None) -> bool:
    """Whether this program can migrate a schema at revision `found`; else it is newer. Ids need not be in order."""
    return found is None or any(found == script.revision for script in _revisions().walk_revisions())


def require_current_schema(engine: Engine) -> None:
    """Raises `SchemaMismatch` unless the schema is the one of this program; other `DatabaseError`s as they come."""
    found = None if _lacks_file(engine) else _revision_of(engine)
    if found != head_revision():
        raise _mismatch(engine, found)


class SchemaWatch:
    """Asks one database for its schema until that was this program's once: from then on a newer one only adds to it.

    `fault` says what keeps this program from it, in words that name no host and no user; None while nothing does, and
    while nobody can tell.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._has_been_right = False
        self._asked_of: str | None = ""
        self.fault: str | None = "the database's schema has not been looked at yet"

    def ask(self) -> None:
        """Blocks as `ClockSkew.ask` does. Raises `DatabaseError`."""
        if self._has_been_right:
            return
        try:
            found = _revision_of(self._engine)
        except DatabaseError:
            # That is said elsewhere, and keeps nobody from being ready.
            self.fault, self._asked_of = None, ""
            raise
        self._tell(found)

    def _tell(self, found: str | None) -> None:
        """The revisions of this program are read again only when the database has another one."""
        if found == self._asked_of:
            return
        self._asked_of, self._has_been_right = found, found == head_revision()
        self.fault = None if self._has_been_right else f"the database's schema {_mismatched(found)}"
        if self.fault is not None:
            _log.error("%s", self.fault)


def _lacks_file(engine: Engine) -> bool:
    """Whether it is SQLite without its file: to connect would make an empty one."""
    files = sqlite_files(engine.url.render_as_string(hide_password=False))
    return bool(files) and not files[0].exists()


def _mismatch(engine: Engine, found: str | None) -> SchemaMismatch:
    if _lacks_file(engine):
        where = engine.url.database
        return SchemaMismatch(f"there is no database {where} yet: `gantry serve` and `gantry db upgrade` make it")
    return SchemaMismatch(f"schema of {address_of(engine)} {_mismatched(found)}")


def _mismatched(found: str | None) -> str:
    advice = "run `gantry db upgrade`" if is_behind(found) else "it is newer than this program, which must be updated"
    return f"must be at {head_revision()}, was at {found or 'nothing'}: {advice}"


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not the library's words: they repeat the URL, and with it the password.
        wanted = "sqlite:///FILE or mariadb+pymysql://USER:PASSWORD@HOST:PORT/DATABASE"
        raise InvalidDatabaseUrl(f"database URL must look like {wanted}") from None
    if parsed.drivername not in {*_SQLITE_DRIVERS, _MARIADB_DRIVER}:
        raise InvalidDatabaseUrl(f"database URL must begin with sqlite or {_MARIADB_DRIVER}, was {parsed.drivername}")
    if not parsed.database or parsed.database == ":memory:":
        raise InvalidDatabaseUrl(f"database URL must name a database, was {_without_secrets(parsed)}")
    return parsed


def _without_secrets(url: URL) -> str:
    # Without the query, too: drivers take passwords there as well.
    return url.set(query={}).render_as_string(hide_password=True)


def _make_sqlite_file(_dialect: object, _record: object, arguments: list[Any], _options: object) -> None:
    """Readable by its owner only, whatever the umask; so are the journals that SQLite puts beside it."""
    # Whatever stands in the way, SQLite says it better.
    with suppress(OSError):
        if not arguments[0].startswith("file:"):
            os.close(os.open(arguments[0], os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # EXTRA also syncs the folder after a commit removes its rollback journal. With less, a power cut
    # could bring the journal back and undo rows whose spool segment is already deleted.
    cursor = connection.cursor()
    for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _make_folder(parsed: URL) -> None:
    folder = Path(parsed.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"folder of the database {folder} must be writable: {error.strerror}") from error


def _revisions() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(_MIGRATIONS))


def _revision_of(engine: Engine) -> str | None:
    from alembic.migration import MigrationContext

    with database_errors(address_of(engine)), engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def _migrating(url: str) -> Iterator[Config]:
    from alembic.config import Config
    from alembic.util.exc import CommandError

    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        with database_errors(address_of(engine)), engine.connect() as connection:
            config.attributes["connection"] = connection
            yield config
    except CommandError as error:
        if not is_behind(found := _revision_of(engine)):
            raise _mismatch(engine, found) from error
        raise SchemaMismatch(f"schema of {address_of(engine)} cannot be migrated: {error}") from error
    finally:
        engine.dispose()


def database_now(connection: Connection) -> datetime:
    """What time it is there. Raises what the driver raises."""
    words = connection.execute(text(_NOW[connection.dialect.name])).scalar_one()
    return datetime.fromisoformat(words).replace(tzinfo=UTC)


def skew_seconds(connection: Connection, clock: Clock) -> float:
    """How far the database is ahead (negative: behind), at least: how long it took to answer proves nothing."""
    before = clock()
    theirs = database_now(connection)
    after = clock()
    return max(0.0, (theirs - after).total_seconds()) - max(0.0, (before - theirs).total_seconds())


def max_packet_bytes(connection: Connection) -> int | None:
    """How many bytes one statement may have; None where there is no such bound. Raises what the driver raises."""
    if connection.dialect.name == "sqlite":
        return None
    return int(connection.execute(text("SELECT @@max_allowed_packet")).scalar_one())


class ClockSkew:
    """Asks one database now and then for its clock and for the bound of its statements, and remembers.

    Until it was asked, `packet_bytes` is what a server has that nobody has set up.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.seconds = 0.0
        self.packet_bytes = None if engine.dialect.name == "sqlite" else DEFAULT_PACKET_BYTES

    def ask(self) -> None:
        """Blocks for up to the connect time-out: keep it off the request path. Raises `DatabaseError`."""
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            self.seconds = skew_seconds(connection, self._clock)
            self.packet_bytes = max_packet_bytes(connection)


class Transactions(Generic[_Repository]):
    """Transactions of one repository, in threads that they share with nobody who could do without the database.

    `begin` opens one. What raises one of `passing` is tried again, a few times in all: two may meet in a deadlock.
    Where nothing comes of it within `max_wait_seconds`, `refusal` is raised with `words`, and logged at `log_level`.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[_Repository]],
        threads: Threads,
        *,
        refusal: type[TemporarilyUnavailable],
        words: str,
        passing: tuple[type[DatabaseError], ...] = (DatabaseUnavailable,),
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        log_level: int = logging.WARNING,
    ) -> None:
        self._begin = begin
        self._threads = threads
        self._refusal = refusal
        self._words = words
        self._passing = passing
        self._max_wait_seconds = max_wait_seconds
        self._log_level = log_level

    async def do(
        self, work: Callable[[_Repository], _Result], undo: Callable[[_Repository], None] | None = None
    ) -> _Result:
        """What `work` comes to; if this does not return, `undo` follows it. Raises `refusal`, or what `work` raises."""
        try:
            asked = self._threads.submit(self._in_transaction, work)
        except Overloaded as error:
            raise self._refusal(str(error), error.retry_after_seconds) from error
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                return await asyncio.wrap_future(asked)
        except BaseException as error:
            # A thread that waits for the database is not stopped by a client that hangs up, nor by a time limit.
            if undo is not None:
                asked.add_done_callback(lambda _: self._undo(undo))
            if not isinstance(error, TimeoutError | DatabaseError):
                raise
            _log.log(self._log_level, "%s: %s", self._words, error or "no answer in time")
            raise self._refusal(self._words, _RETRY_AFTER_SECONDS) from error

    def _undo(self, undo: Callable[[_Repository], None]) -> None:
        """Begins in a thread of its own, since this may be the event loop's."""

        def undone() -> None:
            try:
                self._in_transaction(undo)
            except DatabaseError as error:
                _log.warning("what nobody waits for could not be taken back, and ends with its lease: %s", error)

        # When the router closes, the lease ends by itself.
        with suppress(RuntimeError, Overloaded):
            self._threads.submit(undone)

    def _in_transaction(self, work: Callable[[_Repository], _Result]) -> _Result:
        def transaction() -> _Result:
            with self._begin() as repository:
                return work(repository)

        retry = retry_if_exception_type(self._passing)
        return Retrying(retry=retry, stop=stop_after_attempt(_ATTEMPTS), reraise=True)(transaction)
