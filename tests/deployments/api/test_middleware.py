"""Request ids and the one log line of a request."""

from __future__ import annotations

import json
import logging
from uuid import UUID

import pytest

from deployments.logs import LINE_BEGINNING, REQUEST_ID, REQUESTS, JsonFormatter
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import body


async def test_request_id_is_echoed() -> None:
    """The id that a client sends comes back."""
    response = await call("POST", "/schedule", headers=KEY | {"x-request-id": "erp-1"}, json=body())
    assert response.headers.get_list("x-request-id") == ["erp-1"]


@pytest.mark.parametrize("given", [{}, {"x-request-id": "x" * 129}, {"x-request-id": "a b"}])
async def test_request_id_is_made_when_there_is_no_usable_one(given: dict[str, str]) -> None:
    """Without an id, or with one that would spoil the log, the request gets a new one."""
    response = await call("GET", "/livez", headers=given)
    UUID(response.headers["x-request-id"])


async def test_request_leaves_one_line_without_key_and_body(caplog: pytest.LogCaptureFixture) -> None:
    """The log has method, path, status and milliseconds, and nothing of what was sent."""
    with caplog.at_level(logging.INFO, logger="deployments"):
        await call("POST", "/schedule", json=body())
    (line,) = [record for record in caplog.records if record.name == REQUESTS]
    assert (line.message, vars(line)["status"]) == ("POST /schedule", 200)
    assert vars(line)["ms"] >= 0
    assert KEY["X-API-Key"] not in caplog.text
    assert "JOAW001" not in caplog.text


async def test_probes_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A probe every second is not worth a line."""
    with caplog.at_level(logging.INFO, logger="deployments"):
        await call("GET", "/livez")
    assert [record for record in caplog.records if record.name == REQUESTS] == []


@pytest.mark.parametrize("path", ["/schedule", f"/v1/schedules/{UUID(int=1)}/compare/{UUID(int=2)}", "/" + "ä" * 300])
async def test_line_of_a_request_has_at_most_200_bytes(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the path, with an id as long as those that are made here."""
    with caplog.at_level(logging.INFO, logger="deployments"):
        response = await call("POST", path, headers={"x-request-id": str(UUID(int=7))})
    (record,) = [record for record in caplog.records if record.name == REQUESTS]
    vars(record)["ms"] = 120_000.5
    vars(record)["_ray_timestamp_ns"] = 1796036432217052711
    token = REQUEST_ID.set(str(UUID(int=7)))
    line = JsonFormatter().format(record)
    REQUEST_ID.reset(token)
    assert line.startswith(LINE_BEGINNING)
    fields = json.loads(line)
    assert (fields["request_id"], fields["status"]) == (str(UUID(int=7)), response.status_code)
    assert fields["message"].startswith(f"POST /{path[1:7]}".encode("ascii", "replace").decode())
    assert len(line.encode()) <= 200
