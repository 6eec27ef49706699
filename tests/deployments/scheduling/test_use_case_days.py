"""Small plants on ordinary days, each with the right answer in its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.commands.demo import EXAMPLE
from tests.deployments.scheduling.local_service import LocalService
from tests.deployments.scheduling.replanning import EVENTS, broken_down, moved, replanned

CASES = sorted((Path(__file__).parents[2] / "data" / "cases").glob("*.json"))
TOLERANCE_HOURS = 1.1 / 3600
TOLERANCE = 1.05
"""Of two searches for the same plan."""
ITERATIONS = 100_000
AT_LEAST, AT_MOST, EQUAL = "at least", "at most", "equal to"
BOUNDS = {
    "start_at_least": ("start_time", AT_LEAST),
    "end_at_most": ("end_time", AT_MOST),
    "end": ("end_time", EQUAL),
    "start_datetime_at_least": ("start_datetime", AT_LEAST),
    "end_datetime_at_most": ("end_datetime", AT_MOST),
    "end_datetime": ("end_datetime", EQUAL),
}
"""Field of the expectation -> field of a row, and how they compare."""


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case_has_its_right_answer(path: Path) -> None:
    """Status, times, key figures and warnings are those that the file calls right."""
    case = json.loads(path.read_text())
    service, first_id = LocalService(case["zone"]), "@1"
    for number, step in enumerate(case["steps"], 1):
        asked = json.loads(json.dumps(step["request"]).replace('"@1"', json.dumps(first_id)))
        status, answer = service.post(asked)
        assert list(_faults(step["expect"], status, answer)) == [], f"step {number}"
        first_id = answer["schedule_id"] if number == 1 else first_id


def test_there_are_cases() -> None:
    """The test above is not empty."""
    assert len(CASES) >= 8


@pytest.mark.parametrize("kind", EVENTS)
def test_plans_survive_what_happens(kind: str) -> None:
    """Plan, cut at a random hour, let something happen: no 5xx, judged valid, no more moved than by a full replan."""
    outcomes = [(seed, *replanned(kind, seed, budget_ms=5)) for seed in range(20)]
    assert [each for each in outcomes if each[2] is not None] == []
    assert sum(status == 200 for _, status, _ in outcomes) >= 15


@pytest.mark.parametrize(("machine_id", "hour"), [(16, 10), (1, 20), (22, 8)])
def test_closure_of_the_shipped_plant_moves_few_jobs(machine_id: int, hour: int) -> None:
    """Eight hours without one of 22 machines move at most 15 of 170 jobs, by what the service does by default.

    The first plan is a policy pass, and the second one a search of so many iterations: both are the same each time, and
    on each machine.
    """
    body, service = json.loads(EXAMPLE.read_text()), LocalService(iterations=ITERATIONS)
    _, first = service.post(body | {"time_budget_ms": 0})
    at = datetime.fromisoformat(body["schedule_start"]) + timedelta(hours=hour)
    span = {"from": at.isoformat(), "to": (at + timedelta(hours=8)).isoformat()}
    closed = {"calendar": {"machines": [{"machine_id": machine_id, "unavailable": [span]}]}}
    continued = {"schedule_start": at.isoformat(), "previous_schedule_id": first["schedule_id"], "time_budget_ms": 1}
    status, second = service.post(body | closed | continued)
    assert status == 200
    assert moved(first["scheduled_jobs"], second["scheduled_jobs"]) <= 15


def test_calm_costs_no_more_of_the_plan_than_it_may() -> None:
    """Six hours without the only machine of its type: the default ends soon after a full replan, with few moves.

    Who asks for calm at any price has it, hours later, and is told so.
    """
    body, service = json.loads(EXAMPLE.read_text()), LocalService()
    _, first = service.post(body | {"time_budget_ms": 0})
    found = broken_down(service, body | {"time_budget_ms": 3000}, first, machine_id=7, hour=10, hours=6)
    repaired, default, full = found["repaired"], found["default"], found["full"]
    assert default.end - 10 <= 1.2 * (max(full.end, first["metrics"]["makespan"]) - 10) * TOLERANCE
    assert default.end <= repaired.end * TOLERANCE
    assert repaired.moved <= default.moved < full.moved / 2
    assert any("later" in warning and "lower stability_weight" in warning for warning in repaired.warnings)
    assert not any("stability_weight" in warning for warning in full.warnings)


def test_pins_that_no_arm_can_keep_are_refused_by_name() -> None:
    """Each of two pins could be kept alone; together they need one machine twice, which is 422 and not 500."""
    jobs = [
        {"job_id": f"{name}{step}", "family_id": name, "sequence": step, "processing_time": 1, "setup_time": 0,
         "machine_types": [1 if step == 1 else kind]}
        for name, kind in (("A", 2), ("B", 3))
        for step in (1, 2)
    ]  # fmt: skip
    for each in jobs:
        if each["sequence"] == 2:
            where = {"machine_id": each["machine_types"][0], "start_datetime": "2026-03-02T09:00:00Z"}  # type: ignore[index]
            each["pinned"] = where  # type: ignore[assignment]
    body = {
        "jobs": jobs,
        "machines": [{"machine_id": kind, "machine_type": kind} for kind in (1, 2, 3)],
        "schedule_start": "2026-03-02T08:00:00Z",
        "respect_break_times": False,
        "time_budget_ms": 10,
    }
    status, answer = LocalService().post(body)
    assert status == 422
    assert "No arm could keep this pin" in answer["errors"][0]["message"]


def _faults(expect: dict[str, Any], status: int, answer: dict[str, Any]) -> Iterator[str]:
    if status != expect["status"]:
        yield f"status {status}, not {expect['status']}: {answer}"
        return
    rows, metrics = {row["job_id"]: row for row in answer["scheduled_jobs"]}, answer["metrics"]
    if not answer["safety"]["valid"]:
        yield "not valid"
    if "never" in expect and expect["never"] in json.dumps(answer):
        yield f"says {expect['never']}"
    if "warnings" in expect and not any(expect["warnings"] in warning for warning in answer["warnings"]):
        yield f"no warning about {expect['warnings']}: {answer['warnings']}"
    if metrics["average_utilization"] > expect.get("utilisation_at_most", 100.0):
        yield f"utilisation {metrics['average_utilization']} %"
    known = {*BOUNDS, "status", "never", "warnings", "utilisation_at_most"}
    if not expect.keys() <= known:
        yield f"expects what nobody looks at: {sorted(expect.keys() - known)}"
    for name, (field, how) in BOUNDS.items():
        for job_id, wanted in expect.get(name, {}).items():
            by_hours = _hours_between(wanted, rows[job_id][field])
            missed = {AT_LEAST: -by_hours, AT_MOST: by_hours, EQUAL: abs(by_hours)}[how]
            if missed > TOLERANCE_HOURS:
                yield f"{job_id}: {field} {rows[job_id][field]} must be {how} {wanted}"


def _hours_between(wanted: float | str, found: float | str) -> float:
    if isinstance(wanted, str) and isinstance(found, str):
        return (datetime.fromisoformat(found) - datetime.fromisoformat(wanted)).total_seconds() / 3600
    return float(found) - float(wanted)
