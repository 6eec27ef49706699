"""The plants that the recorded requests are about, all with a start of their own, so that nothing depends on now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
START = "2025-07-22T08:00:00"
"""A Tuesday."""

Body = dict[str, Any]


def job(job_id: str, hours: float = 1.0, kinds: tuple[int, ...] = (1,), **fields: Any) -> Body:
    """One job, by default without a family and with the default setup time."""
    return {"job_id": job_id, "processing_time": hours, "machine_types": list(kinds)} | fields


def machine(machine_id: int, name: str, kind: int, **fields: Any) -> Body:
    """One machine of a type."""
    return {"machine_id": machine_id, "machine_name": name, "machine_type": kind} | fields


def one_job(**fields: Any) -> Body:
    """The least that can be asked: one job on one machine; `fields` belong to the request."""
    return {
        "jobs": [job("J1")],
        "machines": [machine(1, "Saw", 1)],
        "schedule_start": START,
        "time_budget_ms": 0,
    } | fields


def one_such_job(**fields: Any) -> Body:
    """The same; `fields` belong to the job."""
    return one_job(jobs=[job("J1") | fields])


def one_such_machine(**fields: Any) -> Body:
    """The same; `fields` belong to the machine."""
    return one_job(machines=[machine(1, "Saw", 1) | fields])


def shop(jobs: Mapping[str, Body] | None = None, machines: Mapping[int, Body] | None = None, **fields: Any) -> Body:
    """Three families and a single job on five machines.

    `jobs` and `machines` change single ones by their ids, `fields` the request.
    """
    due = {"lcd_date": "2025-07-23T12:00:00"}
    all_jobs = (
        job("A1", 2.0, (1,), family_id="A", sequence=1, **due),
        job("A2", 1.5, (2,), family_id="A", sequence=2, **due),
        job("A3", 1.0, (3,), family_id="A", sequence=3, **due),
        job("B1", 1.0, (1,), family_id="B", sequence=10, priority=1, lcd_date="2025-07-22T18:00:00"),
        job("B2", 2.5, (2,), family_id="B", sequence=20, priority=1, lcd_date="2025-07-22T18:00:00"),
        job("B3", 0.75, (3,), family_id="B", sequence=30, priority=1, lcd_date="2025-07-22T18:00:00"),
        job("C1", 3.0, (1, 2), family_id="C", sequence=1, is_important=True, setup_time=0.5),
        job("C2", 1.25, (3,), family_id="C", sequence=2, is_important=True),
        job("D", 0.5, (2,), priority=3),
    )
    all_machines = (
        machine(1, "Saw 1", 1),
        machine(2, "Saw 2", 1),
        machine(3, "Lathe", 2),
        machine(4, "Mill", 2),
        machine(5, "Paint booth", 3),
    )
    return {
        "jobs": [each | (jobs or {}).get(each["job_id"], {}) for each in all_jobs],
        "machines": [each | (machines or {}).get(each["machine_id"], {}) for each in all_machines],
        "schedule_start": START,
        "time_budget_ms": 0,
    } | fields


def painted(**fields: Any) -> Body:
    """Six jobs in three colours on two machines, and what changing over takes."""
    hours = {("white", "black"): 0.5, ("black", "white"): 1.5, ("white", "red"): 0.4, ("red", "white"): 1.0}
    colours = ("white", "black", "white", "red", "black", "red")
    return {
        "jobs": [
            job(f"P{number}", 0.5 + number / 4, (3,), setup_group=colour)
            for number, colour in enumerate(colours, start=1)
        ],
        "machines": [machine(5, "Paint booth", 3), machine(6, "Powder booth", 3)],
        "setup_matrix": [{"from": before, "to": after, "hours": each} for (before, after), each in hours.items()],
        "schedule_start": START,
        "time_budget_ms": 0,
    } | fields


def fisher_and_thompson(**fields: Any) -> Body:
    """The job shop ft06 of Fisher and Thompson (1963): six families of six jobs on six machines, optimum 55."""
    rows = (
        (2, 1, 0, 3, 1, 6, 3, 7, 5, 3, 4, 6),
        (1, 8, 2, 5, 4, 10, 5, 10, 0, 10, 3, 4),
        (2, 5, 3, 4, 5, 8, 0, 9, 1, 1, 4, 7),
        (1, 5, 0, 5, 2, 5, 3, 3, 4, 8, 5, 9),
        (2, 9, 1, 3, 4, 5, 5, 4, 0, 3, 3, 1),
        (1, 3, 3, 3, 5, 9, 0, 10, 4, 4, 2, 1),
    )
    jobs = [
        job(f"{family}-{step}", float(row[2 * step + 1]), (row[2 * step],), family_id=f"F{family}", sequence=step)
        for family, row in enumerate(rows)
        for step in range(6)
    ]
    return {
        "jobs": [each | {"setup_time": 0} for each in jobs],
        "machines": [machine(number, f"M{number}", number) for number in range(6)],
        "schedule_start": START,
        "respect_break_times": False,
        "time_budget_ms": 0,
    } | fields


def generated(families: int, machines: int, **fields: Any) -> Body:
    """A flexible job shop of any size; every figure follows from its place, by remainders of primes."""
    jobs = []
    for family in range(families):
        length = 2 + family * 7 % 5
        due = f"2025-07-{23 + family * 3 % 7}T{6 + family * 5 % 12:02}:00:00"
        for step in range(length):
            number = 31 * family + 17 * step
            kinds = (1 + number % 4,) if number % 3 else (1 + number % 4, 1 + (number + 1) % 4)
            own = {"family_id": f"G{family:02}", "sequence": 10 * step, "lcd_date": due, "priority": 1 + family % 3}
            hours = 0.25 + number % 23 / 8
            jobs.append(job(f"G{family:02}-{step}", hours, kinds, **own, setup_time=number % 5 / 10))
    return {
        "jobs": jobs,
        "machines": [machine(number, f"M{number:02}", 1 + number % 4) for number in range(1, machines + 1)],
        "schedule_start": START,
        "time_budget_ms": 0,
    } | fields


def shipped(**fields: Any) -> Body:
    """The shipped example of 170 jobs."""
    return _read(project_file("plant-170.json")) | {"time_budget_ms": 0} | fields


def all_features(**fields: Any) -> Body:
    """The plant that uses every feature of the contract."""
    return _read(ROOT / "tests" / "data" / "all_features.json") | {"time_budget_ms": 0} | fields


def all_features_before() -> Body:
    """The same plant an hour earlier, when nothing was planned yet: what `all_features` continues."""
    body = all_features(schedule_start="2026-03-16T07:00:00")
    return {name: value for name, value in body.items() if name not in {"freeze_until", "previous_schedule_id"}}


def project_file(name: str) -> Path:
    """The only file of that name that the project ships, wherever it lies. Raises `ValueError`."""
    folders = (
        each for each in ROOT.iterdir() if each.is_dir() and not each.name.startswith((".", "build", "data", "tests"))
    )
    (path,) = (path for folder in folders for path in folder.rglob(name))
    return path


def _read(path: Path) -> Body:
    body: Body = json.loads(path.read_text(encoding="utf-8"))
    return body
