"""The bench of the queries, on few rows: that it fills every table that a query reads, and asks every query."""

from __future__ import annotations

import pytest

from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.maintenance.query_plans import API_QUERIES
from tests.system.explaining import explained
from tests.system.filling import fill, total_rows

pytestmark = pytest.mark.system

DECISIONS = 10_000


def test_bench_fills_tables_and_explains_every_query(mariadb_url: str) -> None:
    """As many rows as it says, and a plan and an answer for each query; nothing is left out quietly."""
    upgrade(mariadb_url)
    engine, filled = create_engine(mariadb_url), []
    fill(engine, DECISIONS, filled.append)
    with engine.connect() as connection:
        found = [explained(connection, query) for query in API_QUERIES]
    engine.dispose()
    assert sum(filled) == total_rows(DECISIONS)
    assert all(each.plan.words for each in found)
    rows = {each.query.name: each.rows for each in found}
    assert (rows["newest of a client"], rows["report: evaluations"], rows["report: feedback"]) == (101, 20_000, 1_000)
    # Of a plant without data of its own, which has released nothing.
    nothing = {name for name, count in rows.items() if not count}
    assert nothing == {
        "claim of a key", "claims that are over", "closures of a plant", "how far a spool is drained",
        "latest plan of a line", "machines of a plant", "newest releases of a line",
    }  # fmt: skip
