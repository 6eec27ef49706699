"""Evaluations, feedback, the rollout's lease, trail and incidents as rows, and what the report reads of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Insert,
    RowMapping,
    Select,
    Table,
    and_,
    desc,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from deployments.persistence.database import address_of, database_now
from deployments.persistence.decisions.records import (
    EvaluationRecord,
    FeedbackRecord,
    RolloutLease,
    columns_of,
    with_figures,
)
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import (
    DECISION,
    EVALUATION,
    FEEDBACK,
    INCIDENT,
    NAME_LENGTH,
    ROLLOUT_LEASE,
    ROLLOUT_TRANSITION,
)

MAX_EVENTS = 200
MAX_EVALUATIONS = 100_000
MAX_FEEDBACK = 2_000
PAGE_SIZE = 2_000
"""Evaluations that are read at once where all are wanted: a fraction of a second also on a large plant."""
_ONLY_LEASE = 1
_NOBODYS = {"owner_id": "", "owner_name": "", "expires_at": datetime(1970, 1, 1, tzinfo=UTC)}


def insert_evaluations(connection: Connection, records: list[EvaluationRecord]) -> None:
    """Makes sure that each is there; what is already stays untouched."""
    _insert_evaluation_once(connection, EVALUATION, records)


def insert_feedback(connection: Connection, records: list[FeedbackRecord]) -> None:
    """Makes sure that each is there; what is already stays untouched."""
    _insert_evaluation_once(connection, FEEDBACK, records)


def evaluations_of(connection: Connection, decision_id: str) -> tuple[EvaluationRecord, ...]:
    """What the arms made of one decision's request, as far as it is stored."""
    return tuple(evaluation_of(row) for row in connection.execute(evaluations_of_query(decision_id)).mappings())


def evaluations_of_query(decision_id: str) -> Select[Any]:
    """All evaluations of one decision."""
    return select(EVALUATION).where(EVALUATION.c.decision_id == decision_id).order_by(EVALUATION.c.arm)


def evaluation_of(row: RowMapping) -> EvaluationRecord:
    """One row of the table as a record."""
    return EvaluationRecord(**with_figures(dict(row)))


def _insert_evaluation_once(connection: Connection, table: Table, records: list[Any]) -> None:
    if records:
        connection.execute(_insert(connection, table), [columns_of(record) for record in records])


def _insert(connection: Connection, table: Table) -> Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))
    # Not INSERT IGNORE, which would also swallow values that do not fit.
    key = next(iter(table.primary_key))
    return mysql.insert(table).on_duplicate_key_update({key.name: key})


class RolloutRows:
    """Each method is a transaction of its own, and blocking. Raises `DatabaseError`.

    `now` replaces the database's clock in tests.
    """

    def __init__(self, engine: Engine, now: Callable[[], datetime] | None = None) -> None:
        self._engine = engine
        self._now = now

    def look(self, version: int | None) -> tuple[RolloutLease | None, list[dict[str, Any]]]:
        """Who owns the rollout, and its transitions from `version` on, by version, at most `MAX_EVENTS`.

        Where there are none from it on, and for None, the newest alone. Raises `ValueError` for damaged JSON.
        """
        newest = newest_query(ROLLOUT_TRANSITION, ROLLOUT_TRANSITION.c.version, 1)
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            lease = self._lease(connection)
            rows: Sequence[RowMapping] = []
            if version is not None:
                since = select(ROLLOUT_TRANSITION).where(ROLLOUT_TRANSITION.c.version >= version)
                ordered = since.order_by(ROLLOUT_TRANSITION.c.version).limit(MAX_EVENTS)
                rows = connection.execute(ordered).mappings().all()
            rows = rows or connection.execute(newest).mappings().all()
        return lease, [_decoded(row) for row in rows]

    def take_lease(
        self, owner_id: str, owner_name: str, *, seen_token: int, lease_seconds: float, is_own: bool = False
    ) -> int | None:
        """The new owner's token, one above `seen_token` (0: there was no lease).

        None when somebody else was faster, or when the lease has not expired; `is_own` is for an owner that has come
        back and knows that nobody else has its id.
        """
        lease = ROLLOUT_LEASE.c
        with database_errors(address_of(self._engine)), self._engine.begin() as connection:
            if not seen_token:
                _insert_once(connection, ROLLOUT_LEASE, [{"lease_id": _ONLY_LEASE, "token": 0, **_NOBODYS}])
            now = self._clock(connection)
            may_take = or_(lease.expires_at <= now, lease.owner_id == owner_id) if is_own else lease.expires_at <= now
            taken = connection.execute(
                update(ROLLOUT_LEASE)
                .where(lease.lease_id == _ONLY_LEASE, lease.token == seen_token, may_take)
                .values(
                    owner_id=owner_id,
                    owner_name=owner_name[:NAME_LENGTH],
                    token=seen_token + 1,
                    expires_at=now + timedelta(seconds=lease_seconds),
                )
            )
        return seen_token + 1 if taken.rowcount else None

    def renew_lease(self, token: int, lease_seconds: float) -> bool:
        """Whether `token` is still the owner's; the lease then begins anew, also one that has expired."""
        with database_errors(address_of(self._engine)), self._engine.begin() as connection:
            renewed = connection.execute(
                update(ROLLOUT_LEASE)
                .where(ROLLOUT_LEASE.c.lease_id == _ONLY_LEASE, ROLLOUT_LEASE.c.token == token)
                .values(expires_at=self._clock(connection) + timedelta(seconds=lease_seconds))
            )
        return bool(renewed.rowcount)

    def release_lease(self, token: int) -> None:
        """The rollout is nobody's, if `token` is still the owner's, and the next who asks may take it at once."""
        with database_errors(address_of(self._engine)), self._engine.begin() as connection:
            connection.execute(
                update(ROLLOUT_LEASE)
                .where(ROLLOUT_LEASE.c.lease_id == _ONLY_LEASE, ROLLOUT_LEASE.c.token == token)
                .values(_NOBODYS)
            )

    def append_transition(
        self, transition: Mapping[str, Any], *, token: int, expected_version: int, is_for_all: bool
    ) -> bool:
        """Whether it was stored: only while `token` is the newest and `expected_version` the newest version.

        What `is_for_all` may be written by anybody who knows the token: rollbacks. All else only by its owner, and only
        until the lease expires.
        """
        lease = ROLLOUT_LEASE.c
        with database_errors(address_of(self._engine)), self._engine.begin() as connection:
            held = [lease.lease_id == _ONLY_LEASE, lease.token == token]
            if not is_for_all:
                held.append(lease.expires_at > self._clock(connection))
            # The update locks the row until the commit, so that whoever writes does so alone.
            if not connection.execute(update(ROLLOUT_LEASE).where(*held).values(token=lease.token)).rowcount:
                return False
            newest = connection.execute(select(func.max(ROLLOUT_TRANSITION.c.version))).scalar_one_or_none()
            if (newest or 0) != expected_version:
                return False
            connection.execute(insert(ROLLOUT_TRANSITION), dict(transition))
        return True

    def save_incidents(self, incidents: Sequence[Mapping[str, Any]]) -> None:
        """Makes sure that each is there; what is already stays untouched. Columns come as plain JSON values."""
        with database_errors(address_of(self._engine)), self._engine.begin() as connection:
            _insert_once(connection, INCIDENT, incidents)

    def _lease(self, connection: Connection) -> RolloutLease | None:
        found = connection.execute(select(ROLLOUT_LEASE).where(ROLLOUT_LEASE.c.lease_id == _ONLY_LEASE)).mappings()
        row = found.one_or_none()
        if row is None:
            return None
        return RolloutLease(
            owner_id=row["owner_id"],
            owner_name=row["owner_name"],
            token=row["token"],
            seconds_left=(row["expires_at"] - self._clock(connection)).total_seconds(),
        )

    def _clock(self, connection: Connection) -> datetime:
        return database_now(connection) if self._now is None else self._now()

    def newest_state(self) -> dict[str, Any] | None:
        """The state of the newest transition as JSON, None when there is none. Raises `ValueError` for damaged JSON."""
        query = select(ROLLOUT_TRANSITION.c.state).order_by(desc(ROLLOUT_TRANSITION.c.version)).limit(1)
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            text = connection.execute(query).scalar_one_or_none()
        state: dict[str, Any] | None = None if text is None else json.loads(text)
        return state

    def transitions(self, limit: int = MAX_EVENTS) -> list[dict[str, Any]]:
        """The newest transitions, newest first."""
        return self._newest(ROLLOUT_TRANSITION, limit, ROLLOUT_TRANSITION.c.version)

    def incidents(self, limit: int = MAX_EVENTS) -> list[dict[str, Any]]:
        """The newest incidents, newest first."""
        return self._newest(INCIDENT, limit, INCIDENT.c.created_at)

    def evaluations(self, since: datetime, limit: int = MAX_EVALUATIONS) -> list[EvaluationRecord]:
        """Evaluations from `since` on, oldest first; the newest `limit` of them."""
        query = evaluations_query(since, limit)
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [evaluation_of(row) for row in reversed(rows)]

    def evaluations_page(
        self, since: tuple[datetime, str], until: datetime, page_size: int = PAGE_SIZE
    ) -> tuple[list[EvaluationRecord], tuple[datetime, str] | None]:
        """Evaluations from instant and decision of `since` on and before `until`, oldest first, and where to go on.

        Whole decisions, at least one, so that no pair is torn; None behind the last page.
        """
        query = evaluations_page_query(since, until, page_size)
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            rows = [evaluation_of(row) for row in connection.execute(query).mappings()]
        if len(rows) < page_size:
            return rows, None
        last = rows[-1].created_at, rows[-1].decision_id
        whole = [row for row in rows if (row.created_at, row.decision_id) != last]
        assert whole, "a page has room for all arms of a decision"
        return whole, last

    def all_transitions(self) -> list[dict[str, Any]]:
        """Every transition, oldest first, read in pages. Raises `ValueError` for damaged JSON."""
        found: list[dict[str, Any]] = []
        while True:
            version = found[-1]["version"] + 1 if found else 0
            since = select(ROLLOUT_TRANSITION).where(ROLLOUT_TRANSITION.c.version >= version)
            page = since.order_by(ROLLOUT_TRANSITION.c.version).limit(MAX_EVENTS)
            with database_errors(address_of(self._engine)), self._engine.connect() as connection:
                rows = connection.execute(page).mappings().all()
            found += [_decoded(row) for row in rows]
            if len(rows) < MAX_EVENTS:
                return found

    def assignments(self, since: datetime, limit: int = MAX_EVALUATIONS) -> list[dict[str, Any]]:
        """What each decision from `since` on says about its assignment, oldest first; forced ones left out."""
        return self._oldest_first(assignments_query(since, limit))

    def feedback(self, since: datetime, limit: int = MAX_FEEDBACK) -> list[dict[str, Any]]:
        """Feedback from `since` on with what is known of its decision, oldest first; forced ones left out.

        `answer` is the compressed body, None when it was not kept; `role` is that of the arm that served.
        """
        return self._oldest_first(feedback_query(since, limit))

    def _oldest_first(self, query: Select[Any]) -> list[dict[str, Any]]:
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            return [dict(row) for row in reversed(connection.execute(query).mappings().all())]

    def _newest(self, table: Table, limit: int, order: Any) -> list[dict[str, Any]]:
        query = newest_query(table, order, limit)
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [_decoded(row) for row in rows]


def evaluations_query(since: datetime, limit: int) -> Select[Any]:
    """Evaluations from `since` on, newest first."""
    newest = EVALUATION.c.created_at.desc(), EVALUATION.c.decision_id.desc()
    return select(EVALUATION).where(EVALUATION.c.created_at >= since).order_by(*newest).limit(limit)


def evaluations_page_query(since: tuple[datetime, str], until: datetime, limit: int) -> Select[Any]:
    """Evaluations from instant and decision of `since` on and before `until`, oldest first."""
    created_at, decision_id = since
    return (
        select(EVALUATION)
        .where(
            EVALUATION.c.created_at >= created_at,
            EVALUATION.c.created_at < until,
            or_(EVALUATION.c.created_at > created_at, EVALUATION.c.decision_id >= decision_id),
        )
        .order_by(EVALUATION.c.created_at, EVALUATION.c.decision_id)
        .limit(limit)
    )


def assignments_query(since: datetime, limit: int) -> Select[Any]:
    """Assignments from `since` on, newest first.

    Asked by the instant of the evaluation, which is that of its decision: only there is an index of instants alone.
    """
    names = ("created_at", "unit", "bucket", "seed", "hash_version", "stage", "share", "arm")
    return (
        select(*(DECISION.c[name] for name in names), EVALUATION.c.ramp, EVALUATION.c.job_list_sha256)
        .join_from(EVALUATION, DECISION, DECISION.c.decision_id == EVALUATION.c.decision_id)
        .where(
            EVALUATION.c.created_at >= since,
            EVALUATION.c.is_served,
            EVALUATION.c.ramp > 0,
            DECISION.c.is_forced.is_(False),
        )
        .order_by(EVALUATION.c.created_at.desc(), EVALUATION.c.decision_id.desc())
        .limit(limit)
    )


def feedback_query(since: datetime, limit: int) -> Select[Any]:
    """Feedback from `since` on with its decision and the arm that served, newest first."""
    names = ("unit", "bucket", "seed", "stage", "share", "plant_id", "line_id", "answer", "request")
    return (
        select(FEEDBACK, *(DECISION.c[name] for name in names), EVALUATION.c.role)
        .join(DECISION, DECISION.c.decision_id == FEEDBACK.c.decision_id)
        .join(EVALUATION, and_(EVALUATION.c.decision_id == DECISION.c.decision_id, EVALUATION.c.is_served))
        .where(FEEDBACK.c.created_at >= since, DECISION.c.is_forced.is_(False))
        .order_by(FEEDBACK.c.created_at.desc(), FEEDBACK.c.feedback_id.desc())
        .limit(limit)
    )


def newest_query(table: Table, order: ColumnElement[Any], limit: int) -> Select[Any]:
    """Rows of a table of the rollout's own, newest first."""
    return select(table).order_by(order.desc()).limit(limit)


def _decoded(row: RowMapping) -> dict[str, Any]:
    return dict(row) | {name: json.loads(row[name]) for name in ("evidence", "state") if name in row}


def _insert_once(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), list(rows))
        return
    key = next(iter(table.primary_key))
    connection.execute(mysql.insert(table).on_duplicate_key_update({key.name: key}), list(rows))
