"""Child processes: found, waited for, and ended when they are stubborn."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deployments.local_cluster.processes import LOG_FILES, descendants, end, is_alive, keep_lines, tell_supervisor

pytestmark = pytest.mark.system

SLEEP = "import time; time.sleep(60)"
PARENT = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True); {SLEEP}"


def test_descendants_include_grandchildren() -> None:
    """A child and the child of that child are both found, and this process is not."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        family = descendants(os.getpid())
        assert {child.pid, grandchild} <= {process.pid for process in family}
        assert os.getpid() not in {process.pid for process in family}
        assert end(tuple(process for process in family if process.pid in {child.pid, grandchild}), 0.0) == 2


def test_end_kills_what_outlives_the_grace() -> None:
    """A process that will not go by itself is killed, and counted."""
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as child:
        (process,) = (process for process in descendants(os.getpid()) if process.pid == child.pid)
        assert end((process,), 0.0) == 1
        assert child.wait(timeout=10) == -9
    assert not is_alive(process)


def test_end_waits_for_what_goes_by_itself() -> None:
    """A process that ends within the grace is not killed."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"]) as child:
        (process,) = (process for process in descendants(os.getpid()) if process.pid == child.pid)
        started = time.monotonic()
        assert end((process,), 20.0) == 0
        assert time.monotonic() - started < 20.0
        assert child.wait() == 0


def test_process_is_not_mistaken_for_a_later_one() -> None:
    """The same id with another birth is another process, and is not killed in its place."""
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as child:
        earlier = psutil.Process(child.pid)
        assert is_alive(earlier)
        earlier._ident = (child.pid, -1.0)
        assert not is_alive(earlier)
        assert end((earlier,), 0.0) == 0
        assert child.poll() is None
        child.kill()


def test_process_that_waits_to_be_reaped_is_gone() -> None:
    """Its parent has not asked for its exit code yet; there is nothing left to kill."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        (process,) = (process for process in descendants(os.getpid()) if process.pid == child.pid)
        assert end((process,), 20.0) == 0
        assert process.status() == psutil.STATUS_ZOMBIE


def test_process_that_has_ended_has_no_children() -> None:
    """It is no error to ask."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(timeout=20)
    assert descendants(child.pid) == ()


def test_own_log_is_bounded(tmp_path: Path) -> None:
    """A thousand lines, and never more than the newest file and two older ones; each line as it came."""
    path, logger = tmp_path / "gantry.log", logging.getLogger("tests.own_log")
    keep_lines(logger, path, max_bytes=2000)
    for number in range(1000):
        logger.info("%s", f'{{"time":"{number}"}}')
    for handler in logger.handlers:
        handler.close()
    logger.handlers = []
    sizes = [each.stat().st_size for each in tmp_path.iterdir()]
    assert (len(sizes), max(sizes) <= 2000) == (1 + LOG_FILES, True)
    assert path.read_text(encoding="utf-8").splitlines()[-1] == '{"time":"999"}'


@pytest.mark.parametrize("is_abstract", [False, True])
def test_supervisor_is_told_by_a_datagram(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_abstract: bool) -> None:
    """As sd_notify(3) says, to a file or to a name of the kernel; who asks for nothing is told nothing."""
    path = f"@gantry-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    tell_supervisor("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        tell_supervisor("READY=1", "STATUS=serving")
        assert server.recv(100) == b"READY=1\nSTATUS=serving"
    tell_supervisor("WATCHDOG=1")
