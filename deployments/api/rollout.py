"""The routes of the rollout: where it stands, orders to it, its trail and its report."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from deployments.access import Client, Scope
from deployments.api.dependencies import Bound, Caller, json_answer
from deployments.api.middleware import read_body
from deployments.api.services import Services
from deployments.contracts.answers.rollout import (
    EventsAnswer,
    OrderRequest,
    PromotionRequest,
    RollbackRequest,
    RolloutAnswer,
    StateAnswer,
)
from deployments.contracts.parsing import read_document
from deployments.errors import InvalidRequest
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import GUARDRAIL, Action, Order, RolloutState
from deployments.rollout.report.page import page_of
from deployments.rollout_control.controller import Command

MAX_EVENTS = 200
MAX_DAYS = 3650
ACCEPTED = 202


async def rollout(services: Bound, client: Caller) -> Response:
    """Stage, target and actual split, guardrails with value, limit, n and state, and the verdict."""
    client.require(Scope.OPERATE)
    document = await services.rollout_client.overview()
    return json_answer(RolloutAnswer(**document))


async def promote(request: Request, services: Bound, client: Caller) -> Response:
    """One stage up, if the gate is open; after a rollback the next ramp from shadow."""
    client.require(Scope.OPERATE)
    body = await body_as(request, services, PromotionRequest)
    # The experiment itself is audited from the stored decisions, so a promotion needs the database.
    integrity = await services.trail.integrity()
    order = order_of(services, client, body)
    command = Command(action=Action.PROMOTE, order=order, force=body.force, integrity=integrity)
    return json_answer(state_answer(await services.rollout_client.command(command)))


async def pause(request: Request, services: Bound, client: Caller) -> Response:
    """The share stays, promotion is blocked."""
    return await _simple(Action.PAUSE, request, services, client)


async def resume(request: Request, services: Bound, client: Caller) -> Response:
    """Back to the stage that was paused."""
    return await _simple(Action.RESUME, request, services, client)


async def rollback(request: Request, services: Bound, client: Caller) -> Response:
    """Manual at once, from every state. 202: this router has latched, the controller has not answered yet."""
    client.require(Scope.ROLLBACK, Scope.OPERATE)
    body = await body_as(request, services, RollbackRequest)
    order = order_of(services, client, body)
    found = await services.rollout_client.roll_back(order.actor, order.reason)
    if isinstance(found, Latch):
        return json_answer(_latch_answer(found), status=ACCEPTED)
    return json_answer(state_answer(found))


async def events(services: Bound, client: Caller, limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 50) -> Response:
    """The audit trail: transitions and incidents with their evidence, newest first."""
    client.require(Scope.OPERATE)
    transitions, incidents = await services.trail.events(limit)
    return json_answer(EventsAnswer(transitions=transitions, incidents=incidents))


async def report(
    services: Bound,
    client: Caller,
    days: Annotated[int | None, Query(ge=1, le=MAX_DAYS, description="of the figures by arm; absent: all")] = None,
    format: Annotated[Literal["json", "html"], Query(description="html: one page without scripts")] = "json",
) -> Response:
    """KPIs by arm and stage, paired differences with intervals, sample ratio, feedback, verdict."""
    client.require(Scope.OPERATE)
    since = None if days is None else services.clock() - timedelta(days=days)
    found = await services.trail.report(since)
    if format == "html":
        return HTMLResponse(await asyncio.to_thread(page_of, found))
    body = await asyncio.to_thread(lambda: json.dumps(found.as_json()))
    return Response(body, media_type="application/json")


async def _simple(action: Action, request: Request, services: Services, client: Client) -> Response:
    client.require(Scope.OPERATE)
    body = await body_as(request, services, OrderRequest)
    command = Command(action=action, order=order_of(services, client, body))
    return json_answer(state_answer(await services.rollout_client.command(command)))


async def body_as(request: Request, services: Services, model: type[Any]) -> Any:
    """The body as one of `deployments.contracts.answers.rollout`. Raises `MalformedBody` or `InvalidRequest`."""
    return read_document(await read_body(request, services.settings.max_body_bytes), model)


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
