"""The routes of schedules: made, judged, read back, explained, compared, and what planners answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import fastapi
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from uuid6 import uuid7

from deployments.access import Client, Scope
from deployments.api.dependencies import (
    KNOWN_PARAMETERS,
    Bound,
    Planner,
    Reader,
    Strictly,
    Unattended,
    decision_of,
    json_answer,
    json_answer_of,
    json_bytes,
    raw_body,
    refuse_unknown_parameters,
    run_of,
)
from deployments.api.documentation import KEY_PARAMETER, PREFER_PARAMETER, problems
from deployments.api.problems import answer_to
from deployments.api.services import Services
from deployments.contracts.answers.planners import (
    ComparisonAnswer,
    ExplanationAnswer,
    FeedbackAnswer,
    FeedbackRequest,
    feedback_answer,
    feedback_record,
)
from deployments.contracts.answers.schedule import ScheduleAnswer
from deployments.contracts.answers.service import MEDIA_TYPE, DemoDataAnswer
from deployments.contracts.answers.stored import (
    PlannedRunAnswer,
    PlanRunAnswer,
    StoredDecisionDetail,
    StoredDecisionPage,
    plan_run_answer,
    planned_run_answer,
    stored_decision,
    stored_decision_detail,
)
from deployments.contracts.answers.validation import ValidateAnswer, ValidateRequest
from deployments.contracts.parsing import (
    Received,
    read_schedule_request,
    read_validate_request,
    receive,
    with_misspellings,
)
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import Instant, InstantOrDay, in_zone
from deployments.errors import InvalidRequest, NotFound
from deployments.persistence.decisions.plan_run import PlanRun
from deployments.persistence.decisions.records import MAX_PAGE_SIZE, ClaimKey, DecisionFilter, Finished
from deployments.scheduling.idempotency import Act, Lease, Replayable, is_kept, require_key
from deployments.scheduling.time_budget import OFFLOAD, run_blocking
from deployments.scheduling.use_case import Answered
from deployments.settings.service import Environment
from env.errors import GantryError, InvalidProblem

IDEMPOTENCY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
RUNS_PATH = "/v1/schedules"
HEARTBEATS = 15
"""After so many looks without news an event stream says that it is alive."""
SCHEDULE_ROUTE = "schedule"
"""Both paths are one route: a client may move from one to the other and keep its keys."""
_OF_ONE = problems(401, 403, 404, 422, 503)
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
router = APIRouter(dependencies=[KNOWN_PARAMETERS])
# For newcomers, who have no key yet.
demo_data = APIRouter(tags=["scheduling"], dependencies=[Depends(refuse_unknown_parameters)])


@router.post(
    "/schedule",
    tags=["scheduling"],
    response_model=ScheduleAnswer,
    responses=problems(400, 401, 403, 409, 413, 422, 500, 503),
    openapi_extra={"parameters": [KEY_PARAMETER, PREFER_PARAMETER]},
)
@router.post(
    "/v1/schedules",
    name="create_schedule",
    tags=["scheduling"],
    response_model=ScheduleAnswer,
    responses={
        202: {"model": PlanRunAnswer, "description": "Taken; `Location` is where to ask for it"},
        **problems(400, 401, 403, 409, 413, 422, 500, 503),
    },
    openapi_extra={"parameters": [KEY_PARAMETER, PREFER_PARAMETER]},
)
async def schedule(
    request: Request,
    services: Bound,
    client: Planner,
    raw: Annotated[bytes, raw_body(ScheduleRequest)],
    is_strict: Strictly,
    is_unattended: Unattended,
) -> Response:
    """Schedule a plant's list of jobs. A 200 means that the schedule is complete, judged and durable.

    `Prefer: respond-async` on `/v1/schedules` asks not to wait, for a longer time budget: a 202 says where to ask.
    """
    header = request.headers.get(IDEMPOTENCY_HEADER)
    if is_unattended and request.scope["path"] == RUNS_PATH:
        return await _accepted(request, services, client, raw, is_strict)
    if header is None:
        services.scheduling.require_room(len(raw))
        received = await _read(services, raw, is_strict)
        return json_bytes((await _scheduled(request, services, client, received, raw)).body)
    claim = ClaimKey(client=client.name, route=SCHEDULE_ROUTE, key=require_key(header))
    act = _once(request, services, client, raw, is_strict)
    replayable = await services.idempotency.once(claim, sha256(raw).hexdigest(), act)
    if replayable.is_replayed and client.plants is not None and replayable.finished.status == 200:
        # Another key of the same client may have asked first, for a plant that this one may not see.
        await _require_own(services, client, (await _read(services, raw)).body)
    return _replay(replayable)


@router.post(
    "/v1/validate",
    tags=["scheduling"],
    response_model=ValidateAnswer,
    responses=problems(400, 401, 403, 413, 422, 503),
    openapi_extra={"parameters": [PREFER_PARAMETER]},
)
async def validate(
    services: Bound, client: Planner, raw: Annotated[bytes, raw_body(ValidateRequest)], is_strict: Strictly
) -> Response:
    """Have any schedule judged, whoever made it."""
    received = await run_blocking(len(raw), read_validate_request, raw, services.limits, is_strict=is_strict)
    await _require_own(services, client, received.body.request)
    try:
        answer = await services.scheduling.validate(
            received.body, client=client.name, body_bytes=len(raw), warnings=received.warnings
        )
    except InvalidProblem as problem:
        raise await _spelt(problem, raw, "request") from None
    return await json_answer_of(len(raw), lambda: answer)


@router.get(
    "/v1/schedules", tags=["decisions"], response_model=StoredDecisionPage, responses=problems(401, 403, 422, 503)
)
async def list_schedules(
    services: Bound,
    client: Reader,
    cursor: Annotated[str | None, Query(max_length=500, description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="at most so many at once")] = 50,
    plant_id: Annotated[str | None, Query(max_length=128, description="of this plant")] = None,
    line_id: Annotated[str | None, Query(max_length=128, description="of this line; empty: without a line")] = None,
    request_id: Annotated[str | None, Query(max_length=128, description="with this request_id")] = None,
    arm: Annotated[str | None, Query(max_length=128, description="assigned to ppo, manual or a model id")] = None,
    from_: Annotated[
        Instant | None, Query(alias="from", description="made at this instant or later; naive: by the plant's clock")
    ] = None,
    to: Annotated[
        InstantOrDay | None, Query(description="made before this instant; a date: before the end of that day")
    ] = None,
    late: Annotated[bool | None, Query(description="true: with a job that ends late; false: without any")] = None,
) -> Response:
    """The decisions that the key may read, newest first: the client's, or of all clients.

    Filters add up, and hold for a cursor's pages when they are sent again.
    """
    zone = services.settings.zone
    wanted = DecisionFilter(
        plant_id=plant_id,
        line_id=line_id,
        request_id=request_id,
        arm=arm,
        since=None if from_ is None else _aware(from_, zone, "from"),
        until=None if to is None else _aware(to, zone, "to"),
        is_late=late,
    )
    page = await services.decisions.page(client.reads, before=cursor, limit=limit, plants=client.plants, wanted=wanted)
    schedules = [stored_decision(record, names_client=client.reads is None) for record in page.records]
    return json_answer(StoredDecisionPage(schedules=schedules, next_cursor=page.next_cursor))


@router.get(
    "/v1/schedules/{schedule_id}",
    tags=["decisions"],
    response_model=PlannedRunAnswer | StoredDecisionDetail | PlanRunAnswer,
    responses=problems(401, 403, 404, 422, 503),
)
async def get_schedule(services: Bound, client: Reader, schedule_id: str) -> Response:
    """One decision of the client, with its request and answer when they were kept.

    Of a plan that nobody waits for, its `state`, and until there is a decision the best so far.
    """
    try:
        record = await decision_of(services, client, schedule_id)
    except NotFound:
        found = await run_of(services, client, schedule_id)
        try:
            # It may have come to its end between the two questions.
            record = await decision_of(services, client, schedule_id)
        except NotFound:
            return json_answer(plan_run_answer(found))
    names_client = client.reads is None
    # Runs are marked as what is forced, so that nothing more is asked for any other decision.
    run = await services.runs.get(schedule_id, client.reads) if record.is_forced else None
    if run is not None:
        return await json_answer_of(
            record.stored_bytes, lambda: planned_run_answer(record, run, names_client=names_client)
        )
    return await json_answer_of(record.stored_bytes, lambda: stored_decision_detail(record, names_client=names_client))


@router.delete(
    "/v1/schedules/{schedule_id}",
    tags=["scheduling"],
    status_code=202,
    response_model=PlanRunAnswer,
    responses=problems(401, 403, 404, 422, 503),
)
async def stop_schedule(request: Request, services: Bound, client: Planner, schedule_id: str) -> Response:
    """Stop a plan that nobody waits for; the best so far becomes its decision. What is over stays as it is."""
    run = await run_of(services, client, schedule_id, is_own=True)
    if not run.state.is_final:
        request.state.operation = "stop"
        await services.runs.stop_run(schedule_id)
        run = await run_of(services, client, schedule_id, is_own=True)
    return json_answer(plan_run_answer(run), 202)


@router.get(
    "/v1/schedules/{schedule_id}/progress",
    tags=["scheduling"],
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "`progress` events, see PlanRunAnswer"},
        **problems(401, 403, 404, 422, 503),
    },
)
async def watch_schedule(services: Bound, client: Reader, schedule_id: str) -> Response:
    """Events by fetch: how a plan that nobody waits for stands, now and after each change, up to its end."""
    changes = services.runs.changes(await run_of(services, client, schedule_id))
    # Too many listeners are refused before the answer begins.
    first = await anext(changes)
    return StreamingResponse(_events(first, changes), media_type="text/event-stream")


@router.get(
    "/v1/schedules/{schedule_id}/explanation",
    tags=["decisions"],
    response_model=ExplanationAnswer,
    responses=problems(401, 403, 404, 422, 503),
)
async def explain_schedule(services: Bound, client: Reader, schedule_id: str) -> Response:
    """For each late job: how long it waited, for what and behind whom; the amounts account for its lateness."""
    record = await decision_of(services, client, schedule_id)
    return json_bytes(await services.costly_reads.explanation(record))


@router.get(
    "/v1/schedules/{schedule_id}/compare/{other_id}",
    tags=["decisions"],
    response_model=ComparisonAnswer,
    responses=problems(401, 403, 404, 422, 503),
)
async def compare_schedules(services: Bound, client: Reader, schedule_id: str, other_id: str) -> Response:
    """What the other schedule would change: figures, moved, added and removed jobs, and how many."""
    before = await decision_of(services, client, schedule_id)
    after = await decision_of(services, client, other_id)
    return json_bytes(await services.costly_reads.comparison(before, after))


@router.post(
    "/v1/schedules/{schedule_id}/feedback",
    tags=["decisions"],
    response_model=FeedbackAnswer,
    responses=problems(400, 401, 403, 404, 413, 422, 503),
    openapi_extra={"parameters": [PREFER_PARAMETER]},
)
async def give_feedback(
    services: Bound,
    client: Planner,
    raw: Annotated[bytes, raw_body(FeedbackRequest)],
    is_strict: Strictly,
    schedule_id: str,
) -> Response:
    """Rate a schedule, comment on it, or tell when its jobs were really done. A 200 means that it is durable.

    Who says something again takes back what they said before: the last rating of each key and schedule counts, and
    its last word on each job.
    """
    received = await run_blocking(len(raw), receive, raw, FeedbackRequest, is_strict=is_strict)
    decision = await decision_of(services, client, schedule_id, is_own=True)
    record = feedback_record(
        received.body,
        decision,
        author=client.actor,
        feedback_id=str(uuid7()),
        now=services.clock(),
        zone=services.settings.zone,
    )
    await services.journal.append(record)
    return json_answer(feedback_answer(record, received.body, received.warnings))


@demo_data.get("/v1/demo-data", response_model=DemoDataAnswer, responses=problems(404, 422))
async def list_demo_data(services: Bound) -> Response:
    """The names of ready requests; in production there are none."""
    return json_answer(DemoDataAnswer(names=sorted(await OFFLOAD.run(_examples, services))))


@demo_data.get("/v1/demo-data/{name}", response_model=ScheduleRequest, responses=problems(404, 422))
async def get_demo_data(
    services: Bound, name: Annotated[str, fastapi.Path(max_length=64, description="as `GET /v1/demo-data` lists it")]
) -> Response:
    """One ready request, as `POST /v1/schedules` takes it."""
    path = (await OFFLOAD.run(_examples, services)).get(name)
    if path is None:
        raise NotFound(f"there is no demo data {name[:100]!r}")
    return json_bytes(await OFFLOAD.run(path.read_bytes))


def _examples(services: Services) -> dict[str, Path]:
    if services.settings.environment is not Environment.DEVELOPMENT:
        raise NotFound("demo data are there in development only")
    return {path.stem: path for path in EXAMPLES.glob("*.json")}


def _once(request: Request, services: Services, client: Client, raw: bytes, is_strict: bool) -> Act:
    """What is done under an idempotency key; answers that the same body gets for ever are kept, refusals too."""

    async def act(lease: Lease) -> Finished:
        body: ScheduleRequest | None = None
        try:
            # Not before the key is asked for: an answer that was given before costs nothing.
            services.scheduling.require_room(len(raw))
            received = await _read(services, raw, is_strict)
            body = received.body
            return Finished(status=200, body=(await _scheduled(request, services, client, received, raw, lease)).body)
        except GantryError as error:
            if not is_kept(error, body):
                raise
            refusal = answer_to(request.scope, error, services.clock)
            return Finished(status=refusal.status_code, body=bytes(refusal.body))

    return act


async def _accepted(request: Request, services: Services, client: Client, raw: bytes, is_strict: bool) -> Response:
    """Takes a request that nobody waits for, or refuses it as it would be refused of somebody who waits."""
    header = request.headers.get(IDEMPOTENCY_HEADER)
    key = None if header is None else require_key(header)
    services.scheduling.require_room(len(raw))
    body = (await _read(services, raw, is_strict)).body
    if not body.save_to_database:
        raise InvalidRequest((("save_to_database", "must be true where nobody waits for the answer, was false"),))
    await _require_permitted(request, services, client, body)
    try:
        plant_id = await services.scheduling.require_possible(body, client=client.name, body_bytes=len(raw))
    except InvalidProblem as problem:
        raise await _spelt(problem, raw) from None
    accepted = await services.runs.accept(
        raw,
        client=client.name,
        plant_id=plant_id,
        key=key,
        is_strict=is_strict,
        budget_ms=body.time_budget_ms,
    )
    answer = json_answer(plan_run_answer(accepted.run), 202)
    answer.headers["Location"] = f"{RUNS_PATH}/{accepted.run.run_id}"
    answer.headers["Preference-Applied"] = "respond-async"
    if accepted.is_replayed:
        answer.headers[REPLAYED_HEADER] = "true"
    return answer


async def _events(first: PlanRun | None, changes: AsyncIterator[PlanRun | None]) -> AsyncIterator[bytes]:
    """Server-sent events; a comment now and then keeps proxies from closing the connection."""
    silent = 0
    run = first
    while True:
        silent = 0 if run is not None else silent + 1
        if run is not None:
            yield b"event: progress\ndata: " + plan_run_answer(run).model_dump_json().encode() + b"\n\n"
        elif silent % HEARTBEATS == 0:
            yield b": waiting\n\n"
        try:
            run = await anext(changes)
        except StopAsyncIteration:
            return


def _replay(replayable: Replayable) -> Response:
    finished = replayable.finished
    headers = {REPLAYED_HEADER: "true"} if replayable.is_replayed else {}
    media_type = "application/json" if finished.status == 200 else MEDIA_TYPE
    return Response(finished.body, status_code=finished.status, headers=headers, media_type=media_type)


async def _read(services: Services, raw: bytes, is_strict: bool = False) -> Received[ScheduleRequest]:
    return await run_blocking(len(raw), read_schedule_request, raw, services.limits, is_strict=is_strict)


async def _scheduled(
    request: Request,
    services: Services,
    client: Client,
    received: Received[ScheduleRequest],
    raw: bytes,
    lease: Lease | None = None,
) -> Answered:
    body = received.body
    await _require_permitted(request, services, client, body)
    try:
        return await services.scheduling.schedule(
            body, client=client.name, raw_body=raw, warnings=received.warnings, lease=lease
        )
    except InvalidProblem as problem:
        raise await _spelt(problem, raw) from None


async def _require_permitted(request: Request, services: Services, client: Client, body: ScheduleRequest) -> None:
    """Raises `Forbidden`, or `InvalidRequest` for what is not the client's."""
    if body.experiment_unit is not None or body.arm is not None:
        client.require(Scope.OPERATE)
        request.state.operation = f"arm {body.arm!r}, experiment_unit {body.experiment_unit!r}"
    await _require_own(services, client, body)


async def _spelt(problem: InvalidProblem, raw: bytes, *outer: str) -> InvalidProblem:
    """A job that nobody can do may have told who can, under another name."""
    return await run_blocking(len(raw), with_misspellings, problem, raw, ScheduleRequest, *outer)


async def _require_own(services: Services, client: Client, body: ScheduleRequest) -> None:
    """What a request names must be the client's. Raises `Forbidden` for a plant, `InvalidRequest` for a schedule."""
    client.require_plant(body.plant_id or services.settings.plant_id)
    await _require_schedule(services, client, "parent_schedule_id", body.parent_schedule_id)
    if client.plants is not None:
        await _require_schedule(services, client, "previous_schedule_id", body.previous_schedule_id)


async def _require_schedule(services: Services, client: Client, field: str, schedule_id: str | None) -> None:
    if schedule_id is None:
        return
    record = await services.decisions.get(schedule_id, client.name)
    if record is None or not client.may_see(record.plant_id):
        raise InvalidRequest(((field, f"must be one of your schedules, was {schedule_id!r}"),))


def _aware(moment: datetime, zone: ZoneInfo, name: str) -> datetime:
    """The instant in UTC. Raises `InvalidRequest` for one that leaves the calendar on the way there."""
    try:
        return in_zone(moment, zone).astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(((name, f"must be an instant of the calendar, was {moment.isoformat()}"),)) from None
