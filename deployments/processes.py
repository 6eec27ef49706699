"""Child processes of this one: which there are, and that they are gone in the end (Linux; none elsewhere)."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process by its id and the tick it was born at, so that a reused id is not mistaken for it."""

    pid: int
    born: int

    @property
    def is_alive(self) -> bool:
        """Whether exactly this process still exists; one that only waits to be reaped does not count."""
        status = _status_of(self.pid)
        return status is not None and status.born == self.born and status.state not in "ZX"


def descendants(pid: int) -> tuple[Process, ...]:
    """Children of `pid`, their children, and so on, as of now."""
    statuses = [status for entry in _entries() if (status := _status_of(int(entry))) is not None]
    family, found = {pid}, True
    while found:
        newcomers = {status.pid for status in statuses if status.parent in family} - family
        family |= newcomers
        found = bool(newcomers)
    return tuple(Process(pid=status.pid, born=status.born) for status in statuses if status.pid in family - {pid})


def end(processes: tuple[Process, ...], grace_seconds: float) -> int:
    """Wait until all of `processes` are gone; kill those that outlive the grace. Returns how many were killed."""
    deadline = time.monotonic() + grace_seconds
    while any(process.is_alive for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    stubborn = [process for process in processes if process.is_alive]
    for process in stubborn:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(stubborn)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status:
    pid: int
    parent: int
    state: str
    born: int


def _entries() -> list[str]:
    return [entry.name for entry in _PROC.iterdir() if entry.name.isdigit()] if _PROC.is_dir() else []


def _status_of(pid: int) -> _Status | None:
    try:
        # The name of the program stands in parentheses and may itself contain any of them.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Status(pid=pid, state=fields[0], parent=int(fields[1]), born=int(fields[19]))
