"""Payloads that no database will ever take: kept on disk, with the reason, for a person to look at."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from deployments.persistence.spool.disk import LocalDisk, write_fully

SUFFIX = ".jsonl"
# Of a file, to read all that stands before the payload; a reason is some hundred characters.
_HEAD_BYTES = 64 * 1024


class DeadLetterKind(StrEnum):
    """Why a payload is dead.

    It is no record, it is rejected for good, another one has its decision id, it fails again and again while those
    behind it are stored, or a person had it skipped.
    """

    UNREADABLE = "unreadable"
    REJECTED = "rejected"
    MISMATCH = "mismatch"
    STUCK = "stuck"
    SKIPPED = "skipped"


_CAUSES = {
    DeadLetterKind.UNREADABLE: "it is no record that this program can read",
    DeadLetterKind.REJECTED: "the database rejects what is in it",
    DeadLetterKind.MISMATCH: "its payload is not the one that was promised",
    DeadLetterKind.STUCK: "it failed again and again while others were stored",
    DeadLetterKind.SKIPPED: "a person had it skipped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One payload as it was in the spool, and why it went no further.

    `reason` may hold the server's own words; `cause` is for everybody. `dead_at` is known of what was read back.
    """

    payload: bytes
    kind: DeadLetterKind
    reason: str
    cause: str = ""
    dead_at: datetime | None = field(default=None, compare=False)

    @property
    def public_cause(self) -> str:
        """Why, in words that name no host, user or file."""
        return self.cause or _CAUSES[self.kind]


def save_dead_letters(folder: Path, letters: Sequence[DeadLetter], now_us: int, disk: LocalDisk) -> Path:
    """A new file in `folder`, one JSON object per line, on the medium when this returns. Raises `OSError`."""
    disk.make_folder(folder)
    path = folder / f"{now_us:020d}-{uuid.uuid4().hex}{SUFFIX}"
    data = b"".join(_line(letter, now_us) for letter in letters)
    descriptor = disk.create(path)
    try:
        write_fully(disk, descriptor, data, 0)
        disk.fsync(descriptor)
        disk.fsync_folder(folder)
    except OSError:
        disk.remove(path)
        raise
    finally:
        disk.close(descriptor)
    return path


def load_dead_letters(path: Path) -> list[DeadLetter]:
    """The letters of one file, in order. Raises `OSError`, or `ValueError` if it is not such a file."""
    return [_letter(json.loads(line)) for line in path.read_bytes().splitlines()]


def newest_cause(path: Path, disk: LocalDisk) -> str:
    """Why the first payload of a file is dead, in public words, without reading the payload. Raises `OSError`."""
    descriptor = disk.open(path)
    try:
        beginning, mark, _ = disk.read(descriptor, _HEAD_BYTES, 0).partition(b', "payload_base64"')
    finally:
        disk.close(descriptor)
    try:
        return _letter(json.loads(beginning + b"}" if mark else b"{}") | {"payload_base64": ""}).public_cause
    except (ValueError, KeyError):
        return _CAUSES[DeadLetterKind.UNREADABLE]


def _letter(fields: dict[str, str]) -> DeadLetter:
    return DeadLetter(
        payload=base64.b64decode(fields["payload_base64"]),
        kind=DeadLetterKind(fields["kind"]),
        reason=fields["reason"],
        # What 0.2.0 wrote has none.
        cause=fields.get("cause", ""),
        dead_at=datetime.fromisoformat(fields["dead_at"]),
    )


def _line(letter: DeadLetter, now_us: int) -> bytes:
    fields = {
        "dead_at": datetime.fromtimestamp(now_us / 1e6, UTC).isoformat(),
        "kind": letter.kind,
        "cause": letter.cause,
        "reason": letter.reason,
        "payload_base64": base64.b64encode(letter.payload).decode(),
    }
    return json.dumps(fields).encode() + b"\n"
