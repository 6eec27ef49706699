"""The contract of the HTTP API over real HTTP: what existing clients send works, and what they read is there."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from deployments.commands.demo import EXAMPLE
from tests.system.serving import Service

pytestmark = pytest.mark.system

# Naive datetimes, floats in hours and nothing optional: what clients of the first hour send.
CORE_REQUEST: dict[str, Any] = {
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
        {
            "job_id": "JOAW002",
            "family_id": "FAM001",
            "sequence": 2,
            "processing_time": 1.0,
            "machine_types": [2],
            "priority": 1,
            "is_important": False,
            "lcd_date": "2025-07-24T00:00:00",
            "setup_time": 0.3,
        },
    ],
    "machines": [
        {"machine_id": 42, "machine_name": "CM03", "machine_type": 2, "status": "available", "current_load": 0.0}
    ],
    "schedule_start": "2025-07-22T14:00:00",
    "respect_break_times": False,
    "respect_holidays": True,
    "optimization_objective": "makespan",
    "request_id": "erp-4711",
    "save_to_database": True,
}
ANSWER_FIELDS = {
    "schedule_id",
    "request_id",
    "scheduled_jobs",
    "metrics",
    "generation_time",
    "algorithm_used",
    "timestamp",
    "optimization_objective",
    "zone",
    "calendar_used",
    "warnings",
    "decision",
    "safety",
}
ROW_FIELDS = {
    "job_id",
    "machine_id",
    "machine_name",
    "start_time",
    "end_time",
    "start_datetime",
    "end_datetime",
    "setup_time_included",
    "working_hours",
}
METRIC_FIELDS = {
    "makespan",
    "total_jobs",
    "scheduled_jobs",
    "completion_rate",
    "average_utilization",
    "total_setup_time",
    "important_jobs_on_time",
    "jobs_on_time",
    "total_tardiness",
    "flow_time_mean",
}
DECISION_FIELDS = {"arm", "stage", "model", "method", "fallback_reason", "policy_makespan", "gains", "time_budget_ms"}
SAFETY_FIELDS = {"valid", "violations", "anomalies", "safety_score"}
PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "error", "message", "request_id", "timestamp"}


def post(service: Service, path: str = "/schedule", **changes: object) -> httpx.Response:
    """The core request, changed."""
    with service.client() as client:
        return client.post(path, json=CORE_REQUEST | changes)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer that must have this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    details: dict[str, Any] = response.json()
    assert details.keys() >= PROBLEM_FIELDS
    assert details["status"] == status
    return details


@pytest.mark.parametrize("path", ["/schedule", "/v1/schedules"])
def test_schedule_answers_the_core_request(service: Service, path: str) -> None:
    """The core request of both routes gives exactly the documented fields and the only possible schedule."""
    response = post(service, path)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer.keys() == ANSWER_FIELDS
    assert answer["metrics"].keys() == METRIC_FIELDS
    assert answer["decision"].keys() == DECISION_FIELDS
    assert answer["safety"].keys() == SAFETY_FIELDS
    first, second = answer["scheduled_jobs"]
    assert first == {
        "job_id": "JOAW001",
        "machine_id": 42,
        "machine_name": "CM03",
        "start_time": 0.0,
        "end_time": 2.8,
        "start_datetime": "2025-07-22T14:00:00Z",
        "end_datetime": "2025-07-22T16:48:00Z",
        "setup_time_included": 0.3,
        "working_hours": 2.8,
    }
    assert second.keys() == ROW_FIELDS
    assert (second["start_time"], second["end_time"]) == (2.8, pytest.approx(4.1))
    assert (answer["request_id"], answer["algorithm_used"]) == ("erp-4711", "ppo")
    assert (answer["metrics"]["completion_rate"], answer["metrics"]["makespan"]) == (100.0, pytest.approx(4.1))
    assert datetime.fromisoformat(answer["timestamp"]).tzinfo is not None


def test_schedule_names_what_it_ignored(service: Service) -> None:
    """A field that nobody knows does not vanish silently."""
    response = post(service, colour="blue")
    assert response.status_code == 200
    assert any("colour" in warning for warning in response.json()["warnings"])


@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_schedule_without_a_valid_key_is_401(service: Service, key: str | None) -> None:
    """No key, an empty one and a wrong one are refused alike."""
    headers = {} if key is None else {"X-API-Key": key}
    response = httpx.post(f"{service.url}/schedule", json=CORE_REQUEST, headers=headers, timeout=60.0, trust_env=False)
    problem(response, 401)


def test_schedule_of_malformed_json_is_400(service: Service) -> None:
    """What is no JSON is said to be none."""
    with service.client() as client:
        problem(client.post("/schedule", content=b'{"jobs": ['), 400)
        problem(client.post("/schedule", content=b""), 400)


def test_schedule_of_a_huge_body_is_413(service: Service) -> None:
    """33 MiB are refused before they are understood."""
    with service.client() as client:
        problem(client.post("/schedule", content=b" " * (33 * 2**20)), 413)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"jobs": None}, "jobs"),
        ({"optimization_objective": "beauty"}, "optimization_objective"),
        ({"jobs": [CORE_REQUEST["jobs"][0] | {"processing_time": 0}]}, "jobs[0].processing_time"),
        ({"jobs": [CORE_REQUEST["jobs"][0] | {"processing_time": 1e300}]}, "jobs[0].processing_time"),
        ({"jobs": [CORE_REQUEST["jobs"][0] | {"machine_types": [9]}]}, "jobs[0].machine_types"),
        ({"jobs": [CORE_REQUEST["jobs"][0]] * 2}, "jobs[1].job_id"),
        ({"machines": [CORE_REQUEST["machines"][0] | {"status": "offline"}]}, "machines"),
    ],
)
def test_schedule_of_bad_input_is_422(service: Service, changes: dict[str, Any], field: str) -> None:
    """Each fault is answered with the field that it is in, and why."""
    details = problem(post(service, **changes), 422)
    assert field in {reason["field"] for reason in details["errors"]}
    assert all(reason["message"] for reason in details["errors"])


def test_unknown_routes_and_methods_are_problems_too(service: Service) -> None:
    """404 and 405 have the same form as every other error."""
    with service.client() as client:
        problem(client.get("/nothing"), 404)
        problem(client.get("/schedule"), 405)
        problem(client.get("/v1/schedules/00000000-0000-7000-8000-000000000000"), 404)


def test_request_id_is_echoed_once(service: Service) -> None:
    """The x-request-id of a client comes back with its answer; a request without one gets one, also in a problem."""
    with service.client() as client:
        assert client.get("/livez", headers={"x-request-id": "abc-123"}).headers["x-request-id"] == "abc-123"
        response = client.get("/nothing")
    assert response.headers["x-request-id"] == problem(response, 404)["request_id"]


def test_probes_need_no_key(service: Service) -> None:
    """/health, /livez and /readyz answer anybody, and say what monitors look for."""
    with httpx.Client(base_url=service.url, timeout=60.0, trust_env=False) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 200
        health = client.get("/health").json()
    assert (health["status"], health["model_loaded"], health["database_connected"]) == ("healthy", True, True)
    assert health["environment"] == "development"
    assert health["uptime"] > 0
    assert {"version", "last_schedule_time", "spool"} <= health.keys()


def test_validate_accepts_our_own_answer_and_refuses_a_changed_one(service: Service) -> None:
    """The judge behind /v1/validate is the one that judged the answer."""
    request = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    with service.client() as client:
        rows = client.post("/schedule", json=request).json()["scheduled_jobs"]
        whole = client.post("/v1/validate", json={"request": request, "scheduled_jobs": rows}).json()
        lacking = client.post("/v1/validate", json={"request": request, "scheduled_jobs": rows[:-1]}).json()
    assert (whole["valid"], whole["violations"]) == (True, [])
    assert not lacking["valid"]
    assert [violation["job_id"] for violation in lacking["violations"]] == [rows[-1]["job_id"]]


def test_decisions_are_listed_newest_first(service: Service) -> None:
    """Pages of decisions go back in time, and their cursor leads on."""
    for _ in range(3):
        post(service)
    with service.client() as client:
        first = client.get("/v1/schedules", params={"limit": 1}).json()
        second = client.get("/v1/schedules", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert first["schedules"][0]["created_at"] >= second["schedules"][0]["created_at"]
    assert first["schedules"][0]["schedule_id"] != second["schedules"][0]["schedule_id"]


def test_documentation_needs_no_other_host(service: Service) -> None:
    """The page of /docs loads nothing from anywhere else, and the document behind it is served."""
    with service.client() as client:
        page = client.get("/docs")
        assert page.status_code == 200
        assert 'src="http' not in page.text
        assert client.get("/openapi.json").json()["info"]["title"] == "Gantry"
