"""The limits of a request: each stands in the docs, and in the message that refuses what lies beyond."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.parsing import read_schedule_request, read_validate_request
from deployments.contracts.translation.problem import translate
from deployments.errors import BodyTooLarge, BodyTooSlow, InvalidRequest
from deployments.settings.service import Settings
from env.errors import InvalidProblem
from tests.deployments.fakes import LIMITS, body, job, machine

PAGE = Path("docs/API_QUICK_REFERENCE.md")
CALENDAR_MACHINE = {"machine_id": 42, "unavailable": []}
BREAK = {"name": "night", "start": "23:00", "end": "23:30"}
PERIOD = {"start": "2025-07-22T14:00:00", "end": "2025-07-22T15:00:00"}
ROW = {"job_id": "A", "machine_id": 42, "start_datetime": "2025-07-22T14:00:00"}


def _table() -> dict[str, tuple[str, str]]:
    """Limit and setting of each row of the page, without the commas of numbers."""
    section = PAGE.read_text(encoding="utf-8").split("## Limits")[1].split("\n## ")[0]
    rows = (line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| "))
    return {what: (re.sub(r"(?<=\d),(?=\d)", "", limit), setting) for what, limit, setting in rows}


def _asked(document: dict[str, Any]) -> None:
    request = read_schedule_request(json.dumps(document).encode(), LIMITS).body
    translate(request, zone=ZoneInfo("UTC"), now=datetime(2025, 7, 22, tzinfo=UTC))


def _message(document: dict[str, Any]) -> str:
    with pytest.raises((InvalidRequest, InvalidProblem)) as caught:
        _asked(document)
    return re.sub(r"(?<=\d),(?=\d)", "", "; ".join(message for _, message in caught.value.reasons))


@pytest.mark.parametrize(
    ("what", "document"),
    [
        ("`jobs`", {"jobs": [{}] * 20_001}),
        ("`machines`", {"machines": [{}] * 5_001}),
        (
            "pairs of job and machine",
            body(jobs=[job(str(name)) for name in range(5_000)], machines=[machine(number) for number in range(401)]),
        ),
        (
            "hours: `processing_time`, `setup_time`, `current_load`, `stability_weight`",
            body(jobs=[job(processing_time=10_001, setup_time=10_001)], machines=[machine(current_load=10_001)]),
        ),
        ("`machine_types` and `machine_options` of a job", body(jobs=[job(machine_types=[2] * 5_001)])),
        ("`requires_all_machines`", body(jobs=[job(requires_all_machines=[42] * 101)])),
        ("`manual_schedule`", body(manual_schedule=[ROW] * 40_001)),
        ("`setup_matrix`", body(setup_matrix=[{"from_group": "a", "to_group": "b", "setup_time": 1}] * 100_001)),
        ("`calendar.breaks`", body(calendar={"breaks": [BREAK] * 1_001})),
        (
            "`calendar.holidays`, `calendar.machines[].unavailable`",
            body(calendar={"machines": [CALENDAR_MACHINE | {"unavailable": [PERIOD] * 10_001}]}),
        ),
        ("`calendar.machines`", body(calendar={"machines": [CALENDAR_MACHINE] * 5_001})),
        ("characters of ids and names of the client", body(jobs=[job("x" * 129)])),
        ("`release_at`; work of each machine", body(jobs=[job(release_at="2090-01-01T00:00:00")])),
        (
            "`release_at`; work of each machine",
            body(jobs=[job(str(name), processing_time=10_000) for name in range(45)]),
        ),
    ],
)
def test_what_lies_beyond_a_limit_is_refused_by_it(what: str, document: dict[str, Any]) -> None:
    """The message has the number, and the setting's name where there is one."""
    limit, setting = _table()[what]
    message = _message(document)
    assert limit in message
    assert (setting == "none") != (setting.strip("`") in message)


def test_years_of_the_start_are_named() -> None:
    """Both bounds."""
    limit, _ = _table()["`schedule_start`"]
    message = _message(body(schedule_start="2300-01-01T00:00:00"))
    assert all(year in message and year in limit for year in ("1970", "2200"))


def test_rows_to_judge_are_bounded_by_the_jobs() -> None:
    """A plan that is judged may have a row too many for each job."""
    with pytest.raises(InvalidRequest, match=r"at most 40,000 entries \(twice GANTRY_MAX_JOBS\), had 40,001"):
        read_validate_request(json.dumps({"scheduled_jobs": [{}] * 40_001, "request": {}}).encode(), LIMITS)
    assert _table()["`scheduled_jobs` of `/v1/validate`"] == ("40000", "twice `GANTRY_MAX_JOBS`")


def test_bounds_of_bodies_name_their_settings() -> None:
    """How large and how slow one may be."""
    for error, setting in (
        (BodyTooLarge(33_554_432), "GANTRY_MAX_BODY_BYTES"),
        (BodyTooSlow(60.0), "GANTRY_BODY_TIMEOUT_SECONDS"),
    ):
        assert f"({setting})" in str(error)


def test_page_has_every_setting_that_bounds_a_request() -> None:
    """With its default."""
    table = {setting.strip("`"): limit for limit, setting in _table().values()}
    for name in ("max_jobs", "max_machines", "max_body_bytes", "body_timeout_seconds", "request_timeout_seconds"):
        default = Settings.model_fields[name].default
        assert table[f"GANTRY_{name.upper()}"] == f"{default:g}" if isinstance(default, float) else str(default)
