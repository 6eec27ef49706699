"""`gantry rollout …` against a service in a thread: what is asked, what is shown, and one line when it is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.rollout.operate import OrderRefused
from deployments.rollout.report.page import page_of
from deployments.rollout.report.report import report_of
from tests.deployments.rollout.records import TransitionLog

STATE = {"stage": "limited", "version": 2, "share": 0.1, "detail": "in force"}
LATCHED = {"stage": "rolled_back", "version": None, "share": 0.0, "detail": "this router serves manual from now on"}
REFUSED = {"detail": "expected_version must be 3, was 2: somebody changed the rollout first"}
OVERVIEW = STATE | {
    "ramp": 1,
    "serving_stage": "limited",
    "stage_since": "2026-11-28T09:57:00+00:00",
    "is_dry_run": False,
    "triggers": [],
    "held_stage": None,
    "challenger": "published",
    "champion": "manual",
    "actual_share": 0.12,
    "is_owner": False,
    "owner": "plant-2:/var/lib/gantry/rollout",
    "gate": {"verdict": "HOLD", "reasons": ["not enough data"]},
    "guardrails": [
        {"guardrail": "crash_rate", "rule": "confidence bound", "value": 0.001, "limit": 0.01, "n": 40}
        | {"condition": "healthy", "baseline": None}
    ],
}


class Service(ThreadingHTTPServer):
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.answer = 200, json.dumps(STATE)
        self.asked: list[tuple[str, str, Any]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.keys.append(self.headers["X-API-Key"])
        self.server.asked.append((self.command, self.path, body))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _run(service: Service, *words: str) -> Any:
    return CliRunner().invoke(app, ["rollout", *words, "--url", service.url])


def test_promotion_sends_reason_version_and_force(service: Service) -> None:
    """And shows where that leads."""
    done = _run(service, "promote", "--reason", "a good week", "--expected-version", "1", "--force")
    assert (done.exit_code, done.output) == (0, "limited, version 2, share 10%\n")
    sent = {"reason": "a good week", "expected_version": 1, "force": True}
    assert service.asked == [("POST", "/v1/rollout/promote", sent)]


def test_operator_needs_nothing_but_url_and_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """In production, on a machine that has neither the database's URL nor the service's files."""
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "production")
    monkeypatch.setenv("GANTRY_API_KEY", "the key of an operator")
    monkeypatch.delenv("GANTRY_DATABASE_URL", raising=False)
    service.answer = json.dumps(OVERVIEW)
    assert _run(service, "status", "--json").exit_code == 0
    assert service.keys == ["the key of an operator"]


@pytest.mark.parametrize("action", ["pause", "resume", "rollback"])
def test_other_orders_need_a_reason(service: Service, action: str) -> None:
    """Without one nothing is sent."""
    assert _run(service, action).exit_code != 0
    assert service.asked == []
    assert _run(service, action, "--reason", "because").exit_code == 0
    assert service.asked == [("POST", f"/v1/rollout/{action}", {"reason": "because"})]


def test_rollback_without_a_controller_says_so(service: Service) -> None:
    """It is done all the same: exit code 0."""
    service.status, service.answer = 202, json.dumps(LATCHED)
    done = _run(service, "rollback", "--reason", "because")
    assert done.exit_code == 0
    assert done.output.startswith("rolled back, share 0%\nthis router serves manual from now on\n")


def test_rollback_says_what_it_means_for_planners_and_what_comes_next(service: Service) -> None:
    """Whoever pulls the brake at night is not left alone with a share of 0 %."""
    service.answer = json.dumps(STATE | {"stage": "rolled_back", "version": 3, "share": 0.0})
    lines = _run(service, "rollback", "--reason", "because").output.splitlines()
    assert lines == [
        "rolled back, version 3, share 0%",
        "Manual, the planner's rule, serves everybody from now on.",
        "Each answer says so: by a warning, and by decision.stage, rolled_back.",
        "Next: an operator finds and mends the cause (GET /v1/rollout/events), and then",
        'begins the next ramp, in shadow: gantry rollout promote --reason "..."',
    ]


def test_refusal_is_one_line(service: Service) -> None:
    """The service's own words."""
    service.status, service.answer = 409, json.dumps(REFUSED)
    done = _run(service, "pause", "--reason", "because")
    assert done.exit_code != 0
    assert isinstance(done.exception, OrderRefused)
    assert str(done.exception) == f"409: {REFUSED['detail']}"


def test_service_that_is_not_there_is_one_line() -> None:
    """With its address."""
    done = CliRunner().invoke(app, ["rollout", "status", "--url", "http://127.0.0.1:9"])
    assert isinstance(done.exception, OrderRefused)
    assert (
        "no service answers at http://127.0.0.1:9 (ConnectError): start it with `gantry serve`, or name it by --url"
        in str(done.exception)
    )


def test_status_shows_stage_split_guardrails_and_verdict(service: Service) -> None:
    """Sentences first, numbers after them, no line wider than a terminal; or the answer itself."""
    service.answer = json.dumps(OVERVIEW)
    shown = _run(service, "status").output
    assert max(map(len, shown.splitlines())) <= 80
    told = " ".join(shown.split())
    places = [
        told.index(words)
        for words in (
            "Stage: limited, since 2026-11-28 09:57 UTC",
            "published serves 10% of the windows, 12% of what was served was its; manual serves the others.",
            "Version 2, ramp 1",
            "Next stage: not yet (verdict HOLD)",
            "- not enough data",
            "taken by plant-2:/var/lib/gantry/rollout",
            "crash_rate",
        )
    ]
    assert places == sorted(places)
    assert json.loads(_run(service, "status", "--json").output) == OVERVIEW


def test_status_shows_odds_that_people_can_read(service: Service) -> None:
    """Evidence of months is beyond counting: no line of hundreds of digits."""
    asked = {"question": "better", "needed_odds": 508.0, "windows": 400, "windows_missing": None, "is_answered": True}
    gate = {"verdict": "PROMOTE", "reasons": [], "evidence": [asked | {"odds": 1e300}]}
    service.answer = json.dumps(OVERVIEW | {"gate": gate})
    told = " ".join(_run(service, "status").output.split())
    assert "better more than a million to 1 508 to 1 400 - answered" in told


def test_status_shows_reasons_as_they_were_given(service: Service) -> None:
    """What stands in brackets or between colons is part of the reason."""
    gate = {"verdict": "BLOCKED", "reasons": ["paused: [ticket 12] :truck: is late"]}
    service.answer = json.dumps(OVERVIEW | {"gate": gate})
    shown = _run(service, "status").output
    assert "verdict BLOCKED" in shown
    assert "- paused: [ticket 12] :truck: is late" in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage": "shadow", "serving_stage": "shadow"}, "manual serves everybody; published plans beside it"),
        ({"stage": "full", "serving_stage": "full", "share": 1.0}, "published serves everybody (12% of what was"),
        ({"stage": "rolled_back", "serving_stage": "rolled_back"}, "begins the next ramp, in shadow"),
        ({"stage": "paused", "held_stage": "limited"}, "Stage: paused in limited"),
        ({"stage": "paused", "held_stage": "limited"}, 'gantry rollout resume --reason "..."'),
        ({"gate": {"verdict": "PROMOTE", "reasons": []}}, 'gantry rollout promote --reason "..." --expected-version 2'),
        ({"gate": {"verdict": "ROLLBACK", "reasons": []}}, 'gantry rollout rollback --reason "..."'),
        (
            {"gate": {"verdict": "HOLD", "reasons": ["x"], "can_be_forced": True}},
            "More requests and days bring what is",
        ),
        ({"actual_share": None}, "nothing was served yet"),
        ({"owner": None}, "taken by nobody, without the database"),
    ],
)
def test_status_says_who_serves_and_who_must_do_what(service: Service, changes: dict[str, Any], said: str) -> None:
    """In each stage, and for each verdict of the gate."""
    service.answer = json.dumps(OVERVIEW | changes)
    assert said in " ".join(_run(service, "status").output.split())


def test_status_names_rules_without_data_in_one_sentence(service: Service) -> None:
    """What has a value stands in the table, the worst first."""
    rules = [("a_rate", "healthy"), ("b_rate", "breach"), ("c_rate", "not enough data"), ("c_rate", "not enough data")]
    (reading,) = OVERVIEW["guardrails"]
    service.answer = json.dumps(
        OVERVIEW | {"guardrails": [reading | {"guardrail": name, "condition": state} for name, state in rules]}
    )
    shown = _run(service, "status").output
    assert shown.index("b_rate") < shown.index("a_rate")
    assert "Not enough data for every rule of: c_rate." in shown


def test_report_is_written_as_a_page(service: Service, tmp_path: Path) -> None:
    """The week's, where it was wanted."""
    service.answer = "<!doctype html>"
    done = _run(service, "report", "--weekly", "--output", str(tmp_path / "report.html"))
    assert done.exit_code == 0
    assert (tmp_path / "report.html").read_text() == "<!doctype html>"
    assert service.asked == [("GET", "/v1/rollout/report?days=7&format=html", None)]


def test_report_is_summed_up_on_the_terminal(service: Service) -> None:
    """Verdict, goals with their states, figures by arm, and "not enough data" where that is the truth."""
    service.answer = json.dumps(report_of(TransitionLog(days=12, requests_per_day=4).records()).as_json())
    shown = _run(service, "report").output
    for words in ("verdict HOLD", "makespan", "< 45 h", "not enough data", "shadow", "limited"):
        assert words in shown


def test_goals_are_the_same_on_terminal_and_page(service: Service) -> None:
    """Both say what each goal compares, so none is shown that nothing could fulfil."""
    found = report_of(TransitionLog(days=12, requests_per_day=4).records())
    service.answer = json.dumps(found.as_json())
    shown, page = _run(service, "report").output, page_of(found)
    for reading in found.goals:
        row = next(line for line in shown.splitlines() if line.startswith(f"│ {reading.goal.label} "))
        assert row.split("│")[2].strip() == reading.goal.condition
        assert f"<td>{reading.goal.label}</td><td>{escape(reading.goal.condition)}</td>" in page
    assert {">= 100 %", "= 0"} <= {reading.goal.condition for reading in found.goals}
