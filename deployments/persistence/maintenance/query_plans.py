"""How the database answers each query of the API: which index it takes, whether it sorts or reads everything, how long.

Tables that stay small (API keys, rollout transitions, incidents) may be read whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, select, text

from deployments.persistence.decisions.audit_repository import newest_audit_query
from deployments.persistence.decisions.plant_repository import CLOSURE_SOURCE, JOB_SOURCE, MACHINE_SOURCE
from deployments.persistence.decisions.records import MAX_AUDIT_PAGE_SIZE, MAX_PAGE_SIZE, DecisionFilter
from deployments.persistence.decisions.releases import releases_query
from deployments.persistence.decisions.repository import newest_query
from deployments.persistence.decisions.rollout_repository import (
    MAX_EVALUATIONS,
    MAX_EVENTS,
    MAX_FEEDBACK,
    PAGE_SIZE,
    assignments_query,
    evaluations_of_query,
    evaluations_page_query,
    evaluations_query,
    feedback_query,
)
from deployments.persistence.decisions.rollout_repository import newest_query as newest_of
from deployments.persistence.tables import (
    DECISION,
    IDEMPOTENCY_CLAIM,
    PLAN,
    PLANNED_JOB,
    ROLLOUT_TRANSITION,
    SPOOL_OWNER,
)

_ID = "00000000-0000-0000-0000-000000000000"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
_PAGE = MAX_PAGE_SIZE + 1
_OF_NEWEST = 1_000
# Of a page that people wait for, not planners' systems.
_MAX_REPORT_SECONDS = 10.0
MAX_TIMED_SECONDS = 30
# A walk along an index that the limit ends soon.
_MAX_ROWS_OF_A_WALK = 2 * MAX_EVENTS
_MAX_ROWS_READ_WHOLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryValues:
    """What the queries ask for. For a name that nobody has an optimiser plans otherwise than for one that is there."""

    client: str = "default"
    plant_id: str = "default"
    decision_id: str = _ID
    request_id: str = "erp-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiQuery:
    """One query; requests wait for it, and it must be answered within `max_seconds`."""

    name: str
    statement: Callable[[QueryValues], Select[Any]]
    max_seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTime:
    """How many rows a query had, fetched whole, and after how many seconds; `is_cut`: there were more."""

    rows: int
    seconds: float
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """What EXPLAIN says, in short. `follows_index`: no table is read whole."""

    follows_index: bool
    sorts: bool
    words: str


def _since(build: Callable[[datetime, int], Select[Any]], limit: int) -> Callable[[QueryValues], Select[Any]]:
    """From the very beginning: the worst case of a report."""
    return lambda _: build(_LONG_AGO, limit)


def _of_plant(source: Any, *others: Any) -> Callable[[QueryValues], Select[Any]]:
    return lambda values: select(source).where(source.c.plant_id == values.plant_id, *others)


API_QUERIES = (
    ApiQuery(
        name="one decision",
        statement=lambda values: select(DECISION).where(
            DECISION.c.decision_id == values.decision_id, DECISION.c.client == values.client
        ),
    ),
    ApiQuery(name="evaluations of a decision", statement=lambda values: evaluations_of_query(values.decision_id)),
    ApiQuery(name="newest of a client", statement=lambda values: newest_query(values.client).limit(_PAGE)),
    ApiQuery(
        name="next page of a client",
        statement=lambda values: newest_query(values.client, before=(_FAR_AHEAD, _ID)).limit(_PAGE),
    ),
    ApiQuery(name="newest of all clients", statement=lambda _: newest_query(None).limit(_PAGE)),
    ApiQuery(
        name="next page of all clients",
        statement=lambda values: newest_query(None, before=(_FAR_AHEAD, values.decision_id)).limit(_PAGE),
    ),
    ApiQuery(
        name="newest of some plants",
        statement=lambda values: (
            newest_query(values.client).where(DECISION.c.plant_id.in_([values.plant_id, "ipoh"])).limit(_PAGE)
        ),
    ),
    ApiQuery(
        name="newest of a plant",
        statement=lambda values: newest_query(
            values.client, DecisionFilter(plant_id=values.plant_id), with_payload=True
        ).limit(_PAGE),
    ),
    ApiQuery(
        name="newest of a request",
        statement=lambda values: newest_query(values.client, DecisionFilter(request_id=values.request_id)).limit(_PAGE),
    ),
    ApiQuery(
        name="digests of a batch",
        statement=lambda values: select(DECISION.c.decision_id, DECISION.c.payload_sha256).where(
            DECISION.c.decision_id.in_([values.decision_id, _ID])
        ),
    ),
    ApiQuery(
        name="bounds of a sample",
        statement=lambda _: select(func.min(DECISION.c.decision_id), func.max(DECISION.c.decision_id)),
    ),
    ApiQuery(
        name="sample to verify",
        statement=lambda _: (
            select(DECISION).where(DECISION.c.decision_id >= _ID).order_by(DECISION.c.decision_id).limit(20)
        ),
    ),
    ApiQuery(
        name="claim of a key",
        statement=lambda values: select(IDEMPOTENCY_CLAIM).where(
            IDEMPOTENCY_CLAIM.c.client == values.client,
            IDEMPOTENCY_CLAIM.c.route == "schedule",
            IDEMPOTENCY_CLAIM.c.idempotency_key == "k",
        ),
    ),
    ApiQuery(
        name="claims that are over",
        statement=lambda _: (
            select(IDEMPOTENCY_CLAIM.c.idempotency_key).where(IDEMPOTENCY_CLAIM.c.expires_at <= _LONG_AGO).limit(500)
        ),
    ),
    ApiQuery(
        name="how far a spool is drained",
        statement=lambda _: select(SPOOL_OWNER.c.drained_until).where(SPOOL_OWNER.c.owner_id == _ID),
    ),
    ApiQuery(name="machines of a plant", statement=_of_plant(MACHINE_SOURCE)),
    ApiQuery(name="pending jobs of a plant", statement=_of_plant(JOB_SOURCE)),
    ApiQuery(name="closures of a plant", statement=_of_plant(CLOSURE_SOURCE)),
    ApiQuery(name="latest plan of a line", statement=_of_plant(PLAN, PLAN.c.line_id == "")),
    ApiQuery(name="jobs of the latest plan", statement=_of_plant(PLANNED_JOB, PLANNED_JOB.c.line_id == "")),
    ApiQuery(
        name="newest releases of a line", statement=lambda values: releases_query(values.plant_id, None).limit(_PAGE)
    ),
    ApiQuery(name="newest audit rows", statement=lambda _: newest_audit_query().limit(MAX_AUDIT_PAGE_SIZE)),
    ApiQuery(
        name="next page of audit rows",
        statement=lambda _: newest_audit_query((_FAR_AHEAD, _ID)).limit(MAX_AUDIT_PAGE_SIZE),
    ),
    ApiQuery(
        name="newest transitions",
        statement=lambda _: newest_of(ROLLOUT_TRANSITION, ROLLOUT_TRANSITION.c.version, MAX_EVENTS),
    ),
    ApiQuery(
        name="report: evaluations",
        statement=_since(evaluations_query, MAX_EVALUATIONS),
        max_seconds=_MAX_REPORT_SECONDS,
    ),
    ApiQuery(
        name="recount: page of evaluations",
        statement=lambda _: evaluations_page_query((_LONG_AGO, _ID), _FAR_AHEAD, PAGE_SIZE),
        max_seconds=_MAX_REPORT_SECONDS,
    ),
    ApiQuery(
        name="report: assignments",
        statement=_since(assignments_query, MAX_EVALUATIONS),
        max_seconds=_MAX_REPORT_SECONDS,
    ),
    ApiQuery(name="report: feedback", statement=_since(feedback_query, MAX_FEEDBACK), max_seconds=_MAX_REPORT_SECONDS),
)


def typical_values(connection: Connection) -> QueryValues:
    """The busiest client of late, and its newest decision; of an empty database, nobody.

    Raises what the driver raises.
    """
    newest = select(DECISION.c.client).order_by(DECISION.c.decision_id.desc()).limit(_OF_NEWEST).subquery()
    busiest = select(newest.c.client).group_by(newest.c.client).order_by(func.count().desc(), newest.c.client).limit(1)
    client = connection.execute(busiest).scalar()
    if client is None:
        return QueryValues()
    row = connection.execute(newest_query(client).limit(1)).mappings().one()
    others = QueryValues(client=client)
    return QueryValues(
        client=client,
        plant_id=row["plant_id"] or others.plant_id,
        decision_id=row["decision_id"],
        request_id=row["request_id"] or others.request_id,
    )


def bound_time(connection: Connection) -> None:
    """What follows on this connection only reads, and on MariaDB no statement takes longer than `MAX_TIMED_SECONDS`."""
    if connection.dialect.name != "sqlite":
        connection.execute(text(f"SET SESSION max_statement_time = {MAX_TIMED_SECONDS}"))
        connection.rollback()
        connection.exec_driver_sql("START TRANSACTION READ ONLY")


def time_of(connection: Connection, query: ApiQuery, values: QueryValues) -> QueryTime:
    """Runs `query` and fetches all of its rows, for at most `MAX_TIMED_SECONDS`. Raises what the driver raises.

    `bound_time` has MariaDB end a statement that takes longer.
    """
    began, rows = time.perf_counter(), 0
    result = connection.execution_options(stream_results=True, yield_per=_OF_NEWEST).execute(query.statement(values))
    with result:
        for chunk in result.partitions():
            rows += len(chunk)
            if time.perf_counter() - began > MAX_TIMED_SECONDS:
                return QueryTime(rows=rows, seconds=time.perf_counter() - began, is_cut=True)
    return QueryTime(rows=rows, seconds=time.perf_counter() - began, is_cut=False)


def plan_of(connection: Connection, query: ApiQuery, values: QueryValues | None = None) -> QueryPlan:
    """How `query` would be answered now. Raises what the driver raises."""
    compiled = query.statement(values or QueryValues()).compile(
        dialect=connection.dialect, compile_kwargs={"literal_binds": True}
    )
    if connection.dialect.name == "sqlite":
        return _plan_of_sqlite(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all())
    # The driver takes a percent sign for a placeholder only where there are parameters.
    return _plan_of_mariadb(connection.exec_driver_sql(f"EXPLAIN {compiled}").mappings().all())


def _plan_of_sqlite(rows: Sequence[Any]) -> QueryPlan:
    steps = [str(row[3]) for row in rows]
    whole = [step for step in steps if step.startswith("SCAN") and " USING " not in step]
    return QueryPlan(
        follows_index=not whole, sorts=any("TEMP B-TREE" in step for step in steps), words="; ".join(steps)
    )


def _plan_of_mariadb(rows: Sequence[RowMapping]) -> QueryPlan:
    return QueryPlan(
        follows_index=all(map(_follows_index, rows)),
        sorts=any("filesort" in _extra(row) and not _is_small(row) for row in rows),
        words="; ".join(map(_words, rows)),
    )


def _follows_index(row: RowMapping) -> bool:
    if row["key"] is None and _is_small(row):
        return True
    # A key that is not there, and the ends of an index, are found out while planning.
    if row["key"] is None:
        return any(each in _extra(row) for each in ("Impossible WHERE", "no matching row", "optimized away"))
    return row["type"] != "index" or int(row["rows"]) <= _MAX_ROWS_OF_A_WALK


def _is_small(row: RowMapping) -> bool:
    """Whether so few rows are read that reading all of them, and sorting them, is done sooner than by an index."""
    return row["rows"] is not None and int(row["rows"]) <= _MAX_ROWS_READ_WHOLE


def _words(row: RowMapping) -> str:
    if row["key"] is None:
        return _extra(row) or f"{row['type']} of {row['table']}, about {row['rows']} rows"
    extra = f" ({_extra(row)})" if _extra(row) else ""
    return f"{row['type']} by {row['key']} of {row['table']}, about {row['rows']} rows{extra}"


def _extra(row: RowMapping) -> str:
    return str(row["Extra"] or "")
