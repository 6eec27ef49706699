"""The few disk operations that durable files stand on, in one place so that tests can make each of them fail."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from deployments.runtime.durable_file import OWNER_ONLY, owner_only, sync_folder


class LocalDisk:
    """The real disk. Every method raises `OSError` as the operating system does.

    Tests pass a subclass that writes short, fills up, or loses an fsync. File descriptors are
    close-on-exec, so that no child process keeps a lock alive.
    """

    def create(self, path: Path) -> int:
        """A descriptor of a new file, readable by its owner only. Raises `FileExistsError`."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)

    def open(self, path: Path) -> int:
        """A descriptor of an existing file."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, descriptor: int) -> None:
        """Gives the descriptor back, and its lock with it."""
        os.close(descriptor)

    def lock(self, descriptor: int) -> bool:
        """Whether the exclusive lock is ours now; False while another process (or descriptor) holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_linked(self, descriptor: int, path: Path) -> bool:
        """Whether `path` still names the open file."""
        try:
            named = os.stat(path)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(descriptor), named)

    def make_folder(self, folder: Path) -> None:
        """Makes the folder and those above it; one that is there already is fine."""
        folder.mkdir(parents=True, exist_ok=True)

    def names(self, folder: Path, suffix: str) -> list[str]:
        """Names in `folder` that end in `suffix`, sorted; none when there is no such folder."""
        try:
            return sorted(name for name in os.listdir(folder) if name.endswith(suffix))
        except FileNotFoundError:
            return []

    def file_size(self, path: Path) -> int:
        """Bytes in a file by its name."""
        return os.stat(path).st_size

    def size(self, descriptor: int) -> int:
        """Bytes in the file."""
        return os.fstat(descriptor).st_size

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Bytes written, which may be fewer than given."""
        return os.pwrite(descriptor, data, offset)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        parts = []
        while size and (part := os.pread(descriptor, size, offset)):
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return b"".join(parts)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cuts the file to `size` bytes."""
        os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        """Returns when the file is on the medium."""
        os.fsync(descriptor)

    def fsync_folder(self, folder: Path) -> None:
        """Returns when the names in `folder` are on the medium."""
        sync_folder(folder)

    def save(self, path: Path, data: bytes) -> None:
        """Replaces the content of a small file, without fsync."""
        with open(path, "wb", opener=owner_only) as file:
            file.write(data)

    def load(self, path: Path) -> bytes:
        """The content of a small file. Raises `FileNotFoundError`."""
        return path.read_bytes()

    def rename(self, path: Path, target: Path) -> None:
        """Gives the file another name."""
        path.rename(target)

    def remove(self, path: Path) -> None:
        """Removes the name; a name that is already gone is fine."""
        path.unlink(missing_ok=True)


def write_fully(disk: LocalDisk, descriptor: int, data: bytes, offset: int) -> None:
    """Writes all of `data` at `offset`, however short the single writes are. Raises `OSError`."""
    rest = memoryview(data)
    while rest:
        written = disk.write(descriptor, rest, offset)
        if written < 1:
            raise OSError(f"a write must take at least one byte, took {written}")
        rest = rest[written:]
        offset += written
