"""What is made of measured runs, and how processes and their arms are told apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from loadtests.compare import ARMS, load_of, page, part_of, titled


def _run(clients: int, policy_ms: float, **changes: Any) -> dict[str, Any]:
    return {
        "clients": clients,
        "taken_ms": [10.0, 20.0, 30.0],
        "failures": 0,
        "plans_per_second": 50.0,
        "cpu_ms": {"PPOPolicy": policy_ms, "gcs_server": 0.01, "the load itself": 99.0},
        "idle_ms_per_second": {"PPOPolicy": 3.0, "the load itself": 1.0},
        "pss_mib": 1000.0,
        "load_average": 1.5,
    } | changes


def test_page_has_the_median_and_the_spread_of_each_number_of_clients() -> None:
    """The load itself is no part of a plan, and parts that use nothing have no row."""
    lines = page([_run(1, 14.0), _run(1, 13.0), _run(1, 18.0), _run(16, 20.0)]).splitlines()
    assert lines[0] == "| | 1 client | 16 clients |"
    assert "| p50 ms | 20.0 (20.0 to 20.0) | 20.0 (20.0 to 20.0) |" in lines
    assert "| CPU ms per plan | 14.0 (13.0 to 18.0) | 20.0 (20.0 to 20.0) |" in lines
    assert "| - PPOPolicy | 14.0 (13.0 to 18.0) | 20.0 (20.0 to 20.0) |" in lines
    assert "| idle: CPU ms per second | 3.0 (3.0 to 3.0) | 3.0 (3.0 to 3.0) |" in lines
    assert not any("gcs_server" in line or "itself" in line for line in lines)


@pytest.mark.parametrize(
    ("title", "part"),
    [
        ("gantry:PPOPolicy", "PPOPolicy"),
        ("ray::ServeReplica:gantry:RequestRouter", "RequestRouter"),
        ("ray::ServeReplica:default:Judge.work", "Judge"),
        ("ray::ServeController.listen_for_change", "ServeController"),
        ("/usr/bin/haproxy -f x", "haproxy"),
    ],
)
def test_processes_are_called_by_what_they_hold(title: str, part: str) -> None:
    """A replica by its deployment, whatever it does at the moment, a part of Ray by its name, else its program."""
    assert part_of(title, "haproxy") == part


def test_flame_graph_does_not_name_the_folders_of_a_machine() -> None:
    """What py-spy calls it, its own command, is replaced."""
    graph = '<svg><text id="title" x="50%">/home/me/py-spy record</text><text>all</text></svg>'
    assert titled(graph, "DBWriter-1-clients") == (
        '<svg><text id="title" x="50%">DBWriter-1-clients</text><text>all</text></svg>'
    )


def test_every_arm_is_described() -> None:
    """Those that listen by themselves and those that are the service."""
    assert sorted(ARMS) == ["a", "b", "c", "d", "e"]


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: ClassVar[list[tuple[int, bytes]]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answers.pop()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def _listening(answers: list[tuple[int, bytes]]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("_Answers", (_Answer,), {"answers": answers})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_whatever_the_policy_did_not_answer_is_a_failure() -> None:
    """Refusals, and plans of the rule; each request is made once, whoever makes it."""
    ok, manual = b'{"algorithm_used":"ppo"}', b'{"algorithm_used":"manual"}'
    with _listening([(200, ok), (503, b""), (200, manual), (200, ok), (200, ok)]) as port:
        taken_ms, failures = load_of(port, b"{}", clients=2, requests=5)
    assert (len(taken_ms), failures) == (5, 2)
