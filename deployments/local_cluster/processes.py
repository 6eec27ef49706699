"""Child processes of this one, and the ports that they listen on."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

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
    found: dict[tuple[int, str], ListeningSocket] = {}
    for pid in pids:
        with suppress(psutil.Error):
            for socket in psutil.Process(pid).net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN:
                    address, port = _address(socket.laddr.ip), socket.laddr.port
                    found[port, address] = ListeningSocket(address=address, port=port, pid=pid)
    return tuple(found[place] for place in sorted(found))


def _address(text: str) -> str:
    """An address of the older protocol that is written in the newer one is itself."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def descendants(pid: int) -> tuple[psutil.Process, ...]:
    """Children of `pid`, their children, and so on, as of now; a process that has ended has none."""
    try:
        return tuple(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return ()


def is_alive(process: psutil.Process) -> bool:
    """Whether exactly this process still exists, not a later one of its id, nor one that only waits to be reaped."""
    try:
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def end(processes: tuple[psutil.Process, ...], grace_seconds: float) -> int:
    """Wait until all of `processes` are gone; kill those that outlive the grace. Returns how many were killed."""
    deadline = time.monotonic() + grace_seconds
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    stubborn = [process for process in processes if is_alive(process)]
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(stubborn)
