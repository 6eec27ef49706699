"""The ports of the use case and of the API without Ray, disk or database, and requests to try them with."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from deployments.access import KeyRing
from deployments.access.key_ring import Sessions, key_of_settings
from deployments.api import HealthReport, Services
from deployments.contracts.parsing import RequestLimits, read_schedule_request
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.errors import JournalUnavailable, KeyConflict, PlanConflict, PlantDataUnavailable, RunUnavailable
from deployments.persistence.decisions.plan_run import Accepted, BestSoFar, PlanRun, RunRequest, RunState
from deployments.persistence.decisions.records import (
    ANY_DECISION,
    AuditEvent,
    ClaimKey,
    ClaimOutcome,
    DecisionFilter,
    DecisionPage,
    DecisionRecord,
    EvaluationRecord,
    FeedbackRecord,
    Finished,
    Granted,
    OtherBody,
    PlanInForce,
    PlanOrder,
    Record,
    ReleaseAction,
    ReleaseRecord,
    Running,
    Wanted,
)
from deployments.persistence.errors import DatabaseUnavailable, InvalidCursor
from deployments.plants.completion import PlantData
from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.assignment import ArmRole
from deployments.rollout.model_registry import Artefact, Registry
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import MANUAL, RolloutState, Stage
from deployments.rollout.ramp.traffic import PUBLISHED, Rollout, TrafficSplit
from deployments.rollout.report.report import Records, RolloutReport, report_of
from deployments.rollout_control.controller import Command
from deployments.runtime.background import Threads
from deployments.runtime.metrics import Meter, Metric, MetricKind, NoMeter
from deployments.scheduling.arms import ArmRunner
from deployments.scheduling.evaluations import ShadowPort, ShadowTask
from deployments.scheduling.idempotency import Idempotency
from deployments.scheduling.plan_runs import PlanRuns, RunProgress, RunStore
from deployments.scheduling.ports import Archive, Journal, Judge, Proposal, ProposalCall, Proposer
from deployments.scheduling.question import Plants, QuestionBuilder
from deployments.scheduling.time_budget import BudgetLimit, LoadShedding
from deployments.scheduling.use_case import Scheduling
from deployments.serve.storage import WorkerReads
from deployments.settings.service import DEVELOPMENT_API_KEY, PUBLISHED_MODEL, Environment, Settings
from env.judge.anomalies import BoundedMakespan
from env.judge.judge import judge
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Assignment, Schedule
from tests.deployments.shipped_policy import CONFIGURATION, GOALS, POLICY

KUALA_LUMPUR = ZoneInfo("Asia/Kuala_Lumpur")
NOW = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)
REGISTERED = {"full_production@7": Artefact(model_id="full_production@7", sha256="7" * 64)}
LIMITS = RequestLimits(jobs=20_000, machines=5_000)


def job(job_id: str = "JOAW001", **changes: Any) -> dict[str, Any]:
    """A wire job that machine 42 can do in 2.8 h."""
    return {"job_id": job_id, "processing_time": 2.5, "machine_types": [2], "setup_time": 0.3} | changes


def machine(machine_id: int = 42, **changes: Any) -> dict[str, Any]:
    """A wire machine of type 2."""
    return {"machine_id": machine_id, "machine_name": f"CM{machine_id:02}", "machine_type": 2} | changes


def body(**changes: Any) -> dict[str, Any]:
    """A request for one job on one machine around the clock."""
    return {
        "jobs": [job()],
        "machines": [machine()],
        "schedule_start": "2025-07-22T14:00:00",
        "respect_break_times": False,
    } | changes


def request_of(**changes: Any) -> ScheduleRequest:
    """The same as a model."""
    return read_schedule_request(json.dumps(body(**changes)).encode(), LIMITS).body


def one_after_another(problem: Problem) -> Schedule:
    """All operations in order, each when the one before has ended; valid around the clock."""
    assignments, now = [], 0
    for operation in problem.operations:
        choice = operation.alternatives[0]
        end = now + choice.duration_seconds
        chosen = problem.machines[choice.machine]
        assignments.append(
            Assignment(operation_id=operation.id, machine_id=chosen.id, start_seconds=now, end_seconds=end)
        )
        now = end
    return Schedule(assignments=tuple(assignments))


def nothing(problem: Problem) -> Schedule:
    """No operation at all."""
    return Schedule(assignments=())


class PlannedProposer:
    """Proposes what a function says, and remembers the budgets it was given."""

    def __init__(self, plan: Callable[[Problem], Schedule] = one_after_another, model: str | None = None) -> None:
        self._plan = plan
        self._model = model
        self.budgets_ms: list[int] = []

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        self.budgets_ms.append(budget_ms)
        schedule = self._plan(problem)
        makespan = schedule.makespan_seconds if self._model else None
        return Proposal(schedule=schedule, method=("planned",), model=self._model, policy_makespan_seconds=makespan)


class FailingProposer:
    """Raises the same error each time."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        raise self._error


class SilentProposer:
    """Never answers."""

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        await asyncio.Event().wait()
        raise AssertionError


class LocalJudge:
    """The real judge, in process."""

    _limits = POLICY.anomaly_limits

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...]) -> Verdict:
        return judge(problem, schedule, self._limits, recent_makespans=recent)


class AbsentJudge:
    """Raises instead of judging."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...]) -> Verdict:
        raise self._error


class MemoryJournal:
    """Keeps records in memory."""

    def __init__(self) -> None:
        self.records: list[DecisionRecord] = []
        self.others: list[EvaluationRecord | FeedbackRecord | AuditEvent] = []

    async def append(self, record: Record) -> None:
        if isinstance(record, DecisionRecord):
            self.records.append(record)
        else:
            self.others.append(record)


class FullJournal:
    """Has no room."""

    async def append(self, record: Record) -> None:
        raise JournalUnavailable("the spool must have room, had none", 7)


class MemoryClaims:
    """Claims in memory, whose leases never end. `error` is raised instead while it is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.rows: dict[ClaimKey, tuple[Wanted, Finished | None]] = {}

    async def claim(self, wanted: Wanted) -> ClaimOutcome:
        self._raise()
        held, finished = self.rows.setdefault(wanted.claim, (wanted, None))
        if held is wanted:
            return Granted()
        if held.request_sha256 != wanted.request_sha256:
            return OtherBody()
        return finished or Running()

    async def renew(self, claim: ClaimKey, decision_id: str, lease_seconds: float) -> bool:
        self._raise()
        return claim in self.rows

    async def finish(self, claim: ClaimKey, decision_id: str, finished: Finished) -> None:
        self._raise()
        self.rows[claim] = (self.rows[claim][0], finished)

    async def release(self, claim: ClaimKey, decision_id: str) -> None:
        self._raise()
        del self.rows[claim]

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


class MemoryRuns:
    """Runs in a dictionary: of one process, whose owners never die."""

    def __init__(self) -> None:
        self.runs: dict[str, PlanRun] = {}
        self.requests: dict[str, RunRequest] = {}
        self.stops: set[str] = set()
        self.lost: set[str] = set()
        self.is_away = False

    async def accept(self, wanted: RunRequest) -> Accepted:
        self._ask()
        for run_id, known in self.requests.items():
            if wanted.key is not None and (known.client, known.key) == (wanted.client, wanted.key):
                if known.request_sha256 != wanted.request_sha256:
                    raise KeyConflict("stands for another request")
                if self.runs[run_id].state is not RunState.FAILED:
                    return Accepted(run=self.runs[run_id], is_replayed=True)
        run = PlanRun(
            run_id=wanted.run_id,
            client=wanted.client,
            plant_id=wanted.plant_id,
            budget_ms=wanted.budget_ms,
            state=RunState.QUEUED,
            created_at=NOW,
            changed_at=NOW,
        )
        self.runs[wanted.run_id], self.requests[wanted.run_id] = run, wanted
        return Accepted(run=run, is_replayed=False)

    async def get(self, run_id: str, client: str | None) -> PlanRun | None:
        self._ask()
        run = self.runs.get(run_id)
        return None if run is None or client not in (None, run.client) else run

    async def take(self, owner_id: str) -> RunRequest | None:
        self._ask()
        waiting = [run_id for run_id, run in self.runs.items() if run.state is RunState.QUEUED]
        if not waiting:
            return None
        self.change(waiting[0], state=RunState.RUNNING)
        return self.requests[waiting[0]]

    async def renew(self, run: RunRequest, owner_id: str, best: BestSoFar | None) -> bool | None:
        self._ask()
        if run.run_id in self.lost:
            return None
        self.change(run.run_id, best=best)
        return run.run_id in self.stops

    async def finish(
        self,
        run_id: str,
        owner_id: str,
        state: RunState,
        reason: str | None,
        best: BestSoFar | None,
    ) -> None:
        self._ask()
        self.change(run_id, state=state, reason=reason, best=best)

    async def stop(self, run_id: str) -> None:
        self._ask()
        self.stops.add(run_id)
        if self.runs[run_id].state is RunState.QUEUED:
            self.change(run_id, state=RunState.STOPPED, reason="stopped before it began")

    def change(self, run_id: str, **changes: Any) -> None:
        """As if somebody had changed it."""
        self.runs[run_id] = replace(self.runs[run_id], **changes)

    def _ask(self) -> None:
        if self.is_away:
            raise RunUnavailable("no database", 5)


class JournalDecisions:
    """Reads decisions straight from a `MemoryJournal`; cursors are positions."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    async def get(self, decision_id: str, client: str | None) -> DecisionRecord | None:
        mine = [record for record in self._journal.records if client in (None, record.client)]
        return next((record for record in mine if record.decision_id == decision_id), None)

    async def page(
        self,
        client: str | None,
        *,
        before: str | None,
        limit: int,
        plants: frozenset[str] | None = None,
        wanted: DecisionFilter = ANY_DECISION,
    ) -> DecisionPage:
        if before is not None and not before.isdigit():
            raise InvalidCursor(f"cursor must be one that an earlier page gave, was {before!r}")
        mine = [
            record
            for record in reversed(self._journal.records)
            if client in (None, record.client) and _is_wanted(record, wanted)
        ]
        newest_first = [record for record in mine if plants is None or record.plant_id in plants]
        start = int(before or 0)
        shown = tuple(newest_first[start : start + limit])
        more = start + limit < len(newest_first)
        return DecisionPage(records=shown, next_cursor=str(start + limit) if more else None)


def _is_wanted(record: DecisionRecord, wanted: DecisionFilter) -> bool:
    named = (wanted.plant_id, wanted.line_id, wanted.request_id, wanted.arm)
    found = (record.plant_id, record.line_id, record.request_id, record.arm)
    return (
        all(one is None or (one or None) == other for one, other in zip(named, found, strict=True))
        and (wanted.since is None or record.created_at >= wanted.since)
        and (wanted.until is None or record.created_at < wanted.until)
        and wanted.is_late in (None, record.figures.tardiness_seconds > 0)
    )


class JournalPlans:
    """Plans in force over a `MemoryJournal`; steps are kept in memory."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.steps: list[ReleaseRecord] = []

    async def in_force(self, client: str | None, plant_id: str, line_id: str | None) -> PlanInForce | None:
        head = next(
            (step for step in reversed(self.steps) if (step.plant_id, step.line_id) == (plant_id, line_id)), None
        )
        mine = [
            record
            for record in reversed(self._journal.records)
            if client in (None, record.client) and (record.plant_id, record.line_id) == (plant_id, line_id)
        ]
        if head is None or head.decision_id is None:
            return PlanInForce(decision=mine[0], release=None) if mine else None
        found = next((record for record in mine if record.decision_id == head.decision_id), None)
        return None if found is None else PlanInForce(decision=found, release=head)

    async def release(self, order: PlanOrder) -> ReleaseRecord:
        plan = await self.in_force(order.client, order.decision.plant_id or "", order.decision.line_id)
        found = None if plan is None or plan.release is None else plan.decision.decision_id
        if found != order.expected:
            raise PlanConflict(f"{found} is in force, expected was {order.expected}", found)
        return self._step(order, ReleaseAction.RELEASE, order.decision.decision_id, found)

    async def undo(self, order: PlanOrder) -> ReleaseRecord:
        plan = await self.in_force(order.client, order.decision.plant_id or "", order.decision.line_id)
        found = None if plan is None or plan.release is None else plan.decision.decision_id
        if found != order.decision.decision_id:
            raise PlanConflict(f"{found} is in force", found)
        return self._step(order, ReleaseAction.UNDO, self.steps[-1].previous_id, found)

    async def releases(
        self, client: str | None, plant_id: str, line_id: str | None, *, before: int | None, limit: int
    ) -> list[ReleaseRecord]:
        mine = [step for step in reversed(self.steps) if client in (None, step.client) and step.plant_id == plant_id]
        return [step for step in mine if before is None or step.version < before][:limit]

    def _step(self, order: PlanOrder, action: ReleaseAction, after: str | None, before: str | None) -> ReleaseRecord:
        step = ReleaseRecord(
            plant_id=order.decision.plant_id or "",
            line_id=order.decision.line_id,
            version=len(self.steps) + 1,
            action=action,
            decision_id=after,
            released_version=len(self.steps) + 1,
            previous_id=before,
            is_what_if=False,
            client=order.client,
            actor=order.actor,
            reason=order.reason,
            created_at=order.at,
        )
        self.steps.append(step)
        return step


class UnreachableDecisions:
    """A database that is down."""

    async def get(self, decision_id: str, client: str | None) -> DecisionRecord | None:
        raise DatabaseUnavailable("10.0.0.7: connection refused")

    async def page(
        self,
        client: str | None,
        *,
        before: str | None,
        limit: int,
        plants: frozenset[str] | None = None,
        wanted: DecisionFilter = ANY_DECISION,
    ) -> DecisionPage:
        raise DatabaseUnavailable("10.0.0.7: connection refused")


class JournalAudit:
    """Reads the audit trail straight from a `MemoryJournal`."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    async def page(self, *, before: str | None, limit: int) -> list[AuditEvent]:
        newest_first = [each for each in reversed(self._journal.others) if isinstance(each, AuditEvent)]
        ids = [event.event_id for event in newest_first]
        if before is not None and before not in ids:
            raise InvalidCursor(f"cursor must be one that an earlier page gave, was {before!r}")
        start = 0 if before is None else ids.index(before) + 1
        return newest_first[start : start + limit]


class KnownPlants:
    """Plant data in memory; a plant that is not named has none."""

    def __init__(self, **plants: PlantData) -> None:
        self._plants = plants

    async def read(self, plant_id: str, *, machines: bool, jobs: bool) -> PlantData:
        return self._plants.get(plant_id, PlantData())


class UnreachablePlants:
    """A database that is down, for whoever needs it."""

    async def read(self, plant_id: str, *, machines: bool, jobs: bool) -> PlantData:
        raise PlantDataUnavailable("the database does not answer", 5)


class FixedRollout:
    """A rollout that never changes: for whoever has no controller."""

    def __init__(self, split: TrafficSplit, *, on_event: Callable[[Event], None] = lambda _: None) -> None:
        self._split = split
        self._on_event = on_event

    def traffic_split(self) -> TrafficSplit:
        return self._split

    def observe(self, event: Event) -> None:
        self._on_event(event)


def fixed_traffic_split(share: float, seed: str) -> TrafficSplit:
    """The split while `share` of the units go to the published policy and nothing ever changes."""
    stage = Stage.FULL if share == 1.0 else Stage.EXPANDED if share else Stage.SHADOW
    epoch = datetime.fromtimestamp(0, UTC)
    state = RolloutState(
        version=1,
        ramp=1,
        stage=stage,
        share=share,
        seed=seed,
        challenger=PUBLISHED,
        champion=MANUAL,
        configuration_hash="",
        changed_at=epoch,
        stage_since=epoch,
    )
    return TrafficSplit(state=state, seed=seed)


class NoShadow:
    """Computes nothing."""

    def is_sampled(self, decision_id: str) -> bool:
        """Everything."""
        return True

    def offer(self, shadow_task: ShadowTask) -> None:
        """Nothing."""


class FixedKeys(KeyRing):
    """Keys that nobody changes, so that what is known of them never gets old."""

    age_seconds = None


def single_key(key: str) -> FixedKeys:
    """One key with every scope, held by the client "default"."""
    return FixedKeys([key_of_settings(key)])


def rollout_state(**changes: Any) -> RolloutState:
    """Half of the windows to PPO, in the first ramp."""
    values: dict[str, Any] = {
        "version": 3,
        "ramp": 1,
        "stage": Stage.EXPANDED,
        "share": 0.5,
        "seed": "gantry",
        "challenger": PUBLISHED,
        "champion": MANUAL,
        "configuration_hash": CONFIGURATION.hash,
        "changed_at": NOW,
        "stage_since": NOW,
    }
    return RolloutState(**values | changes)


class ObedientClient:
    """Takes every order, and remembers it."""

    def __init__(self, state: RolloutState | None = None) -> None:
        self.state = state or rollout_state()
        self.commands: list[Command] = []
        self.rollbacks: list[tuple[str, str]] = []

    async def overview(self) -> dict[str, Any]:
        return self.state.as_json() | {
            "serving_stage": self.state.serving_stage.value,
            "actual_share": 0.48,
            "seconds_in_stage": 60.0,
            "is_dry_run": False,
            "is_owner": True,
            "owner": "host:/data/rollout",
            "configuration": CONFIGURATION.as_json(),
            "gate": {"verdict": "HOLD", "reasons": ["not enough data"], "can_be_forced": True},
            "guardrails": [],
            "triggers": [],
            "routers": [],
        }

    async def command(self, command: Command) -> RolloutState:
        self.commands.append(command)
        return self.state

    async def roll_back(self, actor: str, reason: str) -> RolloutState | Latch:
        self.rollbacks.append((actor, reason))
        return rollout_state(version=4, stage=Stage.ROLLED_BACK, share=0.0)


class EmptyTrail:
    """A rollout that has begun, and nothing more."""

    async def events(self, limit: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return [], []

    async def integrity(self) -> tuple[str, ...]:
        return ()

    async def report(self, since: datetime | None) -> RolloutReport:
        state = rollout_state()
        return report_of(Records(at=NOW, state=state, configuration=CONFIGURATION, goals=GOALS, since=since))


class KnownHealth:
    """Reports what it was told."""

    def __init__(self, report: HealthReport) -> None:
        self._report = report

    async def report(self) -> HealthReport:
        return self._report


class FixedMetrics:
    """What Prometheus would scrape of a process that has answered once."""

    async def text(self) -> tuple[bytes, str]:
        return b"ray_gantry_plans_total 1.0\n", "text/plain; version=0.0.4"


class KeptMeter:
    """Keeps what it is told: sums of counters, the last values of gauges, all values of histograms."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, ...], float] = {}
        self.observed: dict[tuple[str, ...], list[float]] = {}

    def count(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        self.counted[self._series(metric, MetricKind.COUNTER, labels)] += amount  # type: ignore[assignment]

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        self.gauges[self._series(metric, MetricKind.GAUGE, labels)] = value

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        self.observed.setdefault(self._series(metric, MetricKind.HISTOGRAM, labels), []).append(value)

    @staticmethod
    def _series(metric: Metric, kind: MetricKind, labels: dict[str, str]) -> tuple[str, ...]:
        assert metric.kind is kind
        assert set(labels) == set(metric.labels)
        return (metric.name, *(labels[name] for name in metric.labels))


def health_report(**changes: Any) -> HealthReport:
    """Everything is well."""
    values: dict[str, Any] = {
        "model_loaded": True,
        "judge_reachable": True,
        "database_connected": True,
        "spool_has_room": True,
        "spool_records": 0,
        "spool_bytes": 0,
        "spool_oldest_seconds": 0.0,
        "uptime_seconds": 12.5,
    }
    return HealthReport(**values | changes)


def scheduling_over(
    *,
    ppo: Proposer | None = None,
    manual: Proposer | None = None,
    judge: Judge | None = None,
    journal: Journal | None = None,
    archive: Archive | None = None,
    plants: Plants | None = None,
    share: float = 1.0,
    rollout: Rollout | None = None,
    shadow: ShadowPort | None = None,
    request_seconds: float = 60.0,
    max_budget_seconds: float = 60.0,
    proposal_seconds: float = 60.0,
    judge_answered_at: Callable[[], float | None] = lambda: None,
    meter: Meter | None = None,
    load: LoadShedding | None = None,
    zone: ZoneInfo = KUALA_LUMPUR,
    is_compared: bool = True,
) -> Scheduling:
    """The use case in Kuala Lumpur unless told otherwise, with a clock that stands still and ids that count."""
    proposers: Mapping[ArmRole, Proposer] = {
        ArmRole.PPO: ppo or PlannedProposer(model="full_production@1"),
        ArmRole.MANUAL: manual or PlannedProposer(),
    }
    ticks, ids = count(), count(1)
    court = judge or LocalJudge()
    return Scheduling(
        arms=ArmRunner(
            lambda arm: proposers[arm.algorithm],
            court,
            proposal_seconds=proposal_seconds,
            judge_answered_at=judge_answered_at,
        ),
        judge=court,
        journal=journal or MemoryJournal(),
        question_builder=QuestionBuilder(
            archive=archive or JournalDecisions(MemoryJournal()),
            plants=plants or KnownPlants(),
            zone=zone,
            plant_id="penang",
        ),
        rollout=rollout or FixedRollout(fixed_traffic_split(share, "gantry")),
        shadow=shadow or NoShadow(),
        find_model=REGISTERED.get,
        request_seconds=request_seconds,
        budget_limit=BudgetLimit.of(max_budget_seconds, request_seconds),
        # A machine on which nobody waits for a core.
        load=load or LoadShedding(64),
        meter=meter or NoMeter(),
        clock=lambda: NOW,
        is_compared=is_compared,
        stopwatch=lambda: 0.25 * next(ticks),
        new_id=lambda: f"decision-{next(ids)}",
    )


async def stored_at_once() -> None:
    """A journal in memory can be read at once."""


def plan_runs_over(runs: RunStore, scheduling: Scheduling, progress: RunProgress | None = None) -> PlanRuns:
    """Runs that are looked after every few milliseconds."""
    return PlanRuns(
        runs,
        scheduling,
        progress or RunProgress(),
        owner_id="0" * 32,
        limits=RequestLimits(jobs=100, machines=100),
        max_budget_ms=60_000,
        wait_until_stored=stored_at_once,
        poll_seconds=0.01,
        renew_seconds=0.01,
    )


def services_over(**changes: Any) -> Services:
    """Services over a journal in memory; what `changes` names replaces the fake of that name."""
    journal = changes.pop("journal", None) or MemoryJournal()
    settings = changes.get("settings") or development_settings()
    values: dict[str, Any] = {
        "settings": settings,
        "limits": RequestLimits(jobs=settings.max_jobs, machines=settings.max_machines),
        "scheduling": scheduling_over(journal=journal),
        "decisions": JournalDecisions(journal),
        "plans": JournalPlans(journal),
        "runs": plan_runs_over(MemoryRuns(), scheduling_over(journal=journal)),
        "costly_reads": WorkerReads(
            changes.get("decisions") or JournalDecisions(journal), KUALA_LUMPUR, max_local_bytes=sys.maxsize
        ),
        "journal": journal,
        "idempotency": Idempotency(MemoryClaims(), owner_id="0" * 32),
        "health": KnownHealth(health_report()),
        "audit": JournalAudit(journal),
        "rollout_client": ObedientClient(),
        "trail": EmptyTrail(),
        "metrics": FixedMetrics(),
        "registry": Registry(Path("no such folder"), PUBLISHED_MODEL),
        "files": Threads("files of policies", 1),
        "access": single_key(DEVELOPMENT_API_KEY),
        "sessions": Sessions(["a secret"], clock=lambda: NOW),
        "clock": lambda: NOW,
    }
    return Services(**values | changes)


def development_settings(**changes: Any) -> Settings:
    """Settings of a developer's machine, whatever the environment of the tests says."""
    return Settings(**{"environment": Environment.DEVELOPMENT, "_env_file": None} | changes)
