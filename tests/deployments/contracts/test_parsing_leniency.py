"""What is not written by the letter: taken as what it can only mean, and said; refused by a strict reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.contracts.answers.planners import FeedbackRequest
from deployments.contracts.parsing import Allowance, Received, read_schedule_request, read_validate_request, receive
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.errors import InvalidRequest
from tests.deployments.fakes import LIMITS, body, job, machine


def _read(is_strict: bool = False, **changes: Any) -> Received[ScheduleRequest]:
    return read_schedule_request(json.dumps(body(**changes)).encode(), LIMITS, is_strict=is_strict)


def _refused(is_strict: bool = False, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        _read(is_strict, **changes)
    return list(caught.value.reasons)


@pytest.mark.parametrize(
    ("sent", "meant", "allowance", "place"),
    [
        ({"processing_time": "2.5"}, {"processing_time": 2.5}, Allowance.NUMBER, "processing_time"),
        ({"processing_time": " 2 "}, {"processing_time": 2.0}, Allowance.NUMBER, "processing_time"),
        ({"setup_time": "1e-1"}, {"setup_time": 0.1}, Allowance.NUMBER, "setup_time"),
        ({"sequence": "7"}, {"sequence": 7}, Allowance.NUMBER, "sequence"),
        ({"sequence": "7.0"}, {"sequence": 7}, Allowance.NUMBER, "sequence"),
        ({"machine_types": [1, "2"]}, {"machine_types": [1, 2]}, Allowance.NUMBER, "machine_types[1]"),
        ({"machine_types": [str(2**63 - 1)]}, {"machine_types": [2**63 - 1]}, Allowance.NUMBER, "machine_types[0]"),
        ({"is_important": 1}, {"is_important": True}, Allowance.BOOLEAN, "is_important"),
        ({"is_important": 0.0}, {"is_important": False}, Allowance.BOOLEAN, "is_important"),
        ({"is_important": "True"}, {"is_important": True}, Allowance.BOOLEAN, "is_important"),
        ({"interruptible": "0"}, {"interruptible": False}, Allowance.BOOLEAN, "interruptible"),
        ({"setup_time": None}, {"setup_time": 0.3}, Allowance.NULL, "setup_time"),
        ({"sequence": None}, {"sequence": 1}, Allowance.NULL, "sequence"),
        ({"machine_types": None, "machine_options": [{"machine_id": 42}]}, {}, Allowance.NULL, "machine_types"),
        ({"priority": 4}, {"priority": 3}, Allowance.PRIORITY, "priority"),
        ({"priority": -99}, {"priority": 1}, Allowance.PRIORITY, "priority"),
        ({"job_id": 7}, {"job_id": "7"}, Allowance.TEXT_ID, "job_id"),
        ({"family_id": 1001.0}, {"family_id": "1001"}, Allowance.TEXT_ID, "family_id"),
    ],
)
def test_job_is_taken_as_it_can_only_be_meant(
    sent: dict[str, Any], meant: dict[str, Any], allowance: Allowance, place: str
) -> None:
    """Each kind of kindness gives the value that was meant and one warning with its place; a strict reader refuses."""
    received = _read(jobs=[job(**sent)])
    found = received.body.jobs[0]
    assert {name: getattr(found, name) for name in meant} == meant
    assert received.warnings == (f"{allowance.value} (at jobs[0].{place})",)
    assert [field for field, _ in _refused(is_strict=True, jobs=[job(**sent)])] == [f"jobs[0].{place}"]


@pytest.mark.parametrize("written", ["2025-07-22t14:00:00z", "2025-07-22T14:00:00z", "2025-07-22t14:00:00.25+08:00"])
def test_lower_case_of_rfc_3339_is_read(written: str) -> None:
    """Its grammar allows t and z, and asks not to send them."""
    received = _read(schedule_start=written)
    assert received.body == _read(schedule_start=written.upper()).body
    assert received.warnings == (f"{Allowance.LOWER_CASE.value} (at schedule_start)",)
    assert [field for field, _ in _refused(is_strict=True, schedule_start=written)] == ["schedule_start"]


def test_empty_list_of_machines_is_an_absent_one() -> None:
    """Both mean the plant's own machines; a strict client is asked to say which."""
    received = _read(machines=[])
    assert received.body.machines is None
    assert received.warnings == (f"{Allowance.NO_MACHINES.value} (at machines)",)
    assert [field for field, _ in _refused(is_strict=True, machines=[])] == ["machines"]


def test_null_is_the_default_of_every_field_that_has_one() -> None:
    """At every depth: a request in which everything that may be absent is null is the one where it is absent."""

    def nulled(model: Any, document: dict[str, Any]) -> dict[str, Any]:
        names = [field.alias or name for name, field in model.model_fields.items() if not field.is_required()]
        return dict.fromkeys(names) | document

    from deployments.contracts.requests import schedule_request as schema

    job_ = job(machine_options=[nulled(schema.MachineOption, {"machine_id": 42})])
    closure = nulled(schema.UnavailableRequest, {"from": "2025-07-23T08:00", "to": "2025-07-23T09:00"})
    break_ = nulled(schema.BreakRequest, {"start": "12:00", "end": "13:00"})
    calendar = {
        "breaks": [break_],
        "machines": [nulled(schema.MachineCalendarRequest, {"machine_id": 42, "unavailable": [closure]})],
    }
    whole = {
        "jobs": [nulled(schema.JobRequest, job_)],
        "machines": [nulled(schema.MachineRequest, {"machine_id": 42, "machine_type": 2})],
        "calendar": nulled(schema.CalendarRequest, calendar),
    }
    received = read_schedule_request(json.dumps(nulled(ScheduleRequest, whole)).encode(), LIMITS)
    lean = {
        "jobs": [job_],
        "machines": [{"machine_id": 42, "machine_type": 2}],
        "calendar": {
            "breaks": [{"start": "12:00", "end": "13:00"}],
            "machines": [{"machine_id": 42, "unavailable": [{"from": "2025-07-23T08:00", "to": "2025-07-23T09:00"}]}],
        },
    }
    lean["jobs"] = [job(machine_options=[{"machine_id": 42}])]
    assert received.body == read_schedule_request(json.dumps(lean).encode(), LIMITS).body
    (warning,) = received.warnings
    assert warning.startswith(Allowance.NULL.value)


def test_each_kind_is_one_warning_with_its_count() -> None:
    """A form that sends everything as text is told so in two sentences, not in five hundred."""
    jobs = [job(f"J{number}", processing_time="2.5", machine_types=["2"], is_important="1") for number in range(3)]
    assert _read(jobs=jobs, machines=[machine(machine_type="2")]).warnings == (
        f"{Allowance.NUMBER.value} (7 times, first at jobs[0].processing_time)",
        f"{Allowance.BOOLEAN.value} (3 times, first at jobs[0].is_important)",
    )


def test_kindnesses_follow_each_other() -> None:
    """Text that is a number may be a priority outside its range, too."""
    received = _read(jobs=[job(priority="4")])
    assert received.body.jobs[0].priority == 3
    assert received.warnings == (
        f"{Allowance.NUMBER.value} (at jobs[0].priority)",
        f"{Allowance.PRIORITY.value} (at jobs[0].priority)",
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"jobs": None}, "jobs"),
        ({"jobs": [job(job_id=None)]}, "jobs[0].job_id"),
        ({"jobs": [job(machine_types=[None])]}, "jobs[0].machine_types[0]"),
        ({"jobs": [job(job_id=True)]}, "jobs[0].job_id"),
        ({"jobs": [job(job_id=float("nan"))]}, "jobs[0].job_id"),
        ({"jobs": [job(processing_time=True)]}, "jobs[0].processing_time"),
        ({"jobs": [job(processing_time="2,5")]}, "jobs[0].processing_time"),
        ({"jobs": [job(processing_time="nan")]}, "jobs[0].processing_time"),
        ({"jobs": [job(processing_time="1e999")]}, "jobs[0].processing_time"),
        ({"jobs": [job(processing_time="-1")]}, "jobs[0].processing_time"),
        ({"jobs": [job(sequence="1.5")]}, "jobs[0].sequence"),
        ({"jobs": [job(is_important="perhaps")]}, "jobs[0].is_important"),
        ({"jobs": [job(setup_group=7)]}, "jobs[0].setup_group"),
        ({"jobs": [job(weight=0)]}, "jobs[0].weight"),
        ({"machines": [machine(machine_id="M1")]}, "machines[0].machine_id"),
        ({"schedule_start": "2025-07-22t99:00:00z"}, "schedule_start"),
        ({"schedule_start": "22 july"}, "schedule_start"),
    ],
)
def test_what_could_mean_something_else_stays_refused(changes: dict[str, Any], field: str) -> None:
    """Kindness does not guess."""
    assert [name for name, _ in _refused(**changes)] == [field]


def test_what_is_left_is_told_beside_what_was_understood() -> None:
    """A body that is sloppy and wrong is refused for what is wrong, with the value as it was understood."""
    assert _refused(jobs=[job(processing_time="-1", priority="4", weight="2")]) == [
        ("jobs[0].processing_time", "must be greater than 0, was -1"),
    ]


def test_other_bodies_of_planners_are_read_as_kindly() -> None:
    """Whoever has numbers for ids has them in answers and in feedback, too."""
    row = {"job_id": 7, "machine_id": "42", "start_time": "0", "end_time": 2.8}
    claim = {"request": body(jobs=[job(7)]), "scheduled_jobs": [row]}
    received = read_validate_request(json.dumps(claim).encode(), LIMITS)
    assert received.body.scheduled_jobs[0].job_id == received.body.request.jobs[0].job_id == "7"
    assert [warning.split(" (")[1] for warning in received.warnings] == [
        "2 times, first at request.jobs[0].job_id)",
        "2 times, first at scheduled_jobs[0].machine_id)",
    ]
    feedback = {"rating": "5", "actual_completions": [{"job_id": 7, "completed_at": "2025-07-22t16:00:00z"}]}
    assert receive(json.dumps(feedback).encode(), FeedbackRequest).body.actual_completions[0].job_id == "7"
    with pytest.raises(InvalidRequest):
        receive(json.dumps(feedback).encode(), FeedbackRequest, is_strict=True)


@given(st.floats(min_value=1e-6, max_value=1e4), st.integers(min_value=0, max_value=2**63 - 1))
def test_number_as_text_is_the_number(hours: float, machine_id: int) -> None:
    """To the last digit, for times and for ids."""
    told = _read(jobs=[job(processing_time=repr(hours), machine_types=[str(machine_id)])]).body.jobs[0]
    assert (told.processing_time, told.machine_types) == (hours, [machine_id])
