"""The routes by which a load balancer, an orchestrator and a person ask how the service is doing."""

from __future__ import annotations

from importlib.metadata import version

from starlette.responses import Response

from deployments.api.dependencies import Bound, json_answer
from deployments.api.services import HealthReport
from deployments.contracts.answers.service import HealthAnswer, ProbeAnswer, SpoolAnswer, Status
from deployments.errors import TemporarilyUnavailable

VERSION = version("gantry")


async def health(services: Bound) -> Response:
    """How the service is doing; 503 when no schedule can be served."""
    report = await services.health.report()
    answer = HealthAnswer(
        status=_status(report),
        version=VERSION,
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


async def livez() -> Response:
    """The process answers."""
    return json_answer(ProbeAnswer(status="alive"))


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
