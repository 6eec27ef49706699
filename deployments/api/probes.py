"""The routes by which a load balancer, an orchestrator and a person ask how the service is doing."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from deployments.api.dependencies import Bound, json_answer
from deployments.api.documentation import problems
from deployments.api.services import HealthReport
from deployments.contracts.answers.service import HealthAnswer, ProbeAnswer, SpoolAnswer, Status
from deployments.errors import TemporarilyUnavailable

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
        status=_status(report),
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


def _status(report: HealthReport) -> Status:
    if report.blockers:
        return "unhealthy"
    return "degraded" if report.shortcomings else "healthy"
