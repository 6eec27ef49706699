"""Puts routes, errors and documentation together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from deployments.api import audit, dependencies, models, probes, rollout, schedules
from deployments.api.audit import Auditing
from deployments.api.documentation import KEY_PARAMETER, body_of, install_documentation, problems
from deployments.api.middleware import REQUEST_ID_HEADER, BodyBounds, RequestIdentity, SecurityHeaders
from deployments.api.problems import Clock, install_problems
from deployments.api.services import Services
from deployments.contracts.answers.planners import ComparisonAnswer, ExplanationAnswer, FeedbackAnswer, FeedbackRequest
from deployments.contracts.answers.rollout import (
    ActivationRequest,
    EventsAnswer,
    ModelAnswer,
    ModelsAnswer,
    OrderRequest,
    PromotionRequest,
    RegistrationRequest,
    RollbackRequest,
    RolloutAnswer,
    StateAnswer,
)
from deployments.contracts.answers.schedule import ScheduleAnswer
from deployments.contracts.answers.service import AuditPage, HealthAnswer, ProbeAnswer
from deployments.contracts.answers.stored import StoredDecisionDetail, StoredDecisionPage
from deployments.contracts.answers.validation import ValidateAnswer, ValidateRequest
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import WireModel

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
        version=probes.VERSION,
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
            schedules.schedule,
            methods=["POST"],
            operation_id=name,
            tags=["scheduling"],
            responses={200: {"model": ScheduleAnswer}, **problems(400, 401, 403, 409, 413, 422, 500, 503)},
            openapi_extra=body_of(ScheduleRequest) | {"parameters": [KEY_PARAMETER]},
        )
    app.add_api_route(
        "/v1/validate",
        schedules.validate,
        methods=["POST"],
        operation_id="validate",
        tags=["scheduling"],
        responses={200: {"model": ValidateAnswer}, **problems(400, 401, 403, 413, 422, 503)},
        openapi_extra=body_of(ValidateRequest),
    )


def _add_decisions(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/schedules",
        schedules.list_schedules,
        methods=["GET"],
        operation_id="list_schedules",
        tags=["decisions"],
        responses={200: {"model": StoredDecisionPage}, **problems(401, 403, 422, 503)},
    )
    app.add_api_route(
        "/v1/schedules/{schedule_id}",
        schedules.get_schedule,
        methods=["GET"],
        operation_id="get_schedule",
        tags=["decisions"],
        responses={200: {"model": StoredDecisionDetail}, **problems(401, 403, 404, 422, 503)},
    )


def _add_answers_for_planners(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/schedules/{schedule_id}/explanation",
        schedules.explain_schedule,
        methods=["GET"],
        operation_id="explain_schedule",
        tags=["decisions"],
        responses={200: {"model": ExplanationAnswer}, **problems(401, 403, 404, 422, 503)},
    )
    app.add_api_route(
        "/v1/schedules/{schedule_id}/compare/{other_id}",
        schedules.compare_schedules,
        methods=["GET"],
        operation_id="compare_schedules",
        tags=["decisions"],
        responses={200: {"model": ComparisonAnswer}, **problems(401, 403, 404, 422, 503)},
    )


def _add_feedback(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/schedules/{schedule_id}/feedback",
        schedules.give_feedback,
        methods=["POST"],
        operation_id="give_feedback",
        tags=["decisions"],
        responses={200: {"model": FeedbackAnswer}, **problems(400, 401, 403, 404, 413, 422, 503)},
        openapi_extra=body_of(FeedbackRequest),
    )


def _add_audit(app: FastAPI) -> None:
    app.add_api_route(
        "/v1/audit",
        audit.list_audit,
        methods=["GET"],
        operation_id="list_audit",
        tags=["operations"],
        responses={200: {"model": AuditPage}, **problems(401, 403, 422, 503)},
    )


def _add_probes(app: FastAPI) -> None:
    app.add_api_route(
        "/health",
        probes.health,
        methods=["GET"],
        operation_id="health",
        tags=["health"],
        responses={200: {"model": HealthAnswer}, 503: {"model": HealthAnswer, "description": "Unhealthy"}},
    )
    for name, probe in (("livez", probes.livez), ("readyz", probes.readyz)):
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
        allow_headers=[dependencies.API_KEY_HEADER, "Content-Type", schedules.IDEMPOTENCY_HEADER, REQUEST_ID_HEADER],
        expose_headers=[REQUEST_ID_HEADER, schedules.REPLAYED_HEADER, "Retry-After"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """One route; the tag decides that changes are audited. An answer is a model, or OpenAPI where there is none."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Response]]
    tag: str
    body: type[WireModel] | None = None
    answers: tuple[tuple[int, type[BaseModel] | dict[str, Any]], ...]
    faults: tuple[int, ...]


_READ = (401, 403, 422, 503)
_ORDER = (400, 401, 403, 409, 413, 422, 503)
_STATE = ((200, StateAnswer),)
_REPORT = {"content": {"application/json": {"schema": {}}, "text/html": {"schema": {"type": "string"}}}}


def _order(name: str, handler: Any, body: type[WireModel], answers: Any = _STATE) -> _Route:
    path = f"/v1/rollout/{name}"
    return _Route(method="POST", path=path, handler=handler, tag="rollout", body=body, answers=answers, faults=_ORDER)


def _read(path: str, handler: Any, answer: type[BaseModel] | dict[str, Any], tag: str = "rollout") -> _Route:
    return _Route(method="GET", path=path, handler=handler, tag=tag, answers=((200, answer),), faults=_READ)


_ROUTES = (
    _read("/v1/rollout", rollout.rollout, RolloutAnswer),
    _order("promote", rollout.promote, PromotionRequest),
    _order("pause", rollout.pause, OrderRequest),
    _order("resume", rollout.resume, OrderRequest),
    _order("rollback", rollout.rollback, RollbackRequest, (*_STATE, (202, StateAnswer))),
    _read("/v1/rollout/events", rollout.events, EventsAnswer),
    _read("/v1/rollout/report", rollout.report, _REPORT),
    _read("/v1/models", models.list_models, ModelsAnswer, "models"),
    _Route(
        method="POST",
        path="/v1/models",
        handler=models.register_model,
        tag="models",
        body=RegistrationRequest,
        answers=((201, ModelAnswer),),
        faults=(400, 401, 403, 413, 422, 503),
    ),
    _Route(
        method="POST",
        path="/v1/models/{model_id}/activate",
        handler=models.activate_model,
        tag="models",
        body=ActivationRequest,
        answers=_STATE,
        faults=(*_ORDER, 404),
    ),
)


def add_operating(app: FastAPI) -> None:
    """All of them."""
    for route in _ROUTES:
        answers: dict[int | str, dict[str, Any]] = {
            status: answer if isinstance(answer, dict) else {"model": answer} for status, answer in route.answers
        }
        app.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            operation_id=route.handler.__name__ if route.handler is not rollout.rollout else "get_rollout",
            tags=[route.tag],
            status_code=route.answers[0][0],
            responses=answers | problems(*route.faults),
            openapi_extra=None if route.body is None else body_of(route.body),
        )
