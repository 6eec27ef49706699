"""What a running service listens on beside its API, and who is heard there."""

from __future__ import annotations

import re

import grpc
import pytest

from deployments.local_cluster.processes import ListeningSocket, descendants, listening_sockets
from tests.deployments.ops.test_nftables import covered_ports
from tests.system.serving import Service, eventually

pytestmark = pytest.mark.system

DEPLOYMENTS = ("RequestRouter", "PPOPolicy", "SafetyValidator", "DBWriter", "RolloutController", "Counterfactual")
_CALL = "/ray.serve.ASGIService/HandleRequest"


def _exposed(service: Service) -> tuple[ListeningSocket, ...]:
    pids = [service.process.pid, *(process.pid for process in descendants(service.process.pid))]
    found = listening_sockets(pids)
    assert service.port in {each.port for each in found}
    return tuple(each for each in found if not each.is_local)


def _is_replica(service: Service, pid: int) -> bool:
    return any(
        pid in service.replicas(name, application) for application in ("gantry", "faulty") for name in DEPLOYMENTS
    )


def _others(service: Service) -> tuple[ListeningSocket, ...]:
    return tuple(each for each in _exposed(service) if not _is_replica(service, each.pid))


@pytest.fixture
def settled(service: Service) -> Service:
    """The service without workers that still become replicas: they have their port before their name."""
    assert eventually(lambda: len(_others(service)) == 2, 60), _others(service)
    return service


def test_only_known_side_doors_are_open(settled: Service) -> None:
    """Beyond this machine: two pages of the proxy, and one port for each replica. Ray itself, its dashboard agent,
    its job API and direct ingress are bound to the loopback interface."""
    service = settled
    exposed = _exposed(service)
    others = _others(service)
    assert len({each.pid for each in others}) == 1
    replicas = [each.pid for each in exposed if _is_replica(service, each.pid)]
    assert len(replicas) == len(set(replicas)) >= 4
    assert service.port not in {each.port for each in exposed}


def test_start_names_every_open_side_door(settled: Service) -> None:
    """Whoever starts the service reads which ports a firewall must cover, and the shipped rules cover each."""
    service = settled
    (line,) = re.findall(r"Ports ([\d, ]+) of Ray and its proxy listen on every interface", service.output)
    named = {int(port) for port in line.split(", ")}
    assert {each.port for each in _others(service)} <= named
    assert service.port not in named
    assert {port for port in named if not any(port in covered for covered in covered_ports())} == set()


def test_replicas_hear_nobody_without_the_token(service: Service) -> None:
    """A call into a replica's own port is refused before anything of it is acted upon."""
    for each in _exposed(service):
        if not _is_replica(service, each.pid):
            continue
        with grpc.insecure_channel(f"127.0.0.1:{each.port}") as channel:
            call = channel.unary_unary(_CALL)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
