"""The record of a run's processes: what a later start finds in it, and whom it may end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.local_cluster.processes import ProcessIdentity, ProcessRecord, SessionRecord

pytestmark = pytest.mark.system

SLEEP = "import time; time.sleep(60)"
PARENT = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True); {SLEEP}"


@pytest.fixture
def record(tmp_path: Path) -> ProcessRecord:
    """An empty record."""
    record = ProcessRecord(tmp_path / "run" / "processes")
    record.begin()
    return record


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that would live for a minute."""
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as process:
        yield process
        process.kill()


def test_next_start_ends_what_was_noted(record: ProcessRecord, child: subprocess.Popen[bytes]) -> None:
    """Another record of the same file, as the next start has it, kills and counts it; then there is none."""
    record.note([child.pid, os.getpid()])
    assert ProcessRecord(record.path).end_leftovers() == 1
    assert child.wait(timeout=20) == -9
    assert ProcessRecord(record.path).end_leftovers() == 0


def test_descendants_of_what_was_noted_are_ended_too(record: ProcessRecord) -> None:
    """A process that appeared after the last look, below one that was noted."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        grandchild = ProcessIdentity.of(int(parent.stdout.readline()))
        assert grandchild is not None
        record.note([parent.pid])
        assert ProcessRecord(record.path).end_leftovers() == 2
        assert grandchild.living() is None


def test_another_process_of_the_same_id_lives_on(record: ProcessRecord, child: subprocess.Popen[bytes]) -> None:
    """The id alone is not enough: the time of the start must be the same."""
    identity = ProcessIdentity.of(child.pid)
    assert identity is not None
    with record.path.open("a", encoding="ascii") as file:
        file.write(f"{child.pid} {identity.started - 1}\n")
    assert ProcessRecord(record.path).end_leftovers() == 0
    assert child.poll() is None


@pytest.mark.parametrize(
    "header", ["gantry-processes 2 unknown", "gantry-processes 1 another-start-of-the-machine", ""]
)
def test_record_of_another_world_names_nobody(
    record: ProcessRecord, child: subprocess.Popen[bytes], header: str
) -> None:
    """Of another version, or from before the machine was started anew, or nothing at all."""
    record.note([child.pid])
    _, *lines = record.path.read_text(encoding="ascii").splitlines()
    record.path.write_text("\n".join([header, *lines]), encoding="ascii")
    assert ProcessRecord(record.path).end_leftovers() == 0
    assert child.poll() is None


def test_line_that_was_cut_off_names_nobody(record: ProcessRecord, child: subprocess.Popen[bytes]) -> None:
    """The writer died in the middle of a line; those before it count."""
    record.note([child.pid])
    with record.path.open("a", encoding="ascii") as file:
        file.write(f"{os.getppid()}")
    assert ProcessRecord(record.path).end_leftovers() == 1
    assert child.wait(timeout=20) == -9


def test_no_record_is_no_leftover(tmp_path: Path) -> None:
    """The first start in a folder."""
    assert ProcessRecord(tmp_path / "none").end_leftovers() == 0


def test_folders_of_earlier_runs_are_swept_but_the_last_session(tmp_path: Path) -> None:
    """Of three runs only the logs of the last one are left; what nobody noted, or no Ray made, is not touched."""
    ray, proxies = tmp_path / "ray", tmp_path / "haproxy-serve"
    runs = [(ray / f"session_2026-11-30_09-27-4{number}_782423_3131", f"{number}" * 56) for number in range(3)]
    strangers = [ray / "session_2026-11-30_09-29-22_400761_4765", proxies / ("9" * 56), tmp_path / "precious"]
    record = SessionRecord(tmp_path / "sessions")
    for session, node in runs:
        (session / "logs").mkdir(parents=True)
        (proxies / node).mkdir(parents=True)
    for folder in strangers:
        folder.mkdir()
    lines = [path for session, node in runs for path in (session, proxies / node)]
    link = ray / "session_2026-11-30_09-29-22_400761_1"
    link.symlink_to(tmp_path / "precious")
    record.path.write_text(
        "".join(f"{path}\n" for path in (*lines, tmp_path / "precious", link, "session_1_2")), "utf-8"
    )
    assert record.sweep() == 5
    assert sorted(ray.iterdir()) == sorted([runs[-1][0], strangers[0], link])
    assert (runs[-1][0] / "logs").exists()
    assert [*proxies.iterdir()] == [strangers[1]]
    assert strangers[2].exists()
    assert record.sweep() == 0
    assert (runs[-1][0]).exists()


def test_folders_of_this_run_are_noted_behind_those_of_earlier_ones(tmp_path: Path) -> None:
    """Where Ray's own library says that its proxy keeps its files."""
    record = SessionRecord(tmp_path / "sessions")
    assert record.sweep() == 0
    record.note(tmp_path / "session_1_1", "a" * 56)
    record.note(tmp_path / "session_2_2", "b" * 56)
    first, proxy, *_ = lines = record.path.read_text(encoding="utf-8").splitlines()
    assert (first, proxy, len(lines)) == (str(tmp_path / "session_1_1"), f"/tmp/haproxy-serve/{'a' * 56}", 4)
