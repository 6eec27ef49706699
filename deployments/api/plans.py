"""The routes of the plan in force: which one it is, who released it, and how it was before."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from deployments.access import Client
from deployments.api.dependencies import (
    KNOWN_PARAMETERS,
    Bound,
    Planner,
    Reader,
    decision_of,
    json_answer,
    json_answer_of,
    parsed_body,
    stored_bytes_of,
)
from deployments.api.documentation import problems
from deployments.api.services import Services
from deployments.contracts.answers.stored import (
    PlanAnswer,
    ReleaseAnswer,
    ReleasePage,
    ReleaseRequest,
    plan_answer,
    release_answer,
)
from deployments.errors import NotFound, PlanConflict, TemporarilyUnavailable
from deployments.persistence.decisions.records import MAX_PAGE_SIZE, DecisionRecord, PlanInForce, PlanOrder
from deployments.persistence.errors import DatabaseError

MAX_REASON_LENGTH = 1000
router = APIRouter(tags=["plans"], dependencies=[KNOWN_PARAMETERS])
Line = Annotated[str | None, Query(max_length=128, description="a line of the plant; absent: the plan without a line")]


@router.get("/v1/plants/{plant_id}/plan", response_model=PlanAnswer, responses=problems(401, 403, 404, 422, 500, 503))
async def get_plan(services: Bound, client: Reader, plant_id: str, line_id: Line = None) -> Response:
    """The plan in force: the one that was released last, else the newest schedule that is no what-if."""
    plan = await plan_of(services, client, plant_id, line_id)
    return await json_answer_of(stored_bytes_of(plan.decision), lambda: plan_answer(plan))


@router.get("/v1/plants/{plant_id}/releases", response_model=ReleasePage, responses=problems(401, 403, 404, 422, 503))
async def list_releases(
    services: Bound,
    client: Reader,
    plant_id: str,
    line_id: Line = None,
    cursor: Annotated[int | None, Query(ge=1, lt=2**63, description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="at most so many at once")] = 50,
) -> Response:
    """Who put which schedule in force and took it back, newest first."""
    _require_plant(client, plant_id)
    # One row more than asked for tells whether there is a next page.
    found = await services.plans.releases(client.name, plant_id, line_id or None, before=cursor, limit=limit + 1)
    shown = found[:limit]
    page = ReleasePage(
        releases=[release_answer(record) for record in shown],
        next_cursor=str(shown[-1].version) if len(found) > limit else None,
    )
    return json_answer(page)


@router.post(
    "/v1/schedules/{schedule_id}/release",
    response_model=ReleaseAnswer,
    responses=problems(400, 401, 403, 404, 409, 413, 422, 500, 503),
)
async def release_schedule(
    services: Bound,
    client: Planner,
    body: Annotated[ReleaseRequest, parsed_body(ReleaseRequest)],
    schedule_id: str,
) -> Response:
    """Make a schedule the plan in force of its plant and line; from now on only a person changes that plan.

    `expected` is what the caller believes to be in force. When it is another one, nothing happens: 409 names both and
    tells the differences.
    """
    decision = await _releasable(services, client, schedule_id)
    expected = None if body.expected is None else body.expected.lower()
    order = _order(services, client, decision, body.reason, expected)
    try:
        return json_answer(release_answer(await services.plans.release(order)))
    except PlanConflict as conflict:
        raise await _explained(services, client, decision, conflict) from None


@router.delete(
    "/v1/schedules/{schedule_id}/release",
    response_model=ReleaseAnswer,
    responses=problems(401, 403, 404, 409, 422, 500, 503),
)
async def undo_release(
    services: Bound,
    client: Planner,
    schedule_id: str,
    reason: Annotated[str, Query(max_length=MAX_REASON_LENGTH, description="why; kept with who did it")] = "",
) -> Response:
    """Take the release of the schedule that is in force back: the one before is in force again.

    Was there none before, each newer schedule becomes the plan again. 409 when the schedule is not in force.
    """
    decision = await _releasable(services, client, schedule_id)
    try:
        return json_answer(release_answer(await services.plans.undo(_order(services, client, decision, reason))))
    except PlanConflict as conflict:
        raise await _explained(services, client, decision, conflict) from None


async def plan_of(services: Services, client: Client, plant_id: str, line_id: str | None) -> PlanInForce:
    """The client's plan in force. Raises `NotFound` or `DatabaseError`."""
    _require_plant(client, plant_id)
    plan = await services.plans.in_force(client.name, plant_id, line_id or None)
    if plan is None:
        where = f"plant {plant_id[:100]!r}" + (f", line {line_id[:100]!r}" if line_id else "")
        raise NotFound(f"there is no plan of yours in {where}")
    return plan


def _require_plant(client: Client, plant_id: str) -> None:
    if not client.may_see(plant_id):
        raise NotFound(f"there is no plant {plant_id[:100]!r}")


async def _releasable(services: Services, client: Client, schedule_id: str) -> DecisionRecord:
    decision = await decision_of(services, client, schedule_id)
    if decision.answer is None or decision.plant_id is None:
        raise NotFound(
            f"schedule {schedule_id[:100]!r} was made with save_to_database false: there is nothing to release"
        )
    return decision


def _order(
    services: Services, client: Client, decision: DecisionRecord, reason: str, expected: str | None = None
) -> PlanOrder:
    return PlanOrder(
        decision=decision,
        expected=expected,
        client=client.name,
        actor=client.actor,
        reason=reason,
        at=services.clock(),
    )


async def _explained(
    services: Services, client: Client, decision: DecisionRecord, conflict: PlanConflict
) -> PlanConflict:
    """The conflict with both ids, and what the one would change of the other as far as that can be had now."""
    differences = None
    if conflict.in_force not in (None, decision.decision_id):
        with suppress(NotFound, DatabaseError, TemporarilyUnavailable):
            in_force = await decision_of(services, client, conflict.in_force or "")
            differences = await services.costly_reads.comparison(in_force, decision)
    return PlanConflict(conflict.message, conflict.in_force, decision.decision_id, differences)
