"""Pinned work and work on several machines: what becomes of it, and why it may not stay."""

from __future__ import annotations

from typing import Any

import pytest

from env.problem import Alternative, Pin
from tests.deployments.contracts.problems import question_of, reasons_of
from tests.deployments.fakes import job, machine

TWO = [machine(42), machine(43)]
LUNCH = {"respect_break_times": True, "calendar": {"breaks": [{"start": "18:00", "end": "19:00"}]}}
_REMEDY = "; give the hours in calendar.machines[].unavailable and leave the status out, or set it available"


def _pinned(job_id: str = "A", start: str = "2025-07-22T15:00:00", on: int = 42, **changes: Any) -> dict[str, Any]:
    return job(job_id, pinned={"machine_id": on, "start_datetime": start}, **changes)


def test_pin_leaves_one_machine_and_one_start() -> None:
    """A job pinned an hour after the start stays on that machine, with that machine's own speed."""
    options = [{"machine_id": 42}, {"machine_id": 43, "processing_time": 1}]
    operation = question_of(jobs=[_pinned(on=43, machine_options=options)], machines=TWO).problem.operations[0]
    assert operation.pin == Pin(start_seconds=3600)
    assert operation.alternatives == (Alternative(machine=1, processing_seconds=3600, setup_seconds=1080),)


def test_running_work_gets_its_end_from_the_calendar() -> None:
    """2.8 h of work that began 30 min before the schedule pause at 18:00 only if they last that long."""
    running = question_of(jobs=[_pinned(start="2025-07-22T13:30:00", release_at="2025-07-23")], **LUNCH).problem
    assert running.operations[0].pin == Pin(start_seconds=-1800, end_seconds=-1800 + 10_080)
    assert running.operations[0].release_seconds == 0
    longer = question_of(jobs=[_pinned(start="2025-07-22T13:30:00", processing_time=5)], **LUNCH).problem
    assert longer.operations[0].pin == Pin(start_seconds=-1800, end_seconds=-1800 + 19_080 + 3600)


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (7, "must be one of machines, was 7"),
        (43, f"must be available or busy: CM43 (43) is offline{_REMEDY}"),
        (44, "must be able to do the job, was 44"),
    ],
)
def test_pin_names_a_machine_that_can_do_the_job(on: int, message: str) -> None:
    """Unknown, offline and unsuitable machines each have their own sentence."""
    machines = [machine(42), machine(43, status="offline"), machine(44, machine_type=9)]
    assert reasons_of(jobs=[_pinned(on=on)], machines=machines) == [("jobs[0].pinned.machine_id", message)]


def test_pin_in_closed_time_names_the_next_opening() -> None:
    """At 18:30 the plant rests until 19:00."""
    message = "must start while machine 42 (CM42) is open, which is next at 2025-07-22T19:00:00+08:00"
    assert reasons_of(jobs=[_pinned(start="2025-07-22T18:30:00")], **LUNCH) == [("jobs[0].pinned", message)]


def test_pin_without_pause_must_fit_before_the_next_break() -> None:
    """2.8 h from 15:12 end at 18:00 sharp; a second later they do not fit, unless they may pause."""
    question_of(jobs=[_pinned(start="2025-07-22T15:12:00", interruptible=False)], **LUNCH)
    late = "2025-07-22T15:12:01"
    message = "must have room for 2 h 48 min without a pause on machine 42 (CM42), which closes before that"
    assert reasons_of(jobs=[_pinned(start=late, interruptible=False)], **LUNCH) == [("jobs[0].pinned", message)]
    question_of(jobs=[_pinned(start=late)], **LUNCH)


def test_pins_on_one_machine_must_not_overlap() -> None:
    """Work that ends as the next begins is fine; one second earlier is not, even past a shorter neighbour."""
    after = "2025-07-22T17:48:00"
    question_of(jobs=[_pinned("A"), _pinned("B", after)])
    question_of(jobs=[_pinned("A"), _pinned("B", on=43)], machines=TWO)
    assert reasons_of(jobs=[_pinned("A"), _pinned("B", "2025-07-22T17:47:59")]) == [
        ("jobs[1].pinned", "must not overlap A on machine 42 (CM42), did for 1 s")
    ]
    short = _pinned("B", "2025-07-22T15:10:00", processing_time=0.1, setup_time=0)
    fields = [field for field, _ in reasons_of(jobs=[_pinned("A"), short, _pinned("C", "2025-07-22T17:00:00")])]
    assert fields == ["jobs[1].pinned", "jobs[2].pinned"]


def test_pin_waits_for_material_load_and_predecessors() -> None:
    """Each of the three has its own sentence with the amount."""
    jobs = [
        job("A", family_id="F", sequence=1),
        _pinned("B", family_id="F", sequence=2, release_at="2025-07-22T15:30:00"),
    ]
    assert reasons_of(jobs=jobs, machines=[machine(42, current_load=1.25)]) == [
        ("jobs[1].pinned", "must not start before its material arrives, was 30 min too early"),
        ("jobs[1].pinned", "must wait for the current_load of its machine, was 15 min too early"),
        ("jobs[1].pinned", "must wait for the jobs ahead of it in family F, was 3 h 3 min too early"),
    ]


@pytest.mark.parametrize("start", ["0001-01-01", "2020-01-01", "9999-12-31"])
def test_pin_must_be_within_reach(start: str) -> None:
    """A placeholder date is no place in a plan."""
    assert [field for field, _ in reasons_of(jobs=[_pinned(start=start)])] == ["jobs[0].pinned.start_datetime"]


def test_required_machines_become_one_alternative() -> None:
    """The first does the work, the others are held; machine types no longer matter."""
    held = job(requires_all_machines=[43, 42], machine_types=[])
    alternatives = question_of(jobs=[held], machines=TWO).problem.operations[0].alternatives
    assert alternatives == (Alternative(machine=1, processing_seconds=9000, setup_seconds=1080, also_holds=(0,)),)


def test_required_machines_must_exist_and_work() -> None:
    """Unknown, offline and repeated machines are each named by their place."""
    machines = [machine(42), machine(43, status="maintenance")]
    held = job(requires_all_machines=[42, 7, 43, 42], processing_time=None, machine_options=[{"machine_id": 42}])
    assert reasons_of(jobs=[held], machines=machines) == [
        ("jobs[0].processing_time", "must be given unless there are machine_options, was absent"),
        ("jobs[0].requires_all_machines", "must not be given together with machine_options, was given"),
        ("jobs[0].requires_all_machines[1]", "must be one of machines, was 7"),
        ("jobs[0].requires_all_machines[2]", f"must be available or busy: CM43 (43) is in maintenance{_REMEDY}"),
        ("jobs[0].requires_all_machines[3]", "must be named once, 42 was named again"),
    ]


def test_pin_of_several_machines_names_the_first() -> None:
    """Where a job holds several machines, its pin names the one that does the work, and holds them all."""
    held = _pinned(on=42, requires_all_machines=[43, 42])
    message = "must be the first of requires_all_machines, was 42"
    assert reasons_of(jobs=[held], machines=TWO) == [("jobs[0].pinned.machine_id", message)]
    jobs = [_pinned("A", on=43, requires_all_machines=[43, 42]), _pinned("B", on=42)]
    message = "must not overlap A on machine 42 (CM42), did for 2 h 48 min"
    assert reasons_of(jobs=jobs, machines=TWO) == [("jobs[1].pinned", message)]
