"""Freezing an earlier schedule: what stays, what is dropped, and what is said about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.contracts.translation.fixed_work import EarlierRow, as_schedule, earlier_rows
from env.problem import Pin
from tests.deployments.contracts.problems import question_of, reasons_of
from tests.deployments.fakes import job, machine

START, UNTIL = "2025-07-22T14:00:00", "2025-07-22T15:00:00"
FREEZE = {"freeze_until": UNTIL, "previous_schedule_id": "earlier"}


def _row(job_id: str, start: str, end: str, on: int = 42) -> dict[str, Any]:
    day = "2025-07-22T"
    return {
        "job_id": job_id,
        "machine_id": on,
        "start_datetime": f"{day}{start}+08:00",
        "end_datetime": f"{day}{end}+08:00",
    }


def _rows(*rows: dict[str, Any]) -> tuple[EarlierRow, ...]:
    return earlier_rows(json.dumps({"scheduled_jobs": rows}).encode())


def test_work_that_starts_before_the_limit_is_pinned() -> None:
    """What began before the schedule has its end, what is frozen later its start, and what is not frozen neither."""
    earlier = _rows(
        _row("A", "13:30:00", "14:30:00"), _row("B", "14:59:59", "17:47:59"), _row("C", "15:00:00", "17:48:00", on=43)
    )
    jobs = [job("A", processing_time=0.7), job("B"), job("C")]
    question = question_of(earlier, jobs=jobs, machines=[machine(42), machine(43)], **FREEZE)
    assert [operation.pin for operation in question.problem.operations] == [
        Pin(start_seconds=-1800, end_seconds=1800),
        Pin(start_seconds=3599),
        None,
    ]
    assert question.earlier == as_schedule(earlier, question.start)
    assert question.warnings == ()


def test_jobs_that_are_gone_are_dropped_with_a_warning() -> None:
    """Finished or cancelled work is not in the request any more."""
    earlier = _rows(
        _row("X", "14:00:00", "14:30:00"), _row("Y", "17:00:00", "18:00:00"), _row("A", "14:30:00", "17:18:00")
    )
    question = question_of(earlier, jobs=[job("A")], **FREEZE)
    assert question.warnings == ("2 jobs of previous_schedule_id not in jobs: dropped; first is X",)


def test_limit_needs_a_schedule() -> None:
    """Freezing needs a schedule; a schedule without a limit freezes what starts before the new one."""
    message = "must be given together with freeze_until, was absent"
    assert reasons_of(None, freeze_until=UNTIL) == [("previous_schedule_id", message)]
    earlier = _rows(_row("A", "13:59:59", "16:47:59"), _row("B", "14:00:00", "16:48:00", on=43))
    machines = [machine(42), machine(43)]
    question = question_of(earlier, jobs=[job("A"), job("B")], machines=machines, previous_schedule_id="earlier")
    pins = [operation.pin for operation in question.problem.operations]
    assert pins == [Pin(start_seconds=-1, end_seconds=10_079), None]


def test_unknown_schedule_is_refused() -> None:
    """A schedule that nobody has, that is somebody else's or that was not kept cannot be continued."""
    message = "must be one of your schedules whose payload was kept, was 'earlier'"
    assert reasons_of(None, **FREEZE) == [("previous_schedule_id", message)]


def test_pin_may_not_contradict_the_frozen_place() -> None:
    """A frozen job pinned where it stands is fine, anywhere else is a contradiction."""
    earlier = _rows(_row("A", "14:30:00", "17:18:00"))
    pin = {"machine_id": 42, "start_datetime": "2025-07-22T14:30:00"}
    question_of(earlier, jobs=[job("A", pinned=pin)], **FREEZE)
    pin["start_datetime"] = "2025-07-22T14:31:00"
    message = "must be the place in previous_schedule_id, where the job starts before freeze_until, was another"
    assert reasons_of(earlier, jobs=[job("A", pinned=pin)], **FREEZE) == [("jobs[0].pinned", message)]


def test_pin_may_not_overlap_frozen_work() -> None:
    """A new pin must respect what is frozen on its machine."""
    pin = {"machine_id": 42, "start_datetime": "2025-07-22T17:00:00"}
    jobs = [job("A"), job("B", pinned=pin)]
    message = "must not overlap A on machine 42 (CM42), did for 18 min"
    message += ": pin B later or on another machine, or leave it unpinned"
    assert reasons_of(_rows(_row("A", "14:30:00", "17:18:00")), jobs=jobs, **FREEZE) == [("jobs[1].pinned", message)]


@pytest.mark.parametrize("end", ["2025-07-22T14:00:00.999+08:00", "2025-07-22T16:48:00"])
def test_row_that_takes_no_time_is_no_plan(end: str) -> None:
    """A row must last a second at least, and be written with a zone on both ends or on none."""
    with pytest.raises(ValueError, match="must have scheduled_jobs"):
        _rows(_row("A", "14:00:00", "16:48:00") | {"end_datetime": end})


def test_answer_without_rows_is_no_schedule() -> None:
    """Whatever is read as an earlier answer must have scheduled jobs."""
    with pytest.raises(ValueError, match=r"must have scheduled_jobs, had 1 fault"):
        earlier_rows(b"{}")
