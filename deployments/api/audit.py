"""The route of the audit trail: who operated the service or changed its keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from deployments.api.dependencies import AS_ADMIN, KNOWN_PARAMETERS, Bound, json_answer
from deployments.api.documentation import problems
from deployments.contracts.answers.service import AuditPage, audit_event_answer
from deployments.persistence.decisions.records import MAX_AUDIT_PAGE_SIZE

router = APIRouter(tags=["operations"], dependencies=[KNOWN_PARAMETERS])


@router.get("/v1/audit", dependencies=[AS_ADMIN], response_model=AuditPage, responses=problems(401, 403, 422, 503))
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
