"""Whose segments lie in a spool folder, and which of their owners have departed for good.

An owner signs in with a file that it keeps locked as long as it lives. Its id stands in the names of its
segments, so anybody can tell when all that a dead owner promised has reached the database.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from deployments.persistence.disk import LocalDisk, write_fully
from deployments.persistence.segment import SUFFIX

OWNER_SUFFIX = ".owner"
_STARTING_SUFFIX = ".starting"


class Owner:
    """One process that appends to a spool folder. Methods raise `OSError`."""

    def __init__(self, folder: Path, disk: LocalDisk) -> None:
        self.id = uuid.uuid4().hex
        self._folder = folder
        self._disk = disk
        self._descriptor: int | None = None

    def sign_in(self) -> None:
        """On the medium when this returns. Locked before it has its name, so that nobody takes it for departed."""
        starting = self._folder / f"{self.id}{_STARTING_SUFFIX}"
        self._descriptor = self._disk.create(starting)
        if not self._disk.lock(self._descriptor):
            raise BlockingIOError(f"the new file {starting} must not be locked by others")
        self._disk.rename(starting, owner_path(self._folder, self.id))
        self._disk.fsync_folder(self._folder)

    def sign_out(self) -> None:
        """Lets others see that this owner appends no more; whoever stores its last record removes the file."""
        if self._descriptor is not None:
            self._disk.close(self._descriptor)
            self._descriptor = None


def owner_path(folder: Path, owner_id: str) -> Path:
    """The file that an owner keeps locked."""
    return folder / f"{owner_id}{OWNER_SUFFIX}"


def segment_name(now_us: int, owner_id: str) -> str:
    """A name that was never used before, in the order of creation."""
    # A clock that steps back only changes the reading order: the random part keeps names unique.
    return f"{now_us:020d}-{owner_id}-{uuid.uuid4().hex[:12]}{SUFFIX}"


def departed_owners(folder: Path, disk: LocalDisk) -> list[str]:
    """Ids of the owners that are dead and of whom no segment is left. Raises `OSError`."""
    # The dead are found before the segments are listed: whoever is dead adds none in between.
    dead = [
        name.removesuffix(OWNER_SUFFIX) for name in disk.names(folder, OWNER_SUFFIX) if _is_dead(folder / name, disk)
    ]
    segments = disk.names(folder, SUFFIX) if dead else []
    return [owner for owner in dead if not any(f"-{owner}-" in segment for segment in segments)]


def probe(folder: Path, disk: LocalDisk) -> None:
    """Returns when a small file could be made durable in `folder`. Raises `OSError`."""
    disk.make_folder(folder)
    path = folder / f"{uuid.uuid4().hex}.probe"
    descriptor = disk.create(path)
    try:
        write_fully(disk, descriptor, os.urandom(64), 0)
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)
        disk.remove(path)


def _is_dead(path: Path, disk: LocalDisk) -> bool:
    try:
        descriptor = disk.open(path)
    except FileNotFoundError:
        return False
    try:
        return disk.lock(descriptor)
    finally:
        disk.close(descriptor)
