"""The route by which planners and the shop floor answer back."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from uuid6 import uuid7

from deployments.access import Scope
from deployments.api.bodies import read_body
from deployments.api.routes import Bound, Caller, decision_of
from deployments.contracts.feedback import FeedbackRequest, feedback_answer, feedback_record
from deployments.contracts.reading import read_document
from deployments.off_loop import off_loop


async def give_feedback(request: Request, services: Bound, client: Caller, schedule_id: str) -> Response:
    """Rate a schedule, comment on it, or tell when its jobs were really done. A 200 means that it is durable."""
    client.require(Scope.SCHEDULE)
    raw = await read_body(request, services.settings.max_body_bytes)
    feedback = await off_loop(len(raw), lambda: read_document(raw, FeedbackRequest))
    decision = await decision_of(services, client, schedule_id)
    record = feedback_record(
        feedback, decision, feedback_id=str(uuid7()), now=services.clock(), zone=services.settings.zone
    )
    await services.journal.append(record)
    return Response(feedback_answer(record, feedback).model_dump_json(), media_type="application/json")
