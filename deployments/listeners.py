"""Which ports processes listen on, and for whom (Linux; none elsewhere)."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"
_SOCKET = "socket:["


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
