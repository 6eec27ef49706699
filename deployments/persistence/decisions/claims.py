"""Claims of idempotency keys in the database: who may act on a key, until when, and what came of it."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

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

from deployments.errors import ClaimUnavailable
from deployments.persistence.database import MAX_WAIT_SECONDS, Transactions, address_of, database_now
from deployments.persistence.decisions.records import (
    ClaimKey,
    ClaimOutcome,
    DecisionRecord,
    Finished,
    Granted,
    OtherBody,
    Running,
    Wanted,
)
from deployments.persistence.errors import SpoolError
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import IDEMPOTENCY_CLAIM, SPOOL_OWNER
from deployments.runtime.background import BackgroundTask, Threads

GONE_FOR_GOOD = datetime(9999, 12, 31, tzinfo=UTC)
"""Until when a departed owner has stored everything: it appends no more."""
_FORGET_AT_ONCE = 500
_REPORT_SECONDS = 1.0
_REPORTS_BETWEEN_CLEANINGS = 300
_UNAVAILABLE = "a request with Idempotency-Key waits for the database, which does not answer; without it none does"
_log = logging.getLogger(__name__)


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

    def claim(self, wanted: Wanted) -> ClaimOutcome:
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

    def _standing(self, found: RowMapping, wanted: Wanted, now: datetime) -> ClaimOutcome:
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


class StoredClaims:
    """The claims in the database."""

    def __init__(self, engine: Engine, threads: Threads, *, max_wait_seconds: float = MAX_WAIT_SECONDS) -> None:
        self._do = Transactions(
            partial(claim_work, engine),
            threads,
            refusal=ClaimUnavailable,
            words=_UNAVAILABLE,
            max_wait_seconds=max_wait_seconds,
        ).do

    async def claim(self, wanted: Wanted) -> ClaimOutcome:
        """Takes the claim, or says how it stands; if this does not return, it is freed. Raises `ClaimUnavailable`."""
        return await self._do(
            lambda claims: claims.claim(wanted), undo=lambda claims: claims.release(wanted.claim, wanted.decision_id)
        )

    async def renew(self, claim: ClaimKey, decision_id: str, lease_seconds: float) -> bool:
        """Whether the claim is still that decision's; its lease then begins anew. Raises `ClaimUnavailable`."""
        return await self._do(lambda claims: claims.renew(claim, decision_id, lease_seconds))

    async def finish(self, claim: ClaimKey, decision_id: str, finished: Finished) -> None:
        """Keeps the answer. Raises `ClaimUnavailable`."""
        await self._do(lambda claims: claims.finish(claim, decision_id, finished))

    async def release(self, claim: ClaimKey, decision_id: str) -> None:
        """Frees the claim of a decision that will never be. Raises `ClaimUnavailable`."""
        await self._do(lambda claims: claims.release(claim, decision_id))

    async def now(self) -> datetime:
        """The database's clock. Raises `ClaimUnavailable`."""
        return await self._do(lambda claims: claims.now())

    async def report_drained(self, owner_id: str, drained_until: datetime) -> None:
        """All that the owner began to append before then is stored. Raises `ClaimUnavailable`."""
        await self._do(lambda claims: claims.report_drained(owner_id, drained_until))

    async def forget_expired(self) -> int:
        """Deletes some answers whose time is over; how many. Raises `ClaimUnavailable`."""
        return await self._do(lambda claims: claims.forget_expired())


class OwnSpool(Protocol):
    """The spool of this router, as far as others must know of it."""

    @property
    def owner_id(self) -> str:
        """Who appends here."""
        ...

    async def wait_until_drained(self) -> None:
        """Returns when everything whose append began before this call is stored."""
        ...

    async def departed_owners(self) -> list[str]:
        """Owners that are dead, and whose every record is stored."""
        ...

    async def forget_owner(self, owner_id: str) -> None:
        """A departed owner needs no more attention."""
        ...


class DrainReports(BackgroundTask):
    """Tells the database up to when this router, and dead ones of its folder, are drained."""

    def __init__(self, spool: OwnSpool, claims: StoredClaims, *, pause_seconds: float = _REPORT_SECONDS) -> None:
        super().__init__("drain reports", self._report_and_wait)
        self._spool = spool
        self._claims = claims
        self._pause_seconds = pause_seconds
        self._rounds = 0

    async def report_once(self) -> None:
        """Raises `ClaimUnavailable` or `SpoolError`."""
        for owner_id in await self._spool.departed_owners():
            await self._claims.report_drained(owner_id, GONE_FOR_GOOD)
            await self._spool.forget_owner(owner_id)
        # Read before the wait begins: whatever was appended before this instant is stored after it.
        now = await self._claims.now()
        await self._spool.wait_until_drained()
        await self._claims.report_drained(self._spool.owner_id, now)

    async def _report_and_wait(self) -> None:
        try:
            await self.report_once()
            if self._rounds % _REPORTS_BETWEEN_CLEANINGS == 0:
                await self._claims.forget_expired()
            self._rounds += 1
        except (ClaimUnavailable, SpoolError) as error:
            _log.debug("what is drained cannot be told now: %s", error)
        await asyncio.sleep(self._pause_seconds)
