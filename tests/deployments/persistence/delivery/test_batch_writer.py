"""Spooled payloads into the database, on SQLite."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, func, select, text

from deployments.persistence.database import create_engine
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.delivery.batch_writer import DecisionWriter, RetryPolicy, WriteReport
from deployments.persistence.errors import DatabaseError, DatabaseUnavailable, DataRejected, Mismatch, PayloadMismatch
from deployments.persistence.failures import advice_for
from deployments.persistence.maintenance.checks import Level, check
from deployments.persistence.spool.dead_letters import DeadLetterKind
from deployments.persistence.tables import DECISION
from tests.deployments.persistence.payloads import decision, decision_id


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(DECISION)).scalar_one()


def _write(engine: Engine, payloads: Sequence[bytes]) -> WriteReport:
    return DecisionWriter(engine, sleep=lambda _: None).write(payloads)


class _Busy:
    """Lets the first commits of an engine fail as a locked SQLite file does."""

    def __init__(self, engine: Engine, failures: int) -> None:
        self.failures = failures
        self.pauses: list[float] = []
        event.listen(engine, "before_cursor_execute", self._before)

    def _before(self, *_: object) -> None:
        if self.failures:
            self.failures -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error


def test_nothing_to_write_is_written(engine: Engine) -> None:
    """An empty batch needs no database."""
    assert _write(engine, []) == WriteReport(accepted=0)


def test_batch_written_twice_is_stored_once(engine: Engine) -> None:
    """Delivery at least once makes rows exactly once."""
    payloads = [decision(number).to_bytes() for number in range(20)]
    assert _write(engine, payloads).accepted == 20
    assert _write(engine, payloads).accepted == 20
    assert _count(engine) == 20


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"[]", b"1", b"{}", b'{"created_at": 1}', decision().to_bytes().replace(b'"seed"', b'"sead"')],
)
def test_payload_that_is_no_record_is_poison(engine: Engine, payload: bytes) -> None:
    """It is given back as it was, and its neighbour is stored."""
    report = _write(engine, [payload, decision(2).to_bytes()])
    assert (report.accepted, _count(engine)) == (1, 1)
    assert [(letter.payload, letter.kind) for letter in report.poisoned] == [(payload, DeadLetterKind.UNREADABLE)]


def test_payload_with_damaged_bodies_is_poison(engine: Engine) -> None:
    """A bad zlib stream inside a good record is no record."""
    payload = decision(request=b"x" * 50).to_bytes().replace(b'"request":"e', b'"request":"f')
    assert _write(engine, [payload]).poisoned[0].kind is DeadLetterKind.UNREADABLE


def test_record_with_another_digest_is_a_mismatch(engine: Engine) -> None:
    """What was spooled is not what was promised: it is not stored as if it were."""
    report = _write(engine, [decision(payload_sha256="0" * 64).to_bytes()])
    assert (report.accepted, report.mismatch_count, _count(engine)) == (0, 1, 0)
    assert "must be 000000" in report.poisoned[0].reason


@pytest.mark.parametrize("is_first_stored", [True, False])
def test_second_payload_under_one_id_is_a_mismatch(engine: Engine, is_first_stored: bool) -> None:
    """The first one wins, whether it came in an earlier batch or in the same one."""
    first, second = decision(1, answer=b"first"), decision(1, answer=b"second")
    if is_first_stored:
        _write(engine, [first.to_bytes()])
    report = _write(engine, [first.to_bytes(), second.to_bytes(), decision(2).to_bytes()])
    assert (report.accepted, report.mismatch_count, _count(engine)) == (2, 1, 2)
    with unit_of_work(engine) as decisions:
        assert decisions.get(decision_id(1), "planner") == first


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(is_bad=st.lists(st.booleans(), max_size=12))
def test_bisection_finds_exactly_the_rows_to_blame(engine: Engine, is_bad: list[bool]) -> None:
    """Whichever rows the database rejects, all others are stored."""
    with engine.begin() as connection:
        connection.execute(delete(DECISION))
    records = [decision(number) for number in range(len(is_bad))]
    records = [replace(record, job_count=2**70) if bad else record for record, bad in zip(records, is_bad, strict=True)]
    report = _write(engine, [record.to_bytes() for record in records])
    assert [letter.payload for letter in report.poisoned] == [
        record.to_bytes() for record, bad in zip(records, is_bad, strict=True) if bad
    ]
    assert report.accepted == _count(engine) == is_bad.count(False)


def test_busy_database_is_retried_with_growing_pauses(engine: Engine) -> None:
    """Three failures, then it works."""
    busy = _Busy(engine, failures=3)
    writer = DecisionWriter(engine, sleep=busy.pauses.append)
    assert writer.write([decision().to_bytes()]).accepted == 1
    assert busy.pauses == [0.05, 0.1, 0.2]
    assert _count(engine) == 1


def test_retries_are_bounded(engine: Engine) -> None:
    """After the last attempt the caller hears of it, and keeps its batch."""
    busy = _Busy(engine, failures=10)
    writer = DecisionWriter(engine, retry=RetryPolicy(attempts=3), sleep=busy.pauses.append)
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        writer.write([decision().to_bytes()])
    assert (busy.failures, len(busy.pauses)) == (7, 2)


def test_missing_table_is_nobody_s_poison(engine: Engine) -> None:
    """A fault of the database as a whole must not send decisions to the dead letters."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE decision"))
    with pytest.raises(DatabaseError, match="no such table: decision") as caught:
        _write(engine, [decision().to_bytes()])
    assert type(caught.value) is DatabaseError


def test_report_and_errors_can_be_pickled() -> None:
    """They travel between processes."""
    error = PayloadMismatch([Mismatch(decision_id="x", wanted_sha256="y", found_sha256=None)])
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.mismatches) == (str(error), error.mismatches)
    report = WriteReport(accepted=3)
    assert pickle.loads(pickle.dumps(report)) == report


def test_file_that_takes_no_writes_is_for_a_person(migrated_file: Path, tmp_path: Path) -> None:
    """Not poison and not a moment's trouble: the batch waits, and the advice leads to the cause."""
    path = shutil.copyfile(migrated_file, tmp_path / "gantry.sqlite3")
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(DatabaseError, match="attempt to write a readonly database") as caught:
        DecisionWriter(engine).write([decision().to_bytes()])
    engine.dispose()
    assert not isinstance(caught.value, DatabaseUnavailable | DataRejected)
    assert advice_for(caught.value) == "run `gantry db check`, which says what is wrong with it"
    (error,) = (finding for finding in check(str(engine.url)) if finding.level is Level.ERROR)
    assert error.message.endswith("must take writes: attempt to write a readonly database")
