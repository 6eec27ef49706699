"""The routes: each reads its input, asks one object, and writes the answer."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from typing import Annotated

from fastapi import Depends, Query, Security
from fastapi.security import APIKeyHeader
from starlette.requests import Request
from starlette.responses import Response

from deployments.access import Client, Scope
from deployments.api.bodies import read_body
from deployments.api.problems import answer_to
from deployments.api.services import HealthReport, Services
from deployments.contracts.health import HealthAnswer, ProbeAnswer, SpoolAnswer, Status
from deployments.contracts.problem_details import MEDIA_TYPE
from deployments.contracts.reading import read_schedule_request, read_validate_request
from deployments.contracts.request import ScheduleRequest
from deployments.contracts.stored import StoredDecisionPage, stored_decision, stored_decision_detail
from deployments.contracts.wire import AnswerModel
from deployments.errors import InvalidRequest, NotFound, TemporarilyUnavailable
from deployments.idempotency import Act, Lease, Replayable, is_kept, require_key
from deployments.off_loop import off_loop
from deployments.persistence.claim_words import ClaimKey, Finished
from deployments.persistence.records import DecisionRecord
from deployments.persistence.repository import LONGEST_PAGE
from deployments.scheduling import Answered
from env.errors import GantryError

API_KEY_HEADER = "X-API-Key"
IDEMPOTENCY_HEADER = "Idempotency-Key"
# Whoever pulls the emergency brake is never told to come back later.
NEVER_LIMITED = frozenset({"/v1/rollout/rollback"})
REPLAYED_HEADER = "Idempotency-Replayed"
SCHEDULE_ROUTE = "schedule"
"""Both paths are one route: a client may move from one to the other and keep its keys."""
VERSION = version("gantry")


async def services_of(request: Request) -> Services:
    """What the app was created over; asked for each request, because it may be bound late."""
    bound: Callable[[], Services] = request.app.state.services
    return bound()


async def decision_of(services: Services, client: Client, schedule_id: str) -> DecisionRecord:
    """One decision of the client with what was kept of it. Raises `NotFound` or `DatabaseError`."""
    record = await services.decisions.get(schedule_id, client.name)
    if record is None or not client.may_see(record.plant_id):
        raise NotFound(f"there is no schedule {schedule_id[:100]!r}")
    return record


async def client_of(
    request: Request,
    key: Annotated[str | None, Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False))],
) -> Client:
    """Who calls, and not too often. Raises `Unauthenticated`, `KeysUnavailable` or `RateLimited`."""
    services: Services = request.app.state.services()
    client = services.access.authenticate(key)
    # Known to the layers around the routes: the audit trail names it.
    request.state.client = client
    if request.scope["path"] not in NEVER_LIMITED:
        services.rates.count(client)
    return client


Bound = Annotated[Services, Depends(services_of)]
Caller = Annotated[Client, Depends(client_of)]


async def schedule(request: Request, services: Bound, client: Caller) -> Response:
    """Schedule a plant's list of jobs. A 200 means that the schedule is complete, judged and durable."""
    client.require(Scope.SCHEDULE)
    raw = await read_body(request, services.settings.max_body_bytes)
    header = request.headers.get(IDEMPOTENCY_HEADER)
    if header is None:
        return _json((await _scheduled(request, services, client, await _read(services, raw), raw)).body)
    claim = ClaimKey(client=client.name, route=SCHEDULE_ROUTE, key=require_key(header))
    replayable = await services.idempotency.once(claim, sha256(raw).hexdigest(), _once(request, services, client, raw))
    if replayable.is_replayed and client.plants is not None and replayable.finished.status == 200:
        # Another key of the same client may have asked first, for a plant that this one may not see.
        await _require_own(services, client, await _read(services, raw))
    return _replay(replayable)


def _once(request: Request, services: Services, client: Client, raw: bytes) -> Act:
    """What is done under an idempotency key; answers that the same body gets for ever are kept, refusals too."""

    async def act(lease: Lease) -> Finished:
        body: ScheduleRequest | None = None
        try:
            body = await _read(services, raw)
            return Finished(status=200, body=(await _scheduled(request, services, client, body, raw, lease)).body)
        except GantryError as error:
            if not is_kept(error, body):
                raise
            refusal = answer_to(request.scope, error, services.clock)
            return Finished(status=refusal.status_code, body=bytes(refusal.body))

    return act


def _replay(replayable: Replayable) -> Response:
    finished = replayable.finished
    headers = {REPLAYED_HEADER: "true"} if replayable.is_replayed else {}
    media_type = "application/json" if finished.status == 200 else MEDIA_TYPE
    return Response(finished.body, status_code=finished.status, headers=headers, media_type=media_type)


async def _read(services: Services, raw: bytes) -> ScheduleRequest:
    return await off_loop(len(raw), lambda: read_schedule_request(raw, services.limits))


async def _scheduled(
    request: Request, services: Services, client: Client, body: ScheduleRequest, raw: bytes, lease: Lease | None = None
) -> Answered:
    if body.experiment_unit is not None or body.arm is not None:
        client.require(Scope.OPERATE)
        request.state.operation = f"arm {body.arm!r}, experiment_unit {body.experiment_unit!r}"
    await _require_own(services, client, body)
    return await services.scheduling.schedule(body, client=client.name, raw_body=raw, lease=lease)


async def validate(request: Request, services: Bound, client: Caller) -> Response:
    """Have any schedule judged, whoever made it."""
    client.require(Scope.SCHEDULE)
    raw = await read_body(request, services.settings.max_body_bytes)
    body = await off_loop(len(raw), lambda: read_validate_request(raw, services.limits))
    await _require_own(services, client, body.request)
    answer = await services.scheduling.validate(body, client=client.name, body_bytes=len(raw))
    return _json(await off_loop(len(raw), lambda: _bytes(answer)))


async def list_schedules(
    services: Bound,
    client: Caller,
    cursor: Annotated[str | None, Query(max_length=500, description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = 50,
) -> Response:
    """The client's decisions, newest first."""
    client.require(Scope.SCHEDULE, Scope.READ)
    page = await services.decisions.page(client.name, before=cursor, limit=limit, plants=client.plants)
    schedules = [stored_decision(record) for record in page.records]
    return _json(_bytes(StoredDecisionPage(schedules=schedules, next_cursor=page.next_cursor)))


async def get_schedule(services: Bound, client: Caller, schedule_id: str) -> Response:
    """One decision of the client, with its request and answer when they were kept."""
    client.require(Scope.SCHEDULE, Scope.READ)
    record = await decision_of(services, client, schedule_id)
    size = len(record.request or b"") + len(record.answer or b"")
    return _json(await off_loop(size, lambda: _bytes(stored_decision_detail(record))))


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
    return _json(_bytes(answer), status=503 if answer.status == "unhealthy" else 200)


async def livez() -> Response:
    """The process answers."""
    return _json(_bytes(ProbeAnswer(status="alive")))


async def readyz(services: Bound) -> Response:
    """The replica may get traffic: model warm, judge reachable, room in the spool."""
    obstacles = (await services.health.report()).obstacles
    if obstacles:
        raise TemporarilyUnavailable("; ".join(obstacles))
    return _json(_bytes(ProbeAnswer(status="ready")))


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


def _status(report: HealthReport) -> Status:
    if report.blockers:
        return "unhealthy"
    return "degraded" if report.shortcomings else "healthy"


def _bytes(answer: AnswerModel) -> bytes:
    return answer.model_dump_json().encode()


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")
