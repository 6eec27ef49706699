"""The shipped request that uses every feature at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.answers.schedule import changes_of, scheduled_jobs_of
from deployments.contracts.parsing import read_schedule_request
from deployments.contracts.requests.schedule_request import JobRequest, MachineStatus, ScheduleRequest
from deployments.contracts.requests.wire import instant
from deployments.contracts.translation.fixed_work import earlier_rows
from deployments.contracts.translation.problem import Question, translate
from env.judge.judge import judge
from env.simulator.rules import Rule, dispatch
from tests.deployments.fakes import LIMITS, NOW

DATA = Path(__file__).parents[2] / "data"
ELSEWHERE = {"experiment_unit", "arm", "manual_schedule", "parent_schedule_id"}


@pytest.fixture(scope="module")
def request_with_everything() -> ScheduleRequest:
    return read_schedule_request((DATA / "all_features.json").read_bytes(), LIMITS).body


def test_every_field_is_used(request_with_everything: ScheduleRequest) -> None:
    """No optional field is left out, except those that need a scope or a stored decision."""
    jobs = request_with_everything.jobs
    assert set(ScheduleRequest.model_fields) - request_with_everything.model_fields_set == ELSEWHERE
    assert set(JobRequest.model_fields) == set().union(*(job.model_fields_set for job in jobs))
    assert request_with_everything.calendar is not None
    assert set(type(request_with_everything.calendar).model_fields) == request_with_everything.calendar.model_fields_set
    assert {machine.status for machine in request_with_everything.machines or ()} == set(MachineStatus)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kuala_Lumpur"])
def test_everything_together_is_a_question(request_with_everything: ScheduleRequest, zone: str) -> None:
    """Whatever the plant's zone: 31 jobs, of which four are frozen, one is pinned and one holds a crane too."""
    question = _question(request_with_everything, zone)
    operations = question.problem.operations
    assert len(operations) == 31
    pins = {operation.id: operation.pin for operation in operations if operation.pin is not None}
    assert set(pins) == {"BRACKET-CUT", "FRAME-CUT", "HOPPER-CUT", "DOOR-CUT", "DOOR-ASSY"}
    assert pins["BRACKET-CUT"].start_seconds == -timedelta(minutes=30).total_seconds()
    assert [operation.id for operation in operations if operation.alternatives[0].also_holds] == ["TANK-WELD"]
    assert question.warnings == ("1 job of previous_schedule_id not in jobs: dropped; first is COVER-CUT",)


def test_everything_together_can_be_scheduled(request_with_everything: ScheduleRequest) -> None:
    """The planner's rule finds a plan in which the judge finds nothing, and the answer counts what moved."""
    question = _question(request_with_everything, "Asia/Kuala_Lumpur")
    schedule = dispatch(question.problem, Rule.PLANNER)
    assert judge(question.problem, schedule).violations == ()
    changes = changes_of(request_with_everything, question, schedule)
    assert changes is not None
    # Three jobs of the earlier schedule start after its limit; COVER-CUT is gone; 31 less seven are new.
    assert (changes.moved_jobs <= 3, changes.added_jobs, changes.removed_jobs) == (True, 24, 1)
    (tank,) = (row for row in scheduled_jobs_of(request_with_everything, question, schedule) if row.machine_ids)
    assert (tank.job_id, tank.machine_ids) == ("TANK-WELD", [31, 91])


@pytest.mark.parametrize("rule", [Rule.PLANNER, Rule.SPT, Rule.FIFO])
def test_deadlines_that_a_schedule_meets_are_never_refused(
    request_with_everything: ScheduleRequest, rule: Rule
) -> None:
    """Whatever ends when a valid schedule has it end is provably reachable, so no proof may say otherwise."""
    question = _question(request_with_everything, "UTC")
    ends = {row.operation_id: row.end_seconds for row in dispatch(question.problem, rule).assignments}
    met = [
        job.model_copy(update={"deadline_at": instant(question.start, ends[job.job_id], question.zone)})
        for job in request_with_everything.jobs
    ]
    _question(request_with_everything.model_copy(update={"jobs": met}), "UTC")


def _question(request: ScheduleRequest, zone: str) -> Question:
    earlier = earlier_rows((DATA / "all_features_previous.json").read_bytes())
    return translate(request, zone=ZoneInfo(zone), now=NOW, earlier=earlier)
