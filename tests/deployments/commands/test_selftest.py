"""`gantry selftest`: a service in order passes each row, and whatever else answers fails with a sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from deployments.api import create_api
from deployments.cli import app as commands
from deployments.commands.selftest import CHECKS, EXAMPLE, SelfTest, spoilt
from deployments.commands.terminal import CheckRow
from deployments.local_cluster.cluster import free_port
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import KnownHealth, health_report, services_over

PATHS = ("/health", "/readyz", "/v1/schedules", "/v1/validate")
Handler = Callable[[httpx.Request], httpx.Response]


def service(**changes: Any) -> FastAPI:
    """The API over fakes."""
    services = services_over(**changes)
    return create_api(lambda: services)


def over(app: FastAPI) -> Handler:
    """Answers as the API does, over ASGI."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = call(request.method, request.url.path, app=app, headers=dict(request.headers), content=request.content)
        found = asyncio.run(asked)
        headers = {name: value for name, value in found.headers.items() if name == "content-type"}
        return httpx.Response(found.status_code, headers=headers, content=found.content)

    return answer


def rows_of(answer: Handler, key: dict[str, str] = KEY) -> dict[str, CheckRow]:
    """What a run finds, by subject."""
    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://gantry", headers=key) as client:
        return {row.subject: row for row in SelfTest(client).rows()}


def changed(path: str, change: Callable[[httpx.Response], httpx.Response]) -> Handler:
    """A service in order but for its answers on one path."""
    honest = over(service())
    return lambda request: change(honest(request)) if request.url.path == path else honest(request)


def test_service_in_order_passes_every_row() -> None:
    """Model, database, 170 jobs, the judge both ways, two refusals and the fallback."""
    rows = rows_of(over(service()))
    assert {name: row.seen for name, row in rows.items() if not row.passes} == {}
    assert len(rows) == CHECKS
    assert rows["schedule"].seen.startswith("170 of 170 jobs by ppo, ")
    assert rows["judge"].seen.startswith("accepted the plan, and refused it spoilt: ")
    assert rows["refusal"].seen == "a negative length: 422 jobs[0].processing_time; half a document: 400"
    assert rows["fallback"].seen == "170 jobs by manual, safe: True"


def test_wrong_key_fails_what_needs_one() -> None:
    """Probes pass, and the rows of the others say 401."""
    rows = rows_of(over(service()), {"X-API-Key": "wrong"})
    assert {name for name, row in rows.items() if row.passes} >= {"service", "version", "ready", "model"}
    assert rows["schedule"].seen.startswith("401 ")
    assert rows["database"].seen == "connected; nothing to read back without a schedule"
    assert not rows["fallback"].passes


def test_policy_that_is_away_fails_the_model() -> None:
    """Though manual answers."""
    health = KnownHealth(replace(health_report(), model_loaded=False))
    rows = rows_of(over(service(health=health)))
    assert (rows["model"].passes, rows["model"].seen) == (False, "not loaded: manual serves")


def test_service_that_is_not_ready_says_why() -> None:
    """The sentence of `/readyz`."""
    health = KnownHealth(replace(health_report(), schema_fault="run `gantry db upgrade`"))
    rows = rows_of(over(service(health=health)))
    assert (rows["ready"].passes, rows["ready"].seen) == (False, "run `gantry db upgrade`")


def test_judge_that_accepts_everything_fails() -> None:
    """A spoilt plan must be refused."""

    def blind(answer: httpx.Response) -> httpx.Response:
        return httpx.Response(200, json=answer.json() | {"valid": True, "violations": []})

    row = rows_of(changed("/v1/validate", blind))["judge"]
    assert (row.passes, row.seen) == (False, "accepted two jobs on one machine at once")


def test_another_version_is_named() -> None:
    """Both, because either may be the one to change."""

    def older(answer: httpx.Response) -> httpx.Response:
        return httpx.Response(answer.status_code, json=answer.json() | {"version": "0.0.9"})

    row = rows_of(changed("/health", older))["version"]
    assert (row.passes, row.seen) == (False, f"0.0.9 there, {version('gantry')} here")


ODD = ("{}", "[]", "null", '{"scheduled_jobs": 3, "status": [], "model_loaded": {}}', "<p>")


@pytest.mark.parametrize(
    ("document", "paths"),
    [*((each, PATHS) for each in ODD), *((each, PATHS[1:]) for each in ODD), ("{}", ("/v1/validate",))],
)
def test_answers_of_any_shape_are_rows(document: str, paths: tuple[str, ...]) -> None:
    """Whatever some other version answers: a row that fails for each path, and no traceback."""
    honest = over(service())

    def odd(request: httpx.Request) -> httpx.Response:
        if request.url.path not in paths:
            return honest(request)
        return httpx.Response(200, content=document.encode(), headers={"content-type": "application/json"})

    rows = rows_of(odd)
    assert sum(not row.passes for row in rows.values()) >= min(len(paths), len(rows))
    assert all(row.seen and row.remedy for row in rows.values())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, html="<h1>It works!</h1>"), "GET /health answered 200 by text/html, not by JSON"),
        (httpx.Response(502, html="<h1>Bad gateway</h1>"), "GET /health answered 502 by text/html, not by JSON"),
        (httpx.Response(404, json={"detail": "Not Found"}), "answered 404 by JSON that is none of Gantry's"),
        (
            httpx.Response(301, headers={"location": "https://x/"}),
            "GET /health leads to https://x/: name that with --url",
        ),
    ],
)
def test_whatever_is_no_gantry_is_one_row(answer: httpx.Response, words: str) -> None:
    """Nothing else is tried on it."""
    rows = rows_of(lambda _: answer)
    assert rows.keys() == {"service"}
    assert not rows["service"].passes
    assert words in rows["service"].seen


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "nonsense", "http://[::1", "ftp://127.0.0.1"])
def test_service_that_is_down_is_one_clear_row(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, on a terminal and as JSON."""
    monkeypatch.setenv("GANTRY_URL", url.format(port=free_port()))
    monkeypatch.setenv("GANTRY_KEY", "any")
    told = CliRunner().invoke(commands, ["selftest"])
    assert told.exit_code == 1
    assert told.stdout.startswith("FAIL  service  ")
    assert "->" in told.stdout
    document = json.loads(CliRunner().invoke(commands, ["selftest", "--json"]).stdout)
    assert document["passes"] is False
    assert [row["subject"] for row in document["checks"]] == ["service"]


def test_caller_needs_no_settings_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks a production service has its key, and no database."""
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_API_KEY", "k" * 40)
    told = CliRunner().invoke(commands, ["selftest", "--url", "http://127.0.0.1:1"])
    assert "DATABASE_URL" not in told.output
    assert "FAIL" in told.stdout


def test_plan_is_spoilt_by_an_overlap() -> None:
    """The second job of a machine begins with the first; without a second one a row is missing."""
    rows = [
        {"job_id": name, "machine_id": machine, "start_time": start, "end_time": start + 1.0}
        for name, machine, start in (("a", 1, 0.0), ("b", 2, 0.0), ("c", 1, 1.0))
    ]
    assert spoilt(rows) == [*rows[:2], {"job_id": "c", "machine_id": 1, "start_time": 0.0, "end_time": 1.0}]
    assert spoilt(rows[:2]) == rows[:1]


def test_example_is_shipped() -> None:
    """The plant of 170 jobs."""
    assert len(json.loads(EXAMPLE.read_bytes())["jobs"]) == 170
