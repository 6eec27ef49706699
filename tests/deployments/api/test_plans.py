"""The plan in force over HTTP: which it is, who released it, who was told of a conflict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deployments.api import Services
from tests.deployments.api.calls import call
from tests.deployments.fakes import MemoryJournal, body, job, services_over


async def _made(services: Services, *job_ids: str, **changes: Any) -> str:
    request = body(jobs=[job(job_id) for job_id in job_ids], **changes)
    answer = await call("POST", "/schedule", services=services, json=request)
    return str(answer.json()["schedule_id"])


async def _release(services: Services, schedule_id: str, expected: str | None, reason: str = "because") -> Any:
    document = {"reason": reason, "expected": expected}
    return await call("POST", f"/v1/schedules/{schedule_id}/release", services=services, json=document)


async def _plan(services: Services) -> Any:
    return (await call("GET", "/v1/plants/penang/plan", services=services)).json()


async def test_plan_in_force_says_how_it_came_to_be() -> None:
    """The newest schedule until one is released, and the released one with who did it and why."""
    services = services_over()
    assert (await call("GET", "/v1/plants/penang/plan", services=services)).status_code == 404
    one, other = [await _made(services, name) for name in ("A", "B")]
    found = await _plan(services)
    assert (found["schedule_id"], found["is_released"], found["release"]) == (other, False, None)
    assert found["note"] == "nothing is released here: this is the newest schedule that is no what-if"
    released = await _release(services, one, None, "the customer called")
    assert (released.status_code, released.json()["previous_schedule_id"]) == (200, None)
    found = await _plan(services)
    assert (found["schedule_id"], found["is_released"], found["note"]) == (one, True, "released by default")
    assert found["release"] == released.json()
    assert found["release"]["reason"] == "the customer called"
    assert [row["job_id"] for row in found["schedule"]["answer"]["scheduled_jobs"]] == ["A"]


async def test_conflict_names_both_plans_and_what_differs() -> None:
    """Whoever releases over a plan that he did not know of learns what he would have changed."""
    services = services_over()
    one, other = [await _made(services, *names) for names in (("A", "B"), ("A", "C"))]
    await _release(services, one, None)
    answer = await _release(services, other, None)
    problem = answer.json()
    assert (answer.status_code, problem["error"]) == (409, "plan_conflict")
    assert (problem["in_force"], problem["wanted"]) == (one, other)
    assert (problem["differences"]["added_jobs"], problem["differences"]["removed_jobs"]) == (["C"], ["B"])
    assert (await _plan(services))["schedule_id"] == one


async def test_undo_brings_the_plan_before_back_and_the_history_tells_all() -> None:
    """Each step keeps who and why; pages follow each other."""
    services = services_over()
    one, other = [await _made(services, name) for name in ("A", "B")]
    await _release(services, one, None)
    await _release(services, other, one)
    path = f"/v1/schedules/{other}/release"
    undone = await call("DELETE", path, services=services, params={"reason": "wrong one"})
    assert (undone.status_code, undone.json()["schedule_id"], undone.json()["reason"]) == (200, one, "wrong one")
    assert (await _plan(services))["note"] == "in force again since default took the release after it back"
    assert (await call("DELETE", path, services=services)).status_code == 409
    steps: list[Any] = []
    cursor: str | None = None
    while True:
        query = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        page = (await call("GET", "/v1/plants/penang/releases", services=services, params=query)).json()
        steps += page["releases"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [(step["version"], step["action"]) for step in steps] == [(3, "undo"), (2, "release"), (1, "release")]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"expected": None}, "reason"),
        ({"reason": "  ", "expected": None}, "reason"),
        ({"reason": "because"}, "expected"),
        ({"reason": "because", "expected": 7}, "expected"),
        ({"reason": "because", "expected": None, "force": True}, "force"),
    ],
)
async def test_release_must_say_why_and_what_it_replaces(document: Any, field: str) -> None:
    """Nothing is put in force by half an order."""
    services = services_over()
    one = await _made(services, "A")
    answer = await call("POST", f"/v1/schedules/{one}/release", services=services, json=document)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert not (await _plan(services))["is_released"]


async def test_schedule_without_its_payload_cannot_be_released() -> None:
    """There is nothing that the floor could work by."""
    services = services_over()
    one = await _made(services, "A", save_to_database=False)
    answer = await _release(services, one, None)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert "save_to_database" in answer.json()["detail"]


_FILES = {
    "/gantt.svg": ("image/svg+xml", b"<svg "),
    "/gantt.html": ("text/html; charset=utf-8", b"<!doctype html>"),
    ".csv": ("text/csv; charset=utf-8", b"\xef\xbb\xbfjob_id,"),
    ".xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK"),
    ".ics": ("text/calendar; charset=utf-8", b"BEGIN:VCALENDAR\r\n"),
    "/dispatch.csv": ("text/csv; charset=utf-8", b"\xef\xbb\xbfmachine_id,"),
    "/dispatch.html": ("text/html; charset=utf-8", b"<!doctype html>"),
}


@pytest.mark.parametrize("ending", _FILES)
async def test_schedule_is_had_as_a_file(ending: str) -> None:
    """With its media type, a name to save it by, and a policy for what a browser shows."""
    services = services_over()
    one = await _made(services, "A")
    answer = await call("GET", f"/v1/schedules/{one}{ending}", services=services)
    media_type, beginning = _FILES[ending]
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.content.startswith(beginning)
    stem = ending.removeprefix("/").partition(".")[0] or "plan"
    assert f'filename="{stem}-{one}.' in answer.headers["content-disposition"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_file_of_the_plan_follows_the_release() -> None:
    """What the floor prints is what was released, not what was planned last."""
    services = services_over()
    one, _ = [await _made(services, name) for name in ("A", "B")]

    async def printed() -> str:
        return (await call("GET", "/v1/plants/penang/plan/dispatch.csv", services=services)).text

    assert ",B," in await printed()
    await _release(services, one, None)
    assert ",A," in await printed()
    assert ",B," not in await printed()


async def test_in_shadow_the_floor_prints_only_what_was_released() -> None:
    """Whoever asks for the plan sees the newest one, and is told so."""
    journal = MemoryJournal()
    services = services_over(journal=journal)
    one = await _made(services, "A")
    journal.records[0] = replace(journal.records[0], stage="shadow")
    path = "/v1/plants/penang/plan/dispatch.html"
    assert (await _plan(services))["note"].endswith("where the floor sees only what is released")
    assert (await call("GET", path, services=services)).status_code == 404
    await _release(services, one, None)
    assert (await call("GET", path, services=services)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/schedules/nobody.csv", 404),
        ("/v1/schedules/nobody/gantt.svg", 404),
        ("/v1/plants/ipoh/plan/gantt.svg", 404),
        ("/v1/plants/penang/plan/plan.pdf", 422),
        ("/v1/schedules/{id}/dispatch.csv?machine_id=7", 404),
        ("/v1/schedules/{id}/dispatch.csv?machine_id=saw", 422),
        ("/v1/schedules/{id}/gantt.svg?machine_id=42", 422),
    ],
)
async def test_file_that_cannot_be_had_is_a_problem(path: str, status: int) -> None:
    """A schedule, a plant, a machine or a file that is not there."""
    services = services_over()
    path = path.replace("{id}", await _made(services, "A"))
    answer = await call("GET", path, services=services)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_schedule_whose_request_would_be_refused_now_has_files_all_the_same() -> None:
    """Only closed hours are missing from its picture, and it says so."""
    journal = MemoryJournal()
    services = services_over(journal=journal)
    one = await _made(services, "A")
    asked = json.dumps(body(jobs=[job("A", machine_types=[99])])).encode()
    journal.records[0] = replace(journal.records[0], request=asked)
    answer = await call("GET", f"/v1/schedules/{one}/gantt.svg", services=services)
    assert (answer.status_code, "closed hours are not shown" in answer.text) == (200, True)
