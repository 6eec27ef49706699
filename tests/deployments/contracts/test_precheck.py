"""The precheck: proofs that nobody could schedule a request."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.contracts.translation import translate
from env.errors import InvalidProblem
from tests.deployments.fakes import KUALA_LUMPUR, NOW, job, machine, request_of


def _reasons(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidProblem) as caught:
        translate(request_of(**changes), zone=KUALA_LUMPUR, now=NOW)
    return list(caught.value.reasons)


@pytest.mark.parametrize(
    "breaks",
    [
        [{"start": "00:00", "end": "24:00"}],
        [{"start": "06:00", "end": "18:00"}, {"start": "18:00", "end": "06:00"}],
        [{"start": "12:00", "end": "12:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}],
    ],
)
def test_plant_that_never_opens_is_refused(breaks: list[dict[str, Any]]) -> None:
    """Breaks that fill the whole week leave no time to work in."""
    assert _reasons(respect_break_times=True, calendar={"breaks": breaks}) == [
        ("calendar.breaks", "must leave the plant open at some time of the week, left none")
    ]


def test_plant_that_opens_for_a_minute_is_not_refused() -> None:
    """One minute a week is a proof of nothing."""
    breaks = [{"start": "00:01", "end": "24:00", "days": ["mon"]}]
    breaks.append({"start": "00:00", "end": "24:00", "days": ["tue", "wed", "thu", "fri", "sat", "sun"]})
    request = request_of(respect_break_times=True, calendar={"breaks": breaks})
    translate(request, zone=KUALA_LUMPUR, now=NOW)


def test_deadline_counts_release_and_predecessors() -> None:
    """Two jobs of 2.8 h after a release at 15:00 cannot end before 20:36, whoever plans them."""
    family = [
        job("A", family_id="F", sequence=1, release_at="2025-07-22T15:00:00"),
        job("B", family_id="F", sequence=2, deadline_at="2025-07-22T20:35:59"),
    ]
    assert _reasons(jobs=family) == [("jobs[1].deadline_at", "must be reachable, was 1 s too early at best")]
    family[1]["deadline_at"] = "2025-07-22T20:36:00"
    translate(request_of(jobs=family), zone=KUALA_LUMPUR, now=NOW)


def test_release_beyond_all_planning_is_refused() -> None:
    """Material that never comes is named instead of being waited for."""
    reasons = _reasons(jobs=[job(release_at="9999-12-31T23:59:59")])
    assert reasons == [("jobs[0].release_at", "must be within 50 years of schedule_start")]


def test_more_than_a_working_life_of_work_is_refused() -> None:
    """100 jobs of 10,000 h are 114 years for one machine, and 57 for each of two."""
    jobs = [job(f"J{index}", processing_time=10_000, setup_time=0) for index in range(100)]
    message = "must leave each machine at most 50 years of work, left 57 years"
    assert _reasons(jobs=jobs, machines=[machine(1), machine(2)]) == [("jobs[0].machine_types", message)]
    translate(request_of(jobs=jobs, machines=[machine(1), machine(2), machine(3)]), zone=KUALA_LUMPUR, now=NOW)
