"""A disk in memory with a page cache: power fails at any byte, fsync fails and forgets, writes fall short."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from deployments.persistence.spool.disk import LocalDisk


class PowerCut(BaseException):
    """The process ends here: no handler of the program may run on."""


@dataclass(eq=False)
class _File:
    """`cached` is what readers see, `durable` what survives a power cut."""

    cached: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    is_dirty: bool = False
    holder: int | None = None


class SimulatedDisk(LocalDisk):
    """Names become durable by `fsync_folder`, bytes by `fsync`.

    Faults, used up by the next operation of their kind: `write_limits` (bytes that a write takes; 0: the disk
    is full), `failing_fsyncs`, `failing_folder_fsyncs`, `failing_truncates`. `bytes_to_live` ends the process
    after so many more bytes written. A failed fsync loses the dirty pages and marks them clean, as Linux does,
    so that a second fsync would report success without writing them.
    """

    def __init__(self) -> None:
        self.names_cached: dict[Path, _File] = {}
        self.names_durable: dict[Path, _File] = {}
        self.write_limits: list[int] = []
        self.failing_fsyncs = 0
        self.failing_folder_fsyncs = 0
        self.failing_truncates = 0
        self.bytes_to_live: int | None = None
        self._open: dict[int, _File] = {}
        self._descriptors = count(3)

    def kill_process(self) -> None:
        """kill -9: locks and descriptors go, the page cache stays."""
        for file in self._open.values():
            file.holder = None
        self._open.clear()
        self.bytes_to_live = None

    def cut_power(self, survives: Callable[[int], int]) -> None:
        """Everything that was not synced is lost, but for as many unsynced bytes and names as `survives` says."""
        self.kill_process()
        for path, file in list(self.names_cached.items()):
            if path not in self.names_durable and survives(1):
                self.names_durable[path] = file
        # In order of their names' age, and each once: a set of files has another order in each process.
        for file in dict.fromkeys([*self.names_cached.values(), *self.names_durable.values()]):
            if file.is_dirty:
                file.durable = _mixed(file.durable, bytes(file.cached), survives)
            file.cached, file.is_dirty = bytearray(file.durable), False
        self.names_cached = dict(self.names_durable)

    def create(self, path: Path) -> int:
        if path in self.names_cached:
            raise FileExistsError(path)
        self.names_cached[path] = _File()
        return self.open(path)

    def open(self, path: Path) -> int:
        if path not in self.names_cached:
            raise FileNotFoundError(path)
        descriptor = next(self._descriptors)
        self._open[descriptor] = self.names_cached[path]
        return descriptor

    def close(self, descriptor: int) -> None:
        file = self._open.pop(descriptor, None)
        if file is not None and file.holder == descriptor:
            file.holder = None

    def lock(self, descriptor: int) -> bool:
        file = self._open[descriptor]
        if file.holder not in {None, descriptor}:
            return False
        file.holder = descriptor
        return True

    def is_linked(self, descriptor: int, path: Path) -> bool:
        return self.names_cached.get(path) is self._open[descriptor]

    def make_folder(self, folder: Path) -> None:
        pass

    def names(self, folder: Path, suffix: str) -> list[str]:
        return sorted(path.name for path in self.names_cached if path.parent == folder and path.name.endswith(suffix))

    def file_size(self, path: Path) -> int:
        return len(self.names_cached[path].cached)

    def size(self, descriptor: int) -> int:
        return len(self._open[descriptor].cached)

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        taken = bytes(data)
        if self.write_limits:
            taken = taken[: self.write_limits.pop(0)]
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        is_last = self.bytes_to_live is not None and len(taken) >= self.bytes_to_live
        if is_last:
            taken = taken[: self.bytes_to_live]
        elif self.bytes_to_live is not None:
            self.bytes_to_live -= len(taken)
        file = self._open[descriptor]
        file.cached[offset : offset + len(taken)] = taken
        file.is_dirty = True
        if is_last:
            raise PowerCut
        return len(taken)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        return bytes(self._open[descriptor].cached[offset : offset + size])

    def truncate(self, descriptor: int, size: int) -> None:
        if self.failing_truncates:
            self.failing_truncates -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        file = self._open[descriptor]
        del file.cached[size:]
        file.is_dirty = True

    def fsync(self, descriptor: int) -> None:
        file = self._open[descriptor]
        if self.failing_fsyncs:
            self.failing_fsyncs -= 1
            file.is_dirty = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if file.is_dirty:
            file.durable, file.is_dirty = bytes(file.cached), False

    def fsync_folder(self, folder: Path) -> None:
        if self.failing_folder_fsyncs:
            self.failing_folder_fsyncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        here = {path: file for path, file in self.names_cached.items() if path.parent == folder}
        elsewhere = {path: file for path, file in self.names_durable.items() if path.parent != folder}
        self.names_durable = elsewhere | here

    def save(self, path: Path, data: bytes) -> None:
        file = self.names_cached.setdefault(path, _File())
        file.cached[:] = data
        file.is_dirty = True

    def load(self, path: Path) -> bytes:
        if path not in self.names_cached:
            raise FileNotFoundError(path)
        return bytes(self.names_cached[path].cached)

    def rename(self, path: Path, target: Path) -> None:
        self.names_cached[target] = self.names_cached.pop(path)

    def remove(self, path: Path) -> None:
        self.names_cached.pop(path, None)


def _mixed(durable: bytes, cached: bytes, survives: Callable[[int], int]) -> bytes:
    """What a power cut leaves of a dirty file: its old bytes, then some of the new ones, then perhaps zeros."""
    shared = min(len(durable), len(cached))
    kept = survives(len(cached) - shared)
    zeros = survives(len(cached) - shared - kept)
    return cached[:shared] + cached[shared : shared + kept] + bytes(zeros)
