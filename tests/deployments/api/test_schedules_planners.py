"""What planners ask about decisions: why a job is late, what another schedule would change, what if."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deployments.access import Client, Scope, StoredKey, key_digest
from deployments.api import Services
from tests.deployments.api.calls import call
from tests.deployments.fakes import (
    FixedKeys,
    MemoryJournal,
    UnreachableDecisions,
    body,
    job,
    machine,
    scheduling_over,
    services_over,
)
from tests.deployments.scheduling.local_service import PlannersRule

# One job after another, 2.8 h each, from 14:00 on.
LATE = body(
    jobs=[
        job("J1"),
        job("J2", family_id="F", sequence=1),
        job("J3", family_id="F", sequence=2, lcd_date="2025-07-22T20:00:00"),
        job("J4", lcd_date="2025-07-22T14:00:00+08:00", release_at="2025-07-22T15:00:00"),
    ]
)


async def _scheduled(services: Services, document: dict[str, Any]) -> str:
    response = await call("POST", "/schedule", services=services, json=document)
    assert response.status_code == 200, response.text
    schedule_id: str = response.json()["schedule_id"]
    return schedule_id


async def _explained(document: dict[str, Any], services: Services | None = None) -> dict[str, Any]:
    services = services or services_over()
    schedule_id = await _scheduled(services, document)
    response = await call("GET", f"/v1/schedules/{schedule_id}/explanation", services=services)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["schedule_id"] == schedule_id
    return answer


async def test_explanation_accounts_for_each_late_job() -> None:
    """J3 is 2.4 h late after its predecessor, J4 11.2 h behind three jobs and its material."""
    third, fourth = (await _explained(LATE))["late_jobs"]
    assert (third["job_id"], third["family_id"], third["previous_job_id"]) == ("J3", "F", "J2")
    assert [third[name] for name in ("late_hours", "previous_sequence_hours", "setup_hours", "processing_hours")] == (
        pytest.approx([2.4, 5.6, 0.3, 2.5])
    )
    assert (fourth["material_hours"], fourth["machine_hours"]) == pytest.approx((1.0, 7.4))
    assert [(each["job_id"], each["hours"]) for each in fourth["behind"]] == [
        ("J1", pytest.approx(1.8)),
        ("J2", 2.8),
        ("J3", 2.8),
    ]
    assert (fourth["lcd_date"], fourth["available_hours"]) == ("2025-07-22T14:00:00+08:00", 0.0)
    assert fourth["message"] == (
        "J4 ends 11 h 12 min after its due date (Tue 2025-07-22 14:00:00): 1 h waiting for material, "
        "7 h 24 min waiting for machine 42 (CM42) behind J1 (1 h 48 min), J2 (2 h 48 min) and J3 (2 h 48 min), "
        "18 min of setup, 2 h 30 min of processing; none of this lay before the due date."
    )


async def test_explanation_names_a_breakdown() -> None:
    """J1 waits two hours for its machine, which is down: its row and its sentence say from when to when, and why."""
    span = {"from": "2025-07-22T14:00:00", "to": "2025-07-22T16:00:00", "reason": "spindle"}
    calendar = {"machines": [{"machine_id": 42, "unavailable": [span]}]}
    document = body(jobs=[job("J1", lcd_date="2025-07-22T16:00:00")], calendar=calendar)
    journal = MemoryJournal()
    scheduling = scheduling_over(journal=journal, ppo=PlannersRule())
    (late,) = (await _explained(document, services_over(journal=journal, scheduling=scheduling)))["late_jobs"]
    down = {
        "machine_id": 42,
        "machine_name": "CM42",
        "from": "2025-07-22T14:00:00+08:00",
        "to": "2025-07-22T16:00:00+08:00",
    }
    assert late["unavailable"] == [down | {"reason": "spindle"}]
    assert (
        "machine 42 (CM42) was unavailable from Tue 2025-07-22 14:00:00 to Tue 2025-07-22 16:00:00: spindle"
        in late["message"]
    )


async def test_explanation_adds_up() -> None:
    """Previous sequence and the amounts of the row, less the available hours, are the hours late."""
    names = ("material", "machine", "closed", "idle", "setup", "processing", "previous_sequence")
    for late in (await _explained(LATE))["late_jobs"]:
        spent = sum(late[f"{name}_hours"] for name in names)
        assert spent - late["available_hours"] == pytest.approx(late["late_hours"])


async def test_explanation_tells_the_steps_ahead() -> None:
    """J2 is not late, but what J3 waited for has its own account."""
    (ahead,) = (await _explained(LATE))["jobs_ahead"]
    assert (ahead["job_id"], ahead["machine_hours"], ahead["behind_count"]) == ("J2", 2.8, 1)
    assert ahead["ready_datetime"] == "2025-07-22T14:00:00+08:00"


async def test_explanation_of_an_absent_start_counts_from_the_decision() -> None:
    """Without schedule_start the schedule began when the request arrived."""
    document = body(jobs=[job(lcd_date="2025-07-22T15:00:00")])
    del document["schedule_start"]
    (late,) = (await _explained(document))["late_jobs"]
    assert (late["late_hours"], late["available_hours"]) == pytest.approx((1.8, 1.0))
    assert late["start_datetime"] == "2025-07-22T14:00:00+08:00"


async def test_explanation_survives_the_earliest_date() -> None:
    """A due date in the year 1 is some millions of hours ago and nothing worse."""
    (late,) = (await _explained(body(jobs=[job(lcd_date="0001-01-01T00:00:00")])))["late_jobs"]
    assert late["late_hours"] > 17_000_000
    assert late["lcd_date"].startswith("0001-01-01T00:00:00")


async def test_schedule_in_time_has_an_empty_explanation() -> None:
    """Nothing is late, so nothing is explained."""
    assert (await _explained(body()))["late_jobs"] == []


@pytest.mark.parametrize("path", ["{id}/explanation", "{id}/compare/{id}"])
async def test_payload_that_was_not_kept_is_404(path: str) -> None:
    """Without its payload a decision has figures, but nothing to explain or compare."""
    services = services_over()
    schedule_id = await _scheduled(services, body(save_to_database=False))
    response = await call("GET", "/v1/schedules/" + path.format(id=schedule_id), services=services)
    assert response.status_code == 404
    assert response.json()["detail"] == (
        f"schedule {schedule_id!r} was made with save_to_database false: its payload was not kept"
    )


@pytest.mark.parametrize("path", ["none/explanation", "none/compare/{id}", "{id}/compare/none"])
async def test_unknown_schedule_is_404_by_its_id(path: str) -> None:
    """Whichever of the two ids is unknown, it is named."""
    services = services_over()
    schedule_id = await _scheduled(services, body())
    response = await call("GET", "/v1/schedules/" + path.format(id=schedule_id), services=services)
    assert (response.status_code, response.json()["detail"]) == (404, "there is no schedule 'none'")


async def test_request_that_is_refused_now_is_404_with_the_reason() -> None:
    """What was accepted once and is not any more is no fault of whoever asks."""
    journal = MemoryJournal()
    services = services_over(journal=journal)
    schedule_id = await _scheduled(services, body())
    refused = json.dumps(body(machines=[machine(status="offline")])).encode()
    journal.records = [replace(record, request=refused) for record in journal.records]
    response = await call("GET", f"/v1/schedules/{schedule_id}/explanation", services=services)
    assert response.status_code == 404
    assert "cannot be read as it was made: machines: must include one that" in response.json()["detail"]


async def test_comparison_tells_what_a_second_machine_changes() -> None:
    """A what-if copy with a faster machine moves one job, adds one and drops one."""
    services = services_over()
    parent = await _scheduled(services, body(jobs=[job("J1"), job("J2"), job("J3")]))
    document = body(
        jobs=[job("J1"), job("J2", machine_types=[3]), job("J4")],
        machines=[machine(), machine(7, machine_type=3)],
        parent_schedule_id=parent,
    )
    child = await _scheduled(services, document)
    response = await call("GET", f"/v1/schedules/{parent}/compare/{child}", services=services)
    answer = response.json()
    assert (response.status_code, answer["schedule_id"], answer["other_id"]) == (200, parent, child)
    assert (answer["change_count"], answer["unchanged_count"]) == (3, 1)
    assert (answer["added_jobs"], answer["removed_jobs"]) == (["J4"], ["J3"])
    (moved,) = answer["moved_jobs"]
    assert (moved["job_id"], moved["machine_changed"], moved["start_shift_hours"]) == ("J2", True, 0.0)
    assert (moved["before"]["machine_id"], moved["after"]["machine_id"]) == (42, 7)
    assert {"machine_name"} <= set(moved["before"]) & set(moved["after"])
    assert moved["after"]["start_datetime"] == "2025-07-22T16:48:00+08:00"


async def test_comparison_shows_figures_and_their_difference() -> None:
    """An hour less of work is an hour less of makespan."""
    services = services_over()
    before = await _scheduled(services, body())
    after = await _scheduled(services, body(jobs=[job(processing_time=1.5)]))
    metrics = (await call("GET", f"/v1/schedules/{before}/compare/{after}", services=services)).json()["metrics"]
    assert (metrics["before"]["makespan"], metrics["after"]["makespan"]) == (2.8, 1.8)
    assert metrics["difference"]["makespan"] == pytest.approx(-1.0)
    assert set(metrics["before"]) == set(metrics["after"]) == set(metrics["difference"])


async def test_comparison_knows_schedules_that_begin_later() -> None:
    """The same work an hour later has moved by an hour, whichever second each counts from."""
    services = services_over()
    before = await _scheduled(services, body())
    after = await _scheduled(services, body(schedule_start="2025-07-22T15:00:00"))
    (moved,) = (await call("GET", f"/v1/schedules/{before}/compare/{after}", services=services)).json()["moved_jobs"]
    assert (moved["start_shift_hours"], moved["end_shift_hours"], moved["machine_changed"]) == (1.0, 1.0, False)


async def test_what_if_copy_needs_a_parent_of_its_own_client() -> None:
    """Another client's schedule, like one that never was, is refused by the name of the field."""
    clients = [Client(name=name, scopes=frozenset({Scope.SCHEDULE})) for name in ("penang", "ipoh")]
    ring = FixedKeys(StoredKey(digest=key_digest(client.name), client=client) for client in clients)
    services = services_over(access=ring)
    first = await call("POST", "/schedule", services=services, headers={"X-API-Key": "penang"}, json=body())
    parent = first.json()["schedule_id"]
    own, foreign = [
        await call(
            "POST", "/schedule", services=services, headers={"X-API-Key": key}, json=body(parent_schedule_id=parent)
        )
        for key in ("penang", "ipoh")
    ]
    assert (own.status_code, foreign.status_code) == (200, 422)
    assert foreign.json()["errors"] == [
        {"field": "parent_schedule_id", "message": f"must be one of your schedules, was {parent!r}"}
    ]


async def test_what_if_copy_waits_for_the_database_alone() -> None:
    """While the database is down a what-if copy is told to come back; other requests are served."""
    services = services_over(decisions=UnreachableDecisions())
    copy = await call("POST", "/schedule", services=services, json=body(parent_schedule_id="decision-1"))
    assert (copy.status_code, "retry-after" in copy.headers) == (503, True)
    assert (await call("POST", "/schedule", services=services, json=body())).status_code == 200


@pytest.mark.parametrize("path", ["{id}/explanation", "{id}/compare/{id}"])
async def test_answers_for_planners_need_a_scope(path: str) -> None:
    """A key that may only roll back learns nothing about schedules."""
    holder = Client(name="pager", scopes=frozenset({Scope.ROLLBACK}))
    services = services_over(access=FixedKeys([StoredKey(digest=key_digest("pager"), client=holder)]))
    response = await call(
        "GET", "/v1/schedules/" + path.format(id="any"), services=services, headers={"X-API-Key": "pager"}
    )
    assert response.status_code == 403
