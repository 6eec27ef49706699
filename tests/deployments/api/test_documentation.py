"""The documentation: current, complete, and without anything from another host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.api import create_api
from deployments.api.documentation import STATIC_FOLDER, document_text
from tests.deployments.api.calls import call
from tests.deployments.fakes import services_over

CHECKED_IN = Path(__file__).parents[3] / "docs" / "openapi.json"


def _app_document() -> dict[str, Any]:
    document: dict[str, Any] = create_api(services_over).openapi()
    return document


def test_checked_in_document_is_current() -> None:
    """docs/openapi.json is what the service serves; if not: python -m deployments.api > docs/openapi.json."""
    assert CHECKED_IN.read_text() == document_text(create_api(services_over))


@pytest.mark.system
def test_document_can_be_written_without_a_service() -> None:
    """The command that the test above names prints the document."""
    done = subprocess.run([sys.executable, "-m", "deployments.api"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["info"]["title"] == "Gantry"


async def test_document_is_served() -> None:
    """/openapi.json needs no key and is the checked-in document."""
    response = await call("GET", "/openapi.json", headers={})
    assert response.json() == json.loads(CHECKED_IN.read_text())


def test_bounds_are_written_as_json_schema_knows_them() -> None:
    """pydantic's own words for them would tell a client's generator nothing."""
    text = CHECKED_IN.read_text()
    assert '"maximum": 9223372036854775807' in text
    assert not re.findall(r'"(?:gt|ge|lt|le)": ', text)


def test_document_describes_every_route() -> None:
    """Each route of the contract is there, with its body and its errors."""
    document = _app_document()
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == {
        ("/schedule", "post"),
        ("/v1/schedules", "post"),
        ("/v1/schedules", "get"),
        ("/v1/schedules/{schedule_id}", "get"),
        ("/v1/schedules/{schedule_id}", "delete"),
        ("/v1/schedules/{schedule_id}/progress", "get"),
        ("/v1/schedules/{schedule_id}/explanation", "get"),
        ("/v1/schedules/{schedule_id}/compare/{other_id}", "get"),
        ("/v1/schedules/{schedule_id}/feedback", "post"),
        ("/v1/schedules/{schedule_id}/release", "post"),
        ("/v1/schedules/{schedule_id}/release", "delete"),
        ("/v1/schedules/{schedule_id}/gantt.svg", "get"),
        ("/v1/schedules/{schedule_id}/gantt.html", "get"),
        ("/v1/schedules/{schedule_id}.csv", "get"),
        ("/v1/schedules/{schedule_id}.xlsx", "get"),
        ("/v1/schedules/{schedule_id}.ics", "get"),
        ("/v1/schedules/{schedule_id}/dispatch.csv", "get"),
        ("/v1/schedules/{schedule_id}/dispatch.html", "get"),
        ("/v1/plants/{plant_id}/plan", "get"),
        ("/v1/plants/{plant_id}/plan/{file}", "get"),
        ("/v1/plants/{plant_id}/releases", "get"),
        ("/v1/rollout", "get"),
        ("/v1/rollout/promote", "post"),
        ("/v1/rollout/pause", "post"),
        ("/v1/rollout/resume", "post"),
        ("/v1/rollout/rollback", "post"),
        ("/v1/rollout/events", "get"),
        ("/v1/rollout/report", "get"),
        ("/v1/models", "get"),
        ("/v1/models", "post"),
        ("/v1/models/{model_id}/activate", "post"),
        ("/v1/validate", "post"),
        ("/v1/audit", "get"),
        ("/v1/session", "get"),
        ("/v1/session", "post"),
        ("/v1/session", "delete"),
        ("/v1/demo-data", "get"),
        ("/v1/demo-data/{name}", "get"),
        ("/health", "get"),
        ("/livez", "get"),
        ("/metrics", "get"),
        ("/readyz", "get"),
    }
    body = document["paths"]["/schedule"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ScheduleRequest"}
    assert {"400", "401", "403", "413", "422", "500", "503"} < set(document["paths"]["/schedule"]["post"]["responses"])


def test_document_has_no_dangling_reference() -> None:
    """Every $ref leads to a schema of the document, and every schema is used."""
    document = _app_document()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named == set(document["components"]["schemas"])


def test_both_ways_to_give_a_key_are_described() -> None:
    """By the header of ours or as a bearer, wherever a key is asked for: one is enough."""
    document = _app_document()
    schemes = {name: scheme["type"] for name, scheme in document["components"]["securitySchemes"].items()}
    assert schemes == {"APIKeyHeader": "apiKey", "HTTPBearer": "http"}
    asked = [operation.get("security") for methods in document["paths"].values() for operation in methods.values()]
    secured = [security for security in asked if security]
    assert len(secured) >= 20
    assert all(security == [{"APIKeyHeader": []}, {"HTTPBearer": []}] for security in secured)


async def test_docs_page_loads_only_our_own_files() -> None:
    """The page names no other host, forbids them all, and each of its files is there."""
    page = await call("GET", "/docs", headers={})
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "//" not in page.text.replace("<!doctype", "")
    for path in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        assert (await call("GET", f"/{path}", headers={})).status_code == 200, path


@pytest.mark.parametrize("path", ["/static/nothing.js", "/static/../settings.py", "/static/"])
async def test_static_files_are_only_those_of_the_folder(path: str) -> None:
    """Nothing outside the folder is served, and a missing file is a problem like any other."""
    response = await call("GET", path, headers={})
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_shipped_files_carry_their_licence() -> None:
    """Swagger UI is shipped with its licence and its notices."""
    assert "Apache License" in (STATIC_FOLDER / "swagger-ui.LICENSE.txt").read_text()
    assert "SmartBear" in (STATIC_FOLDER / "swagger-ui.NOTICE.txt").read_text()
