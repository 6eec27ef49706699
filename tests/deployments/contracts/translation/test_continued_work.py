"""What becomes of finished, running and frozen work, and what is said about it. The schedule starts Tuesday 14:00."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.contracts.translation.fixed_work import EarlierRow, earlier_rows
from deployments.contracts.translation.problem import Question
from env.judge.judge import violations
from env.problem import Alternative, Pin
from env.simulator.rules import Rule, dispatch
from tests.deployments.contracts.problems import question_of, reasons_of
from tests.deployments.fakes import job, machine

HOUR = 3600
TWO = [machine(42), machine(43)]
FREEZE = {"freeze_until": "2025-07-22T18:00:00", "previous_schedule_id": "earlier"}


def _hour(job_id: str = "A", **changes: Any) -> dict[str, Any]:
    """A job that takes an hour."""
    return job(job_id, **{"processing_time": 1, "setup_time": 0} | changes)


def _row(job_id: str, start: float, end: float, on: int = 42, **changes: Any) -> dict[str, Any]:
    """Hours of the day, which may be fractions."""
    clock = [f"2025-07-22T{int(hour):02}:{round(hour % 1 * 60):02}:00+08:00" for hour in (start, end)]
    return {"job_id": job_id, "machine_id": on, "start_datetime": clock[0], "end_datetime": clock[1]} | changes


def _continued(*rows: dict[str, Any], **changes: Any) -> Question:
    """The question of a request that continues these rows; the planner's rule answers it as the judge likes it."""
    question = question_of(_rows(*rows), **FREEZE | changes)
    plan = dispatch(question.problem, Rule.PLANNER)
    assert [violation for violation in violations(question.problem, plan) if violation.is_critical] == []
    return question


def _rows(*rows: dict[str, Any]) -> tuple[EarlierRow, ...]:
    return earlier_rows(json.dumps({"scheduled_jobs": rows}).encode())


def _pins(question: Question) -> dict[str, tuple[int, int, int | None]]:
    """Machine, start and end of what is pinned, in hours."""
    return {
        each.id: (
            question.problem.machines[each.alternatives[0].machine].id,
            each.pin.start_seconds / HOUR,
            each.pin.end_seconds and each.pin.end_seconds / HOUR,
        )
        for each in question.problem.operations
        if each.pin is not None
    }  # type: ignore[return-value]


def _closed(machine_id: int, start: int, end: int) -> dict[str, Any]:
    span = {"from": f"2025-07-22T{start}:00:00", "to": f"2025-07-22T{end}:00:00"}
    return {"calendar": {"machines": [{"machine_id": machine_id, "unavailable": [span]}]}}


@pytest.mark.parametrize(
    "machines",
    [[machine(42, status="offline"), machine(43)], [machine(43)], [machine(42, machine_type=9), machine(43)]],
    ids=["offline", "gone", "of another type"],
)
def test_finished_work_needs_no_machine(machines: list[dict[str, Any]]) -> None:
    """It keeps its row on a machine that is offline, gone or unfit, however long it would take now."""
    row = _row("A", 12, 14, machine_name="Old", setup_time_included=0.5)
    question = _continued(row, jobs=[_hour(processing_time=9, release_at="2025-07-23"), _hour("B")], machines=machines)
    assert _pins(question) == {"A": (42, -2, 0)}
    assert question.warnings == ()
    assert question.problem.operations[0].alternatives[0].setup_seconds == HOUR / 2


def test_finished_work_of_the_only_machine_of_its_kind() -> None:
    """That nobody could do it any more is no reason to refuse what is done."""
    machines = [machine(42, status="offline"), machine(43, machine_type=3)]
    question = _continued(_row("A", 12, 13), jobs=[_hour(), _hour("B", machine_types=[3])], machines=machines)
    assert [each.id for each in question.problem.machines] == [43, 42]


def test_everything_is_finished() -> None:
    """A plan that is over can be asked for, also when no machine is left."""
    question = _continued(_row("A", 12, 13), jobs=[_hour()], machines=[machine(42, status="offline")])
    assert _pins(question) == {"A": (42, -2, -1)}


def test_running_work_pauses_where_its_machine_is_closed() -> None:
    """Three hours from 13:00, closed from 14:00 to 16:00, end at 18:00; the warning says why."""
    question = _continued(_row("A", 13, 16), jobs=[_hour(processing_time=3)], **_closed(42, 14, 16))
    assert _pins(question) == {"A": (42, -1, 4)}
    assert question.warnings == ("A now ends Tue 18:00, 2 h later: CM42 is closed from Tue 14:00 to Tue 16:00",)


def test_running_work_that_must_not_pause_pauses_all_the_same() -> None:
    """Nobody asks a broken machine; new work of its kind would wait for a longer opening."""
    jobs = [_hour(processing_time=3, interruptible=False)]
    assert _pins(_continued(_row("A", 13, 16), jobs=jobs, **_closed(42, 15, 17))) == {"A": (42, -1, 4)}


def test_running_work_takes_as_long_as_the_request_says() -> None:
    """It keeps the setup that it took, whatever setup is asked for now."""
    row = _row("A", 13, 15.5, setup_time_included=0.5)
    question = _continued(row, jobs=[_hour(processing_time=4, setup_time=2)])
    assert _pins(question) == {"A": (42, -1, 3.5)}
    message = "A now ends Tue 17:30, 2 h later: it takes 4 h 30 min now, was planned with 2 h 30 min"
    assert question.warnings == (message,)
    shorter = _continued(row, jobs=[_hour(processing_time=1.5, setup_time=0)])
    message = "A now ends Tue 15:00, 30 min earlier: it takes 2 h now, was planned with 2 h 30 min"
    assert (_pins(shorter), shorter.warnings) == ({"A": (42, -1, 1)}, (message,))


def test_setup_that_older_rows_do_not_tell_is_derived() -> None:
    """A answer of before had no setup in its rows: behind red work the matrix says what blue took."""
    matrix = [{"from": "red", "to": "blue", "hours": 0.5}]
    jobs = [_hour(setup_group="red"), _hour("B", setup_group="blue", setup_time=9)]
    question = _continued(_row("A", 12, 13), _row("B", 13, 14.5), jobs=jobs, setup_matrix=matrix)
    assert _pins(question) == {"A": (42, -2, -1), "B": (42, -1, 0.5)}
    assert question.warnings == ()


def test_work_whose_machine_is_lost_begins_anew() -> None:
    """The breakdown of 42 sends running A to 43, in full, as early as possible."""
    machines = [machine(42, status="offline"), machine(43, current_load=2)]
    question = _continued(_row("A", 13, 14.5), jobs=[_hour(processing_time=1.5)], machines=machines)
    assert _pins(question) == {"A": (43, 2, None)}
    message = "A begins anew Tue 16:00 on CM43, was Tue 13:00 on CM42: CM42 is offline"
    assert question.warnings == (message,)


def test_machine_that_is_gone_keeps_its_name() -> None:
    """The request has it no more; the row of the earlier answer still says what people called it."""
    row = _row("A", 15, 16, machine_name="Laser")
    question = _continued(row, jobs=[_hour()], machines=[machine(43)])
    message = "A now starts Tue 14:00 on CM43, was Tue 15:00 on Laser: Laser is not among machines"
    assert question.warnings == (message,)


@pytest.mark.parametrize(
    ("machines", "cause"),
    [
        ([machine(42, status="maintenance"), machine(43)], "CM42: CM42 is in maintenance"),
        ([machine(43)], "machine 42: machine 42 is not among machines"),
        ([machine(42, machine_type=9), machine(43)], "CM42: CM42 cannot do it any more"),
    ],
)
def test_frozen_work_leaves_a_lost_machine(machines: list[dict[str, Any]], cause: str) -> None:
    """Only the work of that machine moves, and its warning says why."""
    rows = _row("A", 15, 16), _row("B", 14, 15, on=43)
    question = _continued(*rows, jobs=[_hour(), _hour("B")], machines=machines)
    assert _pins(question) == {"A": (43, 1, None), "B": (43, 0, None)}
    assert question.warnings == (f"A now starts Tue 15:00 on CM43, was Tue 15:00 on {cause}",)


@pytest.mark.parametrize(
    ("changes", "start", "cause"),
    [
        ({"jobs": [_hour(release_at="2025-07-22T16:30:00")]}, 2.5, "its material arrives Tue 16:30"),
        ({"machines": [machine(42, current_load=2)]}, 2, "CM42 has earlier load until Tue 16:00"),
        (_closed(42, 14, 17), 3, "CM42 is closed from Tue 14:00 to Tue 17:00"),
        (
            {
                "jobs": [_hour(release_at="2025-07-22T15:00:00")],
                "respect_break_times": True,
                "calendar": {"breaks": [{"start": "14:30", "end": "15:30"}]},
            },
            1.5,
            "CM42 is closed until Tue 15:30",
        ),
        (
            {
                "jobs": [_hour(processing_time=2, interruptible=False, release_at="2025-07-22T15:00:00")],
                **_closed(42, 16, 17),
            },
            3,
            "CM42 is closed from Tue 16:00 to Tue 17:00",
        ),
        ({"jobs": [_hour("R", processing_time=3), _hour()]}, 2, "CM42 has R until Tue 16:00"),
    ],
    ids=["material", "load", "closure", "break", "no room without a pause", "running work"],
)
def test_frozen_work_moves_where_it_cannot_stay(changes: dict[str, Any], start: float, cause: str) -> None:
    """As early as possible, and the warning names old and new time and the cause."""
    jobs = [_hour("R"), _hour()] if "jobs" not in changes else changes["jobs"]
    rows = [_row("A", 15, 16), *([_row("R", 13, 14.5)] if jobs[0]["job_id"] == "R" else [])]
    question = _continued(*rows, **{"jobs": jobs} | changes)
    assert _pins(question)["A"] == (42, start, None)
    clock = f"{14 + int(start)}:{round(start % 1 * 60):02}"
    assert f"A now starts Tue {clock} on CM42, was Tue 15:00 on CM42: {cause}" in question.warnings


def test_what_follows_moves_with_its_reason() -> None:
    """A1 loses its machine, so A2 behind it cannot stay; B beside them does."""
    family = [_hour("A1", family_id="F", sequence=1), _hour("A2", family_id="F", sequence=2, machine_types=[3])]
    machines = [machine(42, status="offline"), machine(43, current_load=3), machine(44, machine_type=3)]
    rows = _row("A1", 14, 15), _row("A2", 15, 16, on=44), _row("B", 16, 17, on=44)
    question = _continued(*rows, jobs=[*family, _hour("B", machine_types=[3])], machines=machines)
    assert _pins(question) == {"A1": (43, 3, None), "A2": (44, 4, None), "B": (44, 2, None)}
    assert question.warnings[1].endswith("A2 now starts Tue 18:00 on CM44, was Tue 15:00 on CM44: A1 ahead of it moves")


def test_frozen_work_waits_for_running_work_ahead_of_it() -> None:
    """A1 runs an hour longer, and A2 begins when it ends."""
    family = [
        _hour("A1", family_id="F", sequence=1, processing_time=3),
        _hour("A2", family_id="F", sequence=2, machine_types=[3]),
    ]
    rows = _row("A1", 13, 15), _row("A2", 15, 16, on=44)
    question = _continued(*rows, jobs=family, machines=[machine(42), machine(44, machine_type=3)])
    assert _pins(question) == {"A1": (42, -1, 2), "A2": (44, 2, None)}
    message = "A2 now starts Tue 16:00 on CM44, was Tue 15:00 on CM44: A1 ahead of it ends Tue 16:00"
    assert question.warnings[1] == message


def test_frozen_work_that_stays_may_take_longer() -> None:
    """It keeps its start, and the next frozen work on its machine goes behind it."""
    jobs = [_hour(processing_time=2), _hour("B")]
    question = _continued(_row("A", 14, 15), _row("B", 15, 16), jobs=jobs)
    assert _pins(question) == {"A": (42, 0, None), "B": (42, 2, None)}
    assert question.warnings == (
        "A now ends Tue 16:00, 1 h later: it takes 2 h now, was planned with 1 h",
        "B now starts Tue 16:00 on CM42, was Tue 15:00 on CM42: CM42 has A until Tue 16:00",
    )


def test_frozen_work_takes_the_changeover_that_it_needs() -> None:
    """Behind what is known on its machine by this request's matrix; behind nothing as it was planned."""
    matrix = [{"from": "red", "to": "blue", "hours": 0.25}]
    jobs = [_hour(setup_group="red"), _hour("B", setup_group="blue", setup_time=3)]
    rows = _row("A", 12, 13, setup_time_included=0), _row("B", 14, 15.5, setup_time_included=0.5)
    question = _continued(*rows, jobs=jobs, setup_matrix=matrix)
    assert question.problem.operations[1].alternatives == (
        Alternative(machine=0, processing_seconds=HOUR, setup_seconds=HOUR // 4),
    )
    alone = _continued(rows[1], jobs=[jobs[1]], setup_matrix=[{"from": "blue", "to": "blue", "hours": 1}])
    assert alone.problem.operations[0].alternatives[0].setup_seconds == HOUR // 2


def test_work_that_must_be_done_anew_goes_around_what_stays() -> None:
    """A needs three hours: between 14:00 and B at 16:00 there is no room for it, behind B there is."""
    rows = _row("A", 15, 18, on=43), _row("B", 16, 17)
    machines = [machine(42), machine(43, status="offline")]
    question = _continued(*rows, jobs=[_hour(processing_time=3), _hour("B")], machines=machines)
    assert _pins(question) == {"A": (42, 3, None), "B": (42, 2, None)}


def test_work_after_the_freeze_that_may_have_begun_is_planned_anew() -> None:
    """It began between the end of the freeze and the start of the schedule, as far as the earlier plan knows."""
    rows = _row("A", 12, 13), _row("B", 13.25, 15)
    question = _continued(*rows, jobs=[_hour(), _hour("B")], freeze_until="2025-07-22T13:00:00")
    assert _pins(question) == {"A": (42, -2, -1)}
    message = "1 job of previous_schedule_id that should start between freeze_until and schedule_start: planned anew"
    assert question.warnings == (f"{message}, although it may have begun; first is B",)


def test_new_work_ahead_of_what_has_begun_is_refused() -> None:
    """The reason names both jobs, and what to do."""
    family = [_hour("NEW", family_id="F", sequence=1), _hour("A", family_id="F", sequence=2)]
    message = "NEW must not precede A in family F, which has begun already: give NEW a later sequence, leave it out, "
    for row in (_row("A", 12, 13), _row("A", 13, 14.5)):
        assert reasons_of(_rows(row), jobs=family, **FREEZE) == [("jobs[0].sequence", message + "or leave A out")]
    message = "NEW must not precede A in family F, which is frozen: give NEW a later sequence, leave it out, or let "
    message += "freeze_until end before A starts"
    assert reasons_of(_rows(_row("A", 15, 16)), jobs=family, **FREEZE) == [("jobs[0].sequence", message)]


def test_frozen_work_ahead_of_what_has_begun_is_refused() -> None:
    """The sequences were exchanged: B is still to come and cannot go before A."""
    family = [_hour("B", family_id="F", sequence=1), _hour("A", family_id="F", sequence=2)]
    rows = _rows(_row("A", 13, 14.5), _row("B", 15, 16))
    assert [field for field, _ in reasons_of(rows, jobs=family, **FREEZE)] == ["jobs[0].sequence"]
    both_over = _continued(_row("A", 12, 13), _row("B", 13, 14), jobs=family)
    assert _pins(both_over) == {"B": (42, -1, 0), "A": (42, -2, -1)}


def test_two_running_jobs_on_one_machine_are_refused() -> None:
    """The reason names both, by whatever they run."""
    pinned = _hour("B", pinned={"machine_id": 42, "start_datetime": "2025-07-22T13:30:00"})
    message = "A and B must not both be running on CM42: leave out the one that is not, or let it start at "
    reasons = reasons_of(_rows(_row("A", 13, 15)), jobs=[_hour(processing_time=2), pinned], **FREEZE)
    assert ("jobs[1]", message + "schedule_start") in reasons


def test_pin_in_the_way_of_longer_frozen_work_moves_it() -> None:
    """A pin that left the row alone stays; the frozen work that grew into it goes behind it."""
    pinned = _hour("P", pinned={"machine_id": 42, "start_datetime": "2025-07-22T16:00:00"})
    question = _continued(_row("A", 14, 16), jobs=[_hour(processing_time=3), pinned])
    assert _pins(question) == {"A": (42, 3, None), "P": (42, 2, None)}


def test_pin_on_running_work_that_takes_longer_is_refused() -> None:
    """Both must not move, so the reason names both and the remedy."""
    pinned = _hour("P", pinned={"machine_id": 42, "start_datetime": "2025-07-22T15:00:00"})
    reasons = reasons_of(_rows(_row("A", 13, 15)), jobs=[_hour(processing_time=3), pinned], **FREEZE)
    message = "must not overlap A on machine 42 (CM42), did for 1 h: pin P later or on another machine, or leave it "
    assert reasons == [("jobs[1].pinned", message + "unpinned")]


def test_pin_of_what_has_begun_is_running_work() -> None:
    """A pin where the row is: it keeps the setup that it took."""
    pinned = _hour("A", setup_time=9, pinned={"machine_id": 42, "start_datetime": "2025-07-22T13:00:00"})
    question = _continued(_row("A", 13, 14.5, setup_time_included=0.5), jobs=[pinned])
    assert question.problem.operations[0].pin == Pin(start_seconds=-HOUR, end_seconds=HOUR // 2)


def test_deadline_that_begun_work_misses_is_no_reason_to_refuse() -> None:
    """A breakdown must not stop the plan from going on; what is still to come is held to its deadline."""
    jobs = [_hour(processing_time=2, deadline_at="2025-07-22T15:00:00")]
    question = _continued(_row("A", 13, 15), jobs=jobs, **_closed(42, 14, 16))
    assert _pins(question) == {"A": (42, -1, 3)}


def test_many_changes_are_counted() -> None:
    """Fifty warnings are told, the others counted."""
    rows = [_row(f"J{number}", 13, 14.5, on=number) for number in range(60)]
    jobs = [_hour(f"J{number}", machine_options=[{"machine_id": number}]) for number in range(60)]
    question = _continued(*rows, jobs=jobs, machines=[machine(number) for number in range(60)])
    assert len(question.warnings) == 51
    assert question.warnings[-1] == "10 further jobs of previous_schedule_id do not end or start as planned"
