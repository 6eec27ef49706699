"""Stored plant data, and the requests that they complete."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from deployments.contracts.parsing import Allowance
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.errors import InvalidRequest
from deployments.plants.completion import completed, plant_data, wire_document
from env.errors import InvalidProblem
from tests.deployments.fakes import body, job, machine, request_of
from tests.deployments.plants.rows import CALENDAR, plant


def _without(*fields: str, **changes: Any) -> ScheduleRequest:
    return ScheduleRequest.model_validate({k: v for k, v in body(**changes).items() if k not in fields})


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (request_of(), False),
        (request_of(jobs=[]), True),
        (_without("machines"), True),
        (request_of(machines=[]), True),
    ],
)
def test_only_absent_machines_and_no_jobs_need_the_database(request_: ScheduleRequest, expected: bool) -> None:
    """An empty list of machines is taken as an absent one."""
    assert request_.is_incomplete is expected


def test_absent_machines_are_those_of_the_plant() -> None:
    """The jobs of the request stay, the machines come from the database."""
    found = completed(_without("machines", jobs=[job("MINE")]), plant(machines=[machine(7)]), "penang")
    assert found.machines is not None
    assert [each.machine_id for each in found.machines] == [7]
    assert [each.job_id for each in found.jobs] == ["MINE"]


def test_empty_jobs_are_the_pending_ones() -> None:
    """The machines of the request stay, the jobs come from the database."""
    found = completed(request_of(jobs=[], machines=[machine(9)]), plant(jobs=[job("A"), job("B")]), "penang")
    assert [each.job_id for each in found.jobs] == ["A", "B"]
    assert [each.machine_id for each in found.machines or ()] == [9]


def test_plant_without_data_is_told_by_name() -> None:
    """Both reasons come at once."""
    with pytest.raises(InvalidProblem) as caught:
        completed(_without("machines", jobs=[]), plant(jobs=[], machines=[]), "ipoh")
    assert list(caught.value.reasons) == [
        (
            "machines",
            "must be given, because the database has none of plant 'ipoh', was absent: "
            "send machines with the request, or store them by gantry db import machines FILE --plant ipoh",
        ),
        (
            "jobs",
            "must not be empty, because the database has no pending jobs of plant 'ipoh', was empty: "
            "send jobs with the request, or store them by gantry db import jobs FILE --plant ipoh",
        ),
    ]


def test_calendar_of_the_request_wins() -> None:
    """The stored calendar is for requests that have none."""
    stored = plant(calendar=CALENDAR)
    own = completed(request_of(jobs=[], calendar={"holidays": ["2025-01-01"]}), stored, "penang").calendar
    assert own is not None
    assert [day.isoformat() for day in own.holidays] == ["2025-01-01"]
    assert completed(request_of(jobs=[]), stored, "penang").calendar == stored.calendar
    assert completed(request_of(jobs=[]), plant(), "penang").calendar is None


def test_closures_of_machines_that_were_not_sent_do_not_matter() -> None:
    """A request with machines of its own is not refused for a closure of another one."""
    found = completed(request_of(jobs=[], machines=[machine(9)]), plant(calendar=CALENDAR), "penang").calendar
    assert found is not None
    assert (found.machines, found.country) == ([], "MY")


def test_rows_come_in_the_order_of_their_ids() -> None:
    """A database has no order, an answer has."""
    found = plant_data(machines=[machine(10), machine(9)], jobs=[job("B"), job("A")], calendar=None, closures=[])
    assert [each.machine_id for each in found.machines] == [9, 10]
    assert [each.job_id for each in found.jobs] == ["A", "B"]
    assert found.calendar is None


def test_closures_alone_make_a_calendar() -> None:
    """A plant with closures and no calendar has the default week."""
    closures = [{"machine_id": 42, "closed_from": "2025-07-23T08:00", "closed_to": "2025-07-23T17:00", "reason": None}]
    found = plant_data(machines=[], jobs=[], calendar=None, closures=closures).calendar
    assert found is not None
    assert found.breaks is None
    assert found.machines[0].unavailable[0].from_.hour == 8


def test_row_of_a_foreign_view_is_read_like_a_file() -> None:
    """Types of an ERP's columns are not ours: numbers as decimals, lists as text, nulls as defaults."""
    row = {"job_id": 4711, "processing_time": Decimal("1.5"), "machine_types": "1,2", "sequence": None, "weight": None}
    (found,) = plant_data(machines=[], jobs=[row], calendar=None, closures=[]).jobs
    assert (found.job_id, found.processing_time, found.machine_types, found.sequence) == ("4711", 1.5, [1, 2], 1)


def test_unusable_row_is_named_by_its_id() -> None:
    """Nobody can count the rows of a view, so each fault says whose it is."""
    rows = [job("A"), job("B", weight=0)]
    with pytest.raises(InvalidRequest) as caught:
        plant_data(machines=[], jobs=rows, calendar=None, closures=[])
    assert caught.value.reasons == (("jobs[1].weight", "must be greater than 0, was 0 (job_id B in the database)"),)


def test_row_that_is_not_written_by_the_letter_is_a_warning() -> None:
    """An ERP counts its priorities from 0 to 9; whoever asks learns how they were read, and in which row."""
    rows = [job("A", priority=0), job("B", priority=9, lcd_date="2025-07-25t14:00:00z")]
    found = plant_data(machines=[machine()], jobs=rows, calendar=None, closures=[])
    assert [each.priority for each in found.jobs] == [1, 3]
    assert found.warnings == (
        f"{Allowance.PRIORITY.value} (2 times, first at jobs[0].priority (job_id A in the database))",
        f"{Allowance.LOWER_CASE.value} (at jobs[1].lcd_date (job_id B in the database))",
    )


def test_completed_request_is_its_own_copy() -> None:
    """Written as JSON and read again it is the same request: what is stored needs the database no more."""
    whole = completed(_without("machines", jobs=[], colour="red"), plant(calendar=CALENDAR), "penang")
    written = whole.model_dump_json(by_alias=True, exclude_unset=True)
    assert ScheduleRequest.model_validate_json(written) == whole
    assert wire_document({"colour": None}) == {}
