"""Plants that can be scheduled: every field of the contract at work."""

from __future__ import annotations

from typing import Any

from tests.system.recording.plants import (
    START,
    Body,
    fisher_and_thompson,
    generated,
    job,
    one_job,
    one_such_job,
    painted,
    shipped,
    shop,
)

CORE: Body = {
    "jobs": [
        {
            "job_id": "JOAW001",
            "family_id": "FAM001",
            "sequence": 1,
            "processing_time": 2.5,
            "machine_types": [1, 2, 3],
            "priority": 2,
            "is_important": True,
            "lcd_date": "2025-07-25T00:00:00",
            "setup_time": 0.3,
        },
        {"job_id": "JOAW002", "family_id": "FAM001", "sequence": 2, "processing_time": 1.0, "machine_types": [2]},
    ],
    "machines": [
        {"machine_id": 42, "machine_name": "CM03", "machine_type": 2, "status": "available", "current_load": 5.5}
    ],
    "schedule_start": "2025-07-22T14:00:00",
    "respect_break_times": True,
    "respect_holidays": True,
    "optimization_objective": "makespan",
    "request_id": "erp-4711",
    "save_to_database": True,
    "time_budget_ms": 0,
}

PLAN = [
    {"job_id": "A1", "machine_id": 1, "start_datetime": "2025-07-22T08:00:00"},
    {"job_id": "B1", "machine_id": 2, "start_datetime": "2025-07-22T08:00:00"},
    {"job_id": "C1", "machine_id": 3, "start_datetime": "2025-07-22T08:00:00"},
    {"job_id": "B2", "machine_id": 4, "start_datetime": "2025-07-22T10:00:00"},
    {"job_id": "A2", "machine_id": 3, "start_datetime": "2025-07-22T14:00:00"},
    {"job_id": "D", "machine_id": 4, "start_datetime": "2025-07-22T15:30:00"},
    {"job_id": "B3", "machine_id": 5, "start_datetime": "2025-07-22T15:30:00"},
    {"job_id": "C2", "machine_id": 5, "start_datetime": "2025-07-22T17:00:00"},
    {"job_id": "A3", "machine_id": 5, "start_datetime": "2025-07-22T20:00:00"},
]
_NIGHT_AND_LUNCH = [
    {"name": "night", "start": "22:00", "end": "06:00"},
    {"name": "lunch", "start": "12:00", "end": "12:30", "days": ["mon", "tue", "wed", "thu", "fri"]},
]


def _closed(machine_id: int, *spans: tuple[str, str]) -> Body:
    closures = [{"from": begin, "to": end, "reason": "service"} for begin, end in spans]
    return {"machine_id": machine_id, "unavailable": closures}


def _calendar(**fields: Any) -> Body:
    return shop(calendar=fields)


FEATURES: dict[str, Body] = {
    "core request": CORE,
    "one job": one_job(),
    "shop": shop(),
    "shop for makespan": shop(optimization_objective="makespan"),
    "shop for tardiness": shop(optimization_objective="tardiness"),
    "shop for balance": shop(optimization_objective="balanced"),
    "shop around the clock": shop(respect_break_times=False),
    "shop that ignores holidays": shop(respect_holidays=False, calendar={"holidays": ["2025-07-22", "2025-07-23"]}),
    "start with an offset": shop(schedule_start="2025-07-22T08:00:00+08:00"),
    "start in UTC": shop(schedule_start="2025-07-22T06:00:00Z"),
    "start within a second": shop(schedule_start="2025-07-22T08:00:00.25"),
    "start in a break": shop(schedule_start="2025-07-22T12:50:00"),
    "start at night": shop(schedule_start="2025-07-23T02:00:00"),
    "start on Saturday afternoon": shop(schedule_start="2025-07-26T14:00:00"),
    "start before the clocks go forward": shop(schedule_start="2025-03-29T22:00:00", respect_break_times=False),
    "start before the clocks go back": shop(schedule_start="2025-10-25T22:00:00", respect_break_times=False),
    "start in the hour that comes twice": one_job(schedule_start="2025-10-26T02:30:00", respect_break_times=False),
    "start in the hour that never comes": one_job(schedule_start="2025-03-30T02:30:00", respect_break_times=False),
    "integers for hours": one_such_job(processing_time=2, setup_time=1),
    "an integer with a fraction of zero": one_such_job(sequence=2.0, priority=1.0),
    "seconds that are rounded half up": one_such_job(processing_time=0.500139, setup_time=0.1000694),
    "a job of less than a second": one_such_job(processing_time=0.0001, setup_time=0),
    "a job of weeks": one_such_job(processing_time=500),
    "due date without a time": shop({"A3": {"lcd_date": "2025-07-24"}}),
    "due dates that cannot be met": shop({name: {"lcd_date": "2025-07-22T09:00:00"} for name in ("A3", "C1", "C2")}),
    "due dates before the start": shop({"A1": {"lcd_date": "2025-07-21T09:00:00"}, "D": {"lcd_date": "2025-07-01"}}),
    "weights": shop({"A3": {"weight": 50.0}, "B3": {"weight": 0.1}}, optimization_objective="tardiness"),
    "material that arrives later": shop(
        {"A1": {"release_at": "2025-07-22T16:00:00"}, "D": {"release_at": "2025-07-23"}}
    ),
    "material that is there": shop({"A1": {"release_at": "2025-07-20T16:00:00"}}),
    "deadlines": shop({"C2": {"deadline_at": "2025-07-24T17:00:00"}, "D": {"deadline_at": "2025-07-22T23:00:00"}}),
    "a deadline that others make late": one_job(
        jobs=[job("J1", 3.0, priority=1), job("J2", 3.0, deadline_at="2025-07-22T13:00:00")]
    ),
    "work that must not pause": shop({name: {"interruptible": False} for name in ("A1", "B2", "C1")}),
    "sequences with gaps and out of order": one_job(
        jobs=[job(f"J{number}", family_id="F", sequence=number) for number in (70, 5, 30)]
    ),
    "a family named like a job": one_job(jobs=[job("J1"), job("J2", family_id="J1", sequence=1)]),
    "names beyond ASCII": one_such_job(job_id="Träger №1 グラインダー", family_id="Fräsen"),
    "options with their own speeds": shop(
        {"A2": {"machine_options": [{"machine_id": 3}, {"machine_id": 4, "processing_time": 0.5, "setup_time": 0.1}]}}
    ),
    "options instead of a time": one_job(
        jobs=[{"job_id": "J1", "machine_options": [{"machine_id": 1, "processing_time": 1.5}]}]
    ),
    "machines held together": shop({"C1": {"requires_all_machines": [1, 3], "machine_types": []}}),
    "machines that are loaded": shop(machines={1: {"current_load": 3.5, "status": "busy"}, 5: {"current_load": 0.25}}),
    "machines out of service": shop(machines={2: {"status": "offline"}, 4: {"status": "maintenance"}}),
    "a machine without a name or type": one_job(
        machines=[{"machine_id": 1}], jobs=[job("J1", kinds=(), machine_options=[{"machine_id": 1}])]
    ),
    "colours": painted(),
    "colours for tardiness": painted(optimization_objective="tardiness"),
    "colours that change over to themselves": painted(
        setup_matrix=[{"from": "white", "to": "white", "hours": 0.2}, {"from": "black", "to": "red", "hours": 0}]
    ),
    "colours without a matrix": painted(setup_matrix=None),
    "a pin": shop({"D": {"pinned": {"machine_id": 4, "start_datetime": "2025-07-22T11:00:00"}}}),
    "pins of a whole family": shop(
        {
            "B1": {"pinned": {"machine_id": 2, "start_datetime": "2025-07-22T10:00:00"}},
            "B2": {"pinned": {"machine_id": 3, "start_datetime": "2025-07-22T16:00:00"}},
            "B3": {"pinned": {"machine_id": 5, "start_datetime": "2025-07-23T08:00:00"}},
        }
    ),
    "a pin that is running": shop({"A1": {"pinned": {"machine_id": 1, "start_datetime": "2025-07-22T07:00:00"}}}),
    "a pin across a break": shop({"D": {"pinned": {"machine_id": 3, "start_datetime": "2025-07-22T12:30:00"}}}),
    "own breaks": _calendar(breaks=_NIGHT_AND_LUNCH),
    "no breaks at all": _calendar(breaks=[]),
    "a break until midnight": _calendar(breaks=[{"name": "evening", "start": "18:00", "end": "24:00"}]),
    "holidays": _calendar(holidays=["2025-07-22", "2025-07-24"]),
    "holidays of a country": shop(calendar={"country": "MY"}, schedule_start="2025-08-30T10:00:00"),
    "a machine that is closed": _calendar(machines=[_closed(5, ("2025-07-22T09:00:00", "2025-07-22T17:30:00"))]),
    "closures that overlap": _calendar(
        machines=[
            _closed(1, ("2025-07-22T08:30:00", "2025-07-22T12:00:00"), ("2025-07-22T11:00:00", "2025-07-22T15:00:00")),
            _closed(2, ("2025-07-21T08:30:00", "2025-07-22T09:00:00Z")),
        ]
    ),
    "a planner's own plan": shop(manual_schedule=PLAN),
    "a plan that breaks a rule": shop(manual_schedule=[*PLAN[:-1], PLAN[-1] | {"start_datetime": START}]),
    "a plan that leaves jobs out": shop(manual_schedule=PLAN[:4]),
    "a plan of strangers": shop(
        manual_schedule=[
            *PLAN,
            PLAN[0],
            {"job_id": "nobody", "machine_id": 1, "start_datetime": "2025-07-22T08:00:00"},
            {"job_id": "D", "machine_id": 99, "start_datetime": "2025-07-22T08:00:00"},
        ]
    ),
    "job shop of Fisher and Thompson": fisher_and_thompson(),
    "generated shop of ten families": generated(10, 6),
    "generated shop of thirty families": generated(30, 12, optimization_objective="tardiness"),
    "generated shop around the clock": generated(20, 8, respect_break_times=False, optimization_objective="balanced"),
    "shipped plant of 170 jobs": shipped(),
    "shipped plant with breaks": shipped(respect_break_times=True, optimization_objective="balanced"),
    "shipped plant for tardiness": shipped(optimization_objective="tardiness"),
}
