"""The routes of the plan in force, who released it and how it was before; and of plans as files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Query
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
)
from deployments.api.documentation import problems
from deployments.api.services import Services
from deployments.contracts.answers.chart import page_policy
from deployments.contracts.answers.plan_files import PAGE_POLICY
from deployments.contracts.answers.planners import PlanFile
from deployments.contracts.answers.stored import (
    PlanAnswer,
    ReleaseAnswer,
    ReleasePage,
    ReleaseRequest,
    plan_answer,
    release_answer,
)
from deployments.contracts.requests.wire import MAX_ID
from deployments.errors import InvalidRequest, NotFound, PlanConflict, TemporarilyUnavailable
from deployments.persistence.decisions.records import MAX_PAGE_SIZE, DecisionRecord, PlanInForce, PlanOrder
from deployments.persistence.errors import DatabaseError
from deployments.rollout.ramp.state import Stage

MAX_REASON_LENGTH = 1000
router = APIRouter(tags=["plans"], dependencies=[KNOWN_PARAMETERS])
files_router = APIRouter(tags=["files"], dependencies=[KNOWN_PARAMETERS])
"""Asked before the schedules: .csv would be taken for a part of an id."""
MEDIA_TYPES = {
    PlanFile.GANTT_SVG: "image/svg+xml",
    PlanFile.GANTT_HTML: "text/html; charset=utf-8",
    PlanFile.PLAN_CSV: "text/csv; charset=utf-8",
    PlanFile.PLAN_XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    PlanFile.PLAN_ICS: "text/calendar; charset=utf-8",
    PlanFile.DISPATCH_CSV: "text/csv; charset=utf-8",
    PlanFile.DISPATCH_HTML: "text/html; charset=utf-8",
}
MachineId = Annotated[int | None, Query(ge=0, le=MAX_ID, description="the list of this machine alone")]
Line = Annotated[str | None, Query(max_length=128, description="a line of the plant; absent: the plan without a line")]


@router.get("/v1/plants/{plant_id}/plan", response_model=PlanAnswer, responses=problems(401, 403, 404, 422, 500, 503))
async def get_plan(services: Bound, client: Reader, plant_id: str, line_id: Line = None) -> Response:
    """The plan in force: the one that was released last, else the newest schedule that is no what-if."""
    plan = await plan_of(services, client, plant_id, line_id)
    return await json_answer_of(plan.decision.stored_bytes, lambda: plan_answer(plan))


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
    found = await services.plans.releases(client.reads, plant_id, line_id or None, before=cursor, limit=limit + 1)
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


def _file_route(path: str, file: PlanFile, description: str, *, of_machine: bool = False) -> None:
    """One file of a schedule, and the same of the plan in force."""
    media_type = MEDIA_TYPES[file]
    schema = {"type": "string"} | ({} if media_type.startswith(("text/", "image/")) else {"format": "binary"})

    async def whole(services: Bound, client: Reader, schedule_id: str) -> Response:
        return await _file(services, await decision_of(services, client, schedule_id), file)

    async def of_one(services: Bound, client: Reader, schedule_id: str, machine_id: MachineId = None) -> Response:
        return await _file(services, await decision_of(services, client, schedule_id), file, machine_id)

    handler: Callable[..., Awaitable[Response]] = of_one if of_machine else whole
    files_router.get(
        path,
        name=f"get_{file.name.lower()}",
        description=description,
        response_class=Response,
        responses={200: {"content": {media_type: {"schema": schema}}}, **problems(401, 403, 404, 422, 500, 503)},
    )(handler)


_ONE = "/v1/schedules/{schedule_id}"
_file_route(
    f"{_ONE}/gantt.svg", PlanFile.GANTT_SVG, "The schedule as a picture: dates, closed hours, setups, due dates."
)
_file_route(f"{_ONE}/gantt.html", PlanFile.GANTT_HTML, "The schedule as a page to zoom in, everything in one file.")
_file_route(
    f"{_ONE}.csv", PlanFile.PLAN_CSV, "A row for each job: UTF-8 with a byte order mark; names are never formulas."
)
_file_route(f"{_ONE}.xlsx", PlanFile.PLAN_XLSX, "A workbook: the plan by job, and by machine in the order of time.")
_file_route(f"{_ONE}.ics", PlanFile.PLAN_ICS, "An event for each job (RFC 5545).")
_file_route(
    f"{_ONE}/dispatch.csv", PlanFile.DISPATCH_CSV, "What each machine does in which order, as a table.", of_machine=True
)
_file_route(
    f"{_ONE}/dispatch.html", PlanFile.DISPATCH_HTML, "The same, a page a machine, to be printed.", of_machine=True
)


@router.get(
    "/v1/plants/{plant_id}/plan/{file}",
    response_class=Response,
    responses={200: {"content": {"*/*": {"schema": {"type": "string"}}}}, **problems(401, 403, 404, 422, 500, 503)},
)
async def get_plan_file(
    services: Bound,
    client: Reader,
    plant_id: str,
    file: Annotated[PlanFile, Path(description="which file of the plan in force")],
    line_id: Line = None,
    machine_id: MachineId = None,
) -> Response:
    """The plan in force as a file; of a dispatch list the part of one machine, if it is named.

    In shadow there is none before a person has released one: until then the floor works as it always did.
    """
    plan = await plan_of(services, client, plant_id, line_id)
    if plan.release is None and plan.decision.stage == Stage.SHADOW:
        raise NotFound("nothing is released here, and in shadow the floor sees only what is: release a schedule first")
    if machine_id is not None and file not in (PlanFile.DISPATCH_CSV, PlanFile.DISPATCH_HTML):
        raise InvalidRequest((("machine_id", f"belongs to dispatch lists, and {file.value} is none"),))
    return await _file(services, plan.decision, file, machine_id)


async def _file(
    services: Services, decision: DecisionRecord, file: PlanFile, machine_id: int | None = None
) -> Response:
    content = await services.costly_reads.file(decision, file, machine_id)
    stem, _, ending = file.value.rpartition(".")
    headers = {"Content-Disposition": f'inline; filename="{stem}-{decision.decision_id}.{ending}"'}
    if file is PlanFile.GANTT_HTML:
        headers["Content-Security-Policy"] = f"{page_policy()}; frame-ancestors 'none'"
    elif file in (PlanFile.GANTT_SVG, PlanFile.DISPATCH_HTML):
        headers["Content-Security-Policy"] = f"{PAGE_POLICY}; frame-ancestors 'none'"
    return Response(content, headers=headers, media_type=MEDIA_TYPES[file])


async def plan_of(services: Services, client: Client, plant_id: str, line_id: str | None) -> PlanInForce:
    """The client's plan in force. Raises `NotFound` or `DatabaseError`."""
    _require_plant(client, plant_id)
    plan = await services.plans.in_force(client.reads, plant_id, line_id or None)
    if plan is None:
        where = f"plant {plant_id[:100]!r}" + (f", line {line_id[:100]!r}" if line_id else "")
        raise NotFound(f"there is no plan of yours in {where}")
    return plan


def _require_plant(client: Client, plant_id: str) -> None:
    if not client.may_see(plant_id):
        raise NotFound(f"there is no plant {plant_id[:100]!r}")


async def _releasable(services: Services, client: Client, schedule_id: str) -> DecisionRecord:
    decision = await decision_of(services, client, schedule_id, is_own=True)
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
            in_force = await decision_of(services, client, conflict.in_force or "", is_own=True)
            differences = await services.costly_reads.comparison(in_force, decision)
    return PlanConflict(conflict.message, conflict.in_force, decision.decision_id, differences)
