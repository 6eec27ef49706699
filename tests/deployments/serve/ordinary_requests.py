"""First requests as plants of many kinds send them, from a seed: nothing about their plans is suspicious."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.random import Generator

from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.translation.problem import translate
from env.problem import Problem

ZONE = ZoneInfo("Asia/Kuala_Lumpur")
FIRST = datetime(2026, 3, 2, tzinfo=ZONE)
HOUR = timedelta(hours=1)
Body = dict[str, Any]


def ordinary_problem(seed: int) -> tuple[str, Problem]:
    """What kind of request the seed makes, and what it asks."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    name = kinds[seed % len(kinds)]
    body = _plain(rng)
    KINDS[name](rng, body)
    request = ScheduleRequest.model_validate(body)
    return name, translate(request, zone=ZONE, now=FIRST).problem


def _plain(rng: Generator) -> Body:
    """Families of 1 to 10 jobs on machines of some types, from one job to 400, by the default calendar."""
    types = int(rng.integers(1, 7))
    jobs, machines = _between(rng, 1, 400), _between(rng, 1, 40)
    typical = rng.choice([0.2, 1.0, 4.0])
    machine_types = [1 + (index if index < types else int(rng.integers(0, types))) for index in range(machines)]
    body: Body = {
        "jobs": [],
        "machines": [
            {"machine_id": index + 1, "machine_name": f"M{index + 1}", "machine_type": kind}
            for index, kind in enumerate(machine_types)
        ],
        "schedule_start": (FIRST + int(rng.integers(0, 7 * 24)) * HOUR).isoformat(),
    }
    present, family, length = sorted(set(machine_types)), 0, int(rng.choice([1, 1, 3, 6, 10]))
    while len(body["jobs"]) < jobs:
        family += 1
        for step in range(1, int(rng.integers(1, length + 1)) + 1):
            many = int(rng.integers(1, min(3, len(present)) + 1))
            body["jobs"].append(
                {
                    "job_id": f"F{family}-{step}",
                    "family_id": f"F{family}",
                    "sequence": step,
                    "processing_time": round(float(typical * rng.uniform(0.3, 2.0)), 2),
                    "machine_types": [int(each) for each in rng.choice(present, many, replace=False)],
                    "priority": int(rng.integers(1, 4)),
                    "is_important": bool(rng.random() < 0.1),
                }
            )
    return body


def _around_the_clock(rng: Generator, body: Body) -> None:
    body["respect_break_times"] = False


def _default_calendar(rng: Generator, body: Body) -> None:
    """Nothing more than a plain request."""


def _one_shift(rng: Generator, body: Body) -> None:
    weekend = {"name": "weekend", "start": "00:00", "end": "24:00", "days": ["sat", "sun"]}
    night = {"name": "night", "start": "17:00", "end": "08:00"}
    body["calendar"] = {"breaks": [weekend, night], "holidays": ["2026-03-04"], "country": "MY"}


def _due_dates(rng: Generator, body: Body) -> None:
    for job in body["jobs"]:
        job["lcd_date"] = (FIRST + int(rng.integers(1, 20)) * 24 * HOUR).date().isoformat()
    body["optimization_objective"] = str(rng.choice(["makespan", "tardiness", "balanced"]))


def _releases(rng: Generator, body: Body) -> None:
    days = int(rng.integers(1, 15))
    for job in body["jobs"]:
        if rng.random() < 0.5:
            job["release_at"] = (FIRST + float(rng.uniform(0, days)) * 24 * HOUR).isoformat()


def _long_setups(rng: Generator, body: Body) -> None:
    for job in body["jobs"]:
        job["setup_time"] = round(float(rng.uniform(0, 6)), 2)


def _changeovers(rng: Generator, body: Body) -> None:
    groups = [f"G{index}" for index in range(int(rng.integers(2, 6)))]
    for job in body["jobs"]:
        job["setup_group"] = str(rng.choice(groups))
    used = sorted({job["setup_group"] for job in body["jobs"]})
    hours = {(before, after): round(float(rng.uniform(0, 3)), 2) for before in used for after in used}
    body["setup_matrix"] = [
        {"from": before, "to": after, "hours": 0.0 if before == after else taken}
        for (before, after), taken in hours.items()
    ]


def _loads(rng: Generator, body: Body) -> None:
    for machine in body["machines"]:
        machine["current_load"] = round(float(rng.choice([0, 2, 8, 40]) * rng.uniform(0, 1)), 2)


def _speeds(rng: Generator, body: Body) -> None:
    """Each job on some machines of its own, the slowest up to eight times as slow."""
    ids = [machine["machine_id"] for machine in body["machines"]]
    for job in body["jobs"]:
        chosen = rng.choice(ids, int(rng.integers(1, min(6, len(ids)) + 1)), replace=False)
        job["machine_options"] = [
            {"machine_id": int(each), "processing_time": round(job["processing_time"] * float(rng.uniform(1, 8)), 2)}
            for each in chosen
        ]


def _without_pauses(rng: Generator, body: Body) -> None:
    for job in body["jobs"]:
        job["interruptible"] = bool(rng.random() < 0.2)
        job["processing_time"] = min(job["processing_time"], 3.2)


def _closures(rng: Generator, body: Body) -> None:
    """Half of the machines are away for hours or days; one is in maintenance where there are two of its type."""
    start = datetime.fromisoformat(body["schedule_start"])
    away = [machine for machine in body["machines"] if rng.random() < 0.5]
    body["calendar"] = {
        "machines": [
            {
                "machine_id": machine["machine_id"],
                "unavailable": [
                    {
                        "from": (start + int(rng.integers(0, 30)) * HOUR).isoformat(),
                        "to": (start + int(rng.integers(31, 90)) * HOUR).isoformat(),
                        "reason": "maintenance",
                    }
                ],
            }
            for machine in away
        ]
    }
    types = [machine["machine_type"] for machine in body["machines"]]
    if types.count(types[-1]) > 1:
        body["machines"][-1]["status"] = "maintenance"


def _several_machines(rng: Generator, body: Body) -> None:
    ids = [machine["machine_id"] for machine in body["machines"]]
    for job in body["jobs"]:
        if len(ids) > 1 and rng.random() < 0.2:
            job["requires_all_machines"] = [int(each) for each in rng.choice(ids, 2, replace=False)]


def _bottleneck(rng: Generator, body: Body) -> None:
    """Whatever else it passes, each family ends on the first machine."""
    for job in body["jobs"]:
        if job["sequence"] == 1:
            job["machine_types"] = [body["machines"][0]["machine_type"]]
            job["machine_options"] = [{"machine_id": 1}]


def _one_long_family(rng: Generator, body: Body) -> None:
    for index, job in enumerate(body["jobs"][:30]):
        job.update(family_id="F", sequence=index + 1)
    body["jobs"] = body["jobs"][:30]


def _few_jobs_many_machines(rng: Generator, body: Body) -> None:
    body["jobs"] = body["jobs"][: int(rng.integers(1, 4))]
    for machine_id in range(100, 130):
        machine = {"machine_id": machine_id, "machine_name": "", "machine_type": body["machines"][0]["machine_type"]}
        body["machines"].append(machine)


def _drip(rng: Generator, body: Body) -> None:
    """A short job every few hours, each as soon as its material is there."""
    start = datetime.fromisoformat(body["schedule_start"])
    for index, job in enumerate(body["jobs"]):
        job.update(processing_time=0.5, release_at=(start + index * float(rng.uniform(2, 4)) * HOUR).isoformat())


def _pinned(rng: Generator, body: Body) -> None:
    """One job waits for its customer's visit, days later, and its family with it."""
    body["respect_break_times"] = False
    job = body["jobs"][0]
    machine = next(each for each in body["machines"] if each["machine_type"] in job["machine_types"])
    visit = datetime.fromisoformat(body["schedule_start"]) + 100 * HOUR
    job["pinned"] = {"machine_id": machine["machine_id"], "start_datetime": visit.isoformat()}


KINDS: dict[str, Callable[[Generator, Body], None]] = {
    "around the clock": _around_the_clock,
    "default calendar": _default_calendar,
    "one shift": _one_shift,
    "due dates": _due_dates,
    "releases": _releases,
    "long setups": _long_setups,
    "changeovers": _changeovers,
    "loads": _loads,
    "own speeds": _speeds,
    "no pauses": _without_pauses,
    "closures": _closures,
    "several machines": _several_machines,
    "bottleneck": _bottleneck,
    "one long family": _one_long_family,
    "few jobs, many machines": _few_jobs_many_machines,
    "a job now and then": _drip,
    "pinned": _pinned,
}
"""Name -> what makes a plain request one of that kind."""


def _between(rng: Generator, low: int, high: int) -> int:
    """On a logarithmic scale, both ends included."""
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))
