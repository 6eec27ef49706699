"""Small files that are there as a whole, as they were or as they are to be, whatever dies meanwhile."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """The text is on the medium when this returns; a file that was there is replaced. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two threads or processes may write at the same moment.
    draft = path.with_suffix(f".{uuid.uuid4().hex}")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was renamed or removed in the folder is so on the medium, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
