"""The planner's own plan: it ends when its work has had its open time, and its faults are left for the judge."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.contracts.translation.problem import Question
from env.judge.judge import judge
from env.schedule import Schedule
from tests.deployments.contracts.problems import question_of
from tests.deployments.fakes import job


def _row(job_id: str = "JOAW001", at: str = "2025-07-22T14:00:00", machine_id: int = 42) -> dict[str, Any]:
    return {"job_id": job_id, "machine_id": machine_id, "start_datetime": at}


def _planned(*rows: dict[str, Any], **changes: Any) -> tuple[Question, Schedule]:
    asked = question_of(manual_schedule=list(rows), **changes)
    assert asked.planned is not None
    return asked, asked.planned


def test_request_without_a_plan_has_none() -> None:
    """Nothing is made up."""
    assert question_of().planned is None


def test_plan_ends_after_setup_and_processing() -> None:
    """2.8 hours after 14:00 around the clock, and the judge agrees."""
    asked, planned = _planned(_row())
    assert [(each.start_seconds, each.end_seconds) for each in planned.assignments] == [(0, 10_080)]
    assert judge(asked.problem, planned).valid


def test_plan_pauses_over_breaks() -> None:
    """Work that spans closed time ends later by as much, so a plan over dinner and a night is no less valid."""
    start = {"respect_break_times": True, "schedule_start": "2025-07-22T14:00:00"}
    asked, planned = _planned(_row(at="2025-07-22T17:00:00"), **start)
    (only,) = planned.assignments
    # Dinner from 18:00 to 19:00 lies in its way.
    assert only.end_seconds - only.start_seconds == 10_080 + 3_600
    assert judge(asked.problem, planned).valid


def test_plan_pays_for_its_changeovers() -> None:
    """A changeover counts where the job before on the machine asks for it, as the judge reckons."""
    jobs = [job("A", setup_group="red"), job("B", setup_group="blue"), job("C", setup_group="blue")]
    matrix = [{"from": "red", "to": "blue", "hours": 1.0}]
    rows = [_row("C", "2025-07-23T02:00:00"), _row("A"), _row("B", "2025-07-22T18:00:00")]
    asked, planned = _planned(*rows, jobs=jobs, setup_matrix=matrix)
    hours = [(each.end_seconds - each.start_seconds) / 3600 for each in planned.assignments]
    assert [each.operation_id for each in planned.assignments] == ["A", "B", "C"]
    assert hours == [2.8, 3.5, 2.5]
    assert judge(asked.problem, planned).valid


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "missing_operation"),
        ([_row(), _row("other")], "unknown_operation"),
        ([_row(machine_id=9)], "unknown_machine"),
        ([_row(), _row()], "duplicate_operation"),
        ([_row(at="2025-07-22T13:00:00")], "before_start"),
        ([_row(at="1971-01-01T00:00:00")], "before_start"),
        ([_row(at="2199-01-01T00:00:00")], None),
    ],
)
def test_faults_of_a_plan_are_the_judges(rows: list[dict[str, Any]], code: str | None) -> None:
    """Whatever a planner wrote becomes a schedule, and the judge names what is wrong with it."""
    asked, planned = _planned(*rows)
    found = {violation.code.value for violation in judge(asked.problem, planned).violations}
    assert code in found if code else not found


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            [_row(), _row("other"), _row("third")],
            "names jobs that the request does not have, 2 of them, first is other",
        ),
        ([_row(machine_id=9)], "puts jobs on machines that are not at work, 1 of them, first is JOAW001"),
        ([_row(), _row()], "names jobs twice, 1 of them, first is JOAW001"),
        ([], "leaves jobs out, 1 of them, first is JOAW001"),
    ],
)
def test_plan_that_cannot_be_used_is_a_warning(rows: list[dict[str, Any]], fault: str) -> None:
    """The sender hears of it whoever serves: where PPO does, nobody else would say that the plan was in vain."""
    asked, _ = _planned(*rows)
    assert asked.warnings == (f"manual_schedule {fault}: the planner's rule takes its place",)


def test_plan_that_can_be_used_is_no_warning() -> None:
    """Nor is the absence of a plan."""
    assert _planned(_row())[0].warnings == ()
    assert question_of().warnings == ()
