"""Small plants on ordinary days, each with the right answer in its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.scheduling.local_service import LocalService

CASES = sorted((Path(__file__).parents[2] / "data" / "cases").glob("*.json"))
TOLERANCE_HOURS = 1.1 / 3600
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
