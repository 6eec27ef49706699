"""Errors over HTTP: always problem details, never a stack trace, SQL or a secret."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from deployments.api import Services, middleware
from deployments.errors import JudgeUnavailable, Overloaded, ProposalFailed
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import (
    AbsentJudge,
    FailingProposer,
    FullJournal,
    PlannedProposer,
    UnreachableDecisions,
    body,
    development_settings,
    job,
    nothing,
    scheduling_over,
    services_over,
)


def _problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["message"] == problem["detail"]
    assert problem["type"] == f"urn:gantry:problem:{problem['error'].replace('_', '-')}"
    assert problem["timestamp"] == "2025-07-22T06:00:00Z"
    return problem


def _small_bodies() -> Services:
    return services_over(settings=development_settings(max_body_bytes=1024))


async def test_malformed_json_is_400() -> None:
    """A body that is no JSON is told where it breaks."""
    response = await call("POST", "/schedule", content=b'{"jobs": [}')
    problem = _problem(response)
    assert (response.status_code, problem["error"], problem["instance"]) == (400, "malformed_json", "/schedule")
    assert "line 1 column 11" in problem["detail"]


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}])
async def test_missing_or_wrong_key_is_401(headers: dict[str, str]) -> None:
    """Without a valid key the body is not even read."""
    response = await call("POST", "/schedule", headers=headers, content=b"{")
    assert (response.status_code, _problem(response)["error"]) == (401, "unauthenticated")
    assert response.headers["www-authenticate"] == 'ApiKey realm="gantry", Bearer realm="gantry"'


async def test_unknown_path_is_404() -> None:
    """A path that is not there is a problem like any other."""
    response = await call("GET", "/nowhere")
    assert (response.status_code, _problem(response)["error"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/nowhere", "/v1"])
async def test_unknown_path_points_to_the_documentation(path: str) -> None:
    """Whoever opens the service in a browser learns where to go on."""
    assert _problem(await call("GET", path))["detail"] == f"GET {path}: Not Found; /docs lists every path"


async def test_unknown_schedule_is_404() -> None:
    """An id that nobody was given is named."""
    response = await call("GET", "/v1/schedules/0190")
    assert (response.status_code, _problem(response)["detail"]) == (404, "there is no schedule '0190'")


async def test_wrong_method_is_405() -> None:
    """The answer names the methods that exist."""
    response = await call("GET", "/schedule")
    assert (response.status_code, _problem(response)["error"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


async def test_announced_large_body_is_413() -> None:
    """A body that announces its size is refused before it is sent."""
    response = await call("POST", "/schedule", services=_small_bodies(), content=b" " * 1025)
    problem = _problem(response)
    detail = "the body must have at most 1,024 bytes (GANTRY_MAX_BODY_BYTES)"
    assert (response.status_code, problem["detail"]) == (413, detail)
    assert response.headers["connection"] == "close"


async def test_unannounced_large_body_is_413_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless body is kept up to the limit, and listened to for a while."""
    monkeypatch.setattr(middleware, "REMAINDER_BYTES", 1000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b" " * 100

    response = await call("POST", "/schedule", services=_small_bodies(), content=endless())
    assert response.status_code == 413
    assert sent <= 2200


async def test_body_at_the_limit_is_read() -> None:
    """The limit itself is allowed."""
    response = await call("POST", "/schedule", services=_small_bodies(), content=b" " * 1024)
    assert response.status_code == 400


async def test_invalid_request_is_422_with_fields() -> None:
    """Each fault is listed with field and value, and the first one stands in the detail."""
    jobs = [job(processing_time=-1, weight=0)]
    response = await call("POST", "/schedule", json=body(jobs=jobs))
    problem = _problem(response)
    assert (response.status_code, problem["error"]) == (422, "invalid_request")
    assert problem["detail"] == "jobs[0].processing_time must be greater than 0, was -1 (and 1 more)"
    assert problem["errors"] == [
        {"field": "jobs[0].processing_time", "message": "must be greater than 0, was -1"},
        {"field": "jobs[0].weight", "message": "must be greater than 0, was 0"},
    ]


async def test_infeasible_request_is_422_with_fields() -> None:
    """A request that follows the schema and cannot be scheduled has its own name."""
    response = await call("POST", "/schedule", json=body(jobs=[job(machine_types=[9])]))
    problem = _problem(response)
    assert (response.status_code, problem["error"]) == (422, "infeasible")
    assert [fault["field"] for fault in problem["errors"]] == ["jobs[0].machine_types"]


async def test_long_lists_of_reasons_are_cut_and_counted() -> None:
    """A hundred reasons are shown, the rest is counted."""
    jobs = [job(f"J{index}", machine_types=[9]) for index in range(130)]
    problem = _problem(await call("POST", "/schedule", json=body(jobs=jobs)))
    assert (len(problem["errors"]), problem["errors_omitted"]) == (100, 30)
    assert problem["detail"].endswith("(and 129 more)")


async def test_too_many_jobs_are_422() -> None:
    """One job above the limit is one reason."""
    services = services_over(settings=development_settings(max_jobs=2))
    response = await call("POST", "/schedule", services=services, json=body(jobs=[job(name) for name in "ABC"]))
    message = "must have at most 2 entries (GANTRY_MAX_JOBS), had 3"
    assert _problem(response)["errors"] == [{"field": "jobs", "message": message}]


@pytest.mark.parametrize(("query", "field"), [("limit=0", "limit"), ("limit=x", "limit"), ("cursor=x", "cursor")])
async def test_bad_parameter_is_422(query: str, field: str) -> None:
    """Parameters of the path are named like fields."""
    response = await call("GET", f"/v1/schedules?{query}")
    assert response.status_code == 422
    (fault,) = _problem(response)["errors"]
    assert (fault["field"], "must" in fault["message"]) == (field, True)


async def test_no_safe_schedule_is_500_with_both_rejections() -> None:
    """The answer says for each arm why it did not serve."""
    scheduling = scheduling_over(ppo=FailingProposer(ProposalFailed("no artefact")), manual=PlannedProposer(nothing))
    response = await call("POST", "/schedule", services=services_over(scheduling=scheduling), json=body())
    problem = _problem(response)
    assert (response.status_code, problem["error"]) == (500, "no_safe_schedule")
    ppo, manual = problem["rejections"]
    assert (ppo["arm"], ppo["reason"], ppo["violation_count"]) == ("ppo", "no proposal: no artefact", 0)
    assert (manual["arm"], manual["violation_count"]) == ("manual", 1)
    assert manual["violations"][0]["code"] == "missing_operation"


@pytest.mark.parametrize(
    ("changes", "error", "retry_after"),
    [
        ({"ppo": FailingProposer(Overloaded("the queue is full", 3))}, "overloaded", "3"),
        ({"judge": AbsentJudge(JudgeUnavailable("no replica", 2))}, "judge_unavailable", "2"),
        ({"journal": FullJournal()}, "journal_unavailable", "7"),
    ],
)
async def test_temporary_failure_is_503_with_a_time(changes: dict[str, Any], error: str, retry_after: str) -> None:
    """Whoever may ask again is told when."""
    services = services_over(scheduling=scheduling_over(**changes))
    response = await call("POST", "/schedule", services=services, json=body())
    assert (response.status_code, _problem(response)["error"]) == (503, error)
    assert response.headers["retry-after"] == retry_after


async def test_database_outage_is_503_without_its_address() -> None:
    """Reading back needs the database; the answer does not tell where it is."""
    response = await call("GET", "/v1/schedules", services=services_over(decisions=UnreachableDecisions()))
    assert (response.status_code, _problem(response)["error"]) == (503, "database_unavailable")
    assert response.headers["retry-after"] == "5"
    assert "10.0.0.7" not in response.text


async def test_unexpected_failure_is_500_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The cause goes to the log, under the request id that the client is given."""
    scheduling = scheduling_over(ppo=FailingProposer(RuntimeError("SELECT password FROM secret")))
    services = services_over(scheduling=scheduling)
    response = await call("POST", "/schedule", services=services, headers=KEY | {"x-request-id": "r-1"}, json=body())
    problem = _problem(response)
    assert (response.status_code, problem["error"]) == (500, "internal_error")
    assert problem["detail"] == "the service failed; its log has the cause under request id r-1"
    assert "SELECT" not in response.text
    assert "SELECT password" in caplog.text


async def test_large_request_of_rubbish_is_refused_briefly() -> None:
    """A body of thousands of wrong jobs does not come back as thousands of errors."""
    response = await call("POST", "/schedule", content=json.dumps({"jobs": [{}] * 5000}).encode())
    assert response.status_code == 422
    assert len(response.content) < 20_000
