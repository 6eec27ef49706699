"""What planners say of their schedules: kept when it makes sense, refused with its field when not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.deployments.api.calls import call
from tests.deployments.fakes import FullJournal, MemoryJournal, UnreachableDecisions, body, services_over


async def _given(journal: MemoryJournal, **feedback: Any) -> Any:
    services = services_over(journal=journal)
    answer = (await call("POST", "/schedule", services=services, json=body())).json()
    return await call("POST", f"/v1/schedules/{answer['schedule_id']}/feedback", services=services, json=feedback)


async def test_feedback_is_kept_with_its_decision() -> None:
    """Rating, comment and completions are journalled under the client's decision, instants in UTC."""
    journal = MemoryJournal()
    done = [{"job_id": "JOAW001", "completed_at": "2025-07-22T17:00:00"}]
    response = await _given(journal, rating=4, comment="line 2 was tight", actual_completions=done)
    answer = response.json()
    assert (response.status_code, answer["rating"], answer["actual_completions"]) == (200, 4, 1)
    (kept,) = journal.others
    assert (kept.decision_id, kept.author, kept.to_bytes()[:19]) == ("decision-1", "default", b'{"kind":"feedback",')
    assert json.loads(kept.actual_completions) == [{"job_id": "JOAW001", "completed_at": "2025-07-22T17:00:00+00:00"}]


@pytest.mark.parametrize(
    ("feedback", "field"),
    [
        ({}, "body"),
        ({"rating": 6}, "rating"),
        ({"ratings": 3, "rating": 3}, "ratings"),
        ({"actual_completions": [{"job_id": "other", "completed_at": "2025-07-22"}]}, "actual_completions[0].job_id"),
        ({"actual_completions": [{"job_id": "JOAW001", "completed_at": "0001-01-01"}]}, "actual_completions[0].comp"),
        ({"actual_completions": 2 * [{"job_id": "JOAW001", "completed_at": "2025-07-22"}]}, "actual_completions[1].j"),
    ],
)
async def test_feedback_that_makes_no_sense_is_refused(feedback: dict[str, Any], field: str) -> None:
    """Nothing said, a rating beyond five, a misspelled field, a stranger's job: 422 with the field, nothing kept."""
    journal = MemoryJournal()
    response = await _given(journal, **feedback)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].startswith(field)
    assert journal.others == []


async def test_feedback_on_an_unknown_schedule_is_not_found() -> None:
    """There is nothing to say about a schedule that the client does not have."""
    response = await call("POST", "/v1/schedules/decision-9/feedback", json={"rating": 3})
    assert response.status_code == 404


async def test_feedback_on_a_schedule_that_nobody_can_read_is_not_found() -> None:
    """Whether its jobs are those of the schedule cannot be told; that is said, and nothing is kept."""
    journal = MemoryJournal()
    services = services_over(journal=journal)
    await call("POST", "/schedule", services=services, json=body())
    journal.records[-1] = replace(journal.records[-1], answer=b"{}")
    response = await call("POST", "/v1/schedules/decision-1/feedback", services=services, json={"rating": 3})
    assert (response.status_code, response.json()["error"]) == (404, "not_found")
    assert "cannot be read as it was made" in response.json()["detail"]
    assert journal.others == []


async def test_feedback_that_cannot_be_kept_is_not_promised() -> None:
    """A full spool, and a database that cannot say whose schedule it is, are answered 503."""
    journal = MemoryJournal()
    services = services_over(journal=journal)
    await call("POST", "/schedule", services=services, json=body())
    full = services_over(decisions=services.decisions, journal=FullJournal(), scheduling=services.scheduling)
    lost = services_over(decisions=UnreachableDecisions())
    for broken in (full, lost):
        path = "/v1/schedules/decision-1/feedback"
        response = await call("POST", path, services=broken, json={"rating": 3})
        assert (response.status_code, "Retry-After" in response.headers) == (503, True)
