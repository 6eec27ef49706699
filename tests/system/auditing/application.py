"""The service as it is, but for a spool whose disk is full while a file says so."""

# No `from __future__ import annotations` here, for the reason that deployments.app gives.

import errno
import os
from pathlib import Path

from ray.serve import Application

from deployments.app import compose
from deployments.persistence.spool.disk import LocalDisk
from deployments.serve.policy import PPOPolicy
from deployments.serve.router import RequestRouter
from deployments.settings.serve_config import AppArgs

FULL_DISK_VARIABLE = "GANTRY_TEST_FULL_DISK"


class FillingDisk(LocalDisk):
    """Takes the first half of each write, and then no more, while the file of `FULL_DISK_VARIABLE` exists."""

    def __init__(self, sign: Path) -> None:
        self._sign = sign
        self._is_half_written = False

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        """As a disk does that fills up in the middle of a record."""
        if not self._sign.exists():
            return super().write(descriptor, data, offset)
        self._is_half_written = not self._is_half_written
        if self._is_half_written and len(data) > 1:
            return super().write(descriptor, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class RouterOnFillingDisk(RequestRouter):
    """The router itself; only its disk is another."""

    disk = FillingDisk(Path(os.environ.get(FULL_DISK_VARIABLE, "/nonexistent")))


def build_app(args: AppArgs) -> Application:
    """The application around it."""
    return compose(PPOPolicy, args, router=RouterOnFillingDisk)
