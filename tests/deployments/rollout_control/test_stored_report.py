"""What of the stored rows counts in a report."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deployments.errors import TransitionRefused
from deployments.persistence.database import create_engine
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.tables import METADATA
from deployments.rollout.ramp.state import Action, Stage
from deployments.rollout_control.stored_report import RolloutTrail, last_words
from deployments.runtime.background import Threads
from tests.deployments.rollout_control.events import QUICK, Clock
from tests.deployments.rollout_control.shared_database import SharedDatabase
from tests.deployments.rollout_control.test_agreement_laws import Service
from tests.deployments.rollout_control.test_controller import command


def _said(author: str | None, decision_id: str, rating: int | None = None, **jobs: str) -> dict[str, Any]:
    completions = [{"job_id": job, "completed_at": at} for job, at in jobs.items()]
    return {
        "client": "default",
        "author": author,
        "decision_id": decision_id,
        "rating": rating,
        "actual_completions": json.dumps(completions),
    }


def _words(rows: list[dict[str, Any]]) -> list[tuple[int | None, dict[str, str]]]:
    return [
        (row["rating"], {each["job_id"]: each["completed_at"] for each in json.loads(row["actual_completions"])})
        for row in last_words(rows)
    ]


def test_what_is_said_again_counts_once() -> None:
    """A button that is pressed four times is one rating, and a job is done once: the last word of each author."""
    rows = [
        _said("foreman", "1", 1, CUT="12:00", BEND="13:00"),
        _said("foreman", "1", 1),
        _said("foreman", "1", 5, CUT="12:30"),
        _said("planner", "1", 2, CUT="12:45"),
        _said("foreman", "2", 3, CUT="12:00"),
        _said(None, "1", 4, CUT="14:00"),
        _said(None, "1", None, CUT="15:00"),
    ]
    assert _words(rows) == [
        (None, {"BEND": "13:00"}),
        (None, {}),
        (5, {"CUT": "12:30"}),
        (2, {"CUT": "12:45"}),
        (3, {"CUT": "12:00"}),
        (4, {}),
        (None, {"CUT": "15:00"}),
    ]


def test_completions_are_told_by_request_and_plan(tmp_path: Path) -> None:
    """When the job was there and due, and how far into the day of the plant it begins; not of a unit that is no day."""
    trail = RolloutTrail(
        RolloutRows(create_engine(f"sqlite:///{tmp_path / 'gantry.sqlite3'}")),
        lambda: QUICK,
        (),
        ZoneInfo("Asia/Singapore"),
        lambda: datetime(2025, 7, 23, tzinfo=UTC),
        Threads("reads", 1),
    )
    times = {"start_datetime": "2025-07-22T14:00:00+08:00", "end_datetime": "2025-07-22T18:00:00+08:00"}
    rows = [
        {
            "actual_completions": json.dumps([{"job_id": "CUT", "completed_at": "2025-07-22T20:00:00+08:00"}]),
            "answer": zlib.compress(json.dumps({"scheduled_jobs": [{"job_id": "CUT"} | times]}).encode()),
            "request": zlib.compress(json.dumps({"jobs": [{"job_id": "CUT"} | asked]}).encode()),
            "unit": unit,
            "created_at": datetime(2025, 7, 22, 1, tzinfo=UTC),
            "stage": "expanded",
            "share": 0.5,
            "seed": "s",
            "role": "ppo",
        }
        for unit, asked in (
            ("p//2025-07-22", {"release_at": "2025-07-22T13:00:00+08:00", "lcd_date": "2025-07-22T19:00:00+08:00"}),
            ("chosen", {}),
        )
    ]
    planned, chosen = trail._jobs(rows)
    assert (planned.lead_time_hours, planned.begins_after_hours, planned.delay_hours) == (7.0, 14.0, 2.0)
    assert planned.due_at is not None
    assert planned.completed_at > planned.due_at
    assert (chosen.lead_time_hours, chosen.begins_after_hours, chosen.due_at) == (11.0, None, None)


async def test_guardrail_that_fired_at_another_service_stands_in_the_way(tmp_path: Path) -> None:
    """In shadow it rolls nothing back, and the owner has not seen it; but it is an incident, until the next ramp."""
    clock = Clock()
    engine = create_engine(f"sqlite:///{tmp_path / 'gantry.sqlite3'}")
    METADATA.create_all(engine)
    database = SharedDatabase(clock.now, clock.steady, engine)
    owner, follower = Service("a", database, Stage.SHADOW), Service("b", database, Stage.SHADOW)
    trail = RolloutTrail(RolloutRows(engine), lambda: QUICK, (), ZoneInfo("UTC"), clock.now, Threads("reads", 1))
    for service in (owner, follower):
        await service.start()
    assert owner.control is not None
    assert await trail.integrity() == ()
    await follower.see_critical()
    RolloutRows(engine).save_incidents([each.as_row() for each in follower.incidents])
    findings = await trail.integrity()
    assert findings == ("critical_violation has fired in this ramp: promotion is blocked",)
    with pytest.raises(TransitionRefused, match="the verdict is INVALID; critical_violation has fired"):
        await owner.control.command(command(Action.PROMOTE, force=True, integrity=findings))
    await owner.order(Action.ROLLBACK)
    await owner.order(Action.PROMOTE)
    assert await trail.integrity() == ()
    for service in (owner, follower):
        await service.stop()
    database.close()
