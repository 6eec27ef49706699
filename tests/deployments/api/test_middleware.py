"""Request ids and the one log line of a request."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest

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
    """The log has method, path, status and duration, and nothing of what was sent."""
    with caplog.at_level(logging.INFO, logger="deployments"):
        await call("POST", "/schedule", json=body())
    (line,) = [record for record in caplog.records if record.message == "request answered"]
    assert {name: vars(line)[name] for name in ("method", "path", "status")} == {
        "method": "POST",
        "path": "/schedule",
        "status": 200,
    }
    assert "duration_ms" in vars(line)
    assert KEY["X-API-Key"] not in caplog.text
    assert "JOAW001" not in caplog.text


async def test_probes_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A probe every second is not worth a line."""
    with caplog.at_level(logging.INFO, logger="deployments"):
        await call("GET", "/livez")
    assert [record for record in caplog.records if record.message == "request answered"] == []
