"""The rollout's part of one router: opened after the spool, closed before it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deployments.adapters import RemoteFailed, RemoteMethod, ask
from deployments.corruption import CorruptionEvent, CorruptionLog, FoundBy
from deployments.errors import Overloaded
from deployments.freight import pack, unpack
from deployments.niced_process import Lack, Unanswered
from deployments.off_loop import off_loop
from deployments.persistence.evaluations import EvaluationStatus
from deployments.ports import Journal
from deployments.registry import Registry
from deployments.rollout.outcomes import Alarm, Corruption
from deployments.rollout.state import RolloutState
from deployments.settings import Settings
from deployments.steering.control import Command
from deployments.steering.counterfactuals import CounterfactualQueue, QueueBounds
from deployments.steering.desk import Desk
from deployments.steering.exchange import Exchange
from deployments.steering.latch_file import LatchFile
from deployments.steering.messages import Reply, Report
from deployments.steering.position import Position
from deployments.steering.recomputing import Recomputation, Recomputed

# The arm runs in a process beside the replica, so a replica that is lost says nothing about it.
_COUNTERFACTUAL_ATTEMPTS = 2
_BYTES_PER_JOB = 400
_STATUS_OF = {
    Lack.HUNG: EvaluationStatus.TIMED_OUT,
    Lack.DIED: EvaluationStatus.FAILED,
    # The arm has not even been asked.
    Lack.ABSENT: EvaluationStatus.DROPPED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMethods:
    """Methods of the controller and of the counterfactual deployment."""

    exchange: RemoteMethod
    command: RemoteMethod
    overview: RemoteMethod
    compute: RemoteMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRouter:
    """What the rest of the router uses."""

    position: Position
    counterfactuals: CounterfactualQueue
    desk: Desk
    registry: Registry


async def open_on_router(
    settings: Settings,
    methods: RolloutMethods,
    journal: Journal,
    corruption: CorruptionLog,
    has_room: Callable[[], bool],
    stack: AsyncExitStack,
) -> OnRouter:
    """Reads the latch that an earlier router left, hears of the state if it can, and begins to exchange."""
    registry = Registry(settings.models_folder, settings.model_path)
    position = Position(
        router=uuid.uuid4().hex,
        latches=LatchFile(settings.spool_folder),
        seed=settings.assignment_seed,
        find_model=registry.find,
        clock=_utc_now,
        steady=time.monotonic,
        limits=settings.ramp_configuration.limits,
        is_dry_run=settings.rollout_dry_run,
    )
    await position.open()
    stack.push_async_callback(position.close)
    corruption.listen(lambda event: _alarm(position, event))
    queue = CounterfactualQueue(
        computed_by(methods.compute),
        journal=journal,
        rollout=position,
        bounds=QueueBounds(
            share=settings.counterfactual_percent / 100.0,
            most_reruns=settings.counterfactual_queue,
            proposal_seconds=settings.proposal_timeout_seconds,
        ),
        clock=_utc_now,
        has_room=has_room,
    )
    exchange = Exchange(position, _told(methods.exchange), steady=time.monotonic)
    exchange.start()
    stack.push_async_callback(exchange.stop)
    queue.start()
    stack.push_async_callback(queue.stop)
    return OnRouter(position=position, counterfactuals=queue, desk=_desk(position, methods), registry=registry)


def _desk(position: Position, methods: RolloutMethods) -> Desk:
    async def command(order: Command) -> RolloutState:
        # Once only: an order that was carried out must not be carried out again.
        state: RolloutState = await ask(methods.command, order, attempts=1)
        return state

    async def overview() -> dict[str, Any]:
        document: dict[str, Any] = await ask(methods.overview, attempts=2)
        return document

    return Desk(
        position,
        command=command,
        overview=overview,
        unreachable=(RemoteFailed,),
        clock=_utc_now,
        steady=time.monotonic,
    )


def _told(exchange: RemoteMethod) -> Callable[[Report], Awaitable[Reply]]:
    async def tell(report: Report) -> Reply:
        reply: Reply = await exchange.remote(report)
        return reply

    return tell


def computed_by(compute: RemoteMethod) -> Callable[[Recomputation], Awaitable[Recomputed]]:
    """The Counterfactual deployment as the queue wants it: what it lacks is a result as well."""

    async def computed(work: Recomputation) -> Recomputed:
        size = _BYTES_PER_JOB * len(work.problem.operations)
        freight = await off_loop(size, lambda: pack(work))
        try:
            answer = await ask(compute, freight, work.limit_seconds, attempts=_COUNTERFACTUAL_ATTEMPTS)
        except Overloaded as failure:
            return Recomputed(status=EvaluationStatus.SHED, reason=str(failure))
        except RemoteFailed as failure:
            return Recomputed(status=EvaluationStatus.DROPPED, reason=f"no proposal: {failure}")
        if isinstance(answer, Unanswered):
            return Recomputed(status=_STATUS_OF[answer.lack], reason=f"no proposal: {answer.reason}")
        found: Recomputed = await off_loop(len(answer), lambda: unpack(answer))
        return found

    return computed


def _alarm(position: Position, event: CorruptionEvent) -> None:
    """Corrupt data say nothing about one arm; they roll back because nothing that was stored can be trusted."""
    state = position.state
    if state is None:
        return
    kind = Corruption.TWO_PAYLOADS if event.found_by is FoundBy.WRITE else Corruption.CHECKSUM
    position.observe(
        Alarm(
            decision_id="",
            at=_utc_now(),
            ramp=state.ramp,
            stage=state.serving_stage.value,
            corruption=kind,
            detail=event.detail,
        )
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)
