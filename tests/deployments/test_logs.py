"""Log lines: JSON, with the request id and without secrets."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from deployments.logs import REQUEST_ID, JsonFormatter, configure_logging


def _record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "deployments.api", "levelname": "INFO", "msg": message, **extra})


def test_line_is_one_json_object_with_the_request_id() -> None:
    """A line carries level, logger, message, the fields of `extra` and the id of the request."""
    token = REQUEST_ID.set("req-1")
    try:
        line = JsonFormatter().format(_record("answered\nwell", status=200))
    finally:
        REQUEST_ID.reset(token)
    fields = json.loads(line)
    assert "\n" not in line
    assert {name: fields[name] for name in ("level", "logger", "message", "request_id", "status")} == {
        "level": "info",
        "logger": "deployments.api",
        "message": "answered\nwell",
        "request_id": "req-1",
        "status": 200,
    }


def test_line_holds_no_secret() -> None:
    """A secret is blotted out wherever a library quotes it, also in an exception."""
    try:
        raise RuntimeError('cannot connect with hunter2"quoted')
    except RuntimeError as error:
        record = _record("failed", exc_info=(type(error), error, error.__traceback__))
    line = JsonFormatter(secrets=['hunter2"quoted']).format(record)
    assert "hunter2" not in line
    assert "cannot connect with ***" in json.loads(line)["exception"]


@pytest.mark.usefixtures("_restored_loggers")
def test_configuring_twice_logs_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A second configuration replaces the first, and the level holds."""
    configure_logging("WARNING")
    configure_logging("INFO")
    logging.getLogger("deployments.somewhere").info("hello")
    logging.getLogger("deployments.somewhere").debug("not this")
    lines = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["hello"]


def test_traceback_is_written_without_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Serve replaces `print` in a replica by one that spoils what is printed to a file."""
    monkeypatch.setattr("builtins.print", lambda *_, **__: None)
    try:
        raise ValueError("the cause")
    except ValueError:
        record = logging.LogRecord("deployments", logging.ERROR, "", 0, "failed", None, sys.exc_info())
    told = json.loads(JsonFormatter().format(record))["exception"]
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith("ValueError: the cause")
