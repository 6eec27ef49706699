"""The routes that answer a planner's questions about decisions: why late, and what would change."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from deployments.access import Scope
from deployments.api.routes import Bound, Caller, decision_of
from deployments.contracts.comparison import ComparisonAnswer, comparison_answer
from deployments.contracts.explanation import ExplanationAnswer, explanation_answer
from deployments.contracts.revisiting import kept_request, kept_rows, revisited, unreadable
from deployments.contracts.wire import AnswerModel
from deployments.off_loop import off_loop
from deployments.persistence.records import DecisionRecord
from env.errors import InvalidProblem


async def explain_schedule(services: Bound, client: Caller, schedule_id: str) -> Response:
    """For each late job: how long it waited, for what and behind whom; the amounts account for its lateness."""
    client.require(Scope.SCHEDULE, Scope.READ)
    record = await decision_of(services, client, schedule_id)
    request = await off_loop(_size(record), lambda: kept_request(record))
    try:
        question = await services.scheduling.question(request, record.client, record.created_at, _size(record))
    except InvalidProblem as error:
        # The request was good when it was decided; that it is refused now is no fault of whoever asks.
        raise unreadable(record, str(error)) from error

    def explanation() -> ExplanationAnswer:
        return explanation_answer(record.decision_id, revisited(record, request, question))

    return await _written(_size(record), explanation)


async def compare_schedules(services: Bound, client: Caller, schedule_id: str, other_id: str) -> Response:
    """What the other schedule would change: figures, moved, added and removed jobs, and how many."""
    client.require(Scope.SCHEDULE, Scope.READ)
    before = await decision_of(services, client, schedule_id)
    after = await decision_of(services, client, other_id)

    def comparison() -> ComparisonAnswer:
        return comparison_answer(before, after, kept_rows(before), kept_rows(after))

    return await _written(_size(before) + _size(after), comparison)


async def _written(size: int, answer: Callable[[], AnswerModel]) -> Response:
    body = await off_loop(size, lambda: answer().model_dump_json().encode())
    return Response(body, media_type="application/json")


def _size(record: DecisionRecord) -> int:
    return len(record.request or b"") + len(record.answer or b"")
