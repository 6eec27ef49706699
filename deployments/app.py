"""THE COMPOSITION ROOT: which deployment holds what, and who is bound to whom. `serve_config.yaml` names `build_app`.

| deployment | what it holds | whom it asks |
|---|---|---|
| RequestRouter | HTTP, the use case, the spool and what `open_router` lists below | the five below |
| PPOPolicy | the published policy, and the few that requests asked for | |
| SafetyValidator | the judge and the plant's limits | |
| DBWriter | one engine, by which batches of spooled records become rows | the database |
| Counterfactual | a process of low priority for the arm that did not serve | |
| RolloutController | the stage: its journal on disk, its lease of the database, the webhook | the database |

How many of each there are, and how busy they may get, stands in `serve_config.yaml`.
"""

# No `from __future__ import annotations` here: Ray reads the annotation of `args` as an object, and hands
# over a plain dictionary when it is a string.

import logging
import os
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.exceptions import RayServeException

from deployments.access.key_keeper import KeyKeeper
from deployments.access.key_ring import RateLimiter, Sessions, key_of_settings, rate_of
from deployments.api import Services
from deployments.contracts.parsing import RequestLimits
from deployments.errors import InvalidSettings
from deployments.persistence.database import ClockSkew, SchemaWatch, create_delivery_engine, create_engine
from deployments.persistence.decisions.audit_repository import StoredAudit
from deployments.persistence.decisions.claims import DrainReports, StoredClaims
from deployments.persistence.decisions.key_repository import DatabaseKeys
from deployments.persistence.decisions.plan_run_repository import StoredRuns
from deployments.persistence.decisions.releases import StoredPlans
from deployments.persistence.decisions.repository import StoredDecisions
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.delivery.drain import SpoolDrain
from deployments.persistence.errors import BackupMissing, CorruptionLog, DatabaseError
from deployments.persistence.maintenance.checks import IntegritySampler
from deployments.persistence.spool.disk import LocalDisk
from deployments.persistence.spool.spool import Spool, SpoolConfig
from deployments.plants.stored import StoredPlants
from deployments.rollout.model_registry import Registry, written_at
from deployments.rollout_control.rollout_client import RolloutClient, StateSync
from deployments.rollout_control.router_view import LatchFile, RolloutView
from deployments.rollout_control.stored_report import RolloutTrail
from deployments.runtime.background import MAX_WAITING, BackgroundTask, Threads
from deployments.runtime.clock import utc_now
from deployments.runtime.metrics import Meter
from deployments.runtime.shared_count import SharedCount
from deployments.runtime.worker_process import WorkerProcess
from deployments.scheduling.arms import ArmRunner
from deployments.scheduling.idempotency import Idempotency
from deployments.scheduling.plan_runs import PatientJudge, PlanRuns, RunProgress, Uncompared
from deployments.scheduling.question import QuestionBuilder
from deployments.scheduling.time_budget import BudgetLimit, LoadShedding
from deployments.scheduling.use_case import Scheduling
from deployments.serve.controller import RemoteController, RolloutController
from deployments.serve.environment import NodeWatch, require_deployable
from deployments.serve.handles import (
    CommittedJournal,
    PlannersRule,
    RemoteFailed,
    RemoteJudge,
    RemotePolicy,
    RemoteShadowArm,
    SpoolJournal,
    UnattendedPolicy,
    ask,
)
from deployments.serve.health import Exporter, HealthMonitor, Probe, RouterMetrics
from deployments.serve.policy import PPOPolicy, SuspectFiles
from deployments.serve.process import require_message_room, require_proven_backup
from deployments.serve.router import RequestRouter
from deployments.serve.shadow import ShadowArm
from deployments.serve.storage import DBWriter, WorkerReads, remote_write
from deployments.serve.validator import SafetyValidator
from deployments.settings.serve_config import AppArgs
from deployments.settings.service import Environment, Settings, is_handed_down, load_settings
from deployments.shadow.queue import QueueBounds, ShadowQueue
from models.search.warm_up import warm_rules

_MAX_SEGMENT_BYTES = 16 * 2**20
_PLANT_THREADS = 2
_CLAIM_THREADS = 4
_FILE_THREADS = 2
_RELEASE_THREADS = 2
_READ_THREADS = 8
# Beyond its budget, twice where its process dies: for a process that compiles first, and for a large plan.
_RUN_SECONDS = 900.0
_RUN_THREADS = 2
# At one client every second batch or so would otherwise hold one record, and cost what eight do.
_LINGER_SECONDS = 0.25
_MAX_WAITING_READS = 32
_NODES_SECONDS = 5.0
# What late arms come to is told as far as that goes before a router closes.
_LATE_SECONDS = 1.0
_log = logging.getLogger(__name__)


def build_app(args: AppArgs) -> Application:
    """The application with the published policy.

    Raises `RayServeException`, whose words alone `serve status` shows, for settings that must not be on this cluster,
    and for a backup that is missing where no `gantry serve` has looked for one.
    """
    try:
        settings = load_settings(warns=False)
        require_message_room(settings)
        require_deployable(settings)
    except InvalidSettings as error:
        sentence = f"the settings of this cluster must be mended on its nodes: {error}"
        _log.error("%s", sentence)
        raise RayServeException(sentence) from error
    if not is_handed_down():
        try:
            require_proven_backup(settings)
        except BackupMissing as error:
            _log.error("%s", error)
            raise RayServeException(str(error)) from error
        except DatabaseError as error:
            _log.warning("whether there is a verified backup cannot be known now: %s", error)
    return compose(PPOPolicy, args)


def compose(
    policy: type,
    args: AppArgs,
    *,
    router: type = RequestRouter,
    counterfactual: type = ShadowArm,
    controller: type = RolloutController,
) -> Application:
    """The application around any class with the methods of `PPOPolicy`, and likewise for the others."""
    ingress = _deployment(serve.ingress()(router), "RequestRouter")
    return ingress.bind(
        _deployment(policy, "PPOPolicy").bind(),
        _deployment(SafetyValidator, "SafetyValidator").bind(),
        _deployment(DBWriter, "DBWriter").bind(),
        _deployment(counterfactual, "Counterfactual").bind(),
        _deployment(controller, "RolloutController").bind(),
        args,
        open_router,
    )


def _deployment(cls: type, name: str) -> Deployment:
    deployment: Deployment = serve.deployment(name=name)(cls)
    return deployment


def _load_of_others(stack: AsyncExitStack, path: Path) -> SharedCount | None:
    """None where the file cannot be had, as on a full disk: that is no reason to serve nobody."""
    try:
        in_flight = SharedCount(path)
    except OSError as error:
        _log.warning("each router sheds load by what it has under way itself, for lack of %s: %s", path, error)
        return None
    stack.callback(in_flight.close)
    return in_flight


async def open_router(
    stack: AsyncExitStack,
    settings: Settings,
    args: AppArgs,
    *,
    policy: Any,
    validator: Any,
    writer: Any,
    counterfactual: Any,
    controller: Any,
    router_count: Callable[[], int],
    disk: LocalDisk,
    meter: Meter,
) -> Services:
    """Everything that one router holds: opened in this order, closed in reverse when `stack` unwinds.

    The five are handles of the deployments of that name. Adopts what dead routers left in the spool, and begins to
    drain and to watch. Raises `SpoolError`.
    """
    rule_threads = _threads(stack, "manual", args.manual_threads, waits=True)
    await rule_threads.run(warm_rules)
    engine = create_engine(settings.database_url.get_secret_value())
    stack.callback(engine.dispose)
    corruption = CorruptionLog()
    limits = RequestLimits(jobs=settings.max_jobs, machines=settings.max_machines)

    # What was acknowledged: on this disk at once, and on its way to the database.
    spool = Spool(settings.spool_folder, _spool_config(settings), disk=disk)
    stack.push_async_callback(spool.close)
    await spool.start()
    # An engine of its own, so that a database that hangs is noticed soon.
    watch = create_delivery_engine(settings.database_url.get_secret_value())
    stack.callback(watch.dispose)
    skew, schema = ClockSkew(watch, utc_now), SchemaWatch(watch)
    drain = SpoolDrain(
        spool, remote_write(writer.write), on_mismatch=corruption.found_by_writer, linger_seconds=_LINGER_SECONDS
    )
    # Asked by one thread of its own.
    probe = _threads(stack, "probe", 1)

    async def ask_database() -> None:
        await probe.run(schema.ask)
        await probe.run(skew.ask)

    database_probe = Probe("the database", ask_database, timeout_seconds=8.0, patience_seconds=10.0)
    journal = SpoolJournal(spool, packet_bytes=lambda: skew.packet_bytes)
    needs_database = settings.acknowledge_on == "database"
    if needs_database:
        journal = CommittedJournal(
            spool,
            lambda: skew.packet_bytes,
            expecting=drain.expecting,
            is_away=lambda: not database_probe.holds,
        )
    _run(stack, drain, args.drain_seconds)
    sampler = IntegritySampler(
        engine,
        corruption,
        damaged_regions=lambda: spool.depth.damaged_regions,
        rng=np.random.default_rng(),
        interval_seconds=settings.integrity_interval_seconds,
    )
    _run(stack, sampler)

    # The rollout: what this router knows of the stage, and what it tells.
    registry = Registry(settings.models_folder, settings.model_path)
    view = RolloutView(
        router=uuid.uuid4().hex,
        latches=LatchFile(settings.spool_folder),
        seed=settings.assignment_seed,
        find_model=registry.find,
        clock=utc_now,
        steady=time.monotonic,
        limits=settings.policy.ramp_configuration.limits,
        is_dry_run=settings.rollout_dry_run,
    )
    await view.open()
    stack.push_async_callback(view.close)
    corruption.listen(view.corrupted)
    shadow = ShadowQueue(
        RemoteShadowArm(counterfactual).compute,
        journal=journal,
        rollout=view,
        bounds=QueueBounds(
            share=settings.counterfactual_percent / 100.0,
            max_tasks=settings.counterfactual_queue,
            proposal_seconds=settings.proposal_timeout_seconds,
        ),
        clock=utc_now,
        has_room=lambda: spool.depth.has_spare_room,
    )
    remote_controller = RemoteController(controller)
    _run(stack, StateSync(view, remote_controller.exchange, steady=time.monotonic))
    _run(stack, shadow)

    # Threads for each purpose, so that a database that hangs holds up nobody who does not ask it.
    reads = _threads(stack, "reads", _READ_THREADS, max_waiting=_MAX_WAITING_READS)
    plants = StoredPlants(engine, _threads(stack, "plant", _PLANT_THREADS), limits)
    claims = StoredClaims(engine, _threads(stack, "claims", _CLAIM_THREADS))
    _run(stack, DrainReports(spool, claims))
    idempotency = Idempotency(claims, owner_id=spool.owner_id)
    stack.push_async_callback(idempotency.close)
    access = KeyKeeper(
        DatabaseKeys(engine),
        settings.key_snapshot_path,
        own=None if settings.own_key is None else key_of_settings(settings.own_key),
        own_always=settings.environment is Environment.DEVELOPMENT,
        clock=utc_now,
    )
    stack.push_async_callback(access.stop)
    await access.start()

    # The use case over all of these; what the other routers of this machine have under way counts as its own does.
    in_flight = _load_of_others(stack, settings.run_folder / "in-flight")
    load = LoadShedding(len(os.sched_getaffinity(0)), in_flight)
    policy_probe = Probe("the policy", lambda: ask(policy.model_id, attempts=2), period_seconds=1.0)
    # Often, because whoever waits for a verdict must know whether anybody gets one.
    judge_probe = Probe("the judge", lambda: ask(validator.ping, attempts=2), period_seconds=0.4)
    judge = RemoteJudge(
        validator.judge,
        attempts=args.attempts,
        timeout_seconds=args.judge_timeout_seconds,
        on_answer=judge_probe.heard,
    )
    remote_policy = RemotePolicy(
        policy.stream_proposal.options(stream=True),
        attempts=args.attempts,
        suspects=SuspectFiles(settings.data_folder / "suspects"),
        on_answer=policy_probe.heard,
    )
    rule = PlannersRule(rule_threads)
    decisions = StoredDecisions(engine, corruption, reads, request_seconds=settings.request_timeout_seconds)
    plans = StoredPlans(engine, _threads(stack, "releases", _RELEASE_THREADS), corruption)
    costly_reads = WorkerReads(decisions, settings.zone)
    stack.callback(costly_reads.close)
    scheduling = Scheduling(
        arms=ArmRunner(
            lambda arm: rule if arm.is_rule else remote_policy.of(arm.artefact, arm.search_threads),
            judge,
            proposal_seconds=settings.proposal_timeout_seconds,
            judge_answered_at=lambda: judge_probe.answered_at,
        ),
        judge=judge,
        journal=journal,
        question_builder=QuestionBuilder(
            archive=decisions, plants=plants, zone=settings.zone, plant_id=settings.plant_id
        ),
        rollout=view,
        shadow=shadow,
        find_model=registry.find,
        request_seconds=settings.request_timeout_seconds,
        budget_limit=BudgetLimit.of(settings.max_budget_seconds, settings.request_timeout_seconds),
        load=load,
        meter=meter,
        clock=utc_now,
    )
    stack.push_async_callback(scheduling.close, _LATE_SECONDS)

    # Plans that nobody waits for: the same use case with all the time that they take, unheard by the rollout.
    progress, unheard = RunProgress(), Uncompared(view)
    process = WorkerProcess(*UnattendedPolicy.program)
    searches = UnattendedPolicy(process, _threads(stack, "plan run", 1), progress)
    stack.callback(process.close)
    max_budget = settings.max_budget_seconds
    patient_judge = PatientJudge(judge)
    unattended = Scheduling(
        arms=ArmRunner(
            lambda arm: rule if arm.is_rule else searches.of(arm.artefact),
            patient_judge,
            # It may have to wait for a process that compiles first.
            proposal_seconds=None,
            is_waited_for=False,
        ),
        judge=patient_judge,
        # What `runs` tells of waits for the commit; here nobody does, who could be told to ask again.
        journal=SpoolJournal(spool, packet_bytes=lambda: skew.packet_bytes),
        question_builder=QuestionBuilder(
            archive=decisions, plants=plants, zone=settings.zone, plant_id=settings.plant_id
        ),
        rollout=unheard,
        shadow=unheard,
        find_model=registry.find,
        request_seconds=2 * max_budget + _RUN_SECONDS,
        budget_limit=BudgetLimit.unattended(max_budget),
        load=LoadShedding(len(os.sched_getaffinity(0))),
        meter=meter,
        clock=utc_now,
        is_compared=False,
    )
    stack.push_async_callback(unattended.close, _LATE_SECONDS)
    runs = PlanRuns(
        StoredRuns(engine, _threads(stack, "runs", _RUN_THREADS)),
        unattended,
        progress,
        owner_id=spool.owner_id,
        limits=limits,
        max_budget_ms=int(1000 * max_budget),
        wait_until_stored=spool.wait_until_drained,
        keeper=StoredRuns(engine, _threads(stack, "run leases", 1)),
    )
    _run(stack, runs)

    # What it knows of its surroundings, and tells of itself.
    nodes, node_threads = NodeWatch(settings), _threads(stack, "nodes", 1)
    await node_threads.run(nodes.ask)
    _run(stack, BackgroundTask("nodes", lambda: node_threads.run(nodes.ask), period_seconds=_NODES_SECONDS))
    health = HealthMonitor(
        model=policy_probe,
        judge=judge_probe,
        database=database_probe,
        depth=lambda: spool.depth,
        drain=lambda: drain.state,
        corruption=corruption,
        knows_stage=lambda: view.is_current,
        rollout_alarms=lambda: view.alarms,
        skew_seconds=lambda: skew.seconds,
        losses=scheduling.policy_losses,
        schema_fault=lambda: schema.fault,
        node_fault=lambda: nodes.fault,
        needs_database=needs_database,
    )
    _run(stack, health)
    _run(
        stack,
        RouterMetrics(
            meter,
            health=health,
            depth=lambda: spool.depth,
            drain=lambda: drain.state,
            state=lambda: view.traffic_split().state,
            in_flight=lambda: load.in_flight_here,
            keys_age_seconds=lambda: access.age_seconds,
            keys_expiring=access.expiring,
            model_written_at=written_at(settings.model_path),
        ),
    )
    # Threads of its own: the others wait for the database, and metrics are asked for when that hangs.
    metrics = Exporter(_threads(stack, "exporter", 1))
    stack.push_async_callback(metrics.close)
    return Services(
        settings=settings,
        limits=limits,
        scheduling=scheduling,
        decisions=decisions,
        plans=plans,
        runs=runs,
        costly_reads=costly_reads,
        journal=journal,
        idempotency=idempotency,
        health=health,
        access=access,
        # What every router of the service has, and keeps across restarts.
        sessions=Sessions((settings.api_key.get_secret_value(), settings.database_url.get_secret_value())),
        audit=StoredAudit(engine, reads),
        rollout_client=RolloutClient(
            view,
            command=remote_controller.command,
            overview=remote_controller.overview,
            unreachable=(RemoteFailed,),
            clock=utc_now,
            steady=time.monotonic,
        ),
        metrics=metrics,
        trail=RolloutTrail(
            RolloutRows(engine),
            lambda: settings.policy.ramp_configuration,
            settings.policy.report_goals,
            settings.zone,
            utc_now,
            reads,
            sampled_share=settings.counterfactual_percent / 100.0,
        ),
        registry=registry,
        files=_threads(stack, "files of policies", _FILE_THREADS),
        rates=RateLimiter(
            None if settings.rate_limit is None else rate_of(settings.rate_limit),
            # What Serve tells a replica is how many there were when it began, and the first one begins alone.
            router_count=lambda: max(router_count(), 1 if in_flight is None else in_flight.living()),
        ),
        clock=utc_now,
    )


def _run(stack: AsyncExitStack, service: Any, *until: float) -> None:
    """Starts `service` now, and stops it when the router closes."""
    service.start()
    stack.push_async_callback(service.stop, *until)


def _threads(
    stack: AsyncExitStack, name: str, count: int, *, max_waiting: int = MAX_WAITING, waits: bool = False
) -> Threads:
    threads = Threads(name, count, max_waiting=max_waiting)
    stack.callback(threads.close, waits=waits)
    return threads


def _spool_config(settings: Settings) -> SpoolConfig:
    capacity = settings.max_spool_bytes
    return SpoolConfig(capacity_bytes=capacity, segment_bytes=min(_MAX_SEGMENT_BYTES, capacity // 2))
