"""Tables of a real MariaDB cut into months: what is promised of decisions stays true, and a month goes at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from deployments import cli
from deployments.commands.database import event_of
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.decisions.records import DecisionRecord
from deployments.persistence.delivery.batch_writer import DecisionWriter, WriteReport
from deployments.persistence.maintenance.pruning import Pruned, prune, table_sizes
from deployments.persistence.maintenance.query_plans import API_QUERIES, QueryValues, plan_of
from deployments.persistence.tables import METADATA
from tests.deployments.persistence.decisions.test_records_evaluations import evaluation
from tests.deployments.persistence.payloads import decision

pytestmark = pytest.mark.system

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


def made(at: datetime, number: int = 1) -> DecisionRecord:
    """A decision of that instant with both arms, and with an id as the service makes it."""
    identity = str(UUID(int=(int(at.timestamp() * 1000) << 80) + (0x7000_8000 << 48) + number))
    arms = tuple(
        evaluation(arm=arm, decision_id=identity, created_at=at, is_served=arm == "ppo") for arm in ("ppo", "manual")
    )
    return decision(number, decision_id=identity, created_at=at, plant_id=None, evaluations=arms)


OLD, EDGE, NEXT, LATE = (JANUARY + timedelta(days=days) for days in (-40, 0, 31, 400))


@pytest.fixture
def engine(mariadb_url: str) -> Iterator[Engine]:
    """With rows from before the cut, cut by the printed statements: January and February 2026, then March."""
    upgrade(mariadb_url)
    engine = create_engine(mariadb_url)
    assert not write(engine, made(OLD), made(EDGE), made(LATE)).poisoned
    printed = [
        CliRunner().invoke(cli.app, ["db", "partitions", *words], catch_exceptions=False).stdout
        for words in (("--first", "2026-01", "--months", "2"), ("--first", "2026-03", "--months", "1", "--further"))
    ]
    with engine.begin() as connection:
        for statement in "".join(printed).splitlines():
            connection.exec_driver_sql(statement)
    yield engine
    engine.dispose()


def write(engine: Engine, *records: DecisionRecord) -> WriteReport:
    """What became of them."""
    return DecisionWriter(engine).write([record.to_bytes() for record in records])


def partitions(engine: Engine) -> dict[str, int]:
    """Rows of the decisions' table in each partition."""
    query = text(
        "SELECT partition_name FROM information_schema.partitions "
        "WHERE table_schema = DATABASE() AND table_name = 'decision' ORDER BY partition_ordinal_position"
    )
    with engine.connect() as connection:
        names = connection.execute(query).scalars().all()
        return {
            name: connection.execute(text(f"SELECT count(*) FROM decision PARTITION ({name})")).scalar_one()
            for name in names
        }


def test_rows_lie_in_their_months_and_an_id_exists_once(engine: Engine) -> None:
    """Midnight belongs to the month that begins; what is written twice is there once, and a stranger is found out."""
    assert write(engine, made(EDGE), made(NEXT)).accepted == 2
    assert (
        write(
            engine, replace(decision(answer=b"other"), decision_id=made(EDGE).decision_id, created_at=NEXT)
        ).mismatch_count
        == 1
    )
    assert partitions(engine) == {"earlier": 1, "m2026_01": 1, "m2026_02": 1, "m2026_03": 0, "later": 1}


def test_schema_is_still_that_of_the_program(engine: Engine) -> None:
    """Nothing for Alembic to generate."""
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_sizes_are_those_of_all_partitions(engine: Engine) -> None:
    """A page at least for each of them, and nothing for views."""
    sizes = {size.table: size for size in table_sizes(engine)}
    assert {*sizes} == {*METADATA.tables}
    assert sizes["decision"].rows == 3
    assert sizes["decision"].bytes >= 5 * 16_384


def test_one_decision_is_looked_for_in_one_partition(engine: Engine) -> None:
    """A query that names the id opens the month of the id alone; the queries of the API work as before."""
    record = made(NEXT)
    write(engine, record)
    statement = f"EXPLAIN PARTITIONS SELECT * FROM decision WHERE decision_id = '{record.decision_id}'"
    with engine.connect() as connection:
        assert [row["partitions"] for row in connection.exec_driver_sql(statement).mappings()] == ["m2026_02"]
        for query in API_QUERIES:
            connection.execute(query.statement(QueryValues(client="planner"))).all()
            assert plan_of(connection, query, QueryValues(client="planner")).words


def test_month_goes_at_once_or_row_by_row(engine: Engine) -> None:
    """Dropping leaves the other months alone, and pruning works across months."""
    write(engine, made(NEXT))
    with engine.begin() as connection:
        for table in ("decision", "evaluation"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP PARTITION m2026_01")
    assert partitions(engine) == {"earlier": 1, "m2026_02": 1, "m2026_03": 0, "later": 1}
    now = LATE + timedelta(days=30)
    removed = prune(engine, LATE, now, event_of("db.prune", "test"), lambda count: None)
    assert removed == Pruned(decisions=2, evaluations=4)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM evaluation")).scalar_one() == 2
