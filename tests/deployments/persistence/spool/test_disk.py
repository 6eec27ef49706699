"""Files that are there as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.persistence.spool.disk import write_atomically


def test_file_is_replaced_and_no_draft_is_left(tmp_path: Path) -> None:
    """The newest text is there, in a folder that is made, and nothing else."""
    path = tmp_path / "new" / "file.json"
    for text in ("longer than the next", "next"):
        write_atomically(path, text)
    assert path.read_text(encoding="utf-8") == "next"
    assert list(path.parent.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The caller hears of it."""
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken" / "file.json", "text")
