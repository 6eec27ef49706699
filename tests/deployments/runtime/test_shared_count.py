from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.runtime import shared_count
from deployments.runtime.shared_count import MAX_PROCESSES, SharedCount

PROGRAM = """
import sys
from pathlib import Path
from deployments.runtime.shared_count import SharedCount
count = SharedCount(Path(sys.argv[1]))
for line in sys.stdin:
    count.set(int(line))
    print(count.of_others(), flush=True)
count.close()
"""


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a slot of its own: it takes numbers on stdin, and prints the sum of the others'."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def told(process: subprocess.Popen[str], number: int) -> int:
    """The sum that the process sees after it has set its own number."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{number}\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@pytest.mark.system
def test_processes_see_each_others_numbers(tmp_path: Path) -> None:
    """Each sees the sum of the others; who ends or is killed does not count any more."""
    path = tmp_path / "run" / "in-flight"
    own = SharedCount(path)
    own.set(3)
    with another_process(path) as first, another_process(path) as second:
        assert told(first, 5) == 3
        assert told(second, 7) == 8
        assert (own.of_others(), own.living()) == (12, 3)
        second.kill()
        second.wait()
        assert (own.of_others(), own.living()) == (5, 2)
        assert first.stdin is not None
        first.stdin.close()
        first.wait()
        assert (own.of_others(), own.living()) == (0, 1)
    own.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_slots_of_the_dead_are_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there are slots is refused while all owners live, and has room once one of them is gone."""
    path = tmp_path / "in-flight"
    dead: set[int] = set()
    monkeypatch.setattr(shared_count, "_is_alive", lambda pid, _started: pid not in dead)
    counts = [SharedCount(path, pid) for pid in range(1, MAX_PROCESSES + 1)]
    for count in counts:
        count.set(1)
    with pytest.raises(OSError, match=f"each of the {MAX_PROCESSES} slots of .* belongs to a living process"):
        SharedCount(path, os.getpid() + 1_000_000)
    dead.add(7)
    newcomer = SharedCount(path, os.getpid() + 1_000_000)
    newcomer.set(10)
    assert counts[0].of_others() == MAX_PROCESSES - 2 + 10


@pytest.mark.system
def test_another_process_with_the_number_of_a_dead_one_does_not_count(tmp_path: Path) -> None:
    """Ids come again in a container that starts anew; what a dead router had under way must not count for ever."""
    path = tmp_path / "in-flight"
    own = SharedCount(path)
    with another_process(path) as other:
        assert told(other, 5) == 0
        assert own.of_others() == 5
        with path.open("r+b") as file:
            place = file.read().index(struct.pack("<q", other.pid)) + 8
            file.seek(place)
            (started,) = struct.unpack("<q", file.read(8))
            file.seek(place)
            file.write(struct.pack("<q", started - 1))
        assert own.of_others() == 0
    own.close()


def test_processes_of_other_users_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal goes to whoever has the number of a dead one now: another user's process would refuse it."""

    def refuse(pid: int, _signal: int) -> None:
        raise PermissionError(pid)

    monkeypatch.setattr(os, "kill", refuse)
    own, first = SharedCount(tmp_path / "in-flight"), SharedCount(tmp_path / "in-flight", 1)
    first.set(3)
    assert own.of_others() == 3


def test_slots_are_on_the_disk_before_they_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write into the map of a hole in a file ends the process by a signal where the disk is full."""
    blocks: list[int] = []

    def noted(descriptor: int, size: int) -> mmap.mmap:
        blocks.append(os.fstat(descriptor).st_blocks)
        return real(descriptor, size)

    real = mmap.mmap
    monkeypatch.setattr(mmap, "mmap", noted)
    closed = SharedCount(tmp_path / "in-flight")
    closed.close()
    # A request may outlive what its router had opened.
    closed.set(1)
    assert (closed.of_others(), closed.living()) == (0, 1)
    assert blocks[0] > 0
