"""Payloads that nobody takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind, load_dead_letters, save_dead_letters
from tests.deployments.persistence.faulty_disk import FaultyDisk

LETTERS = [
    DeadLetter(payload=b"\x00\xff\n", kind=DeadLetterKind.UNREADABLE, reason="no JSON\nat all"),
    DeadLetter(payload=b"{}", kind=DeadLetterKind.MISMATCH, reason="an unlike twin"),
]


def test_dead_letters_come_back_unchanged(tmp_path: Path) -> None:
    """Any bytes and any reason survive, in order."""
    path = save_dead_letters(tmp_path / "new", LETTERS, 1_000_000, FaultyDisk())
    assert load_dead_letters(path) == LETTERS


def test_dead_letters_that_cannot_be_written_leave_no_file(tmp_path: Path) -> None:
    """A half-written file would be taken for the whole."""
    disk = FaultyDisk()
    disk.free_bytes = 20
    with pytest.raises(OSError, match="No space left"):
        save_dead_letters(tmp_path, LETTERS, 1_000_000, disk)
    assert list(tmp_path.iterdir()) == []
