"""Claims of idempotency keys: who may act on a key, until when, and what came of it.

All instants are the database's own, so that routers whose clocks differ agree. A lease that has ended may
be taken over once everything that its owner appended before is stored: then either the answer is there, or
there never was one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    delete,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from deployments.persistence.claim_words import ClaimKey, Finished, Granted, OtherBody, Outcome, Running, Wanted
from deployments.persistence.clock import database_now
from deployments.persistence.database import address_of
from deployments.persistence.failures import database_errors
from deployments.persistence.records import DecisionRecord
from deployments.persistence.tables import IDEMPOTENCY_CLAIM, SPOOL_OWNER

GONE_FOR_GOOD = datetime(9999, 12, 31, tzinfo=UTC)
"""Until when a departed owner has stored everything: it appends no more."""
_FORGET_AT_ONCE = 500


@contextmanager
def claim_work(engine: Engine) -> Iterator[ClaimRepository]:
    """One transaction: committed when the block ends, rolled back when it raises. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield ClaimRepository(connection)


class ClaimRepository:
    """The claims and the owners of spools, within one transaction. `now` replaces the database's clock in tests."""

    def __init__(self, connection: Connection, now: Callable[[], datetime] | None = None) -> None:
        self._connection = connection
        self._now = now

    def now(self) -> datetime:
        """The database's clock."""
        if self._now is not None:
            return self._now()
        return database_now(self._connection)

    def claim(self, wanted: Wanted) -> Outcome:
        """Takes the claim if it is free, or left behind with nothing outstanding; else says how it stands."""
        now = self.now()
        row = _row(wanted, now)
        self._insert_once(row)
        found = (
            self._connection.execute(select(IDEMPOTENCY_CLAIM).where(_is(wanted.claim)).with_for_update())
            .mappings()
            .one()
        )
        if found["decision_id"] == wanted.decision_id:
            return Granted()
        outcome = self._standing(found, wanted, now)
        if isinstance(outcome, Granted):
            self._connection.execute(update(IDEMPOTENCY_CLAIM).where(_is(wanted.claim)).values(row))
        return outcome

    def renew(self, claim: ClaimKey, decision_id: str, lease_seconds: float) -> bool:
        """Whether the claim is still that decision's; its lease then begins anew."""
        leased_until = self.now() + timedelta(seconds=lease_seconds)
        renewed = self._connection.execute(
            update(IDEMPOTENCY_CLAIM)
            .where(_is(claim), IDEMPOTENCY_CLAIM.c.decision_id == decision_id, IDEMPOTENCY_CLAIM.c.status.is_(None))
            .values(leased_until=leased_until)
        )
        return bool(renewed.rowcount)

    def finish(self, claim: ClaimKey, decision_id: str, finished: Finished) -> None:
        """Keeps the answer, unless there is one already or the claim is another decision's."""
        finish_claim(self._connection, claim, decision_id, finished)

    def release(self, claim: ClaimKey, decision_id: str) -> None:
        """Frees the claim of a decision that will never be."""
        self._connection.execute(
            delete(IDEMPOTENCY_CLAIM).where(
                _is(claim), IDEMPOTENCY_CLAIM.c.decision_id == decision_id, IDEMPOTENCY_CLAIM.c.status.is_(None)
            )
        )

    def forget_expired(self) -> int:
        """Deletes some answers whose time is over; how many."""
        table = IDEMPOTENCY_CLAIM
        key = (table.c.client, table.c.route, table.c.idempotency_key)
        expired = self._connection.execute(
            select(*key).where(table.c.expires_at <= self.now()).limit(_FORGET_AT_ONCE)
        ).all()
        if expired:
            self._connection.execute(delete(table).where(tuple_(*key).in_([tuple(row) for row in expired])))
        return len(expired)

    def report_drained(self, owner_id: str, drained_until: datetime) -> None:
        """All that the owner began to append before `drained_until` is stored."""
        values = {"owner_id": owner_id, "drained_until": drained_until}
        if self._connection.dialect.name == "sqlite":
            statement: Any = sqlite.insert(SPOOL_OWNER).values(values)
            statement = statement.on_conflict_do_update(
                index_elements=["owner_id"], set_={"drained_until": drained_until}
            )
        else:
            statement = mysql.insert(SPOOL_OWNER).values(values).on_duplicate_key_update(drained_until=drained_until)
        self._connection.execute(statement)

    def _standing(self, found: RowMapping, wanted: Wanted, now: datetime) -> Outcome:
        if found["expires_at"] <= now:
            return Granted()
        if found["request_sha256"] != wanted.request_sha256:
            return OtherBody()
        if found["status"] is not None:
            return Finished(status=found["status"], body=zlib.decompress(found["answer"]))
        is_left = found["leased_until"] <= now and self._is_drained(found["owner_id"], found["leased_until"])
        return Granted() if is_left else Running()

    def _is_drained(self, owner_id: str, leased_until: datetime) -> bool:
        query = select(SPOOL_OWNER.c.drained_until).where(SPOOL_OWNER.c.owner_id == owner_id)
        drained_until = self._connection.execute(query).scalar_one_or_none()
        return drained_until is not None and drained_until > leased_until

    def _insert_once(self, row: dict[str, Any]) -> None:
        if self._connection.dialect.name == "sqlite":
            self._connection.execute(sqlite.insert(IDEMPOTENCY_CLAIM).values(row).on_conflict_do_nothing())
        else:
            statement = mysql.insert(IDEMPOTENCY_CLAIM).values(row)
            self._connection.execute(statement.on_duplicate_key_update(client=IDEMPOTENCY_CLAIM.c.client))


def finish_claims(connection: Connection, records: Sequence[DecisionRecord]) -> None:
    """In the transaction that stores the decisions: what was answered under a key is what the key replays."""
    for record in records:
        mark = record.claim
        body = None if mark is None else (mark.answer if record.answer is None else record.answer)
        if mark is not None and body is not None:
            claim = ClaimKey(client=record.client, route=mark.route, key=mark.key)
            finish_claim(connection, claim, record.decision_id, Finished(status=200, body=body))


def finish_claim(connection: Connection, claim: ClaimKey, decision_id: str, finished: Finished) -> None:
    """Keeps the answer of one claim, within somebody's transaction."""
    connection.execute(
        update(IDEMPOTENCY_CLAIM)
        .where(_is(claim), IDEMPOTENCY_CLAIM.c.decision_id == decision_id, IDEMPOTENCY_CLAIM.c.status.is_(None))
        .values(status=finished.status, answer=zlib.compress(finished.body))
    )


def _row(wanted: Wanted, now: datetime) -> dict[str, Any]:
    return {
        "client": wanted.claim.client,
        "route": wanted.claim.route,
        "idempotency_key": wanted.claim.key,
        "request_sha256": wanted.request_sha256,
        "decision_id": wanted.decision_id,
        "owner_id": wanted.owner_id,
        "leased_until": now + timedelta(seconds=wanted.lease_seconds),
        "expires_at": now + timedelta(seconds=wanted.kept_seconds),
        "status": None,
        "answer": None,
    }


def _is(claim: ClaimKey) -> ColumnElement[bool]:
    table = IDEMPOTENCY_CLAIM.c
    return and_(table.client == claim.client, table.route == claim.route, table.idempotency_key == claim.key)
