"""The routes of access: sessions of the console, and the audit trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from deployments.access.key_ring import SESSION_LIFETIME
from deployments.api.dependencies import (
    AS_ADMIN,
    KNOWN_PARAMETERS,
    SESSION_COOKIE,
    BearerKey,
    Bound,
    Caller,
    Key,
    client_of,
    json_answer,
    presented_key,
    refuse_unknown_parameters,
)
from deployments.api.documentation import problems
from deployments.contracts.answers.service import AuditPage, SessionAnswer, audit_event_answer
from deployments.errors import Unauthenticated
from deployments.persistence.decisions.records import MAX_AUDIT_PAGE_SIZE
from deployments.settings.service import DEVELOPMENT_API_KEY, Environment

SIGNED_IN = "signed in to the console"
_SESSION = "/v1/session"
router = APIRouter(tags=["operations"])


@router.post(
    _SESSION,
    dependencies=[Depends(refuse_unknown_parameters)],
    response_model=SessionAnswer,
    responses=problems(401, 422, 503),
)
async def sign_in(request: Request, services: Bound, key: Key, bearer: BearerKey) -> Response:
    """A cookie in place of the key that is sent, until the session ends or the key is revoked. The body is not read.

    In development the well-known key need not be sent: it is no secret.
    """
    # Whatever a client sends as a body is no business of the audit trail, least of all a key.
    request.state.operation = SIGNED_IN
    settings = services.settings
    # Never None: then the cookie of another session would be taken in the place of a key.
    key = presented_key(key, bearer) or ""
    if not key and settings.environment is Environment.DEVELOPMENT and settings.own_key == DEVELOPMENT_API_KEY:
        key = DEVELOPMENT_API_KEY
    client = await client_of(request, key, None)
    sealed = services.sessions.seal(key)
    answer = json_answer(SessionAnswer.of(client, services.sessions.contents(sealed), settings))
    # Behind a proxy that ends TLS the connection to us is plain; whoever lies about it harms its own cookie alone.
    is_encrypted = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").lower())
    answer.set_cookie(
        SESSION_COOKIE,
        sealed,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        secure=is_encrypted,
        samesite="strict",
    )
    return answer


@router.get(_SESSION, dependencies=[KNOWN_PARAMETERS], response_model=SessionAnswer, responses=problems(401, 422, 503))
async def get_session(request: Request, services: Bound, client: Caller) -> Response:
    """Who is signed in and what for; `csrf_token` belongs to the cookie of this request, null without one."""
    sealed = request.cookies.get(SESSION_COOKIE)
    try:
        contents = None if sealed is None else services.sessions.contents(sealed)
    except Unauthenticated:
        # The key of a header was good, whatever else came along.
        contents = None
    return json_answer(SessionAnswer.of(client, contents, services.settings))


@router.delete(_SESSION, dependencies=[Depends(refuse_unknown_parameters)], status_code=204, responses=problems(422))
async def sign_out() -> Response:
    """The browser forgets the cookie; whoever has none, or one that has ended, is told the same."""
    answer = Response(status_code=204)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return answer


@router.get(
    "/v1/audit",
    dependencies=[KNOWN_PARAMETERS, AS_ADMIN],
    response_model=AuditPage,
    responses=problems(401, 403, 422, 503),
)
async def list_audit(
    services: Bound,
    cursor: Annotated[str | None, Query(max_length=500, description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_AUDIT_PAGE_SIZE)] = 50,
) -> Response:
    """Who operated the service or changed its keys, newest first."""
    # One row more than asked for tells whether there is a next page.
    events = await services.audit.page(before=cursor, limit=limit + 1)
    shown = events[:limit]
    page = AuditPage(
        events=[audit_event_answer(event) for event in shown],
        next_cursor=shown[-1].event_id if len(events) > limit else None,
    )
    return json_answer(page)
