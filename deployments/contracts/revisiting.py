"""A stored decision -> the question it answered and the schedule that it was."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import from_json

from deployments.contracts.freezing import EarlierRow, as_schedule, earlier_rows
from deployments.contracts.request import ScheduleRequest
from deployments.contracts.translation import Question
from deployments.errors import NotFound
from deployments.persistence.records import DecisionRecord
from env.feasibility import judge
from env.schedule import Schedule

LONGEST_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisited:
    """A decision as it was made; the judge accepts `schedule` for `question`."""

    request: ScheduleRequest
    question: Question
    schedule: Schedule


def kept_request(record: DecisionRecord) -> ScheduleRequest:
    """The request of a decision. Raises `NotFound` when it was not kept, or is none of this version."""
    if record.request is None:
        raise _not_kept(record)
    try:
        return ScheduleRequest.model_validate(from_json(record.request))
    except ValidationError as error:
        raise unreadable(record, f"its request has {error.error_count()} faults") from error


def kept_rows(record: DecisionRecord) -> tuple[EarlierRow, ...]:
    """The rows of a decision's answer. Raises `NotFound` when they were not kept."""
    if record.answer is None:
        raise _not_kept(record)
    return earlier_rows(record.answer)


def revisited(record: DecisionRecord, request: ScheduleRequest, question: Question) -> Revisited:
    """The decision `record`, whose request is `request` and asked `question`.

    Raises `NotFound` when the answer was not kept, or is no valid schedule of the question any more.
    """
    schedule = as_schedule(kept_rows(record), question.start)
    if not judge(question.problem, schedule).valid:
        raise unreadable(record, "the judge does not accept its schedule any more")
    return Revisited(request=request, question=question, schedule=schedule)


def unreadable(record: DecisionRecord, reason: str) -> NotFound:
    """What to say of a decision that version, settings or plant data have left behind."""
    return NotFound(f"schedule {record.decision_id!r} cannot be read as it was made: {reason[:LONGEST_REASON]}")


def _not_kept(record: DecisionRecord) -> NotFound:
    return NotFound(f"schedule {record.decision_id!r} was made with save_to_database false: its payload was not kept")
