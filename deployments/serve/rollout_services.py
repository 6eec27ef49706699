"""The rollout's part of one router: opened after the spool, closed before it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deployments.errors import Overloaded
from deployments.persistence.decisions.records import EvaluationStatus
from deployments.persistence.integrity.events import CorruptionEvent, CorruptionLog, FoundBy
from deployments.rollout.analysis.outcomes import Alarm, CorruptionKind
from deployments.rollout.model_registry import Registry
from deployments.rollout.ramp.state import RolloutState
from deployments.rollout_control.controller import Command
from deployments.rollout_control.protocol import ControllerReply, RouterReport
from deployments.rollout_control.rollout_client import RolloutClient
from deployments.rollout_control.router_sync import StateSync
from deployments.rollout_control.router_view import LatchFile, RolloutView
from deployments.scheduling.arms import Attempt
from deployments.scheduling.ports import Journal
from deployments.scheduling.time_budget import run_blocking
from deployments.serve.handles import RemoteFailed, RemoteMethod, ask
from deployments.serve.serialization import decode, encode
from deployments.settings.service import Settings
from deployments.shadow.evaluation import ShadowEvaluation, ShadowWork
from deployments.shadow.queue import QueueBounds, ShadowQueue
from deployments.shadow.worker_process import FailureKind, NoResult

# The arm runs in a process beside the replica, so a replica that is lost says nothing about it.
_COUNTERFACTUAL_ATTEMPTS = 2
_BYTES_PER_JOB = 400
_STATUS_OF = {
    FailureKind.HUNG: EvaluationStatus.TIMED_OUT,
    FailureKind.DIED: EvaluationStatus.FAILED,
    # The arm has not even been asked.
    FailureKind.ABSENT: EvaluationStatus.DROPPED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMethods:
    """Methods of the controller and of the deployment Counterfactual."""

    exchange: RemoteMethod
    command: RemoteMethod
    overview: RemoteMethod
    compute: RemoteMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutServices:
    """What the rest of the router uses."""

    view: RolloutView
    shadow: ShadowQueue
    rollout_client: RolloutClient
    registry: Registry


async def open_rollout_services(
    settings: Settings,
    methods: RolloutMethods,
    journal: Journal,
    corruption: CorruptionLog,
    has_room: Callable[[], bool],
    stack: AsyncExitStack,
) -> RolloutServices:
    """Reads the latch that an earlier router left, hears of the state if it can, and begins to exchange."""
    registry = Registry(settings.models_folder, settings.model_path)
    view = RolloutView(
        router=uuid.uuid4().hex,
        latches=LatchFile(settings.spool_folder),
        seed=settings.assignment_seed,
        find_model=registry.find,
        clock=_utc_now,
        steady=time.monotonic,
        limits=settings.ramp_configuration.limits,
        is_dry_run=settings.rollout_dry_run,
    )
    await view.open()
    stack.push_async_callback(view.close)
    corruption.listen(lambda event: _alarm(view, event))
    queue = ShadowQueue(
        computed_by(methods.compute),
        journal=journal,
        rollout=view,
        bounds=QueueBounds(
            share=settings.counterfactual_percent / 100.0,
            max_tasks=settings.counterfactual_queue,
            proposal_seconds=settings.proposal_timeout_seconds,
        ),
        clock=_utc_now,
        has_room=has_room,
    )
    exchange = StateSync(view, _told(methods.exchange), steady=time.monotonic)
    exchange.start()
    stack.push_async_callback(exchange.stop)
    queue.start()
    stack.push_async_callback(queue.stop)
    return RolloutServices(view=view, shadow=queue, rollout_client=_rollout_client(view, methods), registry=registry)


def _rollout_client(view: RolloutView, methods: RolloutMethods) -> RolloutClient:
    async def command(order: Command) -> RolloutState:
        # Once only: an order that was carried out must not be carried out again.
        state: RolloutState = await ask(methods.command, order, attempts=1)
        return state

    async def overview() -> dict[str, Any]:
        document: dict[str, Any] = await ask(methods.overview, attempts=2)
        return document

    return RolloutClient(
        view,
        command=command,
        overview=overview,
        unreachable=(RemoteFailed,),
        clock=_utc_now,
        steady=time.monotonic,
    )


def _told(exchange: RemoteMethod) -> Callable[[RouterReport], Awaitable[ControllerReply]]:
    async def tell(report: RouterReport) -> ControllerReply:
        reply: ControllerReply = await exchange.remote(report)
        return reply

    return tell


def computed_by(compute: RemoteMethod) -> Callable[[ShadowWork], Awaitable[ShadowEvaluation]]:
    """The Counterfactual deployment as the queue wants it: that there is no result is one as well."""

    async def computed(work: ShadowWork) -> ShadowEvaluation:
        size = _BYTES_PER_JOB * len(work.problem.operations)
        payload = await run_blocking(size, lambda: encode(work))
        try:
            answer = await ask(compute, payload, work.limit_seconds, attempts=_COUNTERFACTUAL_ATTEMPTS)
        except Overloaded as failure:
            return _lost(work, EvaluationStatus.SHED, str(failure))
        except RemoteFailed as failure:
            return _lost(work, EvaluationStatus.DROPPED, f"no proposal: {failure}")
        if isinstance(answer, NoResult):
            return _lost(work, _STATUS_OF[answer.kind], f"no proposal: {answer.reason}")
        found: ShadowEvaluation = await run_blocking(len(answer), lambda: decode(answer))
        return found

    return computed


def _lost(work: ShadowWork, status: EvaluationStatus, reason: str) -> ShadowEvaluation:
    return ShadowEvaluation(attempt=Attempt(arm=work.arm, status=status, reason=reason))


def _alarm(view: RolloutView, event: CorruptionEvent) -> None:
    """Corrupt data say nothing about one arm; they roll back because nothing that was stored can be trusted."""
    state = view.state
    if state is None:
        return
    kind = CorruptionKind.TWO_PAYLOADS if event.found_by is FoundBy.WRITE else CorruptionKind.CHECKSUM
    view.observe(
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
