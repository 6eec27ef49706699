"""One file of the spool, owned by lock: frames told from torn bytes; appended, read, acknowledged, deleted."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.persistence.spool.disk import LocalDisk, write_fully

MARK = b"\xf1GS\x01"
HEADER = struct.Struct("<4sIIQ")
_CHECKED = struct.Struct("<IQ")
SUFFIX = ".segment"
DAMAGED_SUFFIX = ".damaged"
ACKNOWLEDGED_SUFFIX = ".acknowledged"
_ACKNOWLEDGED = struct.Struct("<QI")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """What the first 20 bytes of a frame promise about the rest."""

    payload_bytes: int
    crc: int
    appended_at_us: int

    @property
    def frame_bytes(self) -> int:
        """Size of the whole frame."""
        return HEADER.size + self.payload_bytes


def framed(payload: bytes, appended_at_us: int) -> bytes:
    """The frame of one payload."""
    return HEADER.pack(MARK, len(payload), _crc(payload, appended_at_us), appended_at_us) + payload


def header_of(data: bytes) -> FrameHeader | None:
    """The header that `data` begins with, or None. Says nothing yet about the payload."""
    if len(data) < HEADER.size:
        return None
    mark, payload_bytes, crc, appended_at_us = HEADER.unpack_from(data)
    if mark != MARK:
        return None
    return FrameHeader(payload_bytes=payload_bytes, crc=crc, appended_at_us=appended_at_us)


def is_intact(header: FrameHeader, payload: bytes) -> bool:
    """Whether `payload` is the one that `header` was written for."""
    return len(payload) == header.payload_bytes and _crc(payload, header.appended_at_us) == header.crc


def next_intact(data: bytes) -> int | None:
    """Offset of the first intact frame anywhere in `data`, or None."""
    offset = data.find(MARK)
    while offset >= 0:
        header = header_of(data[offset : offset + HEADER.size])
        if header is not None and is_intact(header, data[offset + HEADER.size : offset + header.frame_bytes]):
            return offset
        offset = data.find(MARK, offset + 1)
    return None


def is_torn(data: bytes) -> bool:
    """Whether `data`, the end of a segment, may be of an append that its writer died in: the beginning of a frame, or
    zeros, where the file had grown before its bytes came. A frame of its full length that is not intact is damage: it
    may have been promised."""
    if not data.strip(b"\0"):
        return True
    header = header_of(data)
    if header is None:
        return len(data) < HEADER.size and MARK.startswith(data[: len(MARK)])
    return header.frame_bytes > len(data)


def _crc(payload: bytes, appended_at_us: int) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), appended_at_us)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Payloads in the order of their appending, and how far they reach in their segment.

    `payloads` is empty when nothing but damaged bytes was found: acknowledge it all the same.
    """

    segment: str
    end: int
    payloads: list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    end: int
    header: FrameHeader
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gap:
    """Bytes that are no frame; `is_torn` when they are the beginning of one that nobody was promised."""

    start: int
    end: int
    is_torn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSurvey:
    """A segment seen from outside; of one whose owner lives, the tail may be an append under way."""

    name: str
    is_owned: bool
    waiting_records: int
    waiting_bytes: int
    oldest_at_us: int | None
    damaged_regions: int
    torn_bytes: int


class Segment:
    """An open and locked segment. Blocking; for one thread. Methods raise `OSError`."""

    def __init__(self, path: Path, descriptor: int, disk: LocalDisk) -> None:
        self.path = path
        self.size_bytes = 0
        self.acknowledged_bytes = 0
        self.record_count = 0
        self.oldest_at_us: int | None = None
        self.is_sealed = False
        self.gaps: dict[int, int] = {}
        self._descriptor = descriptor
        self._disk = disk

    @classmethod
    def create(cls, path: Path, disk: LocalDisk) -> Segment | None:
        """A new empty segment whose name is on the medium, or None if an adopter took it for an orphan."""
        descriptor = disk.create(path)
        try:
            if disk.lock(descriptor) and disk.is_linked(descriptor, path):
                disk.fsync_folder(path.parent)
                return cls(path, descriptor, disk)
        except OSError:
            disk.remove(path)
            disk.close(descriptor)
            raise
        disk.close(descriptor)
        return None

    @classmethod
    def adopt(cls, path: Path, disk: LocalDisk) -> Segment | None:
        """The sealed segment of a dead writer without its torn tail, or None while its writer lives."""
        try:
            descriptor = disk.open(path)
        except FileNotFoundError:
            return None
        try:
            if disk.lock(descriptor) and disk.is_linked(descriptor, path):
                segment = cls(path, descriptor, disk)
                segment._recover()
                return segment
        except OSError:
            disk.close(descriptor)
            raise
        disk.close(descriptor)
        return None

    def waiting(self) -> Iterator[tuple[int, bytes]]:
        """Each record that is not acknowledged: when it was appended, in microseconds since 1970, and its payload.

        Changes nothing, and so needs no lock.
        """
        self.size_bytes = self._disk.size(self._descriptor)
        self.acknowledged_bytes = self._read_acknowledged()
        for part in self._walk(self.acknowledged_bytes):
            if isinstance(part, _Frame):
                yield part.header.appended_at_us, part.payload

    def survey(self, *, is_owned: bool) -> SegmentSurvey:
        """What waits in it, changing nothing."""
        self.size_bytes = self._disk.size(self._descriptor)
        self.acknowledged_bytes = self._read_acknowledged()
        parts = list(self._walk(self.acknowledged_bytes))
        frames = [part.header.appended_at_us for part in parts if isinstance(part, _Frame)]
        gaps = [part for part in parts if isinstance(part, _Gap)]
        return SegmentSurvey(
            name=self.path.name,
            is_owned=is_owned,
            waiting_records=len(frames),
            waiting_bytes=self.waiting_bytes,
            oldest_at_us=min(frames, default=None),
            damaged_regions=sum(not gap.is_torn for gap in gaps),
            torn_bytes=sum(gap.end - gap.start for gap in gaps if gap.is_torn),
        )

    @property
    def is_spent(self) -> bool:
        """Whether everything in it is acknowledged."""
        return self.acknowledged_bytes >= self.size_bytes

    @property
    def waiting_bytes(self) -> int:
        """Bytes not yet acknowledged."""
        return self.size_bytes - self.acknowledged_bytes

    def append(self, payloads: Sequence[bytes], now_us: int) -> None:
        """Writes and fsyncs all payloads, or none.

        On `OSError` the segment is cut to its last good offset and sealed. A failed fsync is never
        tried again: the kernel may have dropped the pages and would report success.
        """
        data = b"".join(framed(payload, now_us) for payload in payloads)
        try:
            write_fully(self._disk, self._descriptor, data, self.size_bytes)
            self._disk.fsync(self._descriptor)
        except OSError:
            self.is_sealed = True
            self._cut_back()
            raise
        self.size_bytes += len(data)
        self.record_count += len(payloads)
        if self.oldest_at_us is None:
            self.oldest_at_us = now_us

    def read(self, max_bytes: int, max_count: int, start: int = 0) -> Batch | None:
        """What follows the acknowledged part and `start`, at least one record however large; None: nothing does."""
        payloads: list[bytes] = []
        start = max(start, self.acknowledged_bytes)
        end, read_bytes = start, 0
        for part in self._walk(start):
            if isinstance(part, _Gap):
                self._report(part)
            elif payloads and (len(payloads) >= max_count or read_bytes + len(part.payload) > max_bytes):
                break
            else:
                payloads.append(part.payload)
                read_bytes += len(part.payload)
            end = part.end
        return None if end == start else Batch(segment=self.path.name, end=end, payloads=payloads)

    def acknowledge(self, batch: Batch) -> None:
        """Remembers that the batch is stored elsewhere; an older batch changes nothing."""
        if batch.end <= self.acknowledged_bytes:
            return
        self.acknowledged_bytes = batch.end
        self.record_count -= len(batch.payloads)
        self.oldest_at_us = None
        if not self.is_spent:
            header = header_of(self._disk.read(self._descriptor, HEADER.size, batch.end))
            self.oldest_at_us = header.appended_at_us if header else None
        self._write_acknowledged()

    def discard(self) -> None:
        """Ends a spent segment: deleted, or set aside under another name when some of it was damaged."""
        # The sidecar goes first: a segment without it is delivered again, a sidecar alone would stay for ever.
        try:
            self._disk.remove(self._sidecar)
            if self.gaps:
                self._disk.rename(self.path, self.path.with_suffix(DAMAGED_SUFFIX))
            else:
                self._disk.remove(self.path)
        finally:
            self.release()

    def release(self) -> None:
        """Gives the lock back; whoever looks next may adopt what is left."""
        self._disk.close(self._descriptor)

    @property
    def _sidecar(self) -> Path:
        return self.path.with_suffix(ACKNOWLEDGED_SUFFIX)

    def _recover(self) -> None:
        self.is_sealed = True
        self.size_bytes = self._disk.size(self._descriptor)
        self.acknowledged_bytes = self._read_acknowledged()
        for part in self._walk(self.acknowledged_bytes):
            if isinstance(part, _Frame):
                self.record_count += 1
                self.oldest_at_us = self.oldest_at_us or part.header.appended_at_us
            elif not part.is_torn:
                self._report(part)
            else:
                _logger.warning("cut the torn tail of a dead writer: %d bytes of %s", part.end - part.start, self.path)
                self.size_bytes = part.start
                self._cut_back()

    def _walk(self, offset: int) -> Iterator[_Frame | _Gap]:
        end = self.size_bytes
        while offset < end:
            part = self._frame_at(offset, end) or self._gap_at(offset, end)
            yield part
            offset = part.end

    def _frame_at(self, offset: int, end: int) -> _Frame | None:
        header = header_of(self._disk.read(self._descriptor, HEADER.size, offset))
        if header is None or offset + header.frame_bytes > end:
            return None
        payload = self._disk.read(self._descriptor, header.payload_bytes, offset + HEADER.size)
        if not is_intact(header, payload):
            return None
        return _Frame(end=offset + header.frame_bytes, header=header, payload=payload)

    def _gap_at(self, offset: int, end: int) -> _Gap:
        rest = self._disk.read(self._descriptor, end - offset, offset)
        skipped = next_intact(rest)
        if skipped is None:
            return _Gap(start=offset, end=end, is_torn=is_torn(rest))
        return _Gap(start=offset, end=offset + skipped, is_torn=False)

    def _report(self, gap: _Gap) -> None:
        if gap.start not in self.gaps:
            self.gaps[gap.start] = gap.end - gap.start
            _logger.error("spool segment %s is damaged: %d bytes at %d", self.path, gap.end - gap.start, gap.start)

    def _cut_back(self) -> None:
        # Best effort: whatever a failing disk keeps beyond this offset was promised to nobody.
        try:
            self._disk.truncate(self._descriptor, self.size_bytes)
        except OSError:
            _logger.exception("could not cut %s back to %d bytes", self.path, self.size_bytes)

    def _write_acknowledged(self) -> None:
        # Neither fsynced nor insisted on: an older offset delivers records again, which the database
        # takes as done, while a full disk must not keep a segment from being emptied.
        offset = struct.pack("<Q", self.acknowledged_bytes)
        try:
            self._disk.save(self._sidecar, offset + struct.pack("<I", zlib.crc32(offset)))
        except OSError as error:
            _logger.warning("could not note how far %s is acknowledged: %s", self.path, error)

    def _read_acknowledged(self) -> int:
        try:
            data = self._disk.load(self._sidecar)
        except FileNotFoundError:
            return 0
        if len(data) != _ACKNOWLEDGED.size:
            return 0
        offset, crc = _ACKNOWLEDGED.unpack(data)
        return offset if crc == zlib.crc32(data[:8]) and offset <= self.size_bytes else 0


def waiting(path: Path, disk: LocalDisk) -> Iterator[tuple[int, bytes]]:
    """What `Segment.waiting` gives, whoever owns the segment; nothing when it has just been deleted."""
    try:
        descriptor = disk.open(path)
    except FileNotFoundError:
        return
    try:
        yield from Segment(path, descriptor, disk).waiting()
    finally:
        disk.close(descriptor)


def survey(path: Path, disk: LocalDisk) -> SegmentSurvey | None:
    """What waits in the segment, whoever owns it; None when it has just been deleted. Raises `OSError`."""
    try:
        descriptor = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        return Segment(path, descriptor, disk).survey(is_owned=not disk.lock(descriptor))
    finally:
        disk.close(descriptor)
