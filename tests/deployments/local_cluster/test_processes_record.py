"""The record of a run's processes: what a later start finds in it, and whom it may end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.local_cluster.processes import ProcessIdentity, ProcessRecord

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
