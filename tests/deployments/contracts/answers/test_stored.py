"""A stored decision is read again as it was made, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.answers.stored import kept_request, kept_rows, stored_question
from deployments.contracts.translation.problem import translate
from deployments.errors import NotFound
from deployments.persistence.decisions.records import DecisionRecord
from env.schedule import Assignment
from tests.deployments.fakes import KUALA_LUMPUR, MemoryJournal, body, job, request_of, scheduling_over


async def _record(**changes: Any) -> DecisionRecord:
    journal = MemoryJournal()
    raw = json.dumps(body(**changes)).encode()
    await scheduling_over(journal=journal).schedule(request_of(**changes), client="penang", raw_body=raw)
    return journal.records[0]


async def test_decision_is_revisited_as_it_was() -> None:
    """Request, question and schedule are those of the decision."""
    record = await _record(jobs=[job(lcd_date="2025-07-22T15:00:00")])
    question = translate(kept_request(record), zone=KUALA_LUMPUR, now=record.created_at)
    found = stored_question(record, kept_request(record), question)
    wanted = Assignment(operation_id="JOAW001", machine_id=42, start_seconds=0, end_seconds=10_080)
    assert found.schedule.assignments == (wanted,)
    assert found.question.problem.operations[0].due_seconds == 3600


async def test_decision_that_no_longer_fits_is_not_found() -> None:
    """In a plant whose zone was changed since, the naive start of the request would be another instant."""
    record = await _record()
    question = translate(kept_request(record), zone=ZoneInfo("Europe/Berlin"), now=record.created_at)
    with pytest.raises(NotFound, match="cannot be read as it was made: the judge does not accept its schedule"):
        stored_question(record, kept_request(record), question)


async def test_request_of_another_schema_is_not_found() -> None:
    """A stored body that does not follow the schema any more is told by the number of its faults."""
    with pytest.raises(NotFound, match=r"its request has 1 fault$"):
        kept_request(replace(await _record(), request=b'{"jobs": [{}]}'))


async def test_payload_that_nobody_can_read_is_not_found() -> None:
    """A body that is no JSON, and an answer without rows: each is one sentence that names the schedule."""
    record = await _record()
    with pytest.raises(NotFound, match=f"{record.decision_id}' cannot be read as it was made: its request is no JSON"):
        kept_request(replace(record, request=b'{"jobs": ['))
    for answer in (b"{}", b'{"scheduled_jobs": ['):
        with pytest.raises(NotFound, match="cannot be read as it was made: an earlier schedule must have scheduled_jo"):
            kept_rows(replace(record, answer=answer))


async def test_payload_that_was_not_kept_is_not_found() -> None:
    """Neither request nor rows can be read where none were kept."""
    record = await _record(save_to_database=False)
    for read in (kept_request, kept_rows):
        with pytest.raises(NotFound, match="its payload was not kept"):
            read(record)
