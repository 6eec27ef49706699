"""Payloads that no database will ever take: kept on disk, with the reason, for a person to look at."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from deployments.persistence.spool.disk import LocalDisk, write_fully

SUFFIX = ".jsonl"


class DeadLetterKind(StrEnum):
    """Why a payload is dead: it is no record, the database rejects it, or another one has its decision id."""

    UNREADABLE = "unreadable"
    REJECTED = "rejected"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One payload as it was in the spool, and why it went no further."""

    payload: bytes
    kind: DeadLetterKind
    reason: str


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
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [
        DeadLetter(
            payload=base64.b64decode(line["payload_base64"]),
            kind=DeadLetterKind(line["kind"]),
            reason=line["reason"],
        )
        for line in lines
    ]


def _line(letter: DeadLetter, now_us: int) -> bytes:
    fields = {
        "dead_at": datetime.fromtimestamp(now_us / 1e6, UTC).isoformat(),
        "kind": letter.kind,
        "reason": letter.reason,
        "payload_base64": base64.b64encode(letter.payload).decode(),
    }
    return json.dumps(fields).encode() + b"\n"
