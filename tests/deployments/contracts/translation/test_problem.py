"""Wire -> domain: known answers, and every reason why a request cannot be answered."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.translation.problem import Question, translate
from env.errors import InvalidProblem
from env.problem import DEFAULT_BREAKS, Alternative, Closure, Objective, WeeklyBreak
from tests.deployments.fakes import KUALA_LUMPUR, NOW, body, job, machine, request_of


def _question(zone: ZoneInfo = KUALA_LUMPUR, now: datetime = NOW, **changes: Any) -> Question:
    return translate(request_of(**changes), zone=zone, now=now)


DOWN_REMEDY = "; give the hours in calendar.machines[].unavailable and leave the status out, or set it available"


def _reasons(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidProblem) as caught:
        _question(**changes)
    return list(caught.value.reasons)


def test_core_request_becomes_a_problem() -> None:
    """A wire family is a job, a wire job an operation, and hours are seconds."""
    wire = job(family_id="FAM001", sequence=1, priority=2, is_important=True, lcd_date="2025-07-25T00:00:00")
    problem = _question(jobs=[wire], machines=[machine(current_load=5.5)]).problem
    assert [family.id for family in problem.jobs] == ["FAM001"]
    operation = problem.operations[0]
    assert operation.id == "JOAW001"
    assert operation.alternatives == (Alternative(machine=0, processing_seconds=9000, setup_seconds=1080),)
    assert operation.due_seconds == 58 * 3600
    assert (operation.release_seconds, operation.deadline_seconds) == (0, None)
    assert (operation.is_important, operation.priority, operation.interruptible) == (True, 2, True)
    assert (problem.machines[0].id, problem.machines[0].name) == (42, "CM42")
    assert problem.machines[0].busy_seconds == 19_800
    assert problem.objective is Objective.BALANCED
    assert problem.hours is None


def test_defaults_are_those_of_the_contract() -> None:
    """Without setup time a job has 0.3 h of it, and the default calendar applies."""
    request = body(jobs=[{"job_id": "A", "processing_time": 1, "machine_types": [2]}])
    del request["respect_break_times"]
    problem = _question(**request, respect_break_times=True).problem
    assert problem.operations[0].alternatives[0].setup_seconds == 1080
    assert problem.hours is not None
    assert problem.hours.breaks == DEFAULT_BREAKS
    assert problem.hours.zone == "Asia/Kuala_Lumpur"


BERLIN = ZoneInfo("Europe/Berlin")
SECOND_HALF_PAST_TWO = datetime(2025, 10, 26, 1, 30, tzinfo=UTC)
"""The clock shows 02:30 for the second time in that night."""


@pytest.mark.parametrize("microseconds", [0, 1, 500_000, 999_999])
@pytest.mark.parametrize("hours_earlier", [0, 1])
@pytest.mark.parametrize("is_told", [True, False])
def test_start_in_the_repeated_hour_is_never_in_the_past(microseconds: int, hours_earlier: int, is_told: bool) -> None:
    """Told with a zone or taken from the clock, it is rounded up to the next second, in the hour that was meant."""
    now = SECOND_HALF_PAST_TWO + timedelta(microseconds=microseconds, hours=-hours_earlier)
    told = {"schedule_start": now.astimezone(BERLIN).isoformat() if is_told else None}
    start = _question(BERLIN, now, **told).start
    assert timedelta() <= start.astimezone(UTC) - now < timedelta(seconds=1)
    assert start.microsecond == 0


@pytest.mark.parametrize(
    ("now_utc", "fold"), [("00:30:01", 0), ("00:59:00", 0), ("01:00:00", 1), ("01:30:02", 1), ("03:31:00", 0)]
)
def test_naive_start_in_the_repeated_hour_is_the_one_that_is_near(now_utc: str, fold: int) -> None:
    """Whoever sends the clock of the wall means the hour in which it is; of plans for another day the first one."""
    now = datetime.fromisoformat(f"2025-10-26T{now_utc}+00:00")
    start = _question(BERLIN, now, schedule_start="2025-10-26T02:30:00").start
    assert start.astimezone(UTC) == SECOND_HALF_PAST_TWO - timedelta(hours=1 - fold)


@pytest.mark.parametrize("now", ["2025-10-20T12:00:00+00:00", "2026-01-20T12:00:00+00:00"])
def test_naive_start_on_another_day_is_the_first_of_two(now: str) -> None:
    """A plan made ahead, or asked for again later, does not depend on when that is."""
    start = _question(BERLIN, datetime.fromisoformat(now), schedule_start="2025-10-26T02:30:00.25").start
    assert start.astimezone(UTC) == SECOND_HALF_PAST_TWO + timedelta(hours=-1, seconds=1)


def test_naive_start_is_the_plants_clock() -> None:
    """14:00 without a zone is 14:00 in the plant; with a zone it is that instant."""
    assert _question(schedule_start="2025-07-22T14:00:00").start == datetime(2025, 7, 22, 6, tzinfo=UTC)
    zoned = _question(schedule_start="2025-07-22T14:00:00Z").start
    assert zoned.isoformat() == "2025-07-22T22:00:00+08:00"


def test_start_defaults_to_now_and_is_rounded_up() -> None:
    """Without a start the schedule begins with the next whole second."""
    now = datetime(2025, 7, 22, 6, 0, 0, 1, tzinfo=UTC)
    assert _question(schedule_start=None, now=now).start == datetime(2025, 7, 22, 6, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00", "9999-12-31T23:59:59", "1970-01-01", "2200-01-01"])
def test_start_must_be_in_living_memory(start: str) -> None:
    """A start that no calendar reaches is named."""
    assert [field for field, _ in _reasons(schedule_start=start)] == ["schedule_start"]


def test_families_keep_their_order_and_sort_by_sequence() -> None:
    """Families come in order of first appearance, their jobs by sequence, gaps included; loners stand alone."""
    jobs = [
        job("B2", family_id="B", sequence=7),
        job("X"),
        job("A1", family_id="A", sequence=1),
        job("B1", family_id="B", sequence=2),
    ]
    problem = _question(jobs=jobs).problem
    families = [(family.id, [operation.id for operation in family.operations]) for family in problem.jobs]
    assert families == [("B", ["B1", "B2"]), ("X", ["X"]), ("A", ["A1"])]


def test_loner_named_like_a_family_stays_alone() -> None:
    """A job without family never joins a family that happens to have its name."""
    problem = _question(jobs=[job("A"), job("B", family_id="A")]).problem
    assert [[operation.id for operation in family.operations] for family in problem.jobs] == [["A"], ["B"]]


def test_duration_is_at_least_one_second_of_processing() -> None:
    """A tiny processing time still takes a second; a setup of nothing takes none."""
    alternative = _question(jobs=[job(processing_time=1e-9, setup_time=0)]).problem.operations[0].alternatives[0]
    assert (alternative.processing_seconds, alternative.setup_seconds) == (1, 0)


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({"priority": 1}, 3.0),
        ({"priority": 2}, 2.0),
        ({"priority": 3}, 1.0),
        ({"priority": 3, "is_important": True}, 12.0),
        ({"priority": 3, "is_important": True, "weight": 0.5}, 0.5),
    ],
)
def test_weight_follows_importance_then_priority_unless_given(changes: dict[str, Any], weight: float) -> None:
    """Important work weighs 12, priorities 3, 2, 1, and an explicit weight wins."""
    assert _question(jobs=[job(**changes)]).problem.operations[0].weight == weight


def test_machines_out_of_service_take_no_work() -> None:
    """Offline and maintenance drop out; busy stays and works after its load."""
    machines = [
        machine(1, status="offline"),
        machine(2, status="busy", current_load=1),
        machine(3, status="maintenance"),
        machine(4),
    ]
    problem = _question(machines=machines).problem
    assert [(each.id, each.busy_seconds) for each in problem.machines] == [(2, 3600), (4, 0)]
    assert [choice.machine for choice in problem.operations[0].alternatives] == [0, 1]


def test_machine_options_override_types_and_times() -> None:
    """Each option has its own speed, and what it leaves out is that of the job."""
    options = [{"machine_id": 2, "processing_time": 1}, {"machine_id": 1, "setup_time": 0}]
    problem = _question(
        jobs=[job(machine_types=[99], machine_options=options)], machines=[machine(1), machine(2)]
    ).problem
    assert problem.operations[0].alternatives == (
        Alternative(machine=0, processing_seconds=9000, setup_seconds=0),
        Alternative(machine=1, processing_seconds=3600, setup_seconds=1080),
    )


def test_release_before_the_start_is_the_start() -> None:
    """Material that is already there does not move the start; later material does."""
    jobs = [job("A", release_at="2025-07-22T13:00:00"), job("B", release_at="2025-07-22T15:00:00")]
    assert [operation.release_seconds for operation in _question(jobs=jobs).problem.operations] == [0, 3600]


def test_release_before_the_start_is_said() -> None:
    """Material that is there already changes nothing, and the answer says so once."""
    jobs = [job("A", release_at="2025-07-22T13:59:59"), job("B", release_at="2025-07-22"), job("C")]
    assert _question(jobs=jobs).warnings == (
        "release_at of 2 jobs lies before schedule_start: the material is there; first is A",
    )


def test_due_date_before_the_start_is_allowed_and_said() -> None:
    """An LCD in the past is a negative due date and a warning."""
    question = _question(jobs=[job(lcd_date="2025-07-22T13:00:00")])
    assert question.problem.operations[0].due_seconds == -3600
    assert question.warnings == (
        "lcd_date of 1 job lies before schedule_start: late in any schedule; first is JOAW001",
    )


def test_calendar_replaces_the_default_breaks() -> None:
    """Given breaks stand instead of the default ones; midnight may be written as 24:00."""
    breaks = [{"name": "evening", "start": "18:00", "end": "24:00", "days": ["mon", "sun"]}]
    hours = _question(respect_break_times=True, calendar={"breaks": breaks}).problem.hours
    assert hours is not None
    evening = WeeklyBreak(name="evening", start=time(18), end=time(0), weekdays=frozenset({0, 6}))
    assert hours.breaks == (evening,)


def test_holidays_hold_without_breaks_and_can_be_dropped() -> None:
    """Without the weekly calendar holidays still close the plant, unless they are not respected either."""
    calendar = {"holidays": ["2025-07-23"]}
    hours = _question(calendar=calendar).problem.hours
    assert hours is not None
    assert (hours.breaks, [day.isoformat() for day in hours.holidays]) == ((), ["2025-07-23"])
    assert _question(calendar=calendar, respect_holidays=False).problem.hours is None


def test_unavailable_machine_is_closed_even_around_the_clock() -> None:
    """A closure is in the plant's clock and widens to whole seconds."""
    unavailable = [{"from": "2025-07-22T15:00:00.5", "to": "2025-07-22T16:00:00.5", "reason": "service"}]
    calendar = {"machines": [{"machine_id": 42, "unavailable": unavailable}]}
    closures = _question(calendar=calendar).problem.machines[0].closures
    assert closures == (Closure(start_seconds=3600, end_seconds=7201, reason="service"),)


def test_every_reason_is_listed_at_once() -> None:
    """Repeated ids, repeated sequences and impossible machines come in one answer, each by its path."""
    jobs = [
        job("A", family_id="F", sequence=1),
        job("A", family_id="F", sequence=1),
        job("C", machine_types=[9]),
        job("D", machine_types=[]),
        job("E", processing_time=None),
        job("G", machine_options=[{"machine_id": 7}]),
    ]
    twice = "both entries say the same: was a row sent twice?"
    assert _reasons(jobs=jobs, machines=[machine(), machine()]) == [
        ("jobs[1].job_id", f"must be unique, A is also jobs[0]; {twice}"),
        ("machines[1].machine_id", f"must be unique, 42 is also machines[0]; {twice}"),
        ("jobs[1].sequence", f"must be unique within family F, 1 is also that of jobs[0]; {twice}"),
        ("jobs[2].machine_types", "must name the machine_type of one of machines, was [9]; they have [2]"),
        ("jobs[3].machine_types", "must not be empty unless there are machine_options, was empty"),
        ("jobs[4].processing_time", "must be given unless there are machine_options, was absent"),
        ("jobs[5].machine_options[0].machine_id", "must be one of machines, was 7"),
    ]


@pytest.mark.parametrize(
    ("jobs", "field", "cause"),
    [
        ([job("A"), job("A", processing_time=1)], "job_id", "if they are steps of one order, each needs a job_id of"),
        (
            [job("10", family_id="F"), job("10", family_id="G")],
            "job_id",
            "job_id must be unique in the whole request, not only in its family: put family_id in front of it",
        ),
        (
            [job("A", family_id="F"), job("B", family_id="F")],
            "sequence",
            "a job without a sequence has 1: number the steps of a family",
        ),
        (
            [job("A", family_id="F", sequence=1), job("B", family_id="F")],
            "sequence",
            "a job without a sequence has 1: number the steps of a family",
        ),
        (
            [job("A", family_id="F", sequence=7), job("B", family_id="F", sequence=7)],
            "sequence",
            "if they are ways to do one step, they are one job with machine_options; if both are done, number them, ",
        ),
    ],
)
def test_repeated_job_or_sequence_names_its_likely_cause(jobs: list[dict[str, Any]], field: str, cause: str) -> None:
    """Whoever sent it meant something, and can say it."""
    ((place, message),) = _reasons(jobs=jobs)
    assert place == f"jobs[1].{field}"
    assert cause in message.split("; ", 1)[1]


def test_repeated_machine_names_its_likely_cause() -> None:
    """Most often it is a machine that can do more than one thing."""
    assert _reasons(machines=[machine(), machine(machine_type=3)]) == [
        (
            "machines[1].machine_id",
            "must be unique, 42 is also machines[0]; "
            "a machine has one machine_type: jobs of another type name the machine in machine_options",
        )
    ]
    ((_, message),) = _reasons(machines=[machine(), machine(current_load=1)])
    assert message.endswith("a machine is one entry, with what is true of it at schedule_start")


def test_all_machines_offline_is_one_reason() -> None:
    """Not each job is blamed for a plant that stands still."""
    message = "must include one that is available or busy, all were offline or in maintenance"
    machines = [machine(1, status="offline"), machine(2, status="maintenance")]
    assert _reasons(machines=machines) == [("machines", message)]


def test_options_must_include_a_working_machine() -> None:
    """A job whose own machines are all out of service cannot be done; named twice is refused too."""
    machines = [machine(1, status="offline"), machine(2)]
    options = [{"machine_id": 1}, {"machine_id": 1}]
    assert _reasons(machines=machines, jobs=[job(machine_options=options)]) == [
        ("jobs[0].machine_options[1].machine_id", "must be named once, 1 was named again"),
        ("jobs[0].machine_options", f"must name an available machine, was [1]: CM01 (1) is offline{DOWN_REMEDY}"),
    ]


def test_type_that_only_machines_out_of_service_have_names_them() -> None:
    """The planner who took a machine down learns which one it was, and how to say until when."""
    down = [
        machine(20, machine_name="Brake", status="offline"),
        machine(21, machine_name="", status="maintenance"),
        machine(22, machine_type=3),
    ]
    message = "must name a type of an available machine, was [2]: Brake (20) is offline, machine 21 is in maintenance"
    assert _reasons(machines=down) == [("jobs[0].machine_types", message + DOWN_REMEDY)]
    unknown = "must name the machine_type of one of machines, was [7]; they have [2, 3]"
    assert _reasons(machines=down, jobs=[job(machine_types=[7])]) == [("jobs[0].machine_types", unknown)]


def test_few_of_many_machines_out_of_service_are_named() -> None:
    """Three by name, the others by their number."""
    down = [machine(number, status="offline") for number in range(1, 6)]
    ((field, message),) = _reasons(machines=[*down, machine(9, machine_type=3)])
    assert field == "jobs[0].machine_types"
    assert "CM03 (3) is offline, 2 more are not at work either; " in message


def test_option_needs_a_time_from_somewhere() -> None:
    """Neither the option nor the job says how long it takes."""
    options = [{"machine_id": 42}]
    reasons = _reasons(jobs=[job(processing_time=None, machine_options=options)])
    assert reasons == [("jobs[0].machine_options[0].processing_time", "must be given here or on the job, was absent")]


def test_closures_must_make_sense() -> None:
    """A closure names a machine of the request and ends after it begins."""
    unavailable = [{"from": "2025-07-22T15:00:00", "to": "2025-07-22T15:00:00+08:00"}]
    calendar = {"machines": [{"machine_id": 7, "unavailable": unavailable}]}
    assert [field for field, _ in _reasons(calendar=calendar)] == [
        "calendar.machines[0].machine_id",
        "calendar.machines[0].unavailable[0].to",
    ]


@pytest.mark.parametrize(
    ("changes", "field"), [({"jobs": []}, "jobs"), ({"machines": None}, "machines"), ({"machines": []}, "machines")]
)
def test_jobs_and_machines_are_filled_in_before(changes: dict[str, Any], field: str) -> None:
    """The translation knows no database: what the plant has must be in the request by now."""
    reasons = dict(_reasons(**changes))
    assert reasons[field].startswith("must ")


USES: dict[str, dict[str, Any]] = {
    "setup_group": {"jobs": [job(setup_group="red")]},
    "setup_matrix": {"setup_matrix": [{"from": "red", "to": "blue", "hours": 1}]},
    "pinned": {"jobs": [job(pinned={"machine_id": 42, "start_datetime": "2025-07-22T15:00:00"})]},
    "requires_all_machines": {"jobs": [job(requires_all_machines=[42])]},
    "freeze_until": {"freeze_until": "2025-07-23"},
    "previous_schedule_id": {"previous_schedule_id": "x"},
    "manual_schedule": {
        "manual_schedule": [{"job_id": "A", "machine_id": 42, "start_datetime": "2025-07-22T15:00:00"}]
    },
    "arm": {"arm": "ppo"},
}


@pytest.mark.parametrize(
    ("said", "due", "objective"),
    [
        (None, None, Objective.MAKESPAN),
        (None, "2025-07-25T00:00:00", Objective.BALANCED),
        ("makespan", "2025-07-25T00:00:00", Objective.MAKESPAN),
        ("tardiness", None, Objective.TARDINESS),
    ],
)
def test_due_dates_count_where_nothing_is_said(said: str | None, due: str | None, objective: Objective) -> None:
    """Whoever sends due dates and no objective expects them to be met; what is said is done."""
    said_so = {} if said is None else {"optimization_objective": said}
    assert _question(jobs=[job(lcd_date=due)], **said_so).problem.objective is objective


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-03-30", 24), ("2026-10-25", 25)])
def test_due_on_a_day_is_due_by_its_end_in_the_zone_of_the_plant(day: str, hours: int) -> None:
    """From midnight on a day has 24 hours, and one less or more when the clocks change; a release is its beginning."""
    dated = job(lcd_date=day, deadline_at=day, release_at=day)
    request = request_of(jobs=[dated], schedule_start=f"{day}T00:00:00")
    (operation,) = translate(request, zone=ZoneInfo("Europe/Berlin"), now=NOW).problem.operations
    assert operation.due_seconds == operation.deadline_seconds == hours * 3600
    assert operation.release_seconds == 0
