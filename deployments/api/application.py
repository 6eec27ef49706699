"""Puts routes, errors and documentation together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from deployments.api import auditing, feedback, planners, routes
from deployments.api.auditing import Auditing
from deployments.api.body_bounds import BodyBounds
from deployments.api.documentation import KEY_PARAMETER, body_of, install_documentation, problems
from deployments.api.identity import REQUEST_ID_HEADER, RequestIdentity
from deployments.api.operating import add_operating
from deployments.api.problems import Clock, install_problems
from deployments.api.security_headers import SecurityHeaders
from deployments.api.services import Services
from deployments.contracts.answer import ScheduleAnswer
from deployments.contracts.audit import AuditPage
from deployments.contracts.comparison import ComparisonAnswer
from deployments.contracts.explanation import ExplanationAnswer
from deployments.contracts.feedback import FeedbackAnswer, FeedbackRequest
from deployments.contracts.health import HealthAnswer, ProbeAnswer
from deployments.contracts.request import ScheduleRequest
from deployments.contracts.stored import StoredDecisionDetail, StoredDecisionPage
from deployments.contracts.validation import ValidateAnswer, ValidateRequest

DESCRIPTION = "Turns a plant's list of jobs into a safe production schedule."


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_api(
    services: Callable[[], Services], *, cors_origins: Sequence[str] = (), clock: Clock = _utc_now
) -> FastAPI:
    """The whole API. `services` is called for each request, so it may be bound after the app exists.

    `clock` gives the timestamps of problem details, which must work before there are services.
    """
    app = FastAPI(
        title="Gantry",
        version=routes.VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        # A trailing slash is another path: a redirect would make clients send a large body twice.
        redirect_slashes=False,
    )
    app.state.services = services
    _add_scheduling(app)
    _add_decisions(app)
    _add_answers_for_planners(app)
    _add_feedback(app)
    add_operating(app)
    _add_probes(app)
    _add_audit(app)
    install_documentation(app)
    install_problems(app, clock)
    # The last one added is the outermost.
    app.add_middleware(Auditing, services=services)
    app.add_middleware(BodyBounds, services=services)
    _add_cors(app, cors_origins)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestIdentity, clock=clock)
    return app


def _add_scheduling(app: FastAPI) -> None:
    for path, name in (("/schedule", "schedule"), ("/v1/schedules", "create_schedule")):
        app.add_api_route(
            path,
            routes.schedule,
            methods=["POST"],
            operation_id=name,
            tags=["scheduling"],
            responses={200: {"model": ScheduleAnswer}, **problems(400, 401, 403, 409, 413, 422, 500, 503)},
            openapi_extra=body_of(ScheduleRequest) | {"parameters": [KEY_PARAMETER]},
        )
    app.add_api_route(
        "/v1/validate",
        routes.validate,
        methods=["POST"],
        operation_id="validate",
        tags=["scheduling"],
        responses={200: {"model": ValidateAnswer}, **problems(400, 401, 403, 413, 422, 503)},
        openapi_extra=body_of(ValidateRequest),
    )


def _add_decisions(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/schedules",
        routes.list_schedules,
        methods=["GET"],
        operation_id="list_schedules",
        tags=["decisions"],
        responses={200: {"model": StoredDecisionPage}, **problems(401, 403, 422, 503)},
    )
    app.add_api_route(
        "/v1/schedules/{schedule_id}",
        routes.get_schedule,
        methods=["GET"],
        operation_id="get_schedule",
        tags=["decisions"],
        responses={200: {"model": StoredDecisionDetail}, **problems(401, 403, 404, 422, 503)},
    )


def _add_answers_for_planners(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/schedules/{schedule_id}/explanation",
        planners.explain_schedule,
        methods=["GET"],
        operation_id="explain_schedule",
        tags=["decisions"],
        responses={200: {"model": ExplanationAnswer}, **problems(401, 403, 404, 422, 503)},
    )
    app.add_api_route(
        "/v1/schedules/{schedule_id}/compare/{other_id}",
        planners.compare_schedules,
        methods=["GET"],
        operation_id="compare_schedules",
        tags=["decisions"],
        responses={200: {"model": ComparisonAnswer}, **problems(401, 403, 404, 422, 503)},
    )


def _add_feedback(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/schedules/{schedule_id}/feedback",
        feedback.give_feedback,
        methods=["POST"],
        operation_id="give_feedback",
        tags=["decisions"],
        responses={200: {"model": FeedbackAnswer}, **problems(400, 401, 403, 404, 413, 422, 503)},
        openapi_extra=body_of(FeedbackRequest),
    )


def _add_audit(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/audit",
        auditing.list_audit,
        methods=["GET"],
        operation_id="list_audit",
        tags=["operations"],
        responses={200: {"model": AuditPage}, **problems(401, 403, 422, 503)},
    )


def _add_probes(app: FastAPI) -> None:
    app.add_api_route(
        "/health",
        routes.health,
        methods=["GET"],
        operation_id="health",
        tags=["health"],
        responses={200: {"model": HealthAnswer}, 503: {"model": HealthAnswer, "description": "Unhealthy"}},
    )
    for name, probe in (("livez", routes.livez), ("readyz", routes.readyz)):
        app.add_api_route(
            f"/{name}",
            probe,
            methods=["GET"],
            operation_id=name,
            tags=["health"],
            responses={200: {"model": ProbeAnswer}, **(problems(503) if name == "readyz" else {})},
        )


def _add_cors(app: FastAPI, origins: Sequence[str]) -> None:
    if not origins:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=[routes.API_KEY_HEADER, "Content-Type", routes.IDEMPOTENCY_HEADER, REQUEST_ID_HEADER],
        expose_headers=[REQUEST_ID_HEADER, routes.REPLAYED_HEADER, "Retry-After"],
    )
