"""Child processes of this one, and the ports that they listen on (Linux; none elsewhere)."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"
_SOCKET = "socket:["
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningSocket:
    """A TCP socket that waits for connections, and one of the processes that hold it."""

    address: str
    port: int
    pid: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback


def listening_sockets(pids: Iterable[int]) -> tuple[ListeningSocket, ...]:
    """The listening TCP sockets of these processes, by port; a process that has ended has none."""
    holders = {inode: pid for pid in pids for inode in _sockets_of(pid)}
    found = {
        ListeningSocket(address=address, port=port, pid=holders[inode])
        for table in ("tcp", "tcp6")
        for address, port, inode in _listening(table)
        if inode in holders
    }
    return tuple(sorted(found, key=lambda each: (each.port, each.address)))


def _sockets_of(pid: int) -> Iterator[str]:
    try:
        descriptors = os.listdir(_PROC / str(pid) / "fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(_PROC / str(pid) / "fd" / descriptor)
        except OSError:
            continue
        if target.startswith(_SOCKET):
            yield target.removeprefix(_SOCKET).rstrip("]")


def _listening(table: str) -> Iterator[tuple[str, int, str]]:
    try:
        lines = (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, state, *_, inode = line.split()[:10]
        if state == _LISTENING:
            address, _, port = local.partition(":")
            yield _address(address), int(port, 16), inode


def _address(text: str) -> str:
    """The kernel writes an address as 32-bit words, each in the byte order of the machine."""
    words = (bytes.fromhex(text[start : start + 8]) for start in range(0, len(text), 8))
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


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
