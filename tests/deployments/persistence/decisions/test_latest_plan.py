"""The latest plan of a plant as rows: the newest wins, in whatever order decisions arrive."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, text

from deployments.persistence.decisions.records import DecisionRecord
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.tables import PLAN, PLANNED_JOB
from tests.deployments.persistence.payloads import decision, decision_id


def plan(number: int, *job_ids: str, request: dict[str, Any] | None = None, **changes: Any) -> DecisionRecord:
    """Decision `number` with an answer that puts each job on machine 42, all at the same hour."""
    row = {
        "machine_id": 42,
        "machine_name": "CM42",
        "start_datetime": "2025-07-22T14:00:00+08:00",
        "end_datetime": "2025-07-22T16:48:00+08:00",
        "setup_time_included": 0.3,
    }
    answer = {"scheduled_jobs": [{"job_id": job_id, **row} for job_id in job_ids]}
    bodies = {"request": json.dumps(request or {}).encode(), "answer": json.dumps(answer).encode()}
    return decision(number, **bodies | changes)


def _write(engine: Engine, *records: DecisionRecord) -> None:
    report = DecisionWriter(engine).write([record.to_bytes() for record in records])
    assert (report.accepted, report.poisoned) == (len(records), ())


def _rows(engine: Engine, columns: str = "schedule_id, job_id") -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT {columns} FROM latest_plan ORDER BY plant_id, line_id, job_id"))
        return [tuple(row) for row in found]


def test_view_shows_the_rows_of_the_answer(engine: Engine) -> None:
    """Instants are UTC, names and setups are those of the answer."""
    _write(engine, plan(1, "A"))
    assert _rows(engine, "plant_id, line_id, schedule_id, job_id, machine_id, machine_name, setup_hours") == [
        ("penang", "", decision_id(1), "A", 42, "CM42", 0.3)
    ]
    assert _rows(engine, "start_at, end_at") == [("2025-07-22 06:00:00.000000", "2025-07-22 08:48:00.000000")]


def test_machines_that_are_held_together_are_listed(engine: Engine) -> None:
    """A job on several machines names all of them, as the answer does."""
    record = plan(1, "A")
    answer = json.loads(record.answer or b"")
    answer["scheduled_jobs"][0]["machine_ids"] = [42, 43]
    _write(engine, plan(1, answer=json.dumps(answer).encode()))
    assert _rows(engine, "job_id, machine_ids") == [("A", "[42, 43]")]


def test_newer_plan_replaces_the_whole_older_one(engine: Engine) -> None:
    """No row of the older plan is left, and an older decision that arrives late changes nothing."""
    _write(engine, plan(1, "A", "B"))
    _write(engine, plan(3, "B"))
    _write(engine, plan(2, "C"))
    assert _rows(engine) == [(decision_id(3), "B")]


def test_lines_and_plants_have_plans_of_their_own(engine: Engine) -> None:
    """Each line of a plant keeps its plan when another line is planned."""
    _write(engine, plan(1, "A", line_id="1"), plan(2, "B", line_id="2"), plan(3, "C", plant_id="ipoh"))
    assert _rows(engine, "plant_id, line_id, job_id") == [
        ("ipoh", "", "C"),
        ("penang", "1", "A"),
        ("penang", "2", "B"),
    ]


def test_what_if_copy_is_nobodys_plan(engine: Engine) -> None:
    """A copy made to compare leaves the plan of the plant alone, also beside an older one in the same batch."""
    _write(engine, plan(1, "A"), plan(2, "B", request={"parent_schedule_id": decision_id(1)}))
    assert _rows(engine) == [(decision_id(1), "A")]


def test_decision_without_payload_or_plant_is_no_plan(engine: Engine) -> None:
    """What was not to be kept is not shown, and an answer that is none does not keep its decision out."""
    _write(engine, plan(1, request=None, answer=None), plan(2, "B", plant_id=None), decision(3))
    assert _rows(engine) == []


def test_plan_that_was_delivered_twice_is_stored_once(engine: Engine) -> None:
    """Writing again what is already there leaves it as it is."""
    for _ in range(2):
        _write(engine, plan(1, "A", "B"))
    assert _rows(engine) == [(decision_id(1), "A"), (decision_id(1), "B")]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=5))
def test_newest_wins_in_any_order(engine: Engine, batches: list[list[int]]) -> None:
    """However decisions are batched, repeated and delayed, the plan is the newest one, whole."""
    with engine.begin() as connection:
        connection.execute(delete(PLAN))
        connection.execute(delete(PLANNED_JOB))
    for batch in batches:
        _write(engine, *(plan(number, f"J{number}", "all") for number in batch))
    newest = max(number for batch in batches for number in batch)
    assert _rows(engine) == [(decision_id(newest), f"J{newest}"), (decision_id(newest), "all")]
