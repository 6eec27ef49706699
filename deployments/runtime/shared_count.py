"""A number of each process of a node, and their sum: a small file that all of them map into their memory."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deployments.runtime.durable_file import OWNER_ONLY_FOLDER, owner_only

MAX_PROCESSES = 64
_SLOT = struct.Struct("<qqq")
_EMPTY = _SLOT.pack(0, 0, 0)


class SharedCount:
    """Each process has a slot of (process id, its start, number), which it alone writes; the dead do not count.

    For what may be a moment out of date. To read all slots takes microseconds, and nobody waits for anybody.
    """

    def __init__(self, path: Path, pid: int | None = None) -> None:
        """Raises `OSError` when the file cannot be had, or every slot has a living owner."""
        self._pid = os.getpid() if pid is None else pid
        self._started = _started_at(self._pid) or 0
        path.parent.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
        size = MAX_PROCESSES * _SLOT.size
        with open(path, "a+b", opener=owner_only) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Written, not truncated to: who writes into the map of a file that a full disk has no blocks for is killed.
            file.write(bytes(max(0, size - os.fstat(file.fileno()).st_size)))
            file.flush()
            self._map = mmap.mmap(file.fileno(), size)
            try:
                self._offset = self._free_slot(path)
                self.set(0)
            except OSError:
                self._map.close()
                raise
            finally:
                # By hand: the map keeps a descriptor of the same open file, and the lock with it.
                fcntl.flock(file, fcntl.LOCK_UN)

    def set(self, count: int) -> None:
        """This process's own number; of no use once closed, as by a request that outlives its router."""
        if not self._map.closed:
            _SLOT.pack_into(self._map, self._offset, self._pid, self._started, count)

    def of_others(self) -> int:
        """The sum of the numbers of the others that live; 0 once closed."""
        slots = self._slots()
        return sum(count for pid, started, count in slots if count and pid != self._pid and _is_alive(pid, started))

    def living(self) -> int:
        """How many processes have a slot, this one included."""
        others = ((pid, started) for pid, started, _ in self._slots() if pid not in (0, self._pid))
        return 1 + sum(_is_alive(pid, started) for pid, started in others)

    def _slots(self) -> Iterator[tuple[int, int, int]]:
        return iter(()) if self._map.closed else _SLOT.iter_unpack(self._map)

    def close(self) -> None:
        """The slot is free again."""
        self._map[self._offset : self._offset + _SLOT.size] = _EMPTY
        self._map.close()

    def _free_slot(self, path: Path) -> int:
        for index, (pid, started, _) in enumerate(_SLOT.iter_unpack(self._map)):
            if pid in (0, self._pid) or not _is_alive(pid, started):
                return index * _SLOT.size
        raise OSError(f"each of the {MAX_PROCESSES} slots of {path} belongs to a living process")


def _is_alive(pid: int, started: int) -> bool:
    """Whether it is still the process that has begun then, and not another that got its number."""
    return _started_at(pid) == started


def _started_at(pid: int) -> int | None:
    """When a process began, in ticks since the start of the machine (proc(5), field 22); None when there is none.

    Not by psutil: its instant depends on when the machine started by the clock, which each process asks for itself and
    which a step of the clock moves, so two of them may differ about a third; and it takes nearly twice as long.
    """
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    return None
