"""The precheck: proofs that nobody could schedule a request."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.contracts.translation.problem import translate
from env.errors import InvalidProblem
from tests.deployments.contracts.problems import reasons_of
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
    message = "must be reachable, was 1 s before the earliest possible completion 2025-07-22T20:36:00+08:00"
    assert _reasons(jobs=family) == [("jobs[1].deadline_at", message)]
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


def test_deadline_counts_breaks_and_load() -> None:
    """2.8 h after 2 h of load pause from 18:00 to 19:00, so they end at 19:48 at the earliest."""
    calendar = {"breaks": [{"start": "18:00", "end": "19:00"}]}
    changes = {"respect_break_times": True, "calendar": calendar, "machines": [machine(current_load=2)]}
    jobs = [job(deadline_at="2025-07-22T19:47:59")]
    message = "must be reachable, was 1 s before the earliest possible completion 2025-07-22T19:48:00+08:00"
    assert _reasons(jobs=jobs, **changes) == [("jobs[0].deadline_at", message)]
    jobs[0]["deadline_at"] = "2025-07-22T19:48:00"
    translate(request_of(jobs=jobs, **changes), zone=KUALA_LUMPUR, now=NOW)


def test_deadline_is_that_of_the_best_machine() -> None:
    """Of a slow free machine and a fast busy one the fast one ends first, until its load is too long."""
    options = [{"machine_id": 1}, {"machine_id": 2, "processing_time": 0.5, "setup_time": 0}]
    jobs = [job(machine_options=options, deadline_at="2025-07-22T14:00:00")]
    fields = {load: _reasons(jobs=jobs, machines=[machine(1), machine(2, current_load=load)]) for load in (1, 5)}
    assert [reasons[0][1].split()[-1] for reasons in fields.values()] == [
        "2025-07-22T15:30:00+08:00",
        "2025-07-22T16:48:00+08:00",
    ]


def test_deadline_among_many_machines_is_still_a_bound() -> None:
    """Beyond a handful of different machines the bound is looser, never too strict."""
    machines = [machine(index, current_load=index) for index in range(20)]
    (reason,) = _reasons(jobs=[job(deadline_at="2025-07-22T14:00:00")], machines=machines)
    assert reason[1].endswith("completion 2025-07-22T16:48:00+08:00")


@pytest.mark.parametrize("deadline", ["9999-12-31T23:59:59", "0001-01-01T00:00:00"])
def test_placeholder_deadlines_do_not_overflow(deadline: str) -> None:
    """The end of all calendars is reachable, their beginning is not."""
    jobs = [job(deadline_at=deadline)]
    if deadline.startswith("9999"):
        translate(request_of(jobs=jobs), zone=KUALA_LUMPUR, now=NOW)
    else:
        assert [field for field, _ in _reasons(jobs=jobs)] == ["jobs[0].deadline_at"]


def test_work_without_pause_names_the_longest_opening() -> None:
    """By the default calendar nothing holds 5 h without a pause; the evening from 19:00 to 23:00 comes closest."""
    jobs = [job(processing_time=5, setup_time=0, interruptible=False)]
    message = "must be true, or the job must fit into the longest opening of its machines: "
    message += "2025-07-22T19:00:00+08:00 to 2025-07-22T23:00:00+08:00 on machine 42 (CM42) is 4 h, the job takes 5 h"
    assert _reasons(jobs=jobs, respect_break_times=True) == [("jobs[0].interruptible", message)]
    jobs = [job(processing_time=4, setup_time=0, interruptible=False)]
    translate(request_of(jobs=jobs, respect_break_times=True), zone=KUALA_LUMPUR, now=NOW)


def test_work_without_pause_fits_around_unavailable_machines() -> None:
    """What is closed every evening on one machine may be open on another."""
    shut = [{"from": f"2025-07-{day}T20:00:00", "to": f"2025-07-{day}T21:00:00"} for day in range(22, 32)]
    calendar = {"machines": [{"machine_id": 42, "unavailable": shut}]}
    jobs = [job(processing_time=4, setup_time=0, interruptible=False)]
    translate(request_of(jobs=jobs, respect_break_times=True, calendar=calendar), zone=KUALA_LUMPUR, now=NOW)


def test_machine_that_never_opens_is_refused_where_work_depends_on_it() -> None:
    """A machine closed for good is no reason while another can do the work."""
    forever = [{"from": "2025-01-01", "to": "9999-12-31"}]
    calendar = {"machines": [{"machine_id": 42, "unavailable": forever}]}
    message = "must name machines that open after schedule_start, machine 42 (CM42) never does"
    assert _reasons(calendar=calendar) == [("jobs[0].machine_types", message)]
    machines = [machine(42), machine(43)]
    translate(request_of(machines=machines, calendar=calendar), zone=KUALA_LUMPUR, now=NOW)


def test_machine_that_opens_after_years_is_no_reason() -> None:
    """That the only machine is closed for ten years is for a warning, with the plan that comes of it."""
    away = [{"from": "2025-01-01", "to": "2035-07-23"}]
    calendar = {"machines": [{"machine_id": 42, "unavailable": away}]}
    for respect_break_times in (False, True):
        asked = request_of(calendar=calendar, respect_break_times=respect_break_times)
        translate(asked, zone=KUALA_LUMPUR, now=NOW)


def test_machines_that_never_open_together_are_refused() -> None:
    """Work that holds several machines needs an opening of all of them, and that is what is said."""
    forever = [{"from": "2025-01-01", "to": "9999-12-31"}]
    jobs = [job(requires_all_machines=[42, 43])]
    calendar = {"machines": [{"machine_id": 42, "unavailable": forever}]}
    ((field, message),) = _reasons(jobs=jobs, machines=[machine(42), machine(43)], calendar=calendar)
    assert field == "jobs[0].requires_all_machines"
    assert message.endswith("machine 42 (CM42) and machine 43 (CM43) never do at the same time")


def test_all_proofs_are_listed_at_once() -> None:
    """An unreachable deadline, work that must not pause and far material come in one answer."""
    jobs = [
        job("A", deadline_at="2025-07-22T14:30:00"),
        job("B", processing_time=6, interruptible=False),
        job("C", release_at="9999-12-31"),
    ]
    fields = [field for field, _ in _reasons(jobs=jobs, respect_break_times=True)]
    assert fields == ["jobs[2].release_at", "jobs[1].interruptible", "jobs[0].deadline_at"]


def test_setup_matrix_may_shorten_what_a_deadline_needs() -> None:
    """Between equal groups there may be no setup at all, so only the processing is certain."""
    jobs = [job("A", setup_group="red", deadline_at="2025-07-22T16:29:59"), job("B", setup_group="red")]
    matrix = [{"from": "red", "to": "red", "hours": 0}]
    (reason,) = reasons_of(jobs=jobs, setup_matrix=matrix)
    assert reason[1].endswith("completion 2025-07-22T16:30:00+08:00")
