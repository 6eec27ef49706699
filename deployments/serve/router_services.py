"""Everything that one router holds: opened in order, closed in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import numpy as np
from limits import RateLimitItem
from sqlalchemy import Engine

from deployments.access.client import RateLimiter, rate_of
from deployments.access.key_keeper import KeyKeeper
from deployments.access.key_ring import key_of_settings
from deployments.api.services import Services
from deployments.contracts.parsing import RequestLimits
from deployments.persistence.database import ClockSkew, create_engine
from deployments.persistence.decisions.claims import DrainReports, StoredClaims
from deployments.persistence.decisions.key_repository import DatabaseKeys
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.delivery.drain import SpoolDrain
from deployments.persistence.integrity.events import CorruptionEvent, CorruptionLog, FoundBy
from deployments.persistence.integrity.sampling import IntegritySampler
from deployments.persistence.spool.disk import LocalDisk
from deployments.persistence.spool.spool import Spool, SpoolConfig
from deployments.plants.stored import StoredPlants
from deployments.rollout.ramp.traffic import Arm
from deployments.rollout_control.router_view import RolloutView
from deployments.rollout_control.stored_report import RolloutTrail
from deployments.scheduling.arms import ArmRunner
from deployments.scheduling.idempotency import Idempotency
from deployments.scheduling.ports import Proposer
from deployments.scheduling.question import QuestionBuilder
from deployments.scheduling.use_case import Scheduling
from deployments.serve.handles import (
    PlannersRule,
    RemoteJudge,
    RemoteMethod,
    RemoteProposer,
    SpoolJournal,
    StoredAudit,
    StoredDecisions,
    ask,
    remote_write,
)
from deployments.serve.health import HealthMonitor, Probe
from deployments.serve.rollout_services import RolloutMethods, RolloutServices, open_rollout_services
from deployments.settings.serve_config import AppArgs
from deployments.settings.service import Environment, Settings
from models.search.warm_up import warm_rules

_MAX_SEGMENT_BYTES = 16 * 2**20
_PLANT_THREADS = 2
_CLAIM_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Methods of the other deployments."""

    propose: RemoteMethod
    model_id: RemoteMethod
    judge: RemoteMethod
    ping: RemoteMethod
    write: RemoteMethod
    rollout: RolloutMethods


class RouterServices:
    """The services of one router replica, alive from `open` to `close`."""

    def __init__(self, services: Services, resources: AsyncExitStack) -> None:
        self.services = services
        self._resources = resources

    @classmethod
    async def open(
        cls,
        neighbours: Neighbours,
        args: AppArgs,
        settings: Settings,
        *,
        router_count: Callable[[], int] = lambda: 1,
        disk: LocalDisk | None = None,
    ) -> Self:
        """Adopts what dead routers left in the spool, and begins to drain and to watch. Raises `SpoolError`."""
        async with AsyncExitStack() as stack:
            threads = stack.enter_context(ThreadPoolExecutor(args.manual_threads, thread_name_prefix="manual"))
            await asyncio.get_running_loop().run_in_executor(threads, warm_rules)
            engine = create_engine(settings.database_url.get_secret_value())
            stack.callback(engine.dispose)
            corruption = CorruptionLog()
            spool = await _open_spool(settings, disk, stack)
            drain = _start_drain(spool, neighbours.write, args.drain_seconds, corruption, stack)
            _watch_integrity(settings, engine, spool, corruption, stack)
            journal = SpoolJournal(spool)
            rollout = await open_rollout_services(
                settings, neighbours.rollout, journal, corruption, lambda: _has_spare_room(spool), stack
            )
            health = _health_monitor(neighbours, spool, drain, corruption, engine, rollout.view)
            health.start()
            stack.push_async_callback(health.stop)
            decisions, plants = StoredDecisions(engine, corruption), _stored_plants(settings, engine, stack)
            services = Services(
                settings=settings,
                scheduling=_scheduling(neighbours, args, settings, journal, threads, decisions, plants, rollout),
                decisions=decisions,
                journal=journal,
                idempotency=_idempotency(engine, spool, stack),
                health=health,
                access=await _open_keys(settings, engine, stack),
                audit=StoredAudit(engine),
                rollout_client=rollout.rollout_client,
                trail=_trail(settings, engine),
                registry=rollout.registry,
                rates=RateLimiter(_rate(settings), router_count=router_count),
                clock=_utc_now,
            )
            return cls(services, stack.pop_all())

    async def close(self) -> None:
        """Gives the spool a moment to empty; what is left waits on disk for the next owner."""
        await self._resources.aclose()


async def _open_spool(settings: Settings, disk: LocalDisk | None, stack: AsyncExitStack) -> Spool:
    capacity = settings.max_spool_bytes
    config = SpoolConfig(capacity_bytes=capacity, segment_bytes=min(_MAX_SEGMENT_BYTES, capacity // 2))
    spool = Spool(settings.spool_folder, config, disk=disk)
    stack.push_async_callback(spool.close)
    await spool.start()
    return spool


def _start_drain(
    spool: Spool, write: RemoteMethod, grace_seconds: float, corruption: CorruptionLog, stack: AsyncExitStack
) -> SpoolDrain:
    def report(detail: str) -> None:
        corruption.report(CorruptionEvent(found_by=FoundBy.WRITE, detail=detail))

    drain = SpoolDrain(spool, remote_write(write), on_mismatch=report)
    stack.push_async_callback(drain.stop, grace_seconds)
    drain.start()
    return drain


def _watch_integrity(
    settings: Settings, engine: Engine, spool: Spool, corruption: CorruptionLog, stack: AsyncExitStack
) -> None:
    sampler = IntegritySampler(
        engine,
        corruption,
        damaged_regions=lambda: spool.depth.damaged_regions,
        rng=np.random.default_rng(),
        interval_seconds=settings.integrity_interval_seconds,
    )
    sampler.start()
    stack.push_async_callback(sampler.stop)


def _trail(settings: Settings, engine: Engine) -> RolloutTrail:
    rows = RolloutRows(engine)
    return RolloutTrail(rows, lambda: settings.ramp_configuration, settings.goals, settings.zone, _utc_now)


def _rate(settings: Settings) -> RateLimitItem | None:
    return None if settings.rate_limit is None else rate_of(settings.rate_limit)


async def _open_keys(settings: Settings, engine: Engine, stack: AsyncExitStack) -> KeyKeeper:
    own = None if settings.own_key is None else key_of_settings(settings.own_key)
    keeper = KeyKeeper(
        DatabaseKeys(engine),
        settings.key_snapshot_path,
        own=own,
        own_always=settings.environment is Environment.DEVELOPMENT,
        clock=_utc_now,
    )
    stack.push_async_callback(keeper.stop)
    await keeper.start()
    return keeper


def _scheduling(
    neighbours: Neighbours,
    args: AppArgs,
    settings: Settings,
    journal: SpoolJournal,
    threads: ThreadPoolExecutor,
    decisions: StoredDecisions,
    plants: StoredPlants,
    rollout: RolloutServices,
) -> Scheduling:
    judge = RemoteJudge(neighbours.judge, attempts=args.attempts, timeout_seconds=args.judge_timeout_seconds)
    rule = PlannersRule(threads)

    def proposer_of(arm: Arm) -> Proposer:
        if arm.is_rule:
            return rule
        return RemoteProposer(neighbours.propose, attempts=args.attempts, artefact=arm.artefact)

    return Scheduling(
        arms=ArmRunner(proposer_of, judge, proposal_seconds=settings.proposal_timeout_seconds),
        judge=judge,
        journal=journal,
        question_builder=QuestionBuilder(
            archive=decisions, plants=plants, zone=settings.zone, plant_id=settings.plant_id
        ),
        rollout=rollout.view,
        shadow=rollout.shadow,
        find_model=rollout.registry.find,
        request_seconds=settings.request_timeout_seconds,
        clock=_utc_now,
    )


def _idempotency(engine: Engine, spool: Spool, stack: AsyncExitStack) -> Idempotency:
    threads = ThreadPoolExecutor(_CLAIM_THREADS, thread_name_prefix="claims")
    stack.callback(threads.shutdown, wait=False, cancel_futures=True)
    claims = StoredClaims(engine, threads)
    reports = DrainReports(spool, claims)
    reports.start()
    stack.push_async_callback(reports.stop)
    idempotency = Idempotency(claims, owner_id=spool.owner_id)
    stack.push_async_callback(idempotency.close)
    return idempotency


def _stored_plants(settings: Settings, engine: Engine, stack: AsyncExitStack) -> StoredPlants:
    # Threads of their own, so that a database that hangs holds up nobody who does not ask it.
    threads = ThreadPoolExecutor(_PLANT_THREADS, thread_name_prefix="plant")
    stack.callback(threads.shutdown, wait=False, cancel_futures=True)
    return StoredPlants(engine, threads, RequestLimits(jobs=settings.max_jobs, machines=settings.max_machines))


def _has_spare_room(spool: Spool) -> bool:
    """Whether decisions leave room for what nobody waits for."""
    depth = spool.depth
    return 2 * depth.disk_bytes < depth.capacity_bytes


def _health_monitor(
    neighbours: Neighbours,
    spool: Spool,
    drain: SpoolDrain,
    corruption: CorruptionLog,
    engine: Engine,
    view: RolloutView,
) -> HealthMonitor:
    skew = ClockSkew(engine, _utc_now)
    return HealthMonitor(
        model=Probe("the model", lambda: ask(neighbours.model_id, attempts=2)),
        judge=Probe("the judge", lambda: ask(neighbours.ping, attempts=2)),
        database=Probe("the database", lambda: asyncio.to_thread(skew.ask), timeout_seconds=15.0),
        depth=lambda: spool.depth,
        drain=lambda: drain.state,
        corruption=corruption,
        knows_stage=lambda: view.is_current,
        skew_seconds=lambda: skew.seconds,
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)
