"""A look into a spool folder from outside, without taking anything over, and its replay without the service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.errors import SpoolFailed
from deployments.persistence.spool.dead_letters import SUFFIX as DEAD_LETTER_SUFFIX
from deployments.persistence.spool.dead_letters import DeadLetterKind, load_dead_letters
from deployments.persistence.spool.disk import LocalDisk
from deployments.persistence.spool.segment import DAMAGED_SUFFIX, SUFFIX, SegmentSurvey, survey
from deployments.persistence.spool.segment_folder import DEAD_LETTER_FOLDER, SegmentFolder

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
        raise SpoolFailed(f"the spool folder {folder} must be readable: {error}") from error
    segments = tuple(found for found in surveys if found is not None)
    return SpoolReport(folder=folder, segments=segments, damaged_files=damaged, dead_letters=dict(counts))


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
        report = write(batch.payloads) if batch.payloads else WriteReport(accepted=0)
        if report.poisoned:
            segments.save_dead_letters(report.poisoned, bound_bytes)
        segments.acknowledge(batch)
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
