"""The database room on a real MariaDB."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, make_url, text

from deployments.persistence.database import (
    DEFAULT_PACKET_BYTES,
    ClockSkew,
    create_delivery_engine,
    create_engine,
    current_revision,
    downgrade,
    head_revision,
    require_current_schema,
    upgrade,
)
from deployments.persistence.decisions.claims import claim_work
from deployments.persistence.decisions.records import (
    ClaimKey,
    ClaimMark,
    ClaimOutcome,
    DecisionFilter,
    DecisionRecord,
    Finished,
    Granted,
    OtherBody,
    Running,
    Wanted,
    payload_digest,
)
from deployments.persistence.decisions.repository import max_body_bytes, unit_of_work
from deployments.persistence.delivery.batch_writer import DecisionWriter, WriteReport
from deployments.persistence.errors import DatabaseAccessDenied, DatabaseUnavailable, InvalidDatabaseUrl, SchemaMismatch
from deployments.persistence.failures import advice_for
from deployments.persistence.maintenance.checks import Level, check
from deployments.persistence.spool.dead_letters import DeadLetterKind
from deployments.persistence.tables import METADATA
from tests.deployments.persistence.payloads import decision, decision_id
from tests.system.mariadb import MariaDbServer

pytestmark = pytest.mark.system


def _written(engine: Engine, *records: DecisionRecord) -> WriteReport:
    return DecisionWriter(engine, sleep=lambda _: None).write([record.to_bytes() for record in records])


def _stored(engine: Engine, number: int = 1) -> DecisionRecord | None:
    with unit_of_work(engine) as decisions:
        return decisions.get(decision_id(number), "planner")


def _row_count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM decision")).scalar_one())


def test_migrations_go_up_and_down(mariadb_url: str) -> None:
    """Every revision can be applied, taken back and applied again."""
    upgrade(mariadb_url)
    assert current_revision(mariadb_url) == head_revision()
    downgrade(mariadb_url, "base")
    assert current_revision(mariadb_url) is None
    upgrade(mariadb_url)
    assert current_revision(mariadb_url) == head_revision()


def test_migrations_lead_to_the_tables_of_the_program(engine: Engine) -> None:
    """After all revisions nothing is left for Alembic to generate."""
    require_current_schema(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_connections_are_read_committed_strict_and_utf8mb4(engine: Engine) -> None:
    """What the rest of the room relies on is set on each connection."""
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"
        sql_mode, charset = connection.execute(text("SELECT @@sql_mode, @@character_set_connection")).one()
    assert "STRICT_ALL_TABLES" in sql_mode
    assert charset == "utf8mb4"


def test_decision_written_twice_is_stored_once(engine: Engine) -> None:
    """A batch that is delivered again is accepted again and changes nothing."""
    records = [decision(number) for number in range(1, 51)]
    assert _written(engine, *records).accepted == 50
    assert _written(engine, *records, *records).accepted == 100
    assert _row_count(engine) == 50
    assert _stored(engine, 17) == records[16]


def test_payload_above_64_kib_comes_back_unchanged(engine: Engine) -> None:
    """A body that does not compress, of three mebibytes, is kept whole."""
    record = decision(request=os.urandom(3 * 1024 * 1024))
    assert _written(engine, record).poisoned == ()
    assert _stored(engine) == record


def test_payload_above_the_packet_limit_is_poison_and_holds_nobody_up(engine: Engine) -> None:
    """A row that the server can never take is reported, its neighbours are stored."""
    giant = decision(2, request=os.urandom(17 * 1024 * 1024))
    report = _written(engine, decision(1), giant, decision(3))
    assert report.accepted == 2
    assert [letter.kind for letter in report.poisoned] == [DeadLetterKind.REJECTED]
    assert "max_allowed_packet of 16,777,216" in report.poisoned[0].reason
    assert "raise max_allowed_packet" in report.poisoned[0].cause


def test_payload_that_no_statement_holds_is_stored_in_parts(engine: Engine) -> None:
    """Written as hexadecimal digits it takes twice its size, which is more than a server of default size takes."""
    record = decision(2, request=os.urandom(12 * 1024 * 1024), answer=os.urandom(2 * 1024 * 1024))
    assert _written(engine, decision(1), record, decision(3)).poisoned == ()
    assert _stored(engine, 2) == record
    assert (_written(engine, record).accepted, _stored(engine, 2), _row_count(engine)) == (1, record, 3)
    twin = replace(record, answer=b"other", payload_sha256=payload_digest(record.request, b"other"))
    assert (_written(engine, twin).mismatch_count, _stored(engine, 2)) == (1, record)


def test_largest_payload_is_read_back(engine: Engine) -> None:
    """What the router lets through is not a byte too large for the database, on the way in and out."""
    incompressible = os.urandom(max_body_bytes(DEFAULT_PACKET_BYTES) - 16 * 1024)
    record = decision(request=incompressible, answer=incompressible[::-1])
    assert _written(engine, record).poisoned == ()
    assert _stored(engine) == record


def test_locked_table_holds_up_no_attempt(mariadb: MariaDbServer, mariadb_url: str) -> None:
    """The server itself gives up, in time, and the words tell that it is a lock; later the same batch is stored."""
    upgrade(mariadb_url)
    impatient, holder = create_delivery_engine(mariadb_url), create_engine(mariadb_url)
    with holder.connect() as connection:
        connection.exec_driver_sql(f"LOCK TABLES {make_url(mariadb_url).database}.decision WRITE")
        began = time.monotonic()
        try:
            with pytest.raises(DatabaseUnavailable, match="1205 Lock wait timeout exceeded") as caught:
                _written(impatient, decision())
        finally:
            connection.exec_driver_sql("UNLOCK TABLES")
        assert time.monotonic() - began < 25.0
    assert "a lock or a slow statement" in advice_for(caught.value)
    assert _written(impatient, decision()).accepted == 1
    impatient.dispose()
    holder.dispose()


def test_words_tell_what_is_missing(mariadb: MariaDbServer, mariadb_url: str, engine: Engine) -> None:
    """A column, a grant, a free connection: nothing is dead-lettered, and a person knows what to do."""
    database = make_url(mariadb_url).database
    mariadb.execute("CREATE USER 'gantry_poor'@'%' IDENTIFIED BY 'hush' WITH MAX_USER_CONNECTIONS 1")
    mariadb.execute(f"GRANT SELECT ON {database}.* TO 'gantry_poor'@'%'")
    poor = make_url(mariadb_url).set(username="gantry_poor", password="hush").render_as_string(hide_password=False)
    first, second = create_engine(poor), create_engine(poor)
    try:
        with pytest.raises(DatabaseAccessDenied, match="1142 INSERT, UPDATE command denied") as caught:
            _written(first, decision())
        assert "lacks a grant" in advice_for(caught.value)
        with first.connect(), pytest.raises(DatabaseUnavailable, match="1226 ") as caught_too:
            _written(second, decision())
        assert "connections" in advice_for(caught_too.value)
        mariadb.execute(f"ALTER TABLE {database}.decision DROP COLUMN generation_ms")
        with pytest.raises(SchemaMismatch, match="1054 Unknown column 'generation_ms'") as caught_at_last:
            _written(engine, decision())
        assert "gantry db upgrade" in advice_for(caught_at_last.value)
    finally:
        first.dispose()
        second.dispose()
        mariadb.execute("DROP USER 'gantry_poor'@'%'")


def test_text_beyond_the_basic_plane_comes_back_unchanged(engine: Engine) -> None:
    """Plants may be named in any script, and with an emoji."""
    record = decision(plant_id="槟城🏭", request_id="Ünï\\'\"%s\0")
    _written(engine, record)
    assert _stored(engine) == record


def test_microseconds_come_back_unchanged(engine: Engine) -> None:
    """Instants are stored to the microsecond."""
    record = decision()
    record = replace(record, created_at=record.created_at.replace(microsecond=123_457))
    _written(engine, record)
    assert _stored(engine) == record


@pytest.mark.parametrize("stranger", ["Planner", "planner ", "plannér", ""])
def test_clients_are_told_apart_byte_by_byte(engine: Engine, stranger: str) -> None:
    """Neither case, nor accents, nor trailing blanks make two clients one."""
    _written(engine, decision())
    with unit_of_work(engine) as decisions:
        assert decisions.get(decision_id(1), stranger) is None
        assert decisions.page(stranger).records == ()


@pytest.mark.parametrize(
    "changes",
    [{"request_id": "x" * 256}, {"job_count": 2**31}, {"share": float("nan")}, {"plant_id": "\ud800"}],
    ids=["too long", "out of range", "not a number", "lone surrogate"],
)
def test_row_that_does_not_fit_is_poison_and_the_rest_is_stored(engine: Engine, changes: dict[str, object]) -> None:
    """The batch is bisected down to the one row that the server rejects."""
    records = [decision(number) for number in range(1, 8)]
    records[3] = replace(records[3], **changes)  # type: ignore[arg-type]
    report = _written(engine, *records)
    assert (report.accepted, _row_count(engine)) == (6, 6)
    assert [letter.payload for letter in report.poisoned] == [records[3].to_bytes()]
    assert report.poisoned[0].kind is DeadLetterKind.REJECTED


def test_other_payload_under_a_stored_id_is_poison(engine: Engine) -> None:
    """The first payload stays, the second is reported as a mismatch."""
    first, second = decision(answer=b"first"), decision(answer=b"second")
    _written(engine, first)
    assert _written(engine, second, decision(2)).mismatch_count == 1
    assert _stored(engine) == first


def test_pages_follow_each_other_without_gap_or_repetition(engine: Engine) -> None:
    """Seven decisions, two of the same instant, in pages of three."""
    records = [decision(number) for number in range(1, 8)]
    records[4] = replace(records[4], created_at=records[3].created_at)
    _written(engine, *records)
    found: list[DecisionRecord] = []
    cursor = None
    while True:
        with unit_of_work(engine) as decisions:
            page = decisions.page(
                "planner", before=cursor, limit=3, wanted=DecisionFilter(plant_id="penang"), with_payload=True
            )
        found += page.records
        if (cursor := page.next_cursor) is None:
            break
    assert found == sorted(records, key=lambda record: (record.created_at, record.decision_id), reverse=True)


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("", "ix_decision_client_created_at_decision_id"),
        ("AND plant_id = 'penang'", "ix_decision_client_plant_id_created_at_decision_id"),
        ("AND request_id = 'erp-1'", "ix_decision_client_request_id_created_at_decision_id"),
    ],
)
def test_index_of_each_page_is_forced_without_sorting(engine: Engine, where: str, index: str) -> None:
    """The index that a page is meant for delivers its rows in order: no filesort."""
    _written(engine, *(decision(number) for number in range(1, 101)))
    query = (
        f"EXPLAIN SELECT stage FROM decision FORCE INDEX ({index}) WHERE client = 'planner' {where} "
        "AND created_at <= '2025-07-22 06:01:00' ORDER BY created_at DESC, decision_id DESC LIMIT 10"
    )
    with engine.connect() as connection:
        plan = connection.execute(text(query)).mappings().one()
    assert plan["key"] == index
    assert "filesort" not in plan["Extra"]


def test_killed_connection_is_replaced(engine: Engine, mariadb: MariaDbServer) -> None:
    """A pooled connection that the server has dropped is noticed and made anew."""
    _written(engine, decision(1))
    with engine.connect() as connection:
        connection_id = connection.execute(text("SELECT connection_id()")).scalar_one()
    mariadb.execute(f"KILL CONNECTION {connection_id}")
    assert _written(engine, decision(2)).accepted == 1


def test_connection_lost_within_the_transaction_is_retried(engine: Engine, mariadb: MariaDbServer) -> None:
    """The connection dies between insert and commit; the decision is stored once all the same."""
    dropped = _DropFirstTransaction(engine, mariadb)
    assert _written(engine, decision()).accepted == 1
    assert dropped.count == 1
    assert _row_count(engine) == 1


def test_server_that_is_read_only_is_unavailable_until_it_is_not(mariadb: MariaDbServer, mariadb_url: str) -> None:
    """Nothing is lost: the batch waits, `gantry db check` names the cause, and later the same batch is stored."""
    upgrade(mariadb_url)
    # Only a user without special rights is held back.
    mariadb.execute("CREATE USER 'gantry_plain'@'%' IDENTIFIED BY 'hush'")
    mariadb.execute(f"GRANT ALL ON {make_url(mariadb_url).database}.* TO 'gantry_plain'@'%'")
    plain = make_url(mariadb_url).set(username="gantry_plain", password="hush").render_as_string(hide_password=False)
    engine = create_engine(plain)
    try:
        mariadb.execute("SET GLOBAL read_only = 1")
        with pytest.raises(DatabaseUnavailable, match=r"1290 .*--read-only option") as caught:
            _written(engine, decision())
        assert "read-only" in advice_for(caught.value)
        errors = [finding for finding in check(plain) if finding.level is Level.ERROR]
        assert [finding.message for finding in errors] == ["the server takes no writes (read_only=ON): decisions wait"]
        mariadb.execute("SET GLOBAL read_only = 0")
        assert _written(engine, decision()).accepted == 1
    finally:
        engine.dispose()
        mariadb.execute("SET GLOBAL read_only = 0")
        mariadb.execute("DROP USER 'gantry_plain'@'%'")


def test_unreachable_server_is_unavailable_and_the_password_stays_secret() -> None:
    """Nothing listens on port 1."""
    url = "mariadb+pymysql://root:hush@127.0.0.1:1/gantry"
    engine = create_engine(url, connect_timeout_seconds=1)
    with pytest.raises(DatabaseUnavailable):
        ClockSkew(engine, lambda: datetime.now(UTC)).ask()
    with pytest.raises(
        DatabaseUnavailable, match=r"^mariadb\+pymysql://root:\*\*\*@127.0.0.1:1/gantry: 2003 "
    ) as caught:
        upgrade(url)
    assert "hush" not in str(caught.value)


def test_wrong_password_is_access_denied(mariadb_url: str) -> None:
    """One line that names the user and hides the password."""
    wrong = make_url(mariadb_url).set(username="gantry_nobody", password="hush")
    with pytest.raises(DatabaseAccessDenied, match="Access denied for user 'gantry_nobody'") as caught:
        upgrade(wrong.render_as_string(hide_password=False))
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_schema_is_an_invalid_url(mariadb_url: str) -> None:
    """The server is there, the named database is not."""
    wrong = make_url(mariadb_url).set(database="gantry_absent")
    with pytest.raises(InvalidDatabaseUrl, match="Unknown database 'gantry_absent'"):
        upgrade(wrong.render_as_string(hide_password=False))


class _DropFirstTransaction:
    """Kills the connection of the first transaction just before its COMMIT is sent."""

    def __init__(self, engine: Engine, server: MariaDbServer) -> None:
        self.count = 0
        self._server = server
        event.listen(engine, "commit", self._before_commit)

    def _before_commit(self, connection: Connection) -> None:
        if self.count == 0:
            self.count += 1
            connection_id = connection.execute(text("SELECT connection_id()")).scalar_one()
            self._server.execute(f"KILL CONNECTION {connection_id}")


def test_concurrent_claims_of_one_key_have_one_winner(engine: Engine) -> None:
    """Eight routers at once, each with its own connection: one acts, seven are told that it is running."""
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda number: _claimed(engine, number), range(1, 9)))
    assert (outcomes.count(Granted()), outcomes.count(Running())) == (1, 7)


def test_claim_left_behind_is_taken_over_or_replayed(engine: Engine) -> None:
    """Another body is a conflict; with the owner drained the key is free, or has the answer that was spooled."""
    _claimed(engine, 1, lease_seconds=0.0)
    assert _claimed(engine, 2, request_sha256="b" * 64) == OtherBody()
    assert _claimed(engine, 2) == Running()
    with claim_work(engine) as claims:
        claims.report_drained("a" * 32, claims.now())
    assert _claimed(engine, 2, lease_seconds=0.0) == Granted()
    _written(engine, decision(2, claim=ClaimMark(route="schedule", key="k 1")))
    assert _claimed(engine, 3) == Finished(status=200, body=decision(2).answer or b"")
    with engine.begin() as connection:
        connection.execute(text("UPDATE idempotency_claim SET expires_at = UTC_TIMESTAMP(6)"))
    with claim_work(engine) as claims:
        assert claims.forget_expired() == 1


def _claimed(engine: Engine, number: int, **changes: object) -> ClaimOutcome:
    """What `StoredClaims` does, without its threads."""
    values: dict[str, object] = {
        "claim": ClaimKey(client="planner", route="schedule", key="k 1"),
        "request_sha256": "a" * 64,
        "decision_id": decision_id(number),
        "owner_id": "a" * 32,
        "lease_seconds": 30.0,
        "kept_seconds": 86_400.0,
    }
    while True:
        try:
            with claim_work(engine) as claims:
                return claims.claim(Wanted(**values | changes))  # type: ignore[arg-type]
        except DatabaseUnavailable:
            continue
