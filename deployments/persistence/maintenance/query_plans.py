"""How the database answers each query of the API: which index it takes, whether it sorts, whether it reads everything.

Tables that stay small (API keys, rollout transitions, incidents) may be read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, select

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

_CLIENT = "explained"
_ID = "00000000-0000-0000-0000-000000000000"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
_PAGE = MAX_PAGE_SIZE + 1
_PLANT = "penang"
# A walk along an index that the limit ends soon.
_MAX_ROWS_OF_A_WALK = 2 * MAX_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiQuery:
    """One query that requests wait for."""

    name: str
    statement: Callable[[str], Select[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """What EXPLAIN says, in short. `follows_index`: no table is read whole."""

    follows_index: bool
    sorts: bool
    words: str


def _since(build: Callable[[datetime, int], Select[Any]], limit: int) -> Callable[[str], Select[Any]]:
    """From the very beginning: the worst case of a report."""
    return lambda _: build(_LONG_AGO, limit)


def _of_plant(source: Any, *others: Any) -> Callable[[str], Select[Any]]:
    return lambda _: select(source).where(source.c.plant_id == _PLANT, *others)


API_QUERIES = (
    ApiQuery(
        name="one decision",
        statement=lambda client: select(DECISION).where(DECISION.c.decision_id == _ID, DECISION.c.client == client),
    ),
    ApiQuery(name="evaluations of a decision", statement=lambda _: evaluations_of_query(_ID)),
    ApiQuery(name="newest of a client", statement=lambda client: newest_query(client).limit(_PAGE)),
    ApiQuery(
        name="next page of a client",
        statement=lambda client: newest_query(client, before=(_FAR_AHEAD, _ID)).limit(_PAGE),
    ),
    ApiQuery(
        name="newest of some plants",
        statement=lambda client: newest_query(client).where(DECISION.c.plant_id.in_([_PLANT, "ipoh"])).limit(_PAGE),
    ),
    ApiQuery(
        name="newest of a plant",
        statement=lambda client: newest_query(client, DecisionFilter(plant_id=_PLANT), with_payload=True).limit(_PAGE),
    ),
    ApiQuery(
        name="newest of a request",
        statement=lambda client: newest_query(client, DecisionFilter(request_id="erp-1")).limit(_PAGE),
    ),
    ApiQuery(
        name="digests of a batch",
        statement=lambda _: select(DECISION.c.decision_id, DECISION.c.payload_sha256).where(
            DECISION.c.decision_id.in_([_ID, _ID.replace("0", "1")])
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
        statement=lambda client: select(IDEMPOTENCY_CLAIM).where(
            IDEMPOTENCY_CLAIM.c.client == client,
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
    ApiQuery(name="newest releases of a line", statement=lambda _: releases_query(_PLANT, None).limit(_PAGE)),
    ApiQuery(name="newest audit rows", statement=lambda _: newest_audit_query().limit(MAX_AUDIT_PAGE_SIZE)),
    ApiQuery(
        name="next page of audit rows",
        statement=lambda _: newest_audit_query((_FAR_AHEAD, _ID)).limit(MAX_AUDIT_PAGE_SIZE),
    ),
    ApiQuery(
        name="newest transitions",
        statement=lambda _: newest_of(ROLLOUT_TRANSITION, ROLLOUT_TRANSITION.c.version, MAX_EVENTS),
    ),
    ApiQuery(name="report: evaluations", statement=_since(evaluations_query, MAX_EVALUATIONS)),
    ApiQuery(
        name="recount: page of evaluations",
        statement=lambda _: evaluations_page_query((_LONG_AGO, _ID), _FAR_AHEAD, PAGE_SIZE),
    ),
    ApiQuery(name="report: assignments", statement=_since(assignments_query, MAX_EVALUATIONS)),
    ApiQuery(name="report: feedback", statement=_since(feedback_query, MAX_FEEDBACK)),
)


def plan_of(connection: Connection, query: ApiQuery, client: str = _CLIENT) -> QueryPlan:
    """How `query` of `client` would be answered now. Raises what the driver raises."""
    compiled = query.statement(client).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
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
        sorts=any("filesort" in _extra(row) for row in rows),
        words="; ".join(map(_words, rows)),
    )


def _follows_index(row: RowMapping) -> bool:
    # A key that is not there, and the ends of an index, are found out while planning.
    if row["key"] is None:
        return any(each in _extra(row) for each in ("Impossible WHERE", "no matching row", "optimized away"))
    return row["type"] != "index" or int(row["rows"]) <= _MAX_ROWS_OF_A_WALK


def _words(row: RowMapping) -> str:
    if row["key"] is None:
        return _extra(row) or f"{row['type']} of {row['table']}, about {row['rows']} rows"
    extra = f" ({_extra(row)})" if _extra(row) else ""
    return f"{row['type']} by {row['key']} of {row['table']}, about {row['rows']} rows{extra}"


def _extra(row: RowMapping) -> str:
    return str(row["Extra"] or "")
