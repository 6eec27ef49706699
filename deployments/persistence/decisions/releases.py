"""The plan in force: what a person released, by compare-and-set, and for want of that the newest decision.

Each step is a row of its own under (plant, line, version), so two who act at once cannot both have the next version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, RowMapping, Select, insert, select

from deployments.errors import PlanConflict
from deployments.persistence.database import address_of
from deployments.persistence.decisions.latest_plan import is_what_if, lock_plan, show_nothing, show_plan
from deployments.persistence.decisions.records import (
    DecisionFilter,
    DecisionRecord,
    PlanInForce,
    PlanOrder,
    ReleaseAction,
    ReleaseRecord,
)
from deployments.persistence.decisions.repository import DecisionRepository, newest_query
from deployments.persistence.errors import CorruptionLog
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import DECISION, PLAN_RELEASE
from deployments.rollout.ramp.state import Stage
from deployments.runtime.background import Threads

Result = TypeVar("Result")
MAX_WHAT_IFS = 1000
"""So many what-ifs in a row are looked through for the newest decision that is none."""
_COLUMNS = tuple(PLAN_RELEASE.c[field.name] for field in fields(ReleaseRecord))


@contextmanager
def plan_work(engine: Engine) -> Iterator[PlanRepository]:
    """One transaction: committed when the block ends, rolled back when it raises. Raises `DatabaseError`."""
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield PlanRepository(connection)


class PlanRepository:
    """The plans in force, within one transaction; what another client released does not exist."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._decisions = DecisionRepository(connection)

    def in_force(self, client: str | None, plant_id: str, line_id: str | None) -> PlanInForce | None:
        """The plan of a plant and line (None: no line), None where `client` has none; `client` None sees everybody's.

        Raises `PayloadMismatch`.
        """
        head = self._newest_step(plant_id, line_id)
        if head is None or head.decision_id is None:
            newest = self._newest(client, plant_id, line_id)
            return None if newest is None else PlanInForce(decision=newest, release=None)
        decision = self._decisions.get(head.decision_id, client) if client in (None, head.client) else None
        return None if decision is None else PlanInForce(decision=decision, release=head)

    def release(self, order: PlanOrder) -> ReleaseRecord:
        """Puts the order's decision in force. Raises `PlanConflict` when something else is than the order expects."""
        decision = order.decision
        lock_plan(self._connection, decision)
        head = self._require(order)
        if head is not None and head.decision_id == decision.decision_id:
            return head
        if not self._is_stored(decision.decision_id, order.client):
            raise PlanConflict(
                f"schedule {decision.decision_id} is not stored any more, or not yours: release another one",
                None if head is None else head.decision_id,
            )
        version = 1 if head is None else head.version + 1
        step = self._append(order, version, ReleaseAction.RELEASE, decision, version, head)
        show_plan(self._connection, decision)
        return step

    def undo(self, order: PlanOrder) -> ReleaseRecord:
        """Takes the release of the order's decision back: what was in force before is so again.

        Raises `PlanConflict` when the decision is not in force, or when the one before was removed meanwhile.
        """
        lock_plan(self._connection, order.decision)
        head = self._require(replace(order, expected=order.decision.decision_id), is_released=True)
        assert head is not None, "something is released"
        before = self._step(head, head.released_version - 1)
        if before is None or before.decision_id is None:
            return self._undo_last(order, head)
        earlier = self._decisions.get(before.decision_id, order.client)
        if earlier is None:
            raise PlanConflict(
                f"schedule {before.decision_id} was in force before and is not stored any more: release another one",
                head.decision_id,
            )
        step = self._append(order, head.version + 1, ReleaseAction.UNDO, earlier, before.released_version, head)
        show_plan(self._connection, earlier)
        return step

    def releases(
        self, client: str | None, plant_id: str, line_id: str | None, *, before: int | None, limit: int
    ) -> list[ReleaseRecord]:
        """The newest steps of `client` (None: of all), at most `limit`, with versions below `before`."""
        query = releases_query(plant_id, line_id)
        if client is not None:
            query = query.where(PLAN_RELEASE.c.client == client)
        if before is not None:
            query = query.where(PLAN_RELEASE.c.version < before)
        return [_record(row) for row in self._connection.execute(query.limit(limit)).mappings()]

    def _require(self, order: PlanOrder, *, is_released: bool = False) -> ReleaseRecord | None:
        """The newest step. Raises `PlanConflict` unless what it put in force, or the newest decision, is expected."""
        decision = order.decision
        assert decision.plant_id is not None, "what has no plant is no plan"
        head = self._newest_step(decision.plant_id, decision.line_id)
        if head is not None and head.decision_id is not None:
            if head.client != order.client:
                raise PlanConflict(
                    "another client has released the plan of this plant and line, and alone may change it"
                )
            if head.decision_id != order.expected:
                raise PlanConflict(f"{head.decision_id} is in force, expected was {order.expected}", head.decision_id)
            return head
        if is_released or order.expected is not None:
            newest = self._newest(order.client, decision.plant_id, decision.line_id)
            found = None if newest is None else newest.decision_id
            if is_released or order.expected != found:
                message = f"nothing is released for this plant and line, expected was {order.expected}"
                raise PlanConflict(message + ("" if found is None else f"; the newest decision is {found}"), found)
        return head

    def _undo_last(self, order: PlanOrder, head: ReleaseRecord) -> ReleaseRecord:
        """Nothing is released any more; what is shown is what would be shown if nothing ever had been."""
        step = self._append(order, head.version + 1, ReleaseAction.UNDO, None, 0, head)
        # Of any client, as what is shown before the first release is.
        newest = self._newest(None, head.plant_id, head.line_id, without_shadow=True)
        if newest is None:
            show_nothing(self._connection, order.decision)
        else:
            show_plan(self._connection, newest)
        return step

    def _append(
        self,
        order: PlanOrder,
        version: int,
        action: ReleaseAction,
        decision: DecisionRecord | None,
        released_version: int,
        head: ReleaseRecord | None,
    ) -> ReleaseRecord:
        assert order.decision.plant_id is not None, "what has no plant is no plan"
        step = ReleaseRecord(
            plant_id=order.decision.plant_id,
            line_id=order.decision.line_id,
            version=version,
            action=action,
            decision_id=None if decision is None else decision.decision_id,
            released_version=released_version,
            previous_id=None if head is None else head.decision_id,
            is_what_if=decision is not None and is_what_if(decision),
            client=order.client,
            actor=order.actor,
            reason=order.reason,
            created_at=order.at,
        )
        row = asdict(step) | {"line_id": step.line_id or "", "action": action.value}
        self._connection.execute(insert(PLAN_RELEASE), row)
        return step

    def _newest_step(self, plant_id: str, line_id: str | None) -> ReleaseRecord | None:
        row = self._connection.execute(releases_query(plant_id, line_id).limit(1)).mappings().first()
        return None if row is None else _record(row)

    def _step(self, head: ReleaseRecord, version: int) -> ReleaseRecord | None:
        query = releases_query(head.plant_id, head.line_id).where(PLAN_RELEASE.c.version == version)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _record(row)

    def _is_stored(self, decision_id: str, client: str) -> bool:
        query = select(DECISION.c.decision_id).where(DECISION.c.decision_id == decision_id, DECISION.c.client == client)
        return self._connection.execute(query).first() is not None

    def _newest(
        self, client: str | None, plant_id: str, line_id: str | None, *, without_shadow: bool = False
    ) -> DecisionRecord | None:
        """The newest decision of a place that is no what-if and whose payload was kept, of a client (None: of any).

        Whether one is a what-if its payload tells, so payloads are read one at a time.
        """
        # The line "" is that of a plant without lines, which is null here.
        query = newest_query(client, DecisionFilter(plant_id=plant_id, line_id=line_id or ""))
        query = query.with_only_columns(DECISION.c.decision_id).where(DECISION.c.answer.is_not(None))
        if without_shadow:
            query = query.where(DECISION.c.stage != Stage.SHADOW.value)
        for decision_id in self._connection.execute(query.limit(MAX_WHAT_IFS)).scalars().all():
            record = self._decisions.get(decision_id, client)
            with suppress(ValidationError):
                if record is not None and not is_what_if(record):
                    return record
        return None


class StoredPlans:
    """The plans in force in the database, by threads of their own.

    Each method raises `DatabaseError` or `Overloaded`; `PayloadMismatch`, after it was reported, for a damaged payload.
    """

    def __init__(self, engine: Engine, threads: Threads, corruption: CorruptionLog) -> None:
        self._engine = engine
        self._threads = threads
        self._corruption = corruption

    async def in_force(self, client: str | None, plant_id: str, line_id: str | None) -> PlanInForce | None:
        """The plan of a plant and line (None: no line), None where `client` (None: everybody) has none."""
        return await self._run(lambda plans: plans.in_force(client, plant_id, line_id))

    async def release(self, order: PlanOrder) -> ReleaseRecord:
        """Puts the order's decision in force. Raises `PlanConflict` as well."""
        return await self._run(lambda plans: plans.release(order))

    async def undo(self, order: PlanOrder) -> ReleaseRecord:
        """Takes the release of the order's decision back. Raises `PlanConflict` as well."""
        return await self._run(lambda plans: plans.undo(order))

    async def releases(
        self, client: str | None, plant_id: str, line_id: str | None, *, before: int | None, limit: int
    ) -> list[ReleaseRecord]:
        """The newest steps of `client` (None: of all), at most `limit`, with versions below `before`."""
        return await self._run(lambda plans: plans.releases(client, plant_id, line_id, before=before, limit=limit))

    async def _run(self, act: Callable[[PlanRepository], Result]) -> Result:
        def work() -> Result:
            with plan_work(self._engine) as plans:
                return act(plans)

        with self._corruption.reading():
            return await self._threads.run(work)


def releases_query(plant_id: str, line_id: str | None) -> Select[Any]:
    """The steps of a plant and line (None: no line), newest first."""
    place = PLAN_RELEASE.c.plant_id == plant_id, PLAN_RELEASE.c.line_id == (line_id or "")
    return select(*_COLUMNS).where(*place).order_by(PLAN_RELEASE.c.version.desc())


def _record(row: RowMapping) -> ReleaseRecord:
    values: dict[str, Any] = dict(row)
    line_id, action = values["line_id"] or None, ReleaseAction(values["action"])
    return ReleaseRecord(**values | {"line_id": line_id, "action": action})
