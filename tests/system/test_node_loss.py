"""A node dies under load, and its disk with it: what was answered 200 is in the database."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from deployments.serve.environment import LOOPBACK
from tests.system.mariadb import MariaDbServer
from tests.system.serving import ROOT, eventually
from tests.system.test_cluster import KEY, START_SECONDS, Cluster, head_node, node

pytestmark = pytest.mark.system

_CLIENTS = 4
_BEFORE_SECONDS, _AFTER_SECONDS = 4.0, 12.0


class _Load:
    """Clients that send one request after another: when each was answered, which ids a 200 gave, what else came."""

    def __init__(self, cluster: Cluster) -> None:
        self._url = f"http://{LOOPBACK}:{cluster.port}/schedule"
        self._body = (ROOT / "deployments" / "examples" / "plant-170.json").read_bytes()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(_CLIENTS)]
        self.acknowledged: list[tuple[float, str]] = []
        self.others: list[str] = []

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
        with httpx.Client(headers=headers, timeout=60.0, trust_env=False) as client:
            while not self._is_over.is_set():
                try:
                    answer = client.post(self._url, content=self._body)
                except httpx.TransportError as error:
                    self.others.append(type(error).__name__)
                    continue
                if answer.status_code == httpx.codes.OK:
                    self.acknowledged.append((time.monotonic(), answer.json()["schedule_id"]))
                else:
                    self.others.append(f"{answer.status_code} {answer.text[:150]}")

    @property
    def gap_seconds(self) -> float:
        """The longest time without a 200."""
        instants = sorted(instant for instant, _ in self.acknowledged)
        return max(later - earlier for earlier, later in pairwise(instants))


def test_no_acknowledged_decision_is_lost_with_a_node(mariadb: MariaDbServer, tmp_path: Path) -> None:
    """Three nodes, a data folder each, none shared; one is killed and its folder taken away while clients ask."""
    with mariadb.schema() as url, ExitStack() as stack:
        settings = {"GANTRY_DATABASE_URL": url, "GANTRY_ACKNOWLEDGE_ON": "database"}
        cluster = stack.enter_context(head_node(tmp_path, settings, cpus=1))
        assert cluster.gantry("db", "upgrade").returncode == 0
        nodes: dict[str, ExitStack] = {}
        for name in ("second", "third"):
            variables = {**cluster.variables, "GANTRY_DATA_FOLDER": str(tmp_path / name)}
            nodes[name] = stack.enter_context(ExitStack())
            options = (f"--address={cluster.address}", "--num-cpus=2", f"--object-store-memory={128 * 2**20}")
            nodes[name].enter_context(node(variables, tmp_path, name, *options))
        cluster.deploy(routers=3, proxies="HeadOnly")
        assert eventually(lambda: cluster.application()["status"] == "RUNNING", START_SECONDS, 1.0)
        assert eventually(cluster.is_ready, START_SECONDS), cluster.get("/readyz")
        with_router = [name for name in nodes if (tmp_path / name / "spool").is_dir()]
        assert with_router, "no router is on a node that can be killed"
        with _Load(cluster) as load:
            time.sleep(_BEFORE_SECONDS)
            nodes[with_router[0]].close()
            shutil.move(tmp_path / with_router[0], tmp_path / "gone")
            time.sleep(_AFTER_SECONDS)
        schema = url.rsplit("/", 1)[1].split("?")[0]
        stored = {str(row[0]) for row in mariadb.execute(f"SELECT decision_id FROM {schema}.decision")}
        lost = [each for _, each in load.acknowledged if each not in stored]
        print(f"{len(load.acknowledged)} acknowledged, {len(lost)} lost, longest gap {load.gap_seconds:.1f} s")
        print(f"{len(load.others)} not answered with 200: {load.others}")
        assert lost == []
        assert len(load.acknowledged) > _CLIENTS
