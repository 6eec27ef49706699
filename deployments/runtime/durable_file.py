"""A file that takes the place of another as a whole, and survives a power cut from the moment that it does."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

OWNER_ONLY = 0o600
DRAFT_SUFFIX = ".draft"


def owner_only(path: str, flags: int) -> int:
    """The `opener` of a file that nobody else may read, whatever the umask of the process. Raises `OSError`."""
    return os.open(path, flags, OWNER_ONLY)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A draft to write into, in the folder of `path`; complete and on the medium, it takes that name.

    When the block raises, what was under the name is still there, and no draft is left. A process that dies leaves
    `.<name>.<random>.draft`, which nobody reads. Raises `OSError`.
    """
    # A name of its own: two threads or processes may write at the same moment.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}{DRAFT_SUFFIX}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_durably(path: Path, text: str) -> None:
    """The text is on the medium when this returns; a file is replaced, a folder made. Raises `OSError`.

    Nobody but its owner may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())


def sync_folder(folder: Path) -> None:
    """What was made, renamed or removed in the folder is so on the medium, too. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
