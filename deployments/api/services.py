"""What the routes need, as plain objects; built by whoever runs the service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from deployments.access import Client
from deployments.access.key_ring import RateLimiter, Sessions
from deployments.contracts.answers.planners import PlanFile
from deployments.contracts.answers.service import Status
from deployments.contracts.parsing import RequestLimits
from deployments.persistence.decisions.records import (
    ANY_DECISION,
    AuditEvent,
    DecisionFilter,
    DecisionPage,
    DecisionRecord,
    PlanInForce,
    PlanOrder,
    ReleaseRecord,
)
from deployments.rollout.model_registry import Registry
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import RolloutState
from deployments.rollout.report.report import RolloutReport
from deployments.rollout_control.controller import Command
from deployments.runtime.background import Threads
from deployments.scheduling.idempotency import Idempotency
from deployments.scheduling.plan_runs import PlanRuns
from deployments.scheduling.use_case import Journal, Scheduling
from deployments.settings.service import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What one replica knows about itself and its surroundings, without asking anyone on the way.

    `alarms` are what a person must look at, in words that tell no stranger a secret.
    """

    model_loaded: bool
    judge_reachable: bool
    database_connected: bool
    spool_has_room: bool
    spool_records: int
    spool_bytes: int
    spool_oldest_seconds: float
    uptime_seconds: float
    spool_works: bool = True
    model_awaited: bool = False
    stage_awaited: bool = False
    schema_fault: str | None = None
    node_fault: str | None = None
    needs_database: bool = False
    alarms: tuple[str, ...] = ()

    @property
    def blockers(self) -> tuple[str, ...]:
        """Why no schedule at all can be served; empty when one can."""
        faults = (
            (self.judge_reachable, "the judge is not reachable"),
            (self.spool_has_room, "the spool has no room"),
            (
                self.database_connected or not self.needs_database,
                "the database is not connected, and acknowledges alone",
            ),
            (self.spool_works, "the spool cannot be written: mend the disk or folder of GANTRY_SPOOL_FOLDER"),
        )
        return tuple(reason for holds, reason in faults if not holds)

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why the replica is not ready for traffic: the blockers, and what a start still waits for, such as a schema.

        A policy that dies later is none: manual answers.
        """
        model = ("the model is not loaded yet",) if self.model_awaited else ()
        stage = ("the rollout's stage has not been heard of yet",) if self.stage_awaited else ()
        faults = tuple(fault for fault in (self.schema_fault, self.node_fault) if fault is not None)
        return (*self.blockers, *model, *stage, *faults)

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Everything that is missing. An outage of the policy or the database makes it degraded, not unready.

        Of the database it does where every 200 waits for a commit.
        """
        model = () if self.model_loaded or self.model_awaited else ("the model is not loaded",)
        is_told = self.database_connected or self.needs_database
        database = () if is_told else ("the database is not connected",)
        return (*self.obstacles, *model, *database, *self.alarms)

    @property
    def status(self) -> Status:
        """In one word."""
        if self.blockers:
            return "unhealthy"
        return "degraded" if self.shortcomings else "healthy"


class HealthProbe(Protocol):
    """Knows how the replica is doing."""

    async def report(self) -> HealthReport:
        """The newest knowledge; answers at once, also while the database hangs."""
        ...


class Decisions(Protocol):
    """Reads stored decisions; another client's decisions do not exist."""

    async def get(self, decision_id: str, client: str | None) -> DecisionRecord | None:
        """One decision with its payload, None when `client` (None: nobody) has it. Raises `DatabaseError`."""
        ...

    async def page(
        self,
        client: str | None,
        *,
        before: str | None,
        limit: int,
        plants: frozenset[str] | None = None,
        wanted: DecisionFilter = ANY_DECISION,
    ) -> DecisionPage:
        """At most `limit` `wanted` decisions of `plants` (None: of all), newest first, without payload.

        Raises `InvalidCursor` or `DatabaseError`.
        """
        ...


class Plans(Protocol):
    """Knows the plans in force of a client; lines are None for a plant without. All raise `DatabaseError`.

    Whoever reads for `client` None sees those of all clients.
    """

    async def in_force(self, client: str | None, plant_id: str, line_id: str | None) -> PlanInForce | None:
        """The released plan, else the newest decision that is no what-if; None where the client has none."""
        ...

    async def release(self, order: PlanOrder) -> ReleaseRecord:
        """Puts a decision in force. Raises `PlanConflict`."""
        ...

    async def undo(self, order: PlanOrder) -> ReleaseRecord:
        """Takes the release of a decision back. Raises `PlanConflict`."""
        ...

    async def releases(
        self, client: str | None, plant_id: str, line_id: str | None, *, before: int | None, limit: int
    ) -> list[ReleaseRecord]:
        """The newest steps, at most `limit`, with versions below `before`."""
        ...


class MetricsText(Protocol):
    """What Prometheus scrapes."""

    async def text(self) -> tuple[bytes, str]:
        """The metrics of every process of this node, and their media type. Raises `TemporarilyUnavailable`."""
        ...


class CostlyReads(Protocol):
    """Reads that take long, to JSON or a file. All raise `NotFound` for what was not kept or is of old.

    `Overloaded` and other `TemporarilyUnavailable` when too many are asked for.
    """

    async def explanation(self, record: DecisionRecord) -> bytes:
        """Why jobs of the decision are late. Raises `DatabaseError` as well."""
        ...

    async def comparison(self, before: DecisionRecord, after: DecisionRecord) -> bytes:
        """What the one would change of the other."""
        ...

    async def file(self, record: DecisionRecord, file: PlanFile, machine_id: int | None = None) -> bytes:
        """The schedule as a file, of one machine where it is named. Raises `DatabaseError` as well."""
        ...


class RolloutOrders(Protocol):
    """Takes orders to the rollout."""

    async def overview(self) -> dict[str, Any]:
        """Everything that an operator looks at. Raises `RolloutUnavailable`."""
        ...

    async def command(self, command: Command) -> RolloutState:
        """The state that an order leads to. Raises `RolloutError` or `RolloutUnavailable`."""
        ...

    async def roll_back(self, actor: str, reason: str) -> RolloutState | Latch:
        """In force here at once: the controller's state, or a latch without it. Raises `JournalUnavailable`."""
        ...


class Trail(Protocol):
    """Reads what the rollout was. Raises `DatabaseError`."""

    async def events(self, limit: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Transitions and incidents as plain JSON values, newest first."""
        ...

    async def integrity(self) -> tuple[str, ...]:
        """What makes the experiment of the present ramp doubtful; empty when nothing does."""
        ...

    async def report(self, since: datetime | None) -> RolloutReport:
        """The report; `since` begins the period of the figures by arm. Raises `RolloutUnavailable`."""
        ...


class AuditTrail(Protocol):
    """Reads who did what."""

    async def page(self, *, before: str | None, limit: int) -> list[AuditEvent]:
        """The newest events, older than that of the id `before`. Raises `InvalidCursor` or `DatabaseError`."""
        ...


class Access(Protocol):
    """Knows the keys."""

    @property
    def age_seconds(self) -> float | None:
        """How old the knowledge is; None when it has no age, or when there is none."""
        ...

    def authenticate(self, key: str | None) -> Client:
        """The holder of `key`. Raises `Unauthenticated` or `KeysUnavailable`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything behind the routes; `limits` is how much one request may ask for, `files` threads for the registry."""

    settings: Settings
    limits: RequestLimits
    scheduling: Scheduling
    decisions: Decisions
    plans: Plans
    runs: PlanRuns
    costly_reads: CostlyReads
    journal: Journal
    health: HealthProbe
    idempotency: Idempotency
    access: Access
    sessions: Sessions
    audit: AuditTrail
    rollout_client: RolloutOrders
    trail: Trail
    metrics: MetricsText
    registry: Registry
    clock: Callable[[], datetime]
    files: Threads
    rates: RateLimiter = field(default_factory=lambda: RateLimiter(None))
