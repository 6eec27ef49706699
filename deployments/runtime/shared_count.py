"""A number of each process of a node, and their sum: a small file that all of them map into their memory."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path

from deployments.runtime.durable_file import OWNER_ONLY_FOLDER, owner_only

MAX_PROCESSES = 64
_SLOT = struct.Struct("<qq")
_EMPTY = _SLOT.pack(0, 0)


class SharedCount:
    """Each process has a slot of (process id, number), which it alone writes; the numbers of the dead do not count.

    For what may be a moment out of date. To read all slots takes microseconds, and nobody waits for anybody.
    """

    def __init__(self, path: Path, pid: int | None = None) -> None:
        """Raises `OSError` when the file cannot be had, or every slot has a living owner."""
        self._pid = os.getpid() if pid is None else pid
        path.parent.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
        size = MAX_PROCESSES * _SLOT.size
        with open(path, "a+b", opener=owner_only) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_size < size:
                file.truncate(size)
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
        """This process's own number."""
        _SLOT.pack_into(self._map, self._offset, self._pid, count)

    def of_others(self) -> int:
        """The sum of the numbers of the others that live."""
        return sum(count for pid, count in _SLOT.iter_unpack(self._map) if count and self._is_other(pid))

    def close(self) -> None:
        """The slot is free again."""
        self._map[self._offset : self._offset + _SLOT.size] = _EMPTY
        self._map.close()

    def _is_other(self, pid: int) -> bool:
        return pid != self._pid and _is_alive(pid)

    def _free_slot(self, path: Path) -> int:
        for index, (pid, _) in enumerate(_SLOT.iter_unpack(self._map)):
            if pid in (0, self._pid) or not _is_alive(pid):
                return index * _SLOT.size
        raise OSError(f"each of the {MAX_PROCESSES} slots of {path} belongs to a living process")


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
