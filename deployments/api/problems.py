"""Every error -> problem details. What an error is called on the wire is decided here and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from deployments.contracts.answers.planners import ComparisonAnswer
from deployments.contracts.answers.schedule import violations_of
from deployments.contracts.answers.service import MEDIA_TYPE, FieldError, ProblemDetails, RejectionAnswer
from deployments.contracts.parsing import MAX_REASONS, dotted, fault_message
from deployments.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClaimUnavailable,
    DecisionTooLarge,
    Forbidden,
    InvalidRequest,
    JournalUnavailable,
    JudgeUnavailable,
    KeyConflict,
    KeyInUse,
    KeysUnavailable,
    MalformedBody,
    NoRoomForBody,
    NoSafeSchedule,
    NotFound,
    Overloaded,
    PlanConflict,
    PlantDataUnavailable,
    RateLimited,
    Rejection,
    RolloutUnavailable,
    RunUnavailable,
    StaleVersion,
    Stopping,
    TemporarilyUnavailable,
    TimedOut,
    TransitionRefused,
    Unauthenticated,
    UnknownEncoding,
)
from deployments.logs import REQUEST_ID
from deployments.persistence.errors import DatabaseError, InvalidCursor, PayloadMismatch
from deployments.runtime.clock import Clock
from env.errors import GantryError, InvalidProblem

MAX_VIOLATIONS = 100
RETRY_DATABASE_SECONDS = 5
Reason = tuple[str, str]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    status: int
    error: str
    title: str


_UNEXPECTED = _Kind(status=500, error="internal_error", title="Something went wrong inside the service")
_INVALID = _Kind(status=422, error="invalid_request", title="The request does not follow the schema")
_KINDS: dict[type[GantryError], _Kind] = {
    MalformedBody: _Kind(status=400, error="malformed_json", title="The body is not JSON"),
    Unauthenticated: _Kind(status=401, error="unauthenticated", title="A valid API key is required"),
    Forbidden: _Kind(status=403, error="forbidden", title="The API key does not allow this"),
    NotFound: _Kind(status=404, error="not_found", title="There is no such thing"),
    BodyTooSlow: _Kind(status=408, error="too_slow", title="The body took too long to arrive"),
    StaleVersion: _Kind(status=409, error="stale_version", title="Somebody changed the rollout first"),
    TransitionRefused: _Kind(status=409, error="transition_refused", title="The rollout does not take this order now"),
    RolloutUnavailable: _Kind(status=503, error="rollout_unavailable", title="The rollout cannot be asked now"),
    BodyTooLarge: _Kind(status=413, error="too_large", title="The body is too large"),
    DecisionTooLarge: _Kind(status=413, error="too_large", title="The decision is too large for the database"),
    UnknownEncoding: _Kind(status=415, error="unknown_encoding", title="The body is compressed in an unknown way"),
    InvalidRequest: _INVALID,
    InvalidCursor: _INVALID,
    InvalidProblem: _Kind(status=422, error="infeasible", title="The request cannot be scheduled as it is"),
    NoSafeSchedule: _Kind(status=500, error="no_safe_schedule", title="No arm produced a safe schedule"),
    PayloadMismatch: _Kind(status=500, error="damaged_decision", title="The stored decision is damaged"),
    RateLimited: _Kind(status=429, error="rate_limited", title="The API key has asked too often"),
    KeyConflict: _Kind(status=422, error="key_conflict", title="The Idempotency-Key stands for another request"),
    KeyInUse: _Kind(status=409, error="key_in_use", title="The request with this Idempotency-Key is still running"),
    RunUnavailable: _Kind(
        status=503, error="run_unavailable", title="Plans that nobody waits for cannot be taken or asked for now"
    ),
    ClaimUnavailable: _Kind(status=503, error="claim_unavailable", title="Idempotency keys cannot be claimed now"),
    Stopping: _Kind(status=503, error="stopping", title="The service is about to end"),
    Overloaded: _Kind(status=503, error="overloaded", title="The service has no room for another request"),
    JournalUnavailable: _Kind(status=503, error="journal_unavailable", title="The decision cannot be made durable"),
    JudgeUnavailable: _Kind(status=503, error="judge_unavailable", title="No verdict, therefore no schedule"),
    DatabaseError: _Kind(status=503, error="database_unavailable", title="Decisions cannot be read now"),
    PlanConflict: _Kind(status=409, error="plan_conflict", title="Another plan is in force"),
    KeysUnavailable: _Kind(status=503, error="keys_unavailable", title="API keys cannot be checked now"),
    PlantDataUnavailable: _Kind(status=503, error="plant_data_unavailable", title="Plant data cannot be read now"),
    TimedOut: _Kind(status=503, error="timed_out", title="The request took too long"),
    TemporarilyUnavailable: _Kind(status=503, error="unavailable", title="The service cannot answer now"),
}


def install_problems(app: FastAPI, clock: Clock) -> None:
    """Make `app` answer every expected error with problem details."""

    async def on_our_error(request: Request, error: Exception) -> Response:
        return answer_to(request.scope, error, clock) if isinstance(error, GantryError) else _never(error)

    async def on_http_error(request: Request, error: Exception) -> Response:
        if isinstance(error.__cause__, GantryError):
            # What went wrong while FastAPI was reading a body, which it would call a bad request.
            return answer_to(request.scope, error.__cause__, clock)
        return _http_problem(request.scope, error, clock) if isinstance(error, HTTPException) else _never(error)

    async def on_parameter_error(request: Request, error: Exception) -> Response:
        faults = error.errors() if isinstance(error, RequestValidationError) else ()
        # The first part of a location only says that it is a query parameter.
        reasons = tuple((dotted(tuple(fault["loc"][1:])), fault_message(fault)) for fault in faults)
        return answer_to(request.scope, InvalidRequest(reasons), clock)

    app.add_exception_handler(GantryError, on_our_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_parameter_error)


def unexpected_problem(scope: Scope, clock: Clock) -> Response:
    """A 500 that tells the caller nothing but the id under which the log has the rest."""
    detail = f"the service failed; its log has the cause under request id {REQUEST_ID.get()}"
    return _response(_problem(scope, _UNEXPECTED, detail, clock))


def answer_to(scope: Scope, error: GantryError, clock: Clock) -> Response:
    """Problem details for any error of ours; one that nobody expected tells nothing but its request id."""
    kind = next((_KINDS[parent] for parent in type(error).__mro__ if parent in _KINDS), None)
    if kind is None:
        _log.error("request failed: %s", error, exc_info=error)
        return unexpected_problem(scope, clock)
    # That newcomers are turned away at the end is no fault.
    if kind.status >= 500 and not isinstance(error, Stopping):
        _log.error("%s: %s", kind.error, error)
    problem = _problem(scope, kind, _detail(error), clock)
    return _response(problem.model_copy(update=_members(error)), _headers(error))


def _http_problem(scope: Scope, error: HTTPException, clock: Clock) -> Response:
    title = error.detail
    kind = _Kind(status=error.status_code, error=title.lower().replace(" ", "_"), title=title)
    detail = f"{scope['method']} {scope['path']}: {title}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail += "; /docs lists every path"
    return _response(_problem(scope, kind, detail, clock), error.headers)


def _problem(scope: Scope, kind: _Kind, detail: str, clock: Clock) -> ProblemDetails:
    return ProblemDetails(
        type=f"urn:gantry:problem:{kind.error.replace('_', '-')}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=scope["path"],
        error=kind.error,
        message=detail,
        request_id=REQUEST_ID.get(),
        timestamp=clock(),
    )


def _detail(error: GantryError) -> str:
    """One sentence; what may be long or telling stands in its own member or in the log."""
    if isinstance(error, InvalidRequest | InvalidProblem):
        field, message = error.reasons[0] if error.reasons else ("request", "is invalid")
        further = len(error.reasons) - 1 + (error.omitted if isinstance(error, InvalidRequest) else 0)
        return f"{field} {message}" + (f" (and {further:,} more)" if further > 0 else "")
    if isinstance(error, DatabaseError):
        return "the database does not answer; new schedules are made and kept all the same"
    if isinstance(error, PayloadMismatch):
        return "the stored payload is not the one that was answered, so it is not shown"
    return str(error)


def _members(error: GantryError) -> dict[str, object]:
    if isinstance(error, InvalidRequest | InvalidProblem):
        earlier = error.omitted if isinstance(error, InvalidRequest) else 0
        omitted = earlier + max(0, len(error.reasons) - MAX_REASONS)
        return {"errors": _field_errors(error.reasons[:MAX_REASONS]), "errors_omitted": omitted or None}
    if isinstance(error, InvalidCursor):
        return {"errors": _field_errors([("cursor", str(error))])}
    if isinstance(error, TransitionRefused):
        return {"reasons": list(error.reasons)}
    if isinstance(error, StaleVersion):
        return {"reasons": [f"the rollout is at version {error.actual}"]}
    if isinstance(error, PlanConflict):
        found = None if error.differences is None else ComparisonAnswer.model_validate_json(error.differences)
        return {"in_force": error.in_force, "wanted": error.wanted, "differences": found}
    if isinstance(error, NoSafeSchedule):
        return {"rejections": [_rejection(rejection) for rejection in error.rejections]}
    return {}


def _field_errors(reasons: Iterable[Reason]) -> list[FieldError]:
    return [FieldError(field=field, message=message) for field, message in reasons]


def _rejection(rejection: Rejection) -> RejectionAnswer:
    return RejectionAnswer(
        arm=rejection.arm,
        reason=rejection.reason,
        violation_count=len(rejection.violations),
        violations=violations_of(rejection.violations[:MAX_VIOLATIONS]),
    )


def _headers(error: GantryError) -> Mapping[str, str]:
    # Where the rest of a body is not read the connection cannot be used again.
    closing = {"Connection": "close"} if isinstance(error, BodyTooLarge | BodyTooSlow | NoRoomForBody) else {}
    if isinstance(error, TemporarilyUnavailable):
        return closing | {"Retry-After": str(error.retry_after_seconds)}
    if isinstance(error, DatabaseError):
        return {"Retry-After": str(RETRY_DATABASE_SECONDS)}
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'ApiKey realm="gantry", Bearer realm="gantry"'}
    if isinstance(error, UnknownEncoding):
        return {"Accept-Encoding": "gzip"}
    return closing


def _response(problem: ProblemDetails, headers: Mapping[str, str] | None = None) -> Response:
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def _never(error: Exception) -> Response:
    raise error
