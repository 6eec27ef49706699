"""`gantry schedules gantt`: the file of a service that is asked by GANTRY_URL and GANTRY_KEY."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.schedules import NotAnswered


class _Service(BaseHTTPRequestHandler):
    """Knows the schedule "one", and says who asked for what."""

    def do_GET(self) -> None:
        is_known = self.path.startswith("/v1/schedules/one")
        said = f"{self.path} by {self.headers['X-API-Key']}".encode()
        self.send_response(200 if is_known else 404)
        self.send_header("content-type", "text/plain" if is_known else "application/problem+json")
        self.end_headers()
        self.wfile.write(said if is_known else json.dumps({"detail": "there is no schedule"}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output is for the tests."""


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A service where the environment says."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("GANTRY_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GANTRY_KEY", "secret")
    monkeypatch.chdir(tmp_path)
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def _run(*words: str) -> Exception | None:
    error = CliRunner().invoke(app, ["schedules", "gantt", *words]).exception
    return error if isinstance(error, Exception) else None


@pytest.mark.parametrize(
    ("output", "asked"),
    [
        (None, "/v1/schedules/one/gantt.svg"),
        ("plan.html", "/v1/schedules/one/gantt.html"),
        ("plan.CSV", "/v1/schedules/one.csv"),
        ("plan.xlsx", "/v1/schedules/one.xlsx"),
        ("plan.ics", "/v1/schedules/one.ics"),
    ],
)
def test_file_is_asked_for_by_its_ending(output: str | None, asked: str) -> None:
    """With the key of the environment; without a name the picture is called after the schedule."""
    assert _run("one", *([] if output is None else ["--output", output])) is None
    assert Path(output or "one.svg").read_text(encoding="utf-8") == f"{asked} by secret"


def test_refusal_is_said_and_leaves_no_file() -> None:
    """In the words of the service."""
    error = _run("../two")
    assert isinstance(error, NotAnswered)
    assert str(error).endswith("answered 404: there is no schedule")
    assert list(Path().iterdir()) == []


def test_service_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is an ending that nobody knows."""
    monkeypatch.setenv("GANTRY_URL", "http://127.0.0.1:9")
    assert "GANTRY_URL must be where a service listens, was http://127.0.0.1:9" in str(_run("one"))
    assert "--output must end in one of .svg, .html" in str(_run("one", "--output", "plan.pdf"))
