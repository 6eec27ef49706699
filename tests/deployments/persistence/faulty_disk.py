"""A disk that fails on purpose, and counts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from deployments.persistence.spool.disk import LocalDisk


class FaultyDisk(LocalDisk):
    """A local disk whose faults are switched on by its attributes.

    `largest_write`: bytes that one write takes at most. `free_bytes`: what is left before the disk is
    full. `is_syncing` False: every fsync of a file fails.
    """

    def __init__(self) -> None:
        self.largest_write: int | None = None
        self.free_bytes: int | None = None
        self.is_syncing = True
        self.is_truncating = True
        self.is_saving = True
        self.fsyncs = 0
        self.folder_fsyncs = 0

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        data = data if self.largest_write is None else data[: self.largest_write]
        if self.free_bytes is not None:
            data = data[: self.free_bytes]
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.free_bytes -= len(data)
        return super().write(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        self.fsyncs += 1
        if not self.is_syncing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fsync(descriptor)

    def fsync_folder(self, folder: Path) -> None:
        self.folder_fsyncs += 1
        super().fsync_folder(folder)

    def truncate(self, descriptor: int, size: int) -> None:
        if not self.is_truncating:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().truncate(descriptor, size)

    def save(self, path: Path, data: bytes) -> None:
        if not self.is_saving:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().save(path, data)
