"""The routes of the rollout: where it stands, orders to it, its trail, its policies."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, Response

from deployments.access import Client
from deployments.api.dependencies import (
    AS_OPERATOR,
    KNOWN_PARAMETERS,
    Bound,
    Brakeman,
    Operator,
    json_answer,
    parsed_body,
)
from deployments.api.documentation import problems
from deployments.api.services import Services
from deployments.contracts.answers.service import (
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
from deployments.errors import InvalidRequest, NotFound, RolloutUnavailable
from deployments.rollout.model_registry import Registered
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import GUARDRAIL, MANUAL, Action, Order, RolloutState
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout.report.page import page_of
from deployments.rollout_control.controller import Command
from deployments.scheduling.time_budget import OFFLOAD
from env.errors import ArtefactError

MAX_EVENTS = 200
MAX_DAYS = 3650
CREATED, ACCEPTED = 201, 202
_ORDER: Any = {"response_model": StateAnswer, "responses": problems(400, 409, 413)}
_REPORT = {"content": {"application/json": {"schema": {}}, "text/html": {"schema": {"type": "string"}}}}
router = APIRouter(
    prefix="/v1/rollout", tags=["rollout"], dependencies=[KNOWN_PARAMETERS], responses=problems(401, 403, 422, 503)
)
models_router = APIRouter(
    prefix="/v1/models", tags=["models"], dependencies=[KNOWN_PARAMETERS], responses=problems(401, 403, 422, 503)
)


@router.get("", name="get_rollout", dependencies=[AS_OPERATOR], response_model=RolloutAnswer)
async def rollout(services: Bound) -> Response:
    """Stage, target and actual split, guardrails with value, limit, n and state, and the verdict."""
    document = await services.rollout_client.overview()
    return json_answer(RolloutAnswer(**document))


@router.post("/promote", **_ORDER)
async def promote(
    services: Bound, client: Operator, body: Annotated[PromotionRequest, parsed_body(PromotionRequest)]
) -> Response:
    """One stage up, if the gate is open; after a rollback the next ramp from shadow."""
    # The experiment itself is audited from the stored decisions, so a promotion needs the database.
    integrity = await services.trail.integrity()
    order = order_of(services, client, body)
    command = Command(action=Action.PROMOTE, order=order, force=body.force, integrity=integrity)
    return json_answer(state_answer(await services.rollout_client.command(command)))


@router.post("/pause", **_ORDER)
async def pause(
    services: Bound, client: Operator, body: Annotated[OrderRequest, parsed_body(OrderRequest)]
) -> Response:
    """The share stays, promotion is blocked."""
    return await _simple(Action.PAUSE, services, client, body)


@router.post("/resume", **_ORDER)
async def resume(
    services: Bound, client: Operator, body: Annotated[OrderRequest, parsed_body(OrderRequest)]
) -> Response:
    """Back to the stage that was paused."""
    return await _simple(Action.RESUME, services, client, body)


@router.post(
    "/rollback", response_model=StateAnswer, responses={202: {"model": StateAnswer}, **problems(400, 409, 413)}
)
async def rollback(
    services: Bound, client: Brakeman, body: Annotated[RollbackRequest, parsed_body(RollbackRequest)]
) -> Response:
    """Manual at once, from every state. 202: this router has latched, the controller has not answered yet."""
    order = order_of(services, client, body)
    found = await services.rollout_client.roll_back(order.actor, order.reason)
    if isinstance(found, Latch):
        return json_answer(_latch_answer(found), status=ACCEPTED)
    return json_answer(state_answer(found))


@router.get("/events", dependencies=[AS_OPERATOR], response_model=EventsAnswer)
async def events(services: Bound, limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 50) -> Response:
    """The audit trail: transitions and incidents with their evidence, newest first."""
    transitions, incidents = await services.trail.events(limit)
    return json_answer(EventsAnswer(transitions=transitions, incidents=incidents))


@router.get("/report", dependencies=[AS_OPERATOR], responses={200: _REPORT})
async def report(
    services: Bound,
    days: Annotated[int | None, Query(ge=1, le=MAX_DAYS, description="of the figures by arm; absent: all")] = None,
    format: Annotated[Literal["json", "html"], Query(description="html: one page without scripts")] = "json",
) -> Response:
    """KPIs by arm and stage, paired differences with intervals, sample ratio, feedback, verdict."""
    since = None if days is None else services.clock() - timedelta(days=days)
    found = await services.trail.report(since)
    if format == "html":
        return HTMLResponse(await OFFLOAD.run(page_of, found))
    body = await OFFLOAD.run(lambda: json.dumps(found.as_json()))
    return Response(body, media_type="application/json")


@models_router.get("", dependencies=[AS_OPERATOR], response_model=ModelsAnswer)
async def list_models(services: Bound) -> Response:
    """The published policy and the registered ones."""
    entries = await services.files.run(services.registry.all)
    roles = await _roles(services)
    return json_answer(ModelsAnswer(models=[_model_answer(entry, roles) for entry in entries]))


@models_router.post(
    "", dependencies=[AS_OPERATOR], status_code=CREATED, response_model=ModelAnswer, responses=problems(400, 413)
)
async def register_model(
    services: Bound, body: Annotated[RegistrationRequest, parsed_body(RegistrationRequest)]
) -> Response:
    """Take up a policy from a folder of GANTRY_MODELS_FOLDER, verified and under its hash. Nothing serves it yet."""
    source = services.settings.models_folder / body.folder
    try:
        entry = await services.files.run(services.registry.register, source)
    except ArtefactError as error:
        raise InvalidRequest((("folder", str(error)),)) from error
    return json_answer(_model_answer(entry, await _roles(services)), status=CREATED)


@models_router.post("/{model_id}/activate", response_model=StateAnswer, responses=problems(400, 404, 409, 413))
async def activate_model(
    services: Bound,
    client: Operator,
    body: Annotated[ActivationRequest, parsed_body(ActivationRequest)],
    model_id: str,
) -> Response:
    """Make a policy the challenger: in shadow at first, or in the present stage with `force`. No restart."""
    known = {entry.artefact.model_id: entry for entry in await services.files.run(services.registry.all)}
    if model_id not in known:
        raise NotFound(f"there is no model {model_id[:100]!r}; register it first")
    if body.champion not in (None, MANUAL) and body.champion not in known:
        raise InvalidRequest((("champion", f"must be manual or a registered model, was {body.champion!r}"),))
    command = Command(
        action=Action.ACTIVATE,
        order=order_of(services, client, body),
        force=body.force,
        challenger=_wire_name(known[model_id]),
        champion=_wire_name(known[body.champion]) if body.champion in known else body.champion,
    )
    return json_answer(state_answer(await services.rollout_client.command(command)))


async def _simple(action: Action, services: Services, client: Client, body: OrderRequest) -> Response:
    command = Command(action=action, order=order_of(services, client, body))
    return json_answer(state_answer(await services.rollout_client.command(command)))


def order_of(services: Services, client: Client, body: OrderRequest) -> Order:
    """The order of whoever calls. Raises `InvalidRequest` for a key that calls itself the guardrail, or no reason."""
    if client.actor == GUARDRAIL:
        raise InvalidRequest((("X-API-Key", f"must not be a key with the name {GUARDRAIL!r}"),))
    if not body.reason.strip():
        raise InvalidRequest((("reason", "must say why, was blank"),))
    return Order(actor=client.actor, reason=body.reason, at=services.clock(), expected_version=body.expected_version)


def state_answer(state: RolloutState) -> StateAnswer:
    """Where the rollout stands after an order."""
    return StateAnswer(
        version=state.version,
        ramp=state.ramp,
        stage=state.stage.value,
        held_stage=None if state.held_stage is None else state.held_stage.value,
        share=state.share,
        challenger=state.challenger,
        champion=state.champion,
        changed_at=state.changed_at,
        detail="in force; routers that are busy elsewhere hear of it within a second",
    )


def _latch_answer(latch: Latch) -> StateAnswer:
    return StateAnswer(
        version=None,
        ramp=latch.ramp or None,
        stage="rolled_back",
        held_stage=None,
        share=0.0,
        challenger=None,
        champion=None,
        changed_at=latch.at,
        detail="this router serves manual from now on; the controller hears of it as soon as it answers",
    )


def _wire_name(entry: Registered) -> str:
    """How the rollout's state calls it: the published policy is wherever the service was started with it."""
    return PUBLISHED if entry.is_published else entry.artefact.model_id


async def _roles(services: Services) -> dict[str, str]:
    try:
        overview = await services.rollout_client.overview()
    except RolloutUnavailable:
        return {}
    return {overview["champion"]: "champion", overview["challenger"]: "challenger"}


def _model_answer(entry: Registered, roles: dict[str, str]) -> ModelAnswer:
    return ModelAnswer(
        model_id=entry.artefact.model_id,
        sha256=entry.artefact.sha256,
        created_at=entry.manifest.created_at,
        role=roles.get(_wire_name(entry), "idle"),
        is_published=entry.is_published,
        results=entry.manifest.results,
    )
