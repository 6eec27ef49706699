"""How the database answers each query of the API: which index it takes, and whether it sorts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from deployments.persistence.repository import newest_query
from deployments.persistence.tables import DECISION, IDEMPOTENCY_CLAIM

_CLIENT = "explained"
_ID = "00000000-0000-0000-0000-000000000000"
_INSTANT = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiQuery:
    """One query that requests wait for."""

    name: str
    statement: Callable[[str], Select[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """What EXPLAIN says, in short."""

    uses_index: bool
    sorts: bool
    words: str


API_QUERIES = (
    ApiQuery(
        name="one decision",
        statement=lambda client: select(DECISION).where(DECISION.c.decision_id == _ID, DECISION.c.client == client),
    ),
    ApiQuery(name="newest of a client", statement=lambda client: newest_query(client).limit(51)),
    ApiQuery(
        name="next page of a client", statement=lambda client: newest_query(client, before=(_INSTANT, _ID)).limit(51)
    ),
    ApiQuery(name="newest of a plant", statement=lambda client: newest_query(client, plant_id="penang").limit(51)),
    ApiQuery(name="newest of a request", statement=lambda client: newest_query(client, request_id="erp-1").limit(51)),
    ApiQuery(
        name="sample to verify",
        statement=lambda _: (
            select(DECISION).where(DECISION.c.decision_id >= _ID).order_by(DECISION.c.decision_id).limit(20)
        ),
    ),
    ApiQuery(
        name="claim of a key",
        statement=lambda client: select(IDEMPOTENCY_CLAIM).where(
            IDEMPOTENCY_CLAIM.c.client == client,
            IDEMPOTENCY_CLAIM.c.route == "schedule",
            IDEMPOTENCY_CLAIM.c.idempotency_key == "k",
        ),
    ),
    ApiQuery(
        name="claims that are over",
        statement=lambda _: (
            select(IDEMPOTENCY_CLAIM.c.idempotency_key)
            .where(IDEMPOTENCY_CLAIM.c.expires_at <= datetime(2000, 1, 1, tzinfo=UTC))
            .limit(500)
        ),
    ),
)


def plan_of(connection: Connection, query: ApiQuery, client: str = _CLIENT) -> QueryPlan:
    """How `query` of `client` would be answered now. Raises what the driver raises."""
    compiled = query.statement(client).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
        words = "; ".join(str(row[3]) for row in rows)
        return QueryPlan(uses_index="USING" in words and "SCAN" not in words, sorts="TEMP B-TREE" in words, words=words)
    row = connection.exec_driver_sql(f"EXPLAIN {compiled}").mappings().one()
    extra = str(row["Extra"] or "")
    # A key that is not there is found out while planning, by a look into its index.
    is_known_absent = "Impossible WHERE" in extra or "no matching row" in extra
    words = f"{row['type']} by {row['key']}, about {row['rows']} rows{f' ({extra})' if extra else ''}"
    return QueryPlan(uses_index=row["key"] is not None or is_known_absent, sorts="filesort" in extra, words=words)
