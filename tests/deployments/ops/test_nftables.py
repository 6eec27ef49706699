"""The firewall rules: understood by nft, and in step with what Ray opens."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from deployments.commands.serve import DEFAULT_PORT
from deployments.local_cluster.cluster import SIDE_PORTS
from deployments.local_cluster.service import FIREWALL, ray_variables
from deployments.serve.environment import CLUSTER_PORTS, HEAD_PORTS, NODE_PORTS
from tests.requirements import not_run


def covered_ports() -> list[range]:
    """The ports that the rules close to strangers."""
    (line,) = re.findall(r"define side_doors = \{(.*)\}", FIREWALL.read_text(encoding="utf-8"))
    bounds = [part.strip().split("-") for part in line.split(",")]
    return [range(int(first), int(rest[0] if rest else first) + 1) for first, *rest in bounds]


def nft_command() -> str:
    """The tool; without it the calling test does not run."""
    return shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") or not_run("nftables", "nft is not installed")


@pytest.mark.system
def test_rules_are_understood_by_nft() -> None:
    """The tool itself accepts the file."""
    done = subprocess.run(
        [nft_command(), "--check", "--file", str(FIREWALL)], capture_output=True, text=True, check=False
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("not run: nft may not ask the kernel here")
    assert (done.returncode, done.stderr) == (0, "")


def test_rules_cover_every_port_that_the_service_chooses() -> None:
    """The range of the proxy's pages, as a whole: which of its ports a start takes is chance."""
    chosen = {int(value) for name, value in ray_variables(DEFAULT_PORT).items() if name.endswith("_PORT")}
    assert len(chosen) == 4
    for port in (*SIDE_PORTS, *chosen):
        assert any(port in covered for covered in covered_ports()), port


def test_rules_cover_every_fixed_port_of_a_cluster() -> None:
    """Those of Serve, and those that `ray start` is told."""
    for port in (*CLUSTER_PORTS.values(), *HEAD_PORTS.values(), *NODE_PORTS.values()):
        assert any(port in covered for covered in covered_ports()), port


def test_rules_know_the_port_of_the_service() -> None:
    """As it is by default; whoever chooses another one is told at the start where it must be named."""
    assert f"define service_port = {DEFAULT_PORT}\n" in FIREWALL.read_text(encoding="utf-8")


@pytest.mark.parametrize("port", [6379, 8265, 8404, 9101, 10001, 30000, 31000, 32768, 40500, 60999])
def test_rules_cover_every_side_door(port: int) -> None:
    """Ray's fixed ports, direct ingress, and the range from which the kernel takes the rest."""
    assert any(port in covered for covered in covered_ports())


def test_rules_leave_the_service_open() -> None:
    """The port of the API is accepted before anything is dropped."""
    text = FIREWALL.read_text(encoding="utf-8")
    assert text.index("tcp dport $service_port accept") < text.index("$side_doors counter drop")
