"""Listening sockets: which there are, and whether strangers can reach them."""

from __future__ import annotations

import os
import socket

import pytest

from deployments.local_cluster.processes import ListeningSocket, listening_sockets


@pytest.mark.parametrize(("address", "is_local"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_own_listener_is_found(address: str, is_local: bool) -> None:
    """A port is reported from the moment this process listens on it, with the interface it is bound to."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        assert port not in {each.port for each in listening_sockets([os.getpid()])}
        listener.listen()
        (found,) = (each for each in listening_sockets([os.getpid()]) if each.port == port)
    assert found == ListeningSocket(address=address, port=port, pid=os.getpid())
    assert found.is_local is is_local


def test_addresses_of_the_newer_protocol_are_read_too() -> None:
    """`::1` is this machine alone, `::` is everybody."""
    for address, is_local in (("::1", True), ("::", False)):
        with socket.socket(socket.AF_INET6) as listener:
            try:
                listener.bind((address, 0))
            except OSError:
                pytest.skip("this machine has no IPv6")
            listener.listen()
            port = listener.getsockname()[1]
            (found,) = (each for each in listening_sockets([os.getpid()]) if each.port == port)
        assert (found.address, found.is_local) == (address, is_local)


def test_address_of_the_older_protocol_in_the_newer_one_is_itself() -> None:
    """A socket of the newer protocol that is bound to 127.0.0.1 is as local as any."""
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::ffff:127.0.0.1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        listener.listen()
        port = listener.getsockname()[1]
        (found,) = (each for each in listening_sockets([os.getpid()]) if each.port == port)
    assert (found.address, found.is_local) == ("127.0.0.1", True)


def test_process_that_has_ended_listens_on_nothing() -> None:
    """A process that is not there is no error."""
    assert listening_sockets([2**22 + 1]) == ()
