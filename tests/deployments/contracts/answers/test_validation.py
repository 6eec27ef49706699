"""Somebody's schedule on its way to the judge and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.contracts.answers.validation import ValidateAnswer, claimed_schedule, validate_answer
from deployments.contracts.parsing import read_validate_request
from deployments.contracts.translation.problem import translate
from env.judge.judge import judge
from env.schedule import Assignment
from tests.deployments.fakes import KUALA_LUMPUR, LIMITS, NOW, body

ROW = {
    "job_id": "JOAW001",
    "machine_id": 42,
    "start_time": 0.0,
    "end_time": 2.8,
    "start_datetime": "2025-07-22T14:00:00",
    "end_datetime": "2025-07-22T16:48:00",
}


def _answer(**changes: Any) -> ValidateAnswer:
    document = {"request": body(), "scheduled_jobs": [ROW | changes]}
    request = read_validate_request(json.dumps(document).encode(), LIMITS).body
    question = translate(request.request, zone=KUALA_LUMPUR, now=NOW)
    verdict = judge(question.problem, claimed_schedule(request.scheduled_jobs))
    return validate_answer(request.scheduled_jobs, question, verdict, warnings=("a warning",))


def test_claimed_hours_become_seconds() -> None:
    """2.8 h are 10,080 s."""
    document = {"request": body(), "scheduled_jobs": [ROW]}
    claims = read_validate_request(json.dumps(document).encode(), LIMITS).body.scheduled_jobs
    wanted = Assignment(operation_id="JOAW001", machine_id=42, start_seconds=0, end_seconds=10_080)
    assert claimed_schedule(claims).assignments == (wanted,)


def test_right_schedule_is_valid() -> None:
    """A schedule as we would answer it passes, whatever zone its datetimes are written in."""
    answer = _answer(start_datetime="2025-07-22T06:00:00Z")
    assert (answer.valid, answer.violations, answer.warnings) == (True, [], ["a warning"])
    assert answer.metrics.makespan == 2.8


@pytest.mark.parametrize(
    ("end", "mismatches"),
    [("16:48:00.999", 0), ("16:48:01", 1), ("16:47:59", 1), ("16:47:59.001", 0)],
)
def test_datetimes_must_agree_with_hours_to_the_second(end: str, mismatches: int) -> None:
    """A second of difference is a violation, less is rounding."""
    answer = _answer(end_datetime=f"2025-07-22T{end}")
    assert [violation.code for violation in answer.violations] == ["datetime_mismatch"] * mismatches
    assert answer.valid is not bool(mismatches)
    assert answer.safety_score == (0.0 if mismatches else 100.0)


def test_mismatch_says_what_is_off() -> None:
    """The sentence names the field, the requirement and the amount."""
    (violation,) = _answer(start_datetime="2025-07-22T15:00:00").violations
    assert violation.message == "start_datetime must be start_time after schedule_start, was 3600.0 s off"
    assert (violation.job_id, violation.by_hours) == ("JOAW001", 1.0)


def test_datetimes_may_be_absent() -> None:
    """Hours alone are a schedule."""
    assert _answer(start_datetime=None, end_datetime=None).valid


def test_machines_held_must_be_all_of_them() -> None:
    """Rows that say which machines they hold are taken at their word."""
    assert _answer(machine_ids=[42]).valid
    (violation,) = _answer(machine_ids=[42, 43]).violations
    assert violation.code == "machines_mismatch"
    assert violation.message == "machine_ids must be [42], all machines that JOAW001 holds, was [42, 43]"
