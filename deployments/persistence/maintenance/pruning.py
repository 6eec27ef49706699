"""How the database grows and what leaves it: sizes, old decisions removed, tables of MariaDB cut into months."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, delete, func, select, text

from deployments.persistence.database import address_of
from deployments.persistence.decisions.audit_repository import AuditRepository
from deployments.persistence.decisions.records import AuditEvent, first_id
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.errors import PruningRefused
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import (
    DECISION,
    EVALUATION,
    FEEDBACK,
    IDEMPOTENCY_CLAIM,
    METADATA,
    PLAN,
    PLAN_RELEASE,
)
from deployments.rollout.ramp.state import RolloutState, Stage

# Of pages, whichever table or index they belong to.
_OF_SQLITE = "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_master USING (name) GROUP BY tbl_name"
_OF_MARIADB = (
    "SELECT table_name, data_length + index_length FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
)
PARTITIONED = (DECISION, EVALUATION)
"""The tables that grow with every request; the primary key of each begins with the decision's id."""
LATER = "later"
"""The last partition, for what no month was made for."""
MIN_AGE = timedelta(days=7)
"""Whatever is younger may still be on its way: in a spool, or as an arm that is computed later."""
_DECISIONS_AT_ONCE = 500
# An id and its decision's instant are taken one after the other, and a clock may be set meanwhile.
_ID_MARGIN = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """Rows as counted; bytes as the database knows them, on MariaDB from its statistics."""

    table: str
    rows: int
    bytes: int


def table_sizes(engine: Engine) -> list[TableSize]:
    """Every table, the largest first. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.connect() as connection:
        sizes = _bytes(connection)
        found = [
            TableSize(table=name, rows=_rows(connection, name), bytes=sizes.get(name, 0)) for name in METADATA.tables
        ]
    return sorted(found, key=lambda size: -size.bytes)


def _bytes(connection: Connection) -> dict[str, int]:
    statement = _OF_SQLITE if connection.dialect.name == "sqlite" else _OF_MARIADB
    return {str(name): int(size) for name, size in connection.execute(text(statement))}


def _rows(connection: Connection, name: str) -> int:
    return connection.execute(select(func.count()).select_from(METADATA.tables[name])).scalar_one()


def first_partitions(month: datetime, months: int) -> Iterator[str]:
    """The statements that cut both tables: what is before `month`, that many months from it on, and the rest."""
    for table in PARTITIONED:
        parts = [_part("earlier", month), *_months(month, months), _REST]
        yield f"ALTER TABLE {table.name} PARTITION BY RANGE COLUMNS ({_column(table)}) ({', '.join(parts)});"


def further_partitions(month: datetime, months: int) -> Iterator[str]:
    """The statements that add months to tables which are cut already; the first must follow on their last one."""
    for table in PARTITIONED:
        parts = [*_months(month, months), _REST]
        yield f"ALTER TABLE {table.name} REORGANIZE PARTITION {LATER} INTO ({', '.join(parts)});"


_REST = f"PARTITION {LATER} VALUES LESS THAN (MAXVALUE)"


def _months(month: datetime, months: int) -> Iterator[str]:
    for number in range(months):
        yield _part(f"m{_after(month, number):%Y_%m}", _after(month, number + 1))


def _part(name: str, end: datetime) -> str:
    return f"PARTITION {name} VALUES LESS THAN ('{first_id(end)}')"


def _after(month: datetime, months: int) -> datetime:
    count = 12 * month.year + month.month - 1 + months
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def _column(table: Table) -> str:
    return next(iter(table.primary_key)).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What goes, or went, and how many old decisions are kept, each for the first reason that applies."""

    decisions: int = 0
    evaluations: int = 0
    feedback: int = 0
    planned: int = 0
    claimed: int = 0
    reported: int = 0

    @property
    def kept(self) -> int:
        """Old decisions that stay."""
        return self.planned + self.claimed + self.reported

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})


def survey(engine: Engine, before: datetime, now: datetime) -> Pruned:
    """What `prune` would remove. Raises `PruningRefused` or `DatabaseError`."""
    _require_prunable(engine, before, now)
    found = Pruned()
    with database_errors(address_of(engine)), engine.connect() as connection:
        age = _Age(connection, before)
        for chunk in age.chunks():
            going, kept = age.sorted_out(chunk)
            found += kept + Pruned(
                decisions=len(going),
                evaluations=_count(connection, select(func.count()).where(EVALUATION.c.decision_id.in_(going))),
                feedback=_count(connection, select(func.count()).where(FEEDBACK.c.decision_id.in_(going))),
            )
    return found


def prune(
    engine: Engine, before: datetime, now: datetime, event: AuditEvent, on_decisions: Callable[[int], None]
) -> Pruned:
    """Removes decisions made before an instant, some hundreds in each transaction; `event` is written down first.

    May be interrupted and repeated. Raises `PruningRefused` or `DatabaseError`.
    """
    _require_prunable(engine, before, now)
    removed = Pruned()
    with database_errors(address_of(engine)), engine.connect() as connection:
        with connection.begin():
            AuditRepository(connection).insert([event])
        age = _Age(connection, before)
        for chunk in age.chunks():
            # What was read to find the chunk began a transaction of its own.
            connection.rollback()
            with connection.begin():
                going, kept = age.sorted_out(chunk)
                removed += kept + _remove(connection, going)
            on_decisions(len(chunk))
    return removed


def _require_prunable(engine: Engine, before: datetime, now: datetime) -> None:
    if before > now - MIN_AGE:
        limit = (now - MIN_AGE).isoformat(timespec="seconds")
        raise PruningRefused(
            f"the instant must be {MIN_AGE.days} days ago at least ({limit}), was {before.isoformat()}"
        )
    rows = RolloutRows(engine)
    document = rows.newest_state()
    if document is None:
        return
    state = RolloutState.from_json(document)
    if state.serving_stage is Stage.FULL:
        return
    began = min((row["created_at"] for row in rows.transitions() if row["state"]["ramp"] == state.ramp), default=before)
    if before > began:
        raise PruningRefused(
            f"the instant must not be after {began.isoformat()}, when the ramp began that is in stage "
            f"{state.stage.value}, was {before.isoformat()}: its gates and reports read every decision since"
        )


class _Age:
    """Decisions made before an instant, and which of them are still named elsewhere."""

    def __init__(self, connection: Connection, before: datetime) -> None:
        self._connection = connection
        self._before = before
        self._end = first_id(before + _ID_MARGIN)
        claims = select(IDEMPOTENCY_CLAIM.c.decision_id).where(IDEMPOTENCY_CLAIM.c.decision_id < self._end)
        # Read once, for no table has an index for it: nothing new in claims names an old decision.
        self._claimed = self._ids(claims)

    def _in_plans(self) -> set[str]:
        plans = (select(plan).where(plan < self._end) for plan in (PLAN.c.decision_id, PLAN_RELEASE.c.decision_id))
        return set().union(*map(self._ids, plans))

    def chunks(self) -> Iterator[list[str]]:
        """Their ids along the primary key, oldest first."""
        last, column = "", DECISION.c.decision_id
        while True:
            query = select(column).where(column > last, column < self._end, DECISION.c.created_at < self._before)
            chunk = list(self._connection.execute(query.order_by(column).limit(_DECISIONS_AT_ONCE)).scalars())
            if not chunk:
                return
            yield chunk
            last = chunk[-1]

    def sorted_out(self, chunk: Sequence[str]) -> tuple[list[str], Pruned]:
        """Which of them may go, and why the others may not."""
        late = FEEDBACK.c.decision_id.in_(chunk), FEEDBACK.c.created_at >= self._before
        # A person may put a decision of any age in force, and did so perhaps since the last chunk.
        planned = self._in_plans() & {*chunk}
        claimed = (self._claimed - planned) & {*chunk}
        reported = self._ids(select(FEEDBACK.c.decision_id).where(*late)) - planned - claimed
        counts = Pruned(planned=len(planned), claimed=len(claimed), reported=len(reported))
        return [each for each in chunk if each not in planned | claimed | reported], counts

    def _ids(self, query: Select[Any]) -> set[str]:
        return set(self._connection.execute(query).scalars())


def _remove(connection: Connection, going: Sequence[str]) -> Pruned:
    feedback, evaluations, decisions = (
        connection.execute(delete(table).where(table.c.decision_id.in_(going))).rowcount
        for table in (FEEDBACK, EVALUATION, DECISION)
    )
    return Pruned(decisions=decisions, evaluations=evaluations, feedback=feedback)


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(query).scalar_one())
