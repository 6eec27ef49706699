"""Whether the service lives, is ready and is well, as balancers, orchestrators and people ask; and how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.dependencies import Bound, json_answer, scraper_of
from deployments.api.documentation import problems
from deployments.api.middleware import short_line
from deployments.api.problems import answer_to
from deployments.contracts.answers.service import HealthAnswer, ProbeAnswer, SpoolAnswer
from deployments.errors import ENDED, Stopping, TemporarilyUnavailable
from deployments.logs import REQUEST_ID
from deployments.runtime.clock import Clock

STOPPING_RETRY_SECONDS = 10
"""By then another start may answer, or another machine."""
_LIVENESS = "/livez"
_log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


@router.get(
    "/health",
    response_model=HealthAnswer,
    responses={503: {"model": HealthAnswer, "description": "Unhealthy"}},
)
async def health(request: Request, services: Bound) -> Response:
    """How the service is doing; 503 when no schedule can be served."""
    report = await services.health.report()
    answer = HealthAnswer(
        status=report.status,
        version=request.app.version,
        model_loaded=report.model_loaded,
        database_connected=report.database_connected,
        uptime=report.uptime_seconds,
        last_schedule_time=services.scheduling.last_decided_at,
        environment=services.settings.environment.value,
        spool=SpoolAnswer(
            records=report.spool_records, bytes=report.spool_bytes, oldest_seconds=report.spool_oldest_seconds
        ),
        rollout_stage=services.scheduling.stage,
        keys_age=services.access.age_seconds,
        reasons=list(report.shortcomings),
    )
    return json_answer(answer, 503 if answer.status == "unhealthy" else 200)


@router.get("/livez", response_model=ProbeAnswer)
async def livez() -> Response:
    """The process answers."""
    return json_answer(ProbeAnswer(status="alive"))


@router.get("/readyz", response_model=ProbeAnswer, responses=problems(503))
async def readyz(services: Bound) -> Response:
    """The replica may get traffic: model warm, judge reachable, room in the spool."""
    obstacles = (await services.health.report()).obstacles
    if obstacles:
        raise TemporarilyUnavailable("; ".join(obstacles))
    return json_answer(ProbeAnswer(status="ready"))


@router.get(
    "/metrics",
    tags=["health"],
    response_class=PlainTextResponse,
    dependencies=[Depends(scraper_of)],
    responses=problems(401, 403, 503),
)
async def metrics(services: Bound) -> Response:
    """The metrics of every process of this node, as Prometheus reads them; whichever router is asked says the same."""
    text, media_type = await services.metrics.text()
    return Response(text, media_type=media_type)


class Gate(Protocol):
    """Knows whether newcomers are still let in."""

    @property
    def refuses(self) -> bool:
        """Whether the service is about to end."""
        ...

    def passing(self, on_grace_over: Callable[[], None]) -> AbstractContextManager[None]:
        """Around one request that was let in; it is told when nobody waits for it any longer."""
        ...


class EndOfService:
    """ASGI middleware: once the gate refuses, newcomers are told to come back, and who is inside is served.

    The process lives on until then, and says so to whoever asks for no more. Who is still inside when the grace is over
    is told to come back, too, unless the answer has begun; a line of the log names the request.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, clock: Clock) -> None:
        self._app = app
        self._gate = gate
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == _LIVENESS:
            await self._app(scope, receive, send)
        elif self._gate.refuses:
            error = Stopping("the service is about to end and takes no new requests", STOPPING_RETRY_SECONDS)
            await answer_to(scope, error, self._clock)(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        task, since, request_id = asyncio.current_task(), time.perf_counter(), REQUEST_ID.get()
        assert task is not None, "a server runs each request in a task"
        has_begun = is_called_off = False

        async def send_and_see(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        def on_grace_over() -> None:
            nonlocal is_called_off
            line, seconds = short_line(scope), time.perf_counter() - since
            # Told from another task, which knows nothing of this request.
            _log.warning(
                "%s was under way for %.1f s when the grace ended", line, seconds, extra={"request_id": request_id}
            )
            if not has_begun:
                is_called_off = True
                task.cancel(ENDED)

        with self._gate.passing(on_grace_over):
            try:
                await self._app(scope, receive, send_and_see)
            except asyncio.CancelledError:
                # Its client may have gone at the same moment.
                if not is_called_off or has_begun or task.uncancel():
                    raise
                error = Stopping(ENDED, STOPPING_RETRY_SECONDS)
                await answer_to(scope, error, self._clock)(scope, receive, send)
