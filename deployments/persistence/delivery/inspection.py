"""A look into a spool folder from outside, taking nothing over; skipping a record; replay without the service."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from deployments.errors import reason_of
from deployments.persistence.decisions.records import RecordLabel, label_of
from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.delivery.drain import parted
from deployments.persistence.errors import SpoolFailed
from deployments.persistence.spool.dead_letters import SUFFIX as DEAD_LETTER_SUFFIX
from deployments.persistence.spool.dead_letters import DeadLetterKind, load_dead_letters
from deployments.persistence.spool.disk import LocalDisk
from deployments.persistence.spool.segment import DAMAGED_SUFFIX, SUFFIX, SegmentSurvey, survey, waiting
from deployments.persistence.spool.segment_folder import (
    DEAD_LETTER_FOLDER,
    SKIP_FOLDER,
    SKIP_SUFFIX,
    TROUBLE_SUFFIX,
    SegmentFolder,
)

REPLAYED_SUFFIX = ".replayed"
_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_COUNT = 200

Write = Callable[[list[bytes]], WriteReport]
OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolReport:
    """What lies in a spool folder. `dead_letters` counts payloads by the reason why they are dead."""

    folder: Path
    segments: tuple[SegmentSurvey, ...]
    damaged_files: tuple[str, ...]
    dead_letters: dict[DeadLetterKind, int]

    @property
    def waiting_records(self) -> int:
        """Decisions that the database does not have yet."""
        return sum(segment.waiting_records for segment in self.segments)

    @property
    def needs_a_person(self) -> bool:
        """Whether something lies there that no program will mend."""
        damaged = any(segment.damaged_regions for segment in self.segments)
        return damaged or bool(self.damaged_files) or bool(self.dead_letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledRecord:
    """One record that the database does not have: where it lies, since when, and why if that is known."""

    label: RecordLabel
    since: datetime
    payload: bytes
    place: str
    cause: str | None
    is_dead: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the payload, in hexadecimal digits."""
        return hashlib.sha256(self.payload).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """`written` payloads are in the database; `dead` ones went to the dead letters."""

    segments: int
    written: int
    dead: int
    revived: int


def inspect(folder: Path, disk: LocalDisk | None = None) -> SpoolReport:
    """What lies in `folder` now. Raises `SpoolFailed` when it cannot be read."""
    disk = disk or LocalDisk()
    if not folder.is_dir():
        raise SpoolFailed(f"the spool folder {folder} must exist; the service makes it when it starts")
    try:
        surveys = [survey(folder / name, disk) for name in disk.names(folder, SUFFIX)]
        damaged = tuple(disk.names(folder, DAMAGED_SUFFIX))
        counts: Counter[DeadLetterKind] = Counter()
        for path in dead_letter_files(folder, disk):
            counts.update(letter.kind for letter in load_dead_letters(path))
    except (OSError, ValueError, KeyError) as error:
        raise SpoolFailed(f"the spool folder {folder} must be readable: {reason_of(error)}") from error
    segments = tuple(found for found in surveys if found is not None)
    return SpoolReport(folder=folder, segments=segments, damaged_files=damaged, dead_letters=dict(counts))


def listed(folder: Path, disk: LocalDisk | None = None) -> Iterator[SpooledRecord]:
    """Each record that the database does not have: those that wait, oldest first, then the dead letters.

    One is read at a time. Raises `SpoolFailed`.
    """
    disk = disk or LocalDisk()
    try:
        skips = {name.removesuffix(SKIP_SUFFIX) for name in disk.names(folder / SKIP_FOLDER, SKIP_SUFFIX)}
        for name in disk.names(folder, SUFFIX):
            trouble = _trouble(folder, name, disk)
            for appended_at_us, payload in waiting(folder / name, disk):
                found = SpooledRecord(
                    label=label_of(payload), since=_instant(appended_at_us), payload=payload, place=name, cause=None
                )
                if found.digest in skips:
                    found = replace(found, cause="is to be skipped")
                elif trouble is not None and trouble.startswith(str(found.label)):
                    found = replace(found, cause=trouble.removeprefix(f"{found.label}: "))
                yield found
        for path in dead_letter_files(folder, disk):
            for letter in load_dead_letters(path):
                cause = f"{letter.kind.value}: {letter.public_cause}: {letter.reason}"
                yield SpooledRecord(
                    label=label_of(letter.payload),
                    since=letter.dead_at or _instant(0),
                    payload=letter.payload,
                    place=f"{DEAD_LETTER_FOLDER}/{path.name}",
                    cause=cause,
                    is_dead=True,
                )
    except (OSError, ValueError, KeyError) as error:
        raise SpoolFailed(f"the spool folder {folder} must be readable: {reason_of(error)}") from error


def found_in(folder: Path, record_id: str) -> list[SpooledRecord]:
    """The records of that id, as `listed` gives them. Raises `SpoolFailed` when there is none."""
    found = [record for record in listed(folder) if record.label.record_id == record_id]
    if not found:
        raise SpoolFailed(f"{folder} must hold a record {record_id!r}, held none: `gantry db spool show` lists them")
    return found


def ask_to_skip(folder: Path, record: SpooledRecord, disk: LocalDisk | None = None) -> None:
    """Has whoever delivers this record next put it aside among the dead letters. Raises `SpoolFailed`.

    Its segment belongs to a living router or to nobody, so it is only asked for; on the medium when this returns.
    """
    disk = disk or LocalDisk()
    path = folder / SKIP_FOLDER / f"{record.digest}{SKIP_SUFFIX}"
    try:
        disk.make_folder(path.parent)
        with suppress(FileExistsError):
            disk.close(disk.create(path))
        disk.fsync_folder(path.parent)
    except OSError as error:
        raise SpoolFailed(f"could not ask for the skip of {record.label}: {reason_of(error)}") from error


def _trouble(folder: Path, segment: str, disk: LocalDisk) -> str | None:
    """What the owner of a segment says of the record that it cannot deliver, if it says anything."""
    owner = segment.split("-")[1] if segment.count("-") > 1 else ""
    try:
        return disk.load(folder / f"{owner}{TROUBLE_SUFFIX}").decode(errors="replace")
    except FileNotFoundError:
        return None


def _instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)


def dead_letter_files(folder: Path, disk: LocalDisk) -> list[Path]:
    """The files of dead letters that were not replayed yet."""
    letters = folder / DEAD_LETTER_FOLDER
    return [letters / name for name in disk.names(letters, DEAD_LETTER_SUFFIX)]


def replay_segments(
    segments: SegmentFolder, write: Write, on_progress: OnProgress, *, bound_bytes: int
) -> ReplayReport:
    """Writes what dead routers left; what living ones own is theirs. Raises `SpoolError` or `DatabaseError`."""
    adopted = written = dead = 0
    while segments.adopt_orphan():
        adopted += 1
    while (batch := segments.read(_BATCH_BYTES, _BATCH_COUNT)) is not None:
        skipped, payloads = parted(batch.payloads, segments.skips())
        report = write(payloads) if payloads else WriteReport(accepted=0)
        report = replace(report, poisoned=(*skipped.values(), *report.poisoned))
        if report.poisoned:
            segments.save_dead_letters(report.poisoned, bound_bytes)
        segments.acknowledge(batch)
        segments.forget_skips(skipped)
        written, dead = written + report.accepted, dead + len(report.poisoned)
        on_progress(len(batch.payloads))
    return ReplayReport(segments=adopted, written=written, dead=dead, revived=0)


def replay_dead_letters(folder: Path, write: Write, disk: LocalDisk | None = None) -> int:
    """Tries dead letters once more, after somebody mended the cause; how many the database has now.

    A file whose letters are all stored is renamed to end in `REPLAYED_SUFFIX`; nothing is deleted.
    """
    disk = disk or LocalDisk()
    revived = 0
    for path in dead_letter_files(folder, disk):
        letters = load_dead_letters(path)
        report = write([letter.payload for letter in letters])
        revived += report.accepted
        if not report.poisoned:
            disk.rename(path, path.with_suffix(REPLAYED_SUFFIX))
    return revived
