"""Reaching the database: engines and revisions, on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

import deployments.persistence.migrations
from deployments.persistence.database import (
    SchemaWatch,
    address_of,
    create_engine,
    current_revision,
    downgrade,
    head_revision,
    place_of,
    require_current_schema,
    upgrade,
)
from deployments.persistence.errors import DatabaseError, InvalidDatabaseUrl, SchemaMismatch
from deployments.persistence.tables import METADATA


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet, in a folder that does not either."""
    return f"sqlite:///{tmp_path / 'new folder' / 'gantry.sqlite3'}"


def test_upgrade_creates_the_schema_of_the_program(url: str) -> None:
    """From nothing to the newest revision, with nothing left for Alembic to generate."""
    upgrade(url)
    upgrade(url)
    assert current_revision(url) == head_revision()
    engine = create_engine(url)
    require_current_schema(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_downgrade_leaves_no_table(url: str) -> None:
    """All the way down only Alembic's own table is left."""
    upgrade(url)
    downgrade(url, "base")
    assert current_revision(url) is None
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_watch_tells_what_the_schema_lacks_until_it_is_right(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not before it was asked, then once with the remedy; a newer schema than that of a running program only adds."""
    Path(url.removeprefix("sqlite:///")).parent.mkdir()
    engine = create_engine(url)
    watch = SchemaWatch(engine)
    assert watch.fault == "the database's schema has not been looked at yet"
    for _ in range(2):
        watch.ask()
        assert watch.fault == (
            f"the database's schema must be at {head_revision()}, was at nothing: run `gantry db upgrade`"
        )
    assert [record.message for record in caplog.records] == [watch.fault]
    upgrade(url)
    watch.ask()
    assert watch.fault is None
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    watch.ask()
    assert watch.fault is None
    started_later = SchemaWatch(engine)
    started_later.ask()
    assert started_later.fault is not None
    assert "was at 9999: it is newer than this program, which must be updated" in started_later.fault
    engine.dispose()


def test_watch_blames_no_schema_while_the_database_is_away(tmp_path: Path) -> None:
    """An outage is told elsewhere; after it the schema is told again."""
    folder = tmp_path / "away"
    engine = create_engine(f"sqlite:///{folder / 'gantry.sqlite3'}")
    watch = SchemaWatch(engine)
    with pytest.raises(DatabaseError):
        watch.ask()
    assert watch.fault is None
    folder.mkdir()
    watch.ask()
    assert watch.fault is not None
    engine.dispose()


def test_old_schema_is_refused_with_advice(url: str) -> None:
    """The message says what was required, what was found and what to do."""
    upgrade(url, "0001")
    engine = create_engine(url)
    with pytest.raises(SchemaMismatch, match=f"must be at {head_revision()}, was at 0001: run `gantry db upgrade`"):
        require_current_schema(engine)
    engine.dispose()


def test_newer_schema_is_refused_and_not_migrated(url: str) -> None:
    """A revision that this program does not know is left alone."""
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="was at 9999: it is newer than this program"):
        require_current_schema(engine)
    with pytest.raises(SchemaMismatch, match="was at 9999: it is newer than this program, which must be updated"):
        upgrade(url)
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:////var/lib/gantry.sqlite3", "file /var/lib/gantry.sqlite3"),
        ("mariadb+pymysql://gantry:hush@db.example/gantry", "schema gantry on db.example"),
        ("mariadb+pymysql://gantry:hush@db.example:3307/plans?ssl_key=k", "schema plans on db.example:3307"),
        ("mariadb+pymysql://gantry@/gantry?unix_socket=/run/mysqld.sock", "schema gantry on /run/mysqld.sock"),
        ("mariadb+pymysql:///gantry", "schema gantry on localhost"),
    ],
)
def test_place_of_a_database_is_its_file_or_schema_and_host(url: str, place: str) -> None:
    """What tells one database from another, and nothing else of the URL."""
    assert place_of(url) == place


def test_address_has_no_password_wherever_that_stands() -> None:
    """Drivers take one in the query of the URL, too."""
    engine = create_engine("mariadb+pymysql://gantry:hush@db.example:3307/gantry?passwd=hush")
    assert address_of(engine) == "mariadb+pymysql://gantry:***@db.example:3307/gantry"
    with pytest.raises(InvalidDatabaseUrl, match=r"must name a database, was mariadb\+pymysql://gantry@db.example$"):
        create_engine("mariadb+pymysql://gantry@db.example?passwd=hush")


def test_revision_is_one_statement() -> None:
    """MariaDB commits each DDL statement by itself, so a second one could be left undone."""
    scripts = ScriptDirectory(str(Path(deployments.persistence.migrations.__file__).parent))
    for script in scripts.walk_revisions():
        source = Path(script.path).read_text()
        assert source.split("def upgrade")[1].count("op.") == 2, script.path


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hush", "must look like sqlite:///FILE"),
        ("mariadb+pymysql://user:hush@host:port/gantry", "must look like sqlite:///FILE"),
        ("postgresql://user:hush@host/gantry", "must begin with sqlite or mariadb.pymysql, was postgresql"),
        ("mariadb+pymysql://user:hush@host", r"must name a database, was mariadb\+pymysql://user:\*\*\*@host"),
        ("sqlite://", "must name a database, was sqlite://"),
    ],
)
def test_wrong_url_is_refused_without_its_password(url: str, message: str) -> None:
    """One line says what a URL must be."""
    with pytest.raises(InvalidDatabaseUrl, match=message) as caught:
        create_engine(url)
    assert "hush" not in str(caught.value)


def test_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    """The driver's words, and which file."""
    (tmp_path / "x.sqlite3").write_bytes(b"certainly not a database " * 100)
    with pytest.raises(DatabaseError, match=r"x\.sqlite3: file is not a database"):
        current_revision(f"sqlite:///{tmp_path / 'x.sqlite3'}")


def test_sqlite_keeps_a_rollback_journal_and_syncs_fully(engine: Engine) -> None:
    """Not the write-ahead log, and durable beyond the deletion of the journal."""
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "delete"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 3


def test_every_constraint_and_index_has_a_name() -> None:
    """Migrations can only change what they can name."""
    for table in METADATA.tables.values():
        assert all(constraint.name for constraint in table.constraints)
        assert all(index.name and len(index.name) <= 64 for index in table.indexes)
