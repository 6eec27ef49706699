"""Runs in the database, which every router asks: who plans what, until when, and how far that is."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, and_, case, delete, func, insert, or_, select, update

from deployments.errors import KeyConflict, Overloaded, RunUnavailable
from deployments.persistence.database import Transactions, address_of, database_now
from deployments.persistence.decisions.plan_run import Accepted, BestSoFar, PlanRun, RunRequest, RunState
from deployments.persistence.errors import DatabaseUnavailable, DataRejected
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import DECISION, PLAN_RUN, SPOOL_OWNER
from deployments.runtime.background import Threads

MAX_QUEUED = 32
MAX_QUEUED_OF_A_CLIENT = 16
LEASE_SECONDS = 15.0
LOST_SECONDS = 15 * 60.0
KEPT_SECONDS = 24 * 3600.0
"""As long as an Idempotency-Key stands for its request; a plan that was made is a decision and stays."""
CRASHED = "the process that planned it died; the same request with the same Idempotency-Key starts it again"
_AT_ONCE = 100
_RETRY_WHEN_FULL_SECONDS = 30
_COLUMNS = tuple(column for column in PLAN_RUN.c if column.name != PLAN_RUN.c.request.name)


@contextmanager
def run_work(engine: Engine) -> Iterator[RunRepository]:
    """One transaction: committed when the block ends, rolled back when it raises. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield RunRepository(connection)


class RunRepository:
    """The runs, within one transaction. `now` replaces the database's clock in tests."""

    def __init__(self, connection: Connection, now: Callable[[], datetime] | None = None) -> None:
        self._connection = connection
        self._now = now

    def now(self) -> datetime:
        """The database's clock."""
        return database_now(self._connection) if self._now is None else self._now()

    def accept(self, wanted: RunRequest) -> Accepted:
        """Queues a request, or finds the run that stands for its key; one that has failed is begun anew.

        Raises `KeyConflict` for a key that stands for another request, and `Overloaded` when the queue is full.
        """
        now = self.now()
        known = self._connection.execute(select(*_COLUMNS).where(PLAN_RUN.c.run_id == wanted.run_id)).mappings()
        if (same := known.one_or_none()) is not None:
            # The answer to an earlier attempt was lost.
            return Accepted(run=_run(same), is_replayed=False)
        found = self._of_key(wanted)
        if found is not None and found["created_at"] > now - timedelta(seconds=KEPT_SECONDS):
            if found["request_sha256"] != wanted.request_sha256:
                raise KeyConflict(f"the Idempotency-Key {wanted.key!r} stands for another request: use a new one")
            if found["state"] != RunState.FAILED:
                return Accepted(run=_run(found), is_replayed=True)
        self._require_room(wanted.client)
        if found is not None:
            # The key names the new run from now on; the old one stays readable by its id.
            self._connection.execute(
                update(PLAN_RUN)
                .where(PLAN_RUN.c.run_id == found["run_id"])
                .values(idempotency_key=_no_key(found["run_id"]))
            )
        row = _row(wanted, now)
        self._connection.execute(insert(PLAN_RUN).values(row))
        return Accepted(run=_run(row), is_replayed=False)

    def get(self, run_id: str, client: str | None) -> PlanRun | None:
        """How a run stands, None where `client` (None: nobody) has it."""
        query = select(*_COLUMNS).where(PLAN_RUN.c.run_id == run_id)
        if client is not None:
            query = query.where(PLAN_RUN.c.client == client)
        found = self._connection.execute(query).mappings().one_or_none()
        return None if found is None else _run(found)

    def take(self, owner_id: str) -> RunRequest | None:
        """The oldest that waits, which is the owner's from now on; None where none does.

        An owner plans one at a time, so what it has besides was taken without its knowledge, and waits again.
        """
        left = select(PLAN_RUN.c.run_id).where(
            PLAN_RUN.c.state == RunState.RUNNING.value,
            PLAN_RUN.c.owner_id == owner_id,
            PLAN_RUN.c.request.is_not(None),
        )
        for run_id in self._connection.execute(left).scalars().all():
            if not self._decided([run_id]):
                self._change(run_id, RunState.RUNNING, state=RunState.QUEUED.value, owner_id=None, leased_until=None)
        query = select(PLAN_RUN).where(PLAN_RUN.c.state == RunState.QUEUED.value).order_by(PLAN_RUN.c.created_at)
        found = self._connection.execute(query.limit(1).with_for_update(skip_locked=True)).mappings().one_or_none()
        if found is None:
            return None
        taken = self._change(
            found["run_id"],
            RunState.QUEUED,
            state=RunState.RUNNING.value,
            owner_id=owner_id,
            leased_until=self.now() + timedelta(seconds=LEASE_SECONDS),
        )
        return _request(found) if taken else None

    def renew(self, run: RunRequest, owner_id: str, best: BestSoFar | None) -> bool | None:
        """Keeps what was found so far, and the run; whether somebody wants it stopped, None when it is lost.

        One that was given up, because its owner could not be heard for a while, goes on unless its key names another.
        """
        mine = and_(PLAN_RUN.c.run_id == run.run_id, PLAN_RUN.c.owner_id == owner_id)
        found = self._connection.execute(select(*_COLUMNS).where(mine).with_for_update()).mappings().one_or_none()
        if found is None:
            return None
        was_given_up = found["state"] == RunState.FAILED and found["reason"] == CRASHED
        if was_given_up and found["idempotency_key"] != _key_of(run):
            return None
        if was_given_up or found["state"] == RunState.RUNNING:
            values: dict[str, Any] = {} if best is None else {"best": best.to_json()}
            values |= {"state": RunState.RUNNING.value, "reason": None}
            values["leased_until"] = self.now() + timedelta(seconds=LEASE_SECONDS)
            self._connection.execute(update(PLAN_RUN).where(mine).values(values))
        return bool(found["is_stop_wanted"])

    def finish(self, run_id: str, owner_id: str, state: RunState, reason: str | None, best: BestSoFar | None) -> None:
        """The run has come to its end; its request is kept with the decision, if there is one."""
        values: dict[str, Any] = {} if best is None else {"best": best.to_json()}
        self._connection.execute(
            update(PLAN_RUN)
            .where(PLAN_RUN.c.run_id == run_id, PLAN_RUN.c.owner_id == owner_id)
            .values(**values, state=state.value, reason=reason, request=None, changed_at=self.now())
        )

    def stop(self, run_id: str) -> None:
        """Whoever plans it keeps the best so far; what has not begun never does."""
        self._connection.execute(update(PLAN_RUN).where(PLAN_RUN.c.run_id == run_id).values(is_stop_wanted=True))
        reason = "stopped before it began"
        self._change(run_id, RunState.QUEUED, state=RunState.STOPPED.value, reason=reason, request=None)

    def fail_abandoned(self) -> int:
        """Runs whose owner died, and left nothing that is still to be stored, have failed unless they left a decision.

        How many have come to their end so. Of an owner whose disk is lost nobody ever says what it left: its runs end
        when nothing was heard of them for `LOST_SECONDS`.
        """
        now, owner = self.now(), SPOOL_OWNER.c
        lapsed = (
            select(PLAN_RUN.c.run_id)
            .outerjoin(SPOOL_OWNER, owner.owner_id == PLAN_RUN.c.owner_id)
            .where(
                PLAN_RUN.c.state == RunState.RUNNING.value,
                PLAN_RUN.c.leased_until <= now,
                or_(
                    owner.drained_until > PLAN_RUN.c.leased_until,
                    PLAN_RUN.c.leased_until <= now - timedelta(seconds=LOST_SECONDS),
                ),
            )
        )
        found = self._connection.execute(lapsed.limit(_AT_ONCE)).scalars().all()
        if not found:
            return 0
        done = self._decided(found)
        ended = 0
        for run_id in found:
            state, reason = (RunState.DONE, None) if run_id in done else (RunState.FAILED, CRASHED)
            ended += self._change(run_id, RunState.RUNNING, state=state.value, reason=reason, request=None)
        return ended

    def _decided(self, run_ids: Sequence[str]) -> set[str]:
        """Those that left a decision."""
        query = select(DECISION.c.decision_id).where(DECISION.c.decision_id.in_(run_ids))
        return set(self._connection.execute(query).scalars())

    def forget_old(self) -> int:
        """Deletes some runs that ended so long ago that no key stands for them; how many."""
        final = [state.value for state in RunState if state.is_final]
        old = self.now() - timedelta(seconds=KEPT_SECONDS)
        query = select(PLAN_RUN.c.run_id).where(PLAN_RUN.c.state.in_(final), PLAN_RUN.c.created_at <= old)
        found = self._connection.execute(query.limit(_AT_ONCE)).scalars().all()
        if found:
            self._connection.execute(delete(PLAN_RUN).where(PLAN_RUN.c.run_id.in_(found)))
        return len(found)

    def _of_key(self, wanted: RunRequest) -> RowMapping | None:
        if wanted.key is None:
            return None
        query = select(*_COLUMNS).where(
            PLAN_RUN.c.client == wanted.client, PLAN_RUN.c.idempotency_key == _key_of(wanted)
        )
        return self._connection.execute(query.with_for_update()).mappings().one_or_none()

    def _require_room(self, client: str) -> None:
        own = func.coalesce(func.sum(case((PLAN_RUN.c.client == client, 1), else_=0)), 0)
        query = select(func.count(), own).where(PLAN_RUN.c.state == RunState.QUEUED.value)
        queued, of_client = map(int, self._connection.execute(query).one())
        if queued >= MAX_QUEUED or of_client >= MAX_QUEUED_OF_A_CLIENT:
            raise Overloaded(
                f"{queued} plans wait for their turn, {of_client} of them yours; at most {MAX_QUEUED} and "
                f"{MAX_QUEUED_OF_A_CLIENT} may",
                _RETRY_WHEN_FULL_SECONDS,
            )

    def _change(self, run_id: str, before: RunState, **values: Any) -> bool:
        changed = self._connection.execute(
            update(PLAN_RUN)
            .where(PLAN_RUN.c.run_id == run_id, PLAN_RUN.c.state == before.value)
            .values(changed_at=self.now(), **values)
        )
        return bool(changed.rowcount)


class StoredRuns:
    """The runs in the database. Every method raises `RunUnavailable` when that does not answer."""

    def __init__(self, engine: Engine, threads: Threads) -> None:
        self._do = Transactions(
            partial(run_work, engine),
            threads,
            refusal=RunUnavailable,
            words="plans that nobody waits for need the database, which does not answer",
            # Two requests with one key may meet in a row: one of them is to look again.
            passing=(DatabaseUnavailable, DataRejected),
            # Every router looks for work every second, also while the database is away.
            log_level=logging.DEBUG,
        ).do

    async def accept(self, wanted: RunRequest) -> Accepted:
        """As `RunRepository.accept`. Raises `KeyConflict` or `Overloaded` as well."""
        return await self._do(lambda runs: runs.accept(wanted))

    async def get(self, run_id: str, client: str | None) -> PlanRun | None:
        """How a run stands, None where `client` (None: nobody) has it."""
        return await self._do(lambda runs: runs.get(run_id, client))

    async def take(self, owner_id: str) -> RunRequest | None:
        """The oldest that waits, which is the owner's from now on; None where none does. Ends those that were left."""

        def taken(runs: RunRepository) -> RunRequest | None:
            runs.fail_abandoned()
            return runs.take(owner_id)

        return await self._do(taken)

    async def renew(self, run: RunRequest, owner_id: str, best: BestSoFar | None) -> bool | None:
        """Keeps what was found so far, and the run; whether somebody wants it stopped, None when it is lost."""
        return await self._do(lambda runs: runs.renew(run, owner_id, best))

    async def finish(
        self, run_id: str, owner_id: str, state: RunState, reason: str | None, best: BestSoFar | None
    ) -> None:
        """The run has come to its end; old ones are forgotten with it."""

        def finished(runs: RunRepository) -> None:
            runs.finish(run_id, owner_id, state, reason, best)
            runs.forget_old()

        await self._do(finished)

    async def stop(self, run_id: str) -> None:
        """Whoever plans it keeps the best so far; what has not begun never does."""
        await self._do(lambda runs: runs.stop(run_id))


def _row(wanted: RunRequest, now: datetime) -> dict[str, Any]:
    return {
        "run_id": wanted.run_id,
        "client": wanted.client,
        "plant_id": wanted.plant_id,
        "idempotency_key": _key_of(wanted),
        "request_sha256": wanted.request_sha256,
        "request": zlib.compress(wanted.request),
        "is_strict": wanted.is_strict,
        "budget_ms": wanted.budget_ms,
        "state": RunState.QUEUED.value,
        "created_at": now,
        "changed_at": now,
        "is_stop_wanted": False,
        "best": None,
        "reason": None,
    }


def _key_of(wanted: RunRequest) -> str:
    return _no_key(wanted.run_id) if wanted.key is None else wanted.key


def _no_key(run_id: str) -> str:
    """What stands where there is no key: no header begins with a blank."""
    return f" {run_id}"


def _run(row: RowMapping | dict[str, Any]) -> PlanRun:
    return PlanRun(
        run_id=row["run_id"],
        client=row["client"],
        plant_id=row["plant_id"],
        budget_ms=row["budget_ms"],
        state=RunState(row["state"]),
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        best=None if row["best"] is None else BestSoFar.of_json(row["best"]),
        reason=row["reason"],
    )


def _request(row: RowMapping) -> RunRequest:
    key = row["idempotency_key"]
    return RunRequest(
        run_id=row["run_id"],
        client=row["client"],
        plant_id=row["plant_id"],
        key=None if key.startswith(" ") else key,
        request_sha256=row["request_sha256"],
        request=zlib.decompress(row["request"]),
        is_strict=row["is_strict"],
        budget_ms=row["budget_ms"],
    )
