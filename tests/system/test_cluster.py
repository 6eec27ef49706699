"""A Ray cluster of somebody else: `ray start` in the printed environment, `serve deploy`, and the same service."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from deployments.commands.selftest import CHECKS
from deployments.local_cluster.cluster import free_ports
from deployments.local_cluster.processes import descendants
from deployments.local_cluster.service import DEFAULT_CONFIG
from deployments.serve.environment import LOOPBACK
from tests.system.serving import COMMAND, ROOT, environment, eventually

pytestmark = pytest.mark.system

KEY = "a-key-of-the-plant-that-is-long-enough"
START_SECONDS = 180.0
_BIN = Path(sys.executable).parent
_SIDE_PORTS = ("STATS_PORT", "METRICS_PORT", "PROXY_HTTP_PORT", "PROXY_GRPC_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A head node of this test's own, on ports and in a folder of its own."""

    folder: Path
    variables: Mapping[str, str]
    address: str
    dashboard: str
    port: int

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """One command as on a node."""
        return subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=dict(self.variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def gantry(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command of ours."""
        return self.run(*COMMAND, *words)

    def deploy(self, *, routers: int = 2, proxies: str = "EveryNode", **arguments: object) -> None:
        """The shipped configuration, on this test's port, with other arguments of the application."""
        config = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
        config["proxy_location"] = proxies
        (router,) = (each for each in config["applications"][0]["deployments"] if each["name"] == "RequestRouter")
        router["num_replicas"] = routers
        config["http_options"] |= {"host": LOOPBACK, "port": self.port}
        config["applications"][0]["args"] |= arguments
        path = self.folder / "serve_config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        done = self.run(_BIN / "serve", "deploy", "--address", self.dashboard, path)
        assert done.returncode == 0, done.stderr

    def application(self) -> dict[str, Any]:
        """What `serve status` says of the application."""
        done = self.run(_BIN / "serve", "status", "--address", self.dashboard)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = yaml.safe_load(done.stdout)["applications"]["gantry"]
        return found

    def get(self, path: str) -> httpx.Response | None:
        """The answer, None where nobody listens yet."""
        with suppress(httpx.TransportError):
            return httpx.get(f"http://{LOOPBACK}:{self.port}{path}", timeout=10.0, trust_env=False)
        return None

    def is_unready_because(self, words: str) -> bool:
        """Whether `/readyz` answers 503 and says these words."""
        answer = self.get("/readyz")
        return answer is not None and answer.status_code == 503 and words in answer.text

    def is_ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        answer = self.get("/readyz")
        return answer is not None and answer.status_code == 200


@contextmanager
def node(variables: Mapping[str, str], folder: Path, name: str, *options: str) -> Iterator[None]:
    """`ray start` in the foreground; every process of it is ended, and no other."""
    command = [str(_BIN / "ray"), "start", "--block", f"--node-ip-address={LOOPBACK}", *options]
    with (folder / f"{name}.txt").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=dict(variables), start_new_session=True
        )
    try:
        yield
    finally:
        below = descendants(process.pid)
        process.kill()
        for each in below:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one node, in development and on SQLite."""
    with head_node(tmp_path_factory.mktemp("cluster"), {}, cpus=8) as found:
        yield found


@contextmanager
def head_node(folder: Path, settings: Mapping[str, str], *, cpus: int) -> Iterator[Cluster]:
    """The head node, with what `gantry cluster env` prints, but on private ports."""
    # Ray's sockets lie in it, and their names must be short.
    sessions = tempfile.mkdtemp(prefix="ray-")
    own = {
        "GANTRY_API_KEY": KEY,
        "HOME": str(folder),
        "XDG_CACHE_HOME": _cache(),
        "RAY_AUTH_TOKEN": secrets.token_hex(),
        **settings,
    }
    base = environment(folder, own)
    done = subprocess.run(
        [*COMMAND, "cluster", "env", "--json"], cwd=folder, env=base, capture_output=True, text=True, check=True
    )
    printed = json.loads(done.stdout)
    head = printed["ray_start"]["head"]
    options = [name for name in head if "worker-port" not in name]
    port, *free = free_ports(1 + len(options) + len(_SIDE_PORTS))
    ports = dict(zip(options, free, strict=False))
    side = {name: str(each) for each, name in zip(free[len(options) :], _side_names(printed), strict=True)}
    variables = base | printed["environment"] | side
    arguments = [f"--{name}={each}" for name, each in ports.items()]
    sizes = (f"--num-cpus={cpus}", f"--object-store-memory={128 * 2**20}", f"--temp-dir={sessions}")
    try:
        with node(variables, folder, "head", "--head", *arguments, *sizes):
            found = Cluster(
                folder=folder,
                variables=variables,
                address=f"{LOOPBACK}:{ports['port']}",
                dashboard=f"http://{LOOPBACK}:{ports['dashboard-port']}",
                port=port,
            )
            started = lambda: found.run(_BIN / "serve", "status", "--address", found.dashboard).returncode == 0  # noqa: E731
            assert eventually(started, START_SECONDS, 1.0), (folder / "head.txt").read_text(encoding="utf-8")
            yield found
    finally:
        shutil.rmtree(sessions, ignore_errors=True)


def _side_names(printed: Mapping[str, Any]) -> list[str]:
    return [name for name in printed["environment"] if name.endswith(_SIDE_PORTS)]


def _cache() -> str:
    """Where the core is compiled already."""
    return os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> Cluster:
    """The service without its schema: no crash loop, `/readyz` says what to do, and once it is done is ready."""
    cluster.deploy()
    lacks_schema = lambda: cluster.is_unready_because("run `gantry db upgrade`")  # noqa: E731
    assert eventually(lacks_schema, START_SECONDS), cluster.application()
    done = cluster.gantry("db", "upgrade")
    assert done.returncode == 0, done.stderr
    assert eventually(cluster.is_ready, START_SECONDS), cluster.get("/readyz")
    return cluster


def test_service_that_got_its_schema_plans(deployed: Cluster) -> None:
    """170 jobs, safe, with the key of its environment."""
    cluster = deployed
    plant = (ROOT / "deployments" / "examples" / "plant-170.json").read_bytes()
    answer = httpx.post(
        f"http://{LOOPBACK}:{cluster.port}/schedule",
        content=plant,
        headers={"X-API-Key": KEY, "Content-Type": "application/json"},
        timeout=60.0,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["scheduled_jobs"]) == 170
    assert answer.json()["safety"]["valid"]


def test_cluster_in_order_passes_its_check(deployed: Cluster) -> None:
    """Each worker sees what was printed, the service runs, and both routers are there."""
    cluster = deployed
    assert eventually(lambda: cluster.application()["status"] == "RUNNING", START_SECONDS, 1.0), cluster.application()
    done = cluster.gantry("cluster", "check", "--address", cluster.address, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = {row["subject"]: row["seen"] for row in json.loads(done.stdout)["checks"]}
    assert seen["application gantry"] == "RUNNING"
    assert seen["routers of gantry"] == "2 routers on 1 node of 1"


def test_cluster_in_order_passes_the_self_test(deployed: Cluster) -> None:
    """With the key of its environment: model, database, 170 jobs, judge, refusals and the fallback to manual."""
    cluster = deployed
    done = cluster.gantry("selftest", "--url", f"http://{LOOPBACK}:{cluster.port}", "--json")
    checks = json.loads(done.stdout)["checks"]
    assert [row for row in checks if not row["passes"]] == [], done.stderr
    assert done.returncode == 0
    assert len(checks) == CHECKS


def test_several_nodes_refuse_what_is_of_one(deployed: Cluster) -> None:
    """A second node, and SQLite: the check names it, `serve deploy` is refused with one sentence, what ran stays.

    Its 200s rest on the disk of one node, so `/readyz` says what that needs, for as long as there are two.
    """
    cluster = deployed
    with node(cluster.variables, cluster.folder, "second", f"--address={cluster.address}", "--num-cpus=0"):
        assert eventually(lambda: "SQLite, which is a file of one node" in _checked(cluster), START_SECONDS, 1.0)
        cluster.deploy(drain_seconds=2)
        assert eventually(lambda: cluster.application()["status"] == "DEPLOY_FAILED", START_SECONDS, 1.0)
        message = cluster.application()["message"]
        assert "GANTRY_DATABASE_URL: must be a MariaDB URL on 2 nodes, was SQLite, a file of one of them" in message
        assert "Traceback" not in message
        lacks_second_copy = lambda: cluster.is_unready_because("must be database on 2 nodes, or volume")  # noqa: E731
        assert eventually(lacks_second_copy, 30.0), cluster.get("/readyz")
    assert eventually(cluster.is_ready, START_SECONDS), cluster.get("/readyz")


def _checked(cluster: Cluster) -> str:
    return cluster.gantry("cluster", "check", "--address", cluster.address).stdout
