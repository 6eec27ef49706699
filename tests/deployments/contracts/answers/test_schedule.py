"""Domain -> wire: rows, metrics and verdicts as planners read them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.answers.figures import metrics_of
from deployments.contracts.answers.schedule import changes_of, importance_warnings, safety_of, scheduled_jobs_of
from deployments.contracts.translation.fixed_work import EarlierRow
from deployments.contracts.translation.problem import Question, translate
from env.judge.judge import judge
from env.schedule import Assignment, Schedule
from env.simulator.rules import Rule, dispatch
from tests.deployments.fakes import KUALA_LUMPUR, NOW, job, machine, one_after_another, request_of
from tests.deployments.shipped_policy import POLICY

REQUEST = request_of(
    jobs=[
        job("B", family_id="F", sequence=2),
        job("A", family_id="F", sequence=1, is_important=True, lcd_date="2025-07-22T15:00:00"),
    ],
    machines=[machine(42)],
)


@pytest.fixture
def question() -> Question:
    return translate(REQUEST, zone=KUALA_LUMPUR, now=NOW)


def test_rows_follow_the_request_in_hours_and_plant_time(question: Question) -> None:
    """Rows stand in the order of the request; 2.8 h after 14:00 is 16:48 by the plant's clock."""
    second, first = scheduled_jobs_of(REQUEST, question, one_after_another(question.problem))
    assert first.model_dump(mode="json") == {
        "job_id": "A",
        "machine_id": 42,
        "machine_name": "CM42",
        "start_time": 0.0,
        "end_time": 2.8,
        "start_datetime": "2025-07-22T14:00:00+08:00",
        "end_datetime": "2025-07-22T16:48:00+08:00",
        "setup_time_included": 0.3,
        "working_hours": 2.8,
    }
    assert (second.job_id, second.start_time, second.end_time) == ("B", 2.8, 5.6)


def test_rows_follow_the_clocks_of_the_plant() -> None:
    """Over the night that loses an hour the wall clock jumps, the hours do not."""
    zone = ZoneInfo("Europe/Berlin")
    request = request_of(schedule_start="2025-03-30T01:00:00", jobs=[job(processing_time=1.7)])
    question = translate(request, zone=zone, now=NOW)
    (row,) = scheduled_jobs_of(request, question, one_after_another(question.problem))
    assert row.end_time == 2.0
    assert row.end_datetime.isoformat() == "2025-03-30T04:00:00+02:00"


def test_late_important_families_are_a_warning_where_makespan_is_the_objective() -> None:
    """F ends 48 minutes after its LCD. Where due dates are planned for, the measures alone say so."""
    late = {"is_important": True, "lcd_date": "2025-07-22T16:00:00"}
    jobs = [job("A", family_id="F", **late), job("B", family_id="G", is_important=True), job("C", family_id="H")]
    for objective, count in (("makespan", 1), ("balanced", 0), ("tardiness", 0)):
        request = request_of(jobs=jobs, machines=[machine(42)], optimization_objective=objective)
        question = translate(request, zone=KUALA_LUMPUR, now=NOW)
        schedule = one_after_another(question.problem)
        warnings = importance_warnings(question.problem, schedule)
        assert warnings == count * (
            "1 important family ends after lcd_date, latest F, 48 min after it: the objective is makespan, "
            "balanced and tardiness plan for due dates",
        )


def test_important_families_that_are_late_are_counted_and_the_latest_is_named() -> None:
    """Done one after the other the second one is the latest; unimportant work does not count."""
    late = {"lcd_date": "2025-07-22T15:00:00"}
    jobs = [job("A", is_important=True, **late), job("B", is_important=True, **late), job("C", **late)]
    request = request_of(jobs=jobs, machines=[machine(42)], optimization_objective="makespan")
    question = translate(request, zone=KUALA_LUMPUR, now=NOW)
    (warning,) = importance_warnings(question.problem, one_after_another(question.problem))
    assert warning.startswith("2 important families end after lcd_date, latest B, 4 h 36 min after it")
    assert importance_warnings(question.problem, Schedule(assignments=())) == ()


def test_metrics_are_those_of_the_judge(question: Question) -> None:
    """Hours, per cent, and on-time figures that count families."""
    verdict = judge(question.problem, one_after_another(question.problem))
    assert metrics_of(verdict.measures).model_dump() == {
        "makespan": 5.6,
        "total_jobs": 2,
        "scheduled_jobs": 2,
        "completion_rate": 100.0,
        "average_utilization": 100.0,
        "total_setup_time": 0.6,
        "important_jobs_on_time": 0.0,
        "jobs_on_time": 0.0,
        "total_tardiness": 1.8,
        "flow_time_mean": 5.6,
    }


def test_safety_lists_violations_and_anomalies_by_hours(question: Question) -> None:
    """A job that runs half an hour too short is named as a job, in hours."""
    first, second = one_after_another(question.problem).assignments
    short = Assignment(operation_id="B", machine_id=42, start_seconds=10_080, end_seconds=second.end_seconds - 1800)
    limits = replace(POLICY.anomaly_limits, max_makespan_hours=1.0)
    safety = safety_of(judge(question.problem, Schedule(assignments=(first, short)), limits))
    assert (safety.valid, safety.safety_score) == (False, 0.0)
    (violation,) = safety.violations
    assert (violation.code, violation.job_id, violation.machine_id) == ("working_time_short", "B", 42)
    assert violation.by_hours == 0.5
    assert [(anomaly.code, anomaly.limit) for anomaly in safety.anomalies] == [("makespan_above_limit", 1.0)]


def test_rows_name_all_machines_where_there_are_several() -> None:
    """A job that holds two machines says so; other rows keep the fields that clients know."""
    request = request_of(jobs=[job("A", requires_all_machines=[43, 42]), job("B")], machines=[machine(42), machine(43)])
    question = translate(request, zone=KUALA_LUMPUR, now=NOW)
    both, single = scheduled_jobs_of(request, question, one_after_another(question.problem))
    assert (both.machine_id, both.machine_ids) == (43, [43, 42])
    assert "machine_ids" in both.model_dump()
    assert "machine_ids" not in single.model_dump()


def test_changes_count_what_moved_came_and_went() -> None:
    """Of A, B and X before and A, B and C after, B moved by a second, C is new and X is gone."""
    request = request_of(
        jobs=[job("A"), job("B"), job("C")], freeze_until="2025-07-22T14:00:00", previous_schedule_id="earlier"
    )
    rows = (
        EarlierRow(job_id="A", machine_id=42, start_datetime=NOW, end_datetime=NOW + timedelta(hours=2.8)),
        EarlierRow(
            job_id="B",
            machine_id=42,
            start_datetime=NOW + timedelta(hours=2.8),
            end_datetime=NOW + timedelta(hours=5.6, seconds=1),
        ),
        EarlierRow(job_id="X", machine_id=42, start_datetime=NOW, end_datetime=NOW + timedelta(hours=1)),
    )
    question = translate(request, zone=KUALA_LUMPUR, now=NOW, earlier=rows)
    changes = changes_of(request, question, one_after_another(question.problem))
    assert changes is not None
    assert changes.model_dump() == {
        "previous_schedule_id": "earlier",
        "changed_jobs": 3,
        "moved_jobs": 1,
        "added_jobs": 1,
        "removed_jobs": 1,
    }


def test_request_of_its_own_has_no_changes(question: Question) -> None:
    """Without an earlier schedule there is nothing to differ from."""
    assert changes_of(REQUEST, question, one_after_another(question.problem)) is None


def test_row_tells_when_it_waits_for_its_machine() -> None:
    """Over lunch and over a closure of its machine: what is open counts as working, the rest are its pauses."""
    closed = {"machine_id": 42, "unavailable": [{"from": "2025-07-22T15:00:00", "to": "2025-07-22T15:20:00"}]}
    lunch = {"start": "14:30", "end": "15:00"}
    asked = request_of(respect_break_times=True, calendar={"breaks": [lunch], "machines": [closed]})
    question = translate(asked, zone=KUALA_LUMPUR, now=NOW)
    schedule = dispatch(question.problem, Rule.PLANNER)
    (row,) = scheduled_jobs_of(asked, question, schedule)
    assert row.model_dump(mode="json")["pauses"] == [
        {"from": "2025-07-22T14:30:00+08:00", "to": "2025-07-22T15:20:00+08:00"}
    ]
    assert row.working_hours == pytest.approx(2.8)
    assert row.end_time == pytest.approx(2.8 + 50 / 60)
