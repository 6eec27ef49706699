"""What may lose data or time in the database behind the service: looked for, and said with what to do.

And looked at in the background: whether stored decisions still are what was answered, a few at random, again and again.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine, bindparam, inspect, select, text
from sqlalchemy.exc import DBAPIError

from deployments.persistence.database import (
    MAX_SKEW_SECONDS,
    create_engine,
    current_revision,
    head_revision,
    is_behind,
    skew_seconds,
)
from deployments.persistence.decisions.repository import Inspection, unit_of_work
from deployments.persistence.errors import (
    CorruptionEvent,
    CorruptionLog,
    DatabaseError,
    FoundBy,
    Mismatch,
    PayloadMismatch,
)
from deployments.persistence.failures import database_errors
from deployments.persistence.maintenance.backup_history import (
    DRILLED,
    MAX_BACKUP_AGE,
    MAX_DRILL_AGE,
    PROVEN,
    age_in_words,
    newest_proof,
)
from deployments.persistence.maintenance.query_plans import (
    API_QUERIES,
    MAX_TIMED_SECONDS,
    ApiQuery,
    QueryValues,
    bound_time,
    plan_of,
    time_of,
    typical_values,
)
from deployments.persistence.tables import DECISION, METADATA
from deployments.runtime.background import BackgroundTask, Threads
from deployments.runtime.clock import utc_now

SAMPLE_COUNT = 20
_MAX_ID = 2**128 - 1
_MEBIBYTE = 2**20
_MIN_PACKET_BYTES = 64 * _MEBIBYTE
_MIN_IDLE_SECONDS = 600
_SLOW_SECONDS = 10
_ROWS_FOR_A_PLAN = 1_000
# Below it two connections may corrupt a file in WAL mode.
_SAFE_WAL = (3, 51, 3)
_OLDEST_MARIADB = (10, 6)
_log = logging.getLogger(__name__)


class Level(StrEnum):
    """How bad: fine, worth a look, or a reason not to run like this."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    message: str


def check(url: str, clock: Callable[[], datetime] = utc_now, *, by_volume: bool = False) -> list[Finding]:
    """Everything there is to say about the database. Raises `DatabaseError` when it cannot be reached at all.

    `by_volume`: each query of the API is run as well, on the rows that are there.
    """
    engine = create_engine(url, statement_timeout_seconds=2 * MAX_TIMED_SECONDS)
    try:
        # A file that SQLite has in WAL mode is changed by our own connections, so it is looked at before them.
        early = list(_sqlite_file(engine)) if engine.dialect.name == "sqlite" else []
        revision = _revision(current_revision(url))
        with database_errors(str(engine.url)), engine.connect() as connection:
            own = _sqlite(connection) if engine.dialect.name == "sqlite" else _mariadb(connection)
            findings = [*early, revision, *own, _clock(connection, clock)]
            if revision.level is Level.OK:
                findings += [*_backups(engine, clock()), *_indexes(engine), *_plans(connection)]
            if revision.level is Level.OK and by_volume:
                bound_time(connection)
                findings += _times(connection)
        return findings
    finally:
        engine.dispose()


def _revision(found: str | None) -> Finding:
    wanted = head_revision()
    if found == wanted:
        return _ok("schema", f"at {found}, nothing pending")
    advice = "run `gantry db upgrade`" if is_behind(found) else "it is newer: update this program"
    return _error("schema", f"must be at {wanted}, was at {found or 'nothing'}: {advice}")


def _sqlite_file(engine: Engine) -> Iterator[Finding]:
    path = Path(engine.url.database or "")
    if not path.exists():
        return
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        except sqlite3.Error as error:
            yield _error("journal", f"{path.name}: {error}")
            return
    if mode == "wal" and sqlite3.sqlite_version_info < _SAFE_WAL:
        wanted = ".".join(map(str, _SAFE_WAL))
        yield _error(
            "journal",
            f"the file was in WAL mode, where SQLite {sqlite3.sqlite_version} (before {wanted}) may corrupt it with "
            "several connections: let nobody but Gantry open it, which uses a rollback journal",
        )
    else:
        yield _ok("journal", f"{mode}, SQLite {sqlite3.sqlite_version}")


def _sqlite(connection: Connection) -> Iterator[Finding]:
    found = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    yield _ok("integrity", "sound") if found == "ok" else _error("integrity", f"{found}: restore a backup")
    path = Path(connection.engine.url.database or "")
    try:
        # Takes the lock of a writer, and lets go of it: at the end of reading nothing may be left locked.
        with connection.begin_nested() as looking:
            connection.exec_driver_sql("CREATE TABLE gantry_check (x INTEGER)")
            looking.rollback()
    except DBAPIError as error:
        yield _error("writing", f"{path.name} must take writes: {error.orig}")
    else:
        yield _ok("writing", "the file takes writes")
    finally:
        connection.rollback()


def _mariadb(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(text("SHOW GLOBAL VARIABLES")).all()
    settings = {str(name): str(value) for name, value in row}
    yield from _version(settings)
    yield from _durability(settings)
    yield from _limits(settings)
    yield from _charset(connection)
    yield from _slowness(connection, settings)


def _version(settings: dict[str, str]) -> Iterator[Finding]:
    version = settings["version"]
    numbers = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    if "mariadb" not in version.lower():
        yield _warning("version", f"{version} is not MariaDB, which alone is tested")
    elif numbers < _OLDEST_MARIADB:
        yield _error("version", f"must be MariaDB 10.6 or newer, was {version}")
    else:
        yield _ok("version", version)


def _durability(settings: dict[str, str]) -> Iterator[Finding]:
    wanted = {
        "innodb_flush_log_at_trx_commit": ("1", "commits of the last second are lost when the machine dies"),
        "innodb_doublewrite": ("ON", "a torn page cannot be repaired after a power cut"),
        "sync_binlog": ("1", "replicas and point-in-time recovery may lack the last commits"),
        "innodb_checksum_algorithm": ("crc32", "damaged pages go unnoticed"),
    }
    if settings.get("log_bin") != "ON":
        del wanted["sync_binlog"]
    for name, (value, consequence) in wanted.items():
        found = settings.get(name, value)
        if found.upper() == value.upper() or (name == "innodb_checksum_algorithm" and "crc32" in found):
            yield _ok(name, found)
        else:
            level = Level.WARNING if name == "sync_binlog" else Level.ERROR
            yield Finding(level=level, subject=name, message=f"must be {value}, was {found}: {consequence}")
    if settings.get("read_only") != "OFF":
        yield _error("read_only", f"the server takes no writes (read_only={settings.get('read_only')}): decisions wait")


def _limits(settings: dict[str, str]) -> Iterator[Finding]:
    packet = int(settings["max_allowed_packet"])
    if packet < _MIN_PACKET_BYTES:
        message = f"should be at least {_MIN_PACKET_BYTES:,}, was {packet:,}: larger bodies are refused once compressed"
        yield _warning("max_allowed_packet", message)
    else:
        yield _ok("max_allowed_packet", f"{packet:,}")
    idle = int(settings["wait_timeout"])
    if idle < _MIN_IDLE_SECONDS:
        yield _warning("wait_timeout", f"should be at least {_MIN_IDLE_SECONDS} s, was {idle} s")


def _charset(connection: Connection) -> Iterator[Finding]:
    query = text(
        "SELECT table_name, table_collation FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND table_name IN :names "
        "AND table_collation <> 'utf8mb4_nopad_bin'"
    ).bindparams(bindparam("names", value=sorted(METADATA.tables), expanding=True))
    others = [f"{name} {collation}" for name, collation in connection.execute(query)]
    if others:
        yield _error("charset", f"tables must be utf8mb4_nopad_bin, were not: {', '.join(others)}")
    else:
        yield _ok("charset", "utf8mb4_nopad_bin")


def _slowness(connection: Connection, settings: dict[str, str]) -> Iterator[Finding]:
    if settings.get("slow_query_log") != "ON":
        yield _warning("slow_query_log", "is off: slow queries leave no trace (SET GLOBAL slow_query_log = 1)")
    else:
        slow = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Slow_queries'")).one()[1]
        yield _ok("slow_query_log", f"on, {slow} queries above {settings['long_query_time']} s since the start")
    query = text(
        "SELECT id, time, LEFT(info, 60) FROM information_schema.processlist "
        "WHERE command = 'Query' AND time >= :seconds AND db = DATABASE()"
    )
    for number, seconds, words in connection.execute(query, {"seconds": _SLOW_SECONDS}):
        yield _warning("slow query", f"connection {number} has been busy for {seconds} s: {words}")


def _clock(connection: Connection, clock: Callable[[], datetime]) -> Finding:
    skew = skew_seconds(connection, clock)
    if abs(skew) > MAX_SKEW_SECONDS:
        wanted = f"must agree with this machine within {MAX_SKEW_SECONDS:g} s, was {skew:+.1f} s off"
        return _warning("clock", f"{wanted}: let a time service set both (chrony, systemd-timesyncd)")
    return _ok("clock", f"agrees with this machine within {MAX_SKEW_SECONDS:g} s")


def _backups(engine: Engine, now: datetime) -> Iterator[Finding]:
    """How old the newest backups are that are known to be good; nobody needs one of a database without decisions."""
    with engine.connect() as connection:
        if connection.execute(select(DECISION.c.decision_id).limit(1)).first() is None:
            return
    for subject, actions, limit, command in (
        ("backup", PROVEN, MAX_BACKUP_AGE, "gantry db backup --verify"),
        ("drill", frozenset({DRILLED}), MAX_DRILL_AGE, "gantry db drill"),
    ):
        proof = newest_proof(engine, actions)
        wanted = f"the newest backup {'drilled' if subject == 'drill' else 'verified'}"
        if proof is None:
            yield _warning(
                subject, f"{wanted} should be at most {age_in_words(limit)} old, there was none: `{command}`"
            )
            continue
        found = f"{age_in_words(now - proof.created_at)} old, {proof.file}, restored in {proof.restore_seconds} s"
        if now - proof.created_at > limit:
            yield _warning(subject, f"{wanted} should be at most {age_in_words(limit)} old, was {found}: `{command}`")
        else:
            yield _ok(subject, f"{wanted} is {found}")


def _indexes(engine: Engine) -> Iterator[Finding]:
    inspector = inspect(engine)
    missing = [
        str(index.name)
        for name, table in METADATA.tables.items()
        for index in table.indexes
        if str(index.name) not in {found["name"] for found in inspector.get_indexes(name)}
    ]
    if missing:
        yield _error("indexes", f"must all be there, were missing: {', '.join(missing)}")
    else:
        yield _ok("indexes", "all are there")


def _plans(connection: Connection) -> Iterator[Finding]:
    """Which index each query of the API takes; with few rows an optimiser rightly takes none."""
    rows = connection.execute(text("SELECT count(*) FROM (SELECT 1 FROM decision LIMIT 1000) AS some")).scalar_one()
    if rows < _ROWS_FOR_A_PLAN:
        yield _ok("queries", f"not looked at: fewer than {_ROWS_FOR_A_PLAN:,} decisions")
        return
    values = typical_values(connection)
    for query in API_QUERIES:
        try:
            plan = plan_of(connection, query, values)
        except DBAPIError as error:
            advice = "`gantry db grants` prints what its user needs"
            yield _warning(f"query: {query.name}", f"cannot be explained ({error.orig}): {advice}")
            continue
        if plan.follows_index and not plan.sorts:
            yield _ok(f"query: {query.name}", plan.words)
        else:
            yield _warning(f"query: {query.name}", f"should follow an index, does {plan.words}: ANALYZE TABLE may help")


def _times(connection: Connection) -> Iterator[Finding]:
    """How long each query of the API takes.

    In the database itself, where the API would ask too, and not in a copy: that takes hours and room, and neither its
    statistics nor what its server holds in memory are those that requests meet.
    """
    values = typical_values(connection)
    asked_for = f"client {values.client}, plant {values.plant_id}"
    yield _ok("volume", f"the queries of {asked_for}, read only, at most {MAX_TIMED_SECONDS} s for each")
    for query in API_QUERIES:
        yield _time(connection, query, values)


def _time(connection: Connection, query: ApiQuery, values: QueryValues) -> Finding:
    subject, wanted = f"time: {query.name}", f"should be answered within {query.max_seconds:g} s"
    try:
        found = time_of(connection, query, values)
    except DBAPIError as error:
        return _warning(subject, f"{wanted}, was not: {error.orig}")
    took = f"{found.rows:,} rows in {found.seconds:.3f} s{', and more were left' if found.is_cut else ''}"
    if found.is_cut or found.seconds > query.max_seconds:
        advice = "ANALYZE TABLE may help, or `gantry db prune`, which removes old decisions"
        return _warning(subject, f"{wanted}, was {took}: {advice}")
    return _ok(subject, took)


def _ok(subject: str, message: str) -> Finding:
    return Finding(level=Level.OK, subject=subject, message=message)


def _warning(subject: str, message: str) -> Finding:
    return Finding(level=Level.WARNING, subject=subject, message=message)


def _error(subject: str, message: str) -> Finding:
    return Finding(level=Level.ERROR, subject=subject, message=message)


class IntegritySampler(BackgroundTask):
    """Each round verifies the digests of up to `sample_count` decisions that follow a random id, and notices new damage
    in the spool. A decision that was reported is not reported again.
    """

    def __init__(
        self,
        engine: Engine,
        log: CorruptionLog,
        *,
        damaged_regions: Callable[[], int],
        rng: np.random.Generator,
        interval_seconds: float,
        sample_count: int = SAMPLE_COUNT,
    ) -> None:
        super().__init__("integrity", self._look, period_seconds=interval_seconds)
        self._engine = engine
        self._log = log
        self._damaged_regions = damaged_regions
        self._known_regions = damaged_regions()
        self._rng = rng
        self._sample_count = sample_count
        self._reported: set[str] = set()
        self._threads = Threads("integrity", 1)

    async def look_once(self) -> int:
        """How many decisions were verified. Raises `DatabaseError`."""
        regions = self._damaged_regions()
        if regions > self._known_regions:
            detail = f"{regions - self._known_regions} damaged regions in the spool"
            self._log.report(CorruptionEvent(found_by=FoundBy.SPOOL, detail=detail))
        self._known_regions = max(regions, self._known_regions)
        inspection = await self._threads.run(self._inspect)
        for mismatch in inspection.mismatches:
            self._report(mismatch)
        return inspection.verified

    async def _look(self) -> None:
        try:
            await self.look_once()
        except DatabaseError as error:
            _log.info("stored decisions cannot be verified now: %s", error)

    def _inspect(self) -> Inspection:
        with unit_of_work(self._engine) as decisions:
            bounds = decisions.id_bounds()
            if bounds is None:
                return Inspection(verified=0, mismatches=())
            first, last = (uuid.UUID(bound).int for bound in bounds)
            start = first + int(self._rng.random() * (last - first))
            return decisions.inspect(str(uuid.UUID(int=min(start, _MAX_ID))), self._sample_count)

    def _report(self, mismatch: Mismatch) -> None:
        if mismatch.decision_id not in self._reported:
            self._reported.add(mismatch.decision_id)
            self._log.report(CorruptionEvent(found_by=FoundBy.SAMPLE, detail=str(PayloadMismatch([mismatch]))))
