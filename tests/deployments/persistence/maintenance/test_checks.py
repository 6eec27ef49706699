"""`gantry db check` on SQLite: what it finds, and that it says what to do."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from deployments.persistence.database import create_engine
from deployments.persistence.decisions.records import DecisionRecord, FeedbackRecord
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.maintenance.checks import Finding, Level, check
from deployments.persistence.maintenance.query_plans import API_QUERIES, QueryValues, plan_of, typical_values
from tests.deployments.persistence.decisions.test_records_evaluations import FEEDBACK_RECORD, evaluation
from tests.deployments.persistence.payloads import FIRST_INSTANT, decision, decision_id


@pytest.fixture(scope="module")
def path(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    return shutil.copyfile(migrated_file, tmp_path_factory.mktemp("checked") / "gantry.sqlite3")


def _with_both_arms(number: int) -> DecisionRecord:
    at = FIRST_INSTANT + timedelta(seconds=number)
    arms = (evaluation(number, "ppo", is_served=True, created_at=at), evaluation(number, created_at=at))
    return decision(number, plant_id=None, evaluations=arms)


def _rated(number: int) -> FeedbackRecord:
    return replace(FEEDBACK_RECORD, feedback_id=decision_id(number), decision_id=decision_id(number))


def _found(path: Path, subject: str) -> Finding:
    (finding,) = [finding for finding in check(f"sqlite:///{path}") if finding.subject == subject]
    return finding


def test_sound_database_has_no_errors(path: Path) -> None:
    """Nothing to mend on a fresh file, and nothing is left of looking."""
    assert [finding for finding in check(f"sqlite:///{path}") if finding.level is not Level.OK] == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'gantry_check'").fetchone() == (0,)


def test_looking_leaves_nothing_locked(path: Path) -> None:
    """While it still looks at other things, others write: the clock is asked after the writing was tried."""

    def clock_of_a_writer() -> datetime:
        with closing(sqlite3.connect(path, timeout=0.1)) as other, other:
            other.execute("UPDATE alembic_version SET version_num = version_num")
        return datetime.now(UTC)

    findings = check(f"sqlite:///{path}", clock_of_a_writer)
    assert [finding.subject for finding in findings if finding.level is not Level.OK] == []


def test_file_that_takes_no_writes_is_an_error(path: Path, tmp_path: Path) -> None:
    """Said with what SQLite says."""
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE gantry_check (x INTEGER)")
    finding = _found(copy, "writing")
    assert (finding.level, finding.message) == (
        Level.ERROR,
        "copy.sqlite3 must take writes: table gantry_check already exists",
    )


def test_file_in_wal_mode_is_an_error(path: Path) -> None:
    """Several connections of an old SQLite may corrupt it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    if sqlite3.sqlite_version_info < (3, 51, 3):
        assert _found(path, "journal").level is Level.ERROR
    assert _found(path, "journal").level is Level.OK


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("0001", "gantry db upgrade"), ("0042", "gantry db upgrade"), ("9999", "update this program")],
)
def test_schema_of_another_program_is_an_error(path: Path, tmp_path: Path, revision: str, advice: str) -> None:
    """Older or newer, with the way out."""
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
    finding = _found(copy, "schema")
    assert finding.level is Level.ERROR
    assert advice in finding.message


def test_missing_index_is_an_error(path: Path, tmp_path: Path) -> None:
    """Named, so that it can be made again."""
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("DROP INDEX ix_decision_client_created_at_decision_id")
    assert "ix_decision_client_created_at_decision_id" in _found(copy, "indexes").message


def test_clock_that_differs_is_a_warning(path: Path) -> None:
    """By more than two seconds."""
    findings = check(f"sqlite:///{path}", lambda: datetime.now(UTC) + timedelta(hours=1))
    (finding,) = [finding for finding in findings if finding.subject == "clock"]
    assert finding.level is Level.WARNING
    assert re.fullmatch(
        r"must agree with this machine within 2 s, was -3[56]\d\d\.\d s off: let a time service set both \(.*\)",
        finding.message,
    )


def test_queries_are_asked_for_who_is_there(path: Path, tmp_path: Path) -> None:
    """The busiest client of late with its newest decision; with `by_volume` each query is run, and rows are told."""
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(path.read_bytes())
    engine = create_engine(f"sqlite:///{copy}")
    with engine.connect() as connection:
        assert typical_values(connection) == QueryValues()
    rare = [decision(number, plant_id="ipoh", client="rare") for number in (1_001, 1_002)]
    busy = [decision(number, plant_id="penang", client="busy") for number in range(1, 1_001)]
    DecisionWriter(engine).write([record.to_bytes() for record in (*busy, *rare)])
    with engine.connect() as connection:
        found = typical_values(connection)
    engine.dispose()
    assert (found.client, found.plant_id, found.decision_id) == ("busy", "penang", decision_id(1_000))
    findings = {each.subject: each for each in check(f"sqlite:///{copy}", by_volume=True)}
    assert findings["volume"].message.startswith("the queries of client busy, plant penang, read only")
    assert {f"time: {query.name}" for query in API_QUERIES} <= {*findings}
    assert findings["time: one decision"].message.startswith("1 rows in ")
    assert findings["time: newest of a plant"].message.startswith("101 rows in ")


def test_every_query_of_the_api_follows_an_index(path: Path, tmp_path: Path) -> None:
    """On some thousand decisions, without sorting."""
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(path.read_bytes())
    engine = create_engine(f"sqlite:///{copy}")
    records = [record for number in range(1, 2_001) for record in (_with_both_arms(number), _rated(number))]
    DecisionWriter(engine).write([record.to_bytes() for record in records])
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        for query in API_QUERIES:
            plan = plan_of(connection, query, QueryValues(client="planner"))
            assert (plan.follows_index, plan.sorts) == (True, False), f"{query.name}: {plan.words}"
    engine.dispose()
