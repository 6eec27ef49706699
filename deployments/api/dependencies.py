"""What routes depend on: the services behind them, who calls, the body, and how an answer is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from deployments.access import Client, Scope
from deployments.access.key_ring import require_csrf
from deployments.api.services import Services
from deployments.contracts.parsing import BYTE_ORDER_MARK, MAX_QUOTE_LENGTH, read_document
from deployments.contracts.requests.wire import AnswerModel, WireModel
from deployments.errors import InvalidRequest, NotFound, Unauthenticated, did_you_mean
from deployments.persistence.decisions.plan_run import PlanRun
from deployments.persistence.decisions.records import DecisionRecord
from deployments.scheduling.time_budget import run_blocking
from deployments.settings.service import Environment

API_KEY_HEADER = "X-API-Key"
PREFER_HEADER = "Prefer"
SESSION_COOKIE = "gantry_session"
CSRF_HEADER = "X-CSRF-Token"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_VERSIONED = "/v1/"
_OfPlant = TypeVar("_OfPlant", DecisionRecord, PlanRun)
# Whoever pulls the emergency brake is never told to come back later.
NEVER_LIMITED = frozenset({"/v1/rollout/rollback"})


async def services_of(request: Request) -> Services:
    """What the app was created over; asked for each request, because it may be bound late."""
    bound: Callable[[], Services] = request.app.state.services
    return bound()


Key = Annotated[str | None, Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False))]
BearerKey = Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]


def presented_key(key: str | None, bearer: HTTPAuthorizationCredentials | None) -> str | None:
    """The key in a header of the request, None where there is none.

    `Authorization: Bearer KEY` (RFC 6750) is the same as the header of ours: some clients know no other.
    """
    return bearer.credentials.strip() if key is None and bearer is not None else key


async def client_of(request: Request, key: Key, bearer: BearerKey) -> Client:
    """Who calls, and not too often. Raises `Unauthenticated`, `Forbidden`, `KeysUnavailable` or `RateLimited`.

    Where no header has a key, the cookie of a session may: then whatever changes something needs its CSRF token.
    """
    services: Services = request.app.state.services()
    key = presented_key(key, bearer)
    is_limited = request.scope["path"] not in NEVER_LIMITED
    try:
        if key is None and (sealed := request.cookies.get(SESSION_COOKIE)):
            contents = services.sessions.contents(sealed)
            if request.method not in _READING:
                require_csrf(contents, request.headers.get(CSRF_HEADER))
            key = contents.key
        client = services.access.authenticate(key)
    except Unauthenticated:
        # Behind a proxy that is trusted this is the client, else whoever has opened the connection.
        if is_limited:
            services.rates.count_refusal("" if request.client is None else request.client.host)
        raise
    # Known to the layers around the routes: the audit trail names it.
    request.state.client = client
    if is_limited:
        services.rates.count(client)
    return client


Caller = Annotated[Client, Depends(client_of)]


def _may(*scopes: Scope) -> Callable[..., Awaitable[Client]]:
    async def permitted(client: Caller) -> Client:
        client.require(*scopes)
        return client

    return permitted


AS_OPERATOR = Depends(_may(Scope.OPERATE))
AS_ADMIN = Depends(_may(Scope.ADMIN))
Bound = Annotated[Services, Depends(services_of)]
# Whoever has one of the scopes; everybody else is answered 403 before anything is read.
Planner = Annotated[Client, Depends(_may(Scope.SCHEDULE))]
Reader = Annotated[Client, Depends(_may(Scope.SCHEDULE, Scope.READ))]
Operator = Annotated[Client, AS_OPERATOR]
Brakeman = Annotated[Client, Depends(_may(Scope.ROLLBACK, Scope.OPERATE))]


async def scraper_of(request: Request, key: Key, bearer: BearerKey) -> None:
    """Whoever scrapes: anybody in development, elsewhere who may read. Raises as `client_of`, or `Forbidden`."""
    services: Services = request.app.state.services()
    if services.settings.environment is not Environment.DEVELOPMENT:
        (await client_of(request, key, bearer)).require(Scope.READ)


async def known_parameters(request: Request, client: Caller) -> None:  # noqa: ARG001 - who calls comes first
    """As `refuse_unknown_parameters`, for whoever is known."""
    await refuse_unknown_parameters(request)


async def refuse_unknown_parameters(request: Request) -> None:
    """Raises `InvalidRequest` for query parameters that a /v1 route does not have: they would change nothing."""
    route: APIRoute = request.scope["route"]
    if not route.path.startswith(_VERSIONED):
        return
    known = [parameter.alias for parameter in route.dependant.query_params]
    which = f"which has {' and '.join(known)}" if known else "which has none"
    message = f"is no query parameter of {request.method} {route.path}, {which}"
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        raise InvalidRequest(
            tuple((name[:MAX_QUOTE_LENGTH], message + did_you_mean(name[:MAX_QUOTE_LENGTH], known)) for name in unknown)
        )


KNOWN_PARAMETERS = Depends(known_parameters)


def raw_body(model: type[WireModel]) -> Any:
    """A dependency: the bytes of a body that the document describes as `model`."""

    async def body(request: Request) -> bytes:
        return (await request.body()).removeprefix(BYTE_ORDER_MARK)

    return Depends(_describing(model, body))


def parsed_body(model: type[WireModel]) -> Any:
    """A dependency: the body as `model`. Raises `MalformedBody` or `InvalidRequest`."""

    async def body(request: Request) -> WireModel:
        raw = await request.body()
        return await run_blocking(len(raw), read_document, raw, model)

    return Depends(_describing(model, body))


async def prefers_strict(request: Request) -> bool:
    """Whether the client asks by `Prefer: handling=strict` (RFC 7240) to be refused what would only be warned of."""
    # Of several the first one counts.
    return next((each for each in _preferences(request) if each.startswith("handling=")), "") == "handling=strict"


async def prefers_async(request: Request) -> bool:
    """Whether the client asks by `Prefer: respond-async` (RFC 7240) not to wait for the answer."""
    return "respond-async" in _preferences(request)


def _preferences(request: Request) -> list[str]:
    preferences = ",".join(request.headers.getlist(PREFER_HEADER)).lower().split(",")
    return [each.partition(";")[0].replace(" ", "").replace('"', "") for each in preferences]


Strictly = Annotated[bool, Depends(prefers_strict)]
Unattended = Annotated[bool, Depends(prefers_async)]


def model_of(dependency: Any) -> type[WireModel] | None:
    """The model by which a body is described, None for any other dependency."""
    return getattr(dependency, _MODEL, None)


_MODEL = "described_as"


def _describing(model: type[WireModel], dependency: Any) -> Any:
    setattr(dependency, _MODEL, model)
    return dependency


async def decision_of(services: Services, client: Client, schedule_id: str, *, is_own: bool = False) -> DecisionRecord:
    """One decision that the client may read, or that is its own, with what was kept of it.

    Raises `NotFound` or `DatabaseError`.
    """
    found = await services.decisions.get(schedule_id, client.name if is_own else client.reads)
    return _visible(found, client, schedule_id)


async def run_of(services: Services, client: Client, schedule_id: str, *, is_own: bool = False) -> PlanRun:
    """One plan that nobody waits for, which the client may read, or that is its own.

    Raises `NotFound` or `RunUnavailable`.
    """
    found = await services.runs.get(schedule_id, client.name if is_own else client.reads)
    return _visible(found, client, schedule_id)


def _visible(found: _OfPlant | None, client: Client, schedule_id: str) -> _OfPlant:
    """What is not there, and what is of a plant that is none of the client's, look the same."""
    if found is None or not client.may_see(found.plant_id):
        raise NotFound(f"there is no schedule {schedule_id[:100]!r}")
    return found


def json_answer(answer: AnswerModel, status: int = 200) -> Response:
    """The answer as JSON."""
    return json_bytes(answer.model_dump_json().encode(), status)


def json_bytes(body: bytes, status: int = 200) -> Response:
    """JSON that is written already."""
    return Response(body, status_code=status, media_type="application/json")


async def json_answer_of(size: int, answer: Callable[[], AnswerModel]) -> Response:
    """The answer as JSON, made away from the event loop when `size` bytes had to be read for it."""
    return json_bytes(await run_blocking(size, lambda: answer().model_dump_json().encode()))
