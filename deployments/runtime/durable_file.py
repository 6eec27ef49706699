"""A file that takes the place of another as a whole and then survives a power cut; drafts and folders of the dead."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

OWNER_ONLY = 0o600
OWNER_ONLY_FOLDER = 0o700
_OTHERS = 0o077
DRAFT_SUFFIX = ".draft"
_DRAFT = re.compile(rf"(\..+\.[0-9a-f]{{32}}|\d+){re.escape(DRAFT_SUFFIX)}")
# Drafts live for moments; whoever writes one while the service starts is not to lose it.
MIN_DRAFT_SECONDS = 60.0
OWNER_FILE = ".owner"
"""Locked for as long as the process lives that made the temporary folder."""


def owner_only(path: str, flags: int) -> int:
    """The `opener` of a file that nobody else may read, whatever the umask of the process. Raises `OSError`."""
    return os.open(path, flags, OWNER_ONLY)


def take_from_others(path: Path) -> None:
    """Whatever rights to a file or folder of ours anybody else has; its owner's stay as they are.

    Raises `OSError` when others keep theirs: it is not ours, a link, or a folder that is meant for everybody, or in
    which somebody else has anything.
    """
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "it is a link")
    if not mode & _OTHERS:
        return
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"it is of user {status.st_uid}")
    if mode & stat.S_ISVTX or path.parent == path:
        # Such as /tmp: the machine would not go on without it.
        raise PermissionError(errno.EPERM, "it is for everybody")
    if stat.S_ISDIR(status.st_mode) and any(each.lstat().st_uid != status.st_uid for each in path.iterdir()):
        # Such as /var/lib, where a service of root was told to keep its files.
        raise PermissionError(errno.EPERM, "others have files in it")
    path.chmod(mode & ~_OTHERS)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A draft to write into, in the folder of `path`; complete and on the medium, it takes that name.

    When the block raises, what was under the name is still there, and no draft is left. A process that dies leaves
    `.<name>.<random>.draft`, which the next start sweeps. Raises `OSError`.
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


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder that is gone afterwards; a process that dies leaves it for `sweep_temporary_folders`."""
    with tempfile.TemporaryDirectory(prefix=f"gantry-{purpose}-", ignore_cleanup_errors=True) as name:
        # Locked before it has the name that is looked for.
        locked = Path(name, f"{OWNER_FILE}.new")
        with locked.open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            locked.rename(Path(name, OWNER_FILE))
            yield Path(name)


def sweep_temporary_folders() -> int:
    """Removes what dead processes of this user have left in the temporary directory. Returns how many folders."""
    swept = 0
    for owner_file in Path(tempfile.gettempdir()).glob(f"gantry-*/{OWNER_FILE}"):
        try:
            if owner_file.parent.lstat().st_uid == os.getuid() and not owner_file.parent.is_symlink():
                with owner_file.open() as owner:
                    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(owner_file.parent)
                    swept += 1
        except OSError:
            # Its process lives, or somebody else removes it.
            continue
    return swept


def sweep_drafts(*folders: Path) -> int:
    """Removes drafts that dead processes have left in `folders` and below. Returns how many."""
    begin, swept = time.time() - MIN_DRAFT_SECONDS, 0
    for path in {path for folder in folders for path in folder.rglob(f"*{DRAFT_SUFFIX}")}:
        with suppress(OSError):
            if _DRAFT.fullmatch(path.name) and path.is_file() and path.lstat().st_mtime < begin:
                path.unlink()
                swept += 1
    return swept
