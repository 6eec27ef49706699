"""Which ports a service takes for itself, and what ends its start."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from deployments.commands.terminal import StepDisplay
from deployments.local_cluster import cluster
from deployments.local_cluster.cluster import (
    SIDE_PORTS,
    Address,
    LocalCluster,
    PortTaken,
    free_port,
    free_ports,
)
from deployments.local_cluster.processes import ProcessRecord, SessionRecord
from deployments.local_cluster.service import DEFAULT_CONFIG, ray_variables
from deployments.serve.environment import LOOPBACK
from deployments.serve.process import DrainNotice
from deployments.settings.serve_config import read_serve_config

LINUX_FIRST_OUTGOING_PORT = 32_768  # ip_local_port_range as the kernel sets it


def test_free_port_can_be_listened_on() -> None:
    """It is one of the side ports, and nobody holds it."""
    port = free_port()
    assert port in SIDE_PORTS
    with socket.socket() as listener:
        listener.bind((LOOPBACK, port))


def test_no_connection_takes_a_side_port() -> None:
    """Whoever chose one listens on it seconds later; a port from which connections go out may be gone by then."""
    assert SIDE_PORTS[-1] < LINUX_FIRST_OUTGOING_PORT


def test_taken_ports_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two ports the free one is found; when both are taken, that is said."""
    first, second = socket.socket(), socket.socket()
    with first, second:
        first.bind((LOOPBACK, 0))
        second.bind((LOOPBACK, 0))
        taken, free = first.getsockname()[1], second.getsockname()[1]
        monkeypatch.setattr(cluster, "SIDE_PORTS", (taken, free))
        with pytest.raises(PortTaken, match=f"one of the ports {taken} to {free} must be free, all were taken"):
            free_port()
        second.close()
        assert free_port() == free


def test_no_port_is_promised_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five ports Ray's proxy gets the four that the service does not have, each once."""
    ports = free_ports(5)
    monkeypatch.setattr(cluster, "SIDE_PORTS", ports)
    for service_port in ports:
        chosen = [value for name, value in ray_variables(service_port).items() if name.endswith("_PORT")]
        assert {*map(int, chosen), service_port} == {*ports}
        assert len(chosen) == 4


def test_stop_whose_exception_was_lost_ends_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray's library may swallow what a signal's handler raises; that the signal came is still known."""
    stop_asked = threading.Event()
    starting = LocalCluster(
        read_serve_config(DEFAULT_CONFIG),
        Address(host=LOOPBACK, port=free_port()),
        compiler=cast("Any", None),
        record=ProcessRecord(tmp_path / "processes"),
        sessions=SessionRecord(tmp_path / "sessions"),
        notice=DrainNotice(tmp_path),
        display=StepDisplay(lambda _: None),
        log_path=tmp_path / "ray.log",
        stop_asked=stop_asked,
    )
    monkeypatch.setattr(LocalCluster, "_start_ray", lambda _: stop_asked.set())
    with pytest.raises(KeyboardInterrupt):
        starting.start(1.0)
