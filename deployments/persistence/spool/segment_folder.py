"""All segments that one spool owns: whose they are, which is written to, which is read next, which are taken over."""

from __future__ import annotations

import errno
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deployments.errors import reason_of
from deployments.persistence.errors import SpoolError, SpoolFailed, SpoolFull
from deployments.persistence.spool.dead_letters import SUFFIX as DEAD_LETTER_SUFFIX
from deployments.persistence.spool.dead_letters import DeadLetter, newest_cause, save_dead_letters
from deployments.persistence.spool.disk import LocalDisk, write_fully
from deployments.persistence.spool.segment import DAMAGED_SUFFIX, SUFFIX, Batch, Segment

OWNER_SUFFIX = ".owner"
_STARTING_SUFFIX = ".starting"
DEAD_LETTER_FOLDER = "dead_letters"
SKIP_FOLDER = "skips"
SKIP_SUFFIX = ".skip"
TROUBLE_SUFFIX = ".trouble"
_CREATE_ATTEMPTS = 5
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderState:
    """What lies in the spool: unacknowledged records and bytes, and all bytes that count against its bound.

    `failure` says why the last attempt to write failed, None when it worked.
    """

    record_count: int = 0
    waiting_bytes: int = 0
    disk_bytes: int = 0
    oldest_at_us: int | None = None
    damaged_regions: int = 0
    dead_letter_files: int = 0
    dead_letter_cause: str | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A position in a spool: where each segment ended."""

    ends: dict[str, int]


class SegmentFolder:
    """Blocking, and for one thread. Methods raise `SpoolFull` or `SpoolFailed` where the disk fails.

    `clock_us` gives microseconds since 1970.
    """

    def __init__(self, folder: Path, *, segment_bytes: int, disk: LocalDisk, clock_us: Callable[[], int]) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._clock_us = clock_us
        self._segments: dict[str, Segment] = {}
        self._current: Segment | None = None
        self._unreadable: set[str] = set()
        self._damaged_before = 0
        self._dead_letter_sizes: dict[str, int] = {}
        self._newest_dead_letter: str | None = None
        self._dead_letter_cause: str | None = None
        self._failure: str | None = None
        self._owner = Owner(folder, disk)

    @property
    def owner_id(self) -> str:
        """Whose segments are appended to here; part of their names."""
        return self._owner.id

    def open(self) -> None:
        """Makes the folder, signs in, and counts what earlier owners left for people to look at."""
        with _disk_errors(f"open the spool folder {self._folder}"):
            self._disk.make_folder(self._folder)
            self._owner.sign_in()
            self._damaged_before = len(self._disk.names(self._folder, DAMAGED_SUFFIX))
        self.count_dead_letters()

    def append(self, payloads: Sequence[bytes]) -> None:
        """All payloads are on the medium when this returns, in one fsync; none is promised when it raises."""
        with self._noting_failure(), _disk_errors("append to the spool"):
            segment = self._writable()
            try:
                segment.append(payloads, self._clock_us())
            finally:
                if segment.is_sealed or segment.size_bytes >= self._segment_bytes:
                    self._seal()

    def probe(self) -> None:
        """Tries, after a failure, whether the folder can be written again; nobody else would while it is refused."""
        if self._failure is None:
            return
        with suppress(SpoolError), self._noting_failure(), _disk_errors("write to the spool folder"):
            probe(self._folder, self._disk)

    def read(self, max_bytes: int, max_count: int, after: Batch | None = None) -> Batch | None:
        """The oldest unacknowledged records behind `after`, all of one segment; the same until acknowledged."""
        name, end = ("", 0) if after is None else (after.segment, after.end)
        with _disk_errors("read the spool"):
            for segment in sorted(self._segments.values(), key=lambda segment: segment.path.name):
                if segment.path.name < name:
                    continue
                start = end if segment.path.name == name else 0
                if batch := segment.read(max_bytes, max_count, start):
                    return batch
        return None

    def acknowledge(self, batch: Batch) -> None:
        """The records of `batch` are stored elsewhere: never read again; a finished segment is deleted."""
        segment = self._segments.get(batch.segment)
        if segment is None:
            return
        with _disk_errors("acknowledge a batch"):
            segment.acknowledge(batch)
            if segment is not self._current and segment.is_spent:
                self._discard(segment)

    def adopt_orphan(self) -> bool:
        """Takes over one segment whose owner is gone, if there is any."""
        with _disk_errors("look for orphaned segments"):
            names = self._disk.names(self._folder, SUFFIX)
        return any(self._adopt(name) for name in names if name not in self._segments)

    def save_dead_letters(self, letters: Sequence[DeadLetter], bound_bytes: int) -> None:
        """On the medium when this returns. Raises `SpoolFull` once all dead letters exceed `bound_bytes`."""
        if (found := sum(self._dead_letter_sizes.values())) >= bound_bytes:
            raise SpoolFull(f"dead letters must stay below {bound_bytes} bytes, were {found}")
        with _disk_errors("write dead letters"):
            path = save_dead_letters(self._folder / DEAD_LETTER_FOLDER, letters, self._clock_us(), self._disk)
            self._dead_letter_sizes[path.name] = self._disk.file_size(path)
            self._newest_dead_letter, self._dead_letter_cause = path.name, letters[0].public_cause
        _logger.error("%d payloads went to the dead letters in %s", len(letters), path)

    def count_dead_letters(self) -> None:
        """Looks which dead letters there are now: others of this folder write some, too, and people replay them."""
        letters = self._folder / DEAD_LETTER_FOLDER
        with _disk_errors("count dead letters"):
            names = self._disk.names(letters, DEAD_LETTER_SUFFIX)
            # What vanishes meanwhile was replayed.
            with suppress(FileNotFoundError):
                if names and names[-1] != self._newest_dead_letter:
                    self._dead_letter_cause = newest_cause(letters / names[-1], self._disk)
                    self._newest_dead_letter = names[-1]
                sizes = {name: self._dead_letter_sizes.get(name) for name in names}
                self._dead_letter_sizes = {
                    name: self._disk.file_size(letters / name) if size is None else size for name, size in sizes.items()
                }

    def skips(self) -> frozenset[str]:
        """SHA-256, in hexadecimal digits, of the payloads that a person wants to have skipped."""
        with _disk_errors("look for records to skip"):
            names = self._disk.names(self._folder / SKIP_FOLDER, SKIP_SUFFIX)
        return frozenset(name.removesuffix(SKIP_SUFFIX) for name in names)

    def forget_skips(self, digests: Iterable[str]) -> None:
        """These payloads are skipped."""
        with _disk_errors("forget a record to skip"):
            for digest in digests:
                self._disk.remove(self._folder / SKIP_FOLDER / f"{digest}{SKIP_SUFFIX}")

    def tell_trouble(self, words: str | None) -> None:
        """Notes beside the segments why they do not empty, for whoever looks from outside; None: they do."""
        path = self._folder / f"{self.owner_id}{TROUBLE_SUFFIX}"
        with _disk_errors("note what is wrong"):
            if words is None:
                self._disk.remove(path)
            else:
                self._disk.save(path, words.encode())

    def state(self) -> FolderState:
        """A snapshot."""
        segments = self._segments.values()
        oldest = [segment.oldest_at_us for segment in segments if segment.oldest_at_us is not None]
        return FolderState(
            record_count=sum(segment.record_count for segment in segments),
            waiting_bytes=sum(segment.waiting_bytes for segment in segments),
            disk_bytes=sum(segment.size_bytes for segment in segments),
            oldest_at_us=min(oldest, default=None),
            damaged_regions=self._damaged_before + sum(len(segment.gaps) for segment in segments),
            dead_letter_files=len(self._dead_letter_sizes),
            dead_letter_cause=self._dead_letter_cause if self._dead_letter_sizes else None,
            failure=self._failure,
        )

    def mark(self) -> Mark:
        """How far its segments reach now."""
        return Mark(ends={name: segment.size_bytes for name, segment in self._segments.items()})

    def is_acknowledged(self, mark: Mark) -> bool:
        """Whether everything up to `mark` is acknowledged."""
        segments = ((self._segments.get(name), end) for name, end in mark.ends.items())
        return all(segment is None or segment.acknowledged_bytes >= end for segment, end in segments)

    def departed(self) -> list[str]:
        """Owners that are dead and left no segment behind, so that all they promised is acknowledged."""
        with _disk_errors("look for departed owners"):
            return departed_owners(self._folder, self._disk)

    def forget(self, owner_id: str) -> None:
        """A departed owner needs no more attention."""
        with _disk_errors("forget a departed owner"):
            self._disk.remove(self._folder / f"{owner_id}{TROUBLE_SUFFIX}")
            self._disk.remove(owner_path(self._folder, owner_id))

    def close(self) -> None:
        """Gives every segment back; unacknowledged records stay on disk for the next owner."""
        with _disk_errors("close the spool"):
            self._seal()
            for segment in self._segments.values():
                segment.release()
            self._segments.clear()
            self._owner.sign_out()

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except SpoolError as error:
            self._failure = str(error)
            raise
        self._failure = None

    def _writable(self) -> Segment:
        for _ in range(_CREATE_ATTEMPTS):
            if self._current is not None:
                return self._current
            # A clock that steps back only changes the reading order: the random half keeps names unique.
            name = segment_name(self._clock_us(), self.owner_id)
            self._current = Segment.create(self._folder / name, self._disk)
            if self._current is not None:
                self._segments[name] = self._current
                return self._current
        raise SpoolFailed(f"must own a new segment within {_CREATE_ATTEMPTS} attempts, others took them all")

    def _seal(self) -> None:
        segment, self._current = self._current, None
        if segment is not None:
            segment.is_sealed = True
            if segment.is_spent:
                self._discard(segment)

    def _discard(self, segment: Segment) -> None:
        del self._segments[segment.path.name]
        self._damaged_before += len(segment.gaps)
        segment.discard()

    def _adopt(self, name: str) -> bool:
        try:
            segment = Segment.adopt(self._folder / name, self._disk)
        except OSError as error:
            if name not in self._unreadable:
                self._unreadable.add(name)
                _logger.exception("cannot adopt the spool segment %s: %s", name, error)
            return False
        if segment is None:
            return False
        _logger.info("adopted the spool segment %s with %d records", name, segment.record_count)
        self._segments[name] = segment
        if segment.is_spent:
            self._discard(segment)
        return True


def require_writable(folder: Path, disk: LocalDisk | None = None) -> None:
    """Makes the folder if need be. Raises `SpoolFull` or `SpoolFailed` when nothing can be made durable in it."""
    with _disk_errors(f"write to the spool folder {folder}"):
        probe(folder, disk or LocalDisk())


@contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise SpoolFull(f"could not {doing}: {error.strerror}") from error
        raise SpoolFailed(f"could not {doing}: {reason_of(error)}") from error
