"""Which routes operate the rollout and its models, as one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import Response

from deployments.api import models, rollout
from deployments.api.documentation import body_of, problems
from deployments.contracts.rollout import (
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
from deployments.contracts.wire import WireModel


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
