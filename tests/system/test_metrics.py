"""What a real Prometheus makes of the metrics of a real service."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.local_cluster.cluster import free_port
from tests.deployments.fakes import body
from tests.deployments.ops.test_grafana import FED_LATER, INTERVAL, queries
from tests.deployments.ops.test_prometheus import RULES
from tests.requirements import not_run
from tests.system.serving import ROOT, Service, eventually

pytestmark = pytest.mark.system

# A list that a search can improve.
PLANT_FILE = ROOT / "deployments" / "examples" / "plant-170.json"
REQUESTS = 1000
WARM_UP_REQUESTS = 30
CLIENTS = 8
SCRAPE_SECONDS = 1
# Of the panels: as long as warm-up and load together, so that whatever came meanwhile is in it.
PANEL_INTERVAL = "5m"
# A process tells its numbers every ten seconds at the latest.
SETTLING_SECONDS = 12.0


@contextmanager
def prometheus(folder: Path, service: Service) -> Iterator[httpx.Client]:
    """A Prometheus of our own that scrapes the service and knows the rules; ended at the end."""
    command = shutil.which("prometheus") or not_run("prometheus", "prometheus is not installed")
    port = free_port()
    configuration = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "gantry", "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                command,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def asked(client: httpx.Client, query: str, at: float | None = None) -> list[dict[str, Any]]:
    """What the query comes to, now or then; nothing while Prometheus starts."""
    try:
        moment = {} if at is None else {"time": f"{at:.3f}"}
        answer = client.get("/api/v1/query", params={"query": query} | moment).raise_for_status().json()
    except httpx.HTTPError:
        return []
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def number(client: httpx.Client, query: str, at: float | None = None) -> float:
    """The one number that the query comes to, 0 where there is none."""
    found = asked(client, query, at)
    return float(found[0]["value"][1]) if found else 0.0


def test_prometheus_counts_every_request_of_both_routers(service: Service, tmp_path: Path) -> None:
    """A thousand plans by two routers: `increase()` is right within 2 %, and every rule can be evaluated."""
    plans = 'ray_gantry_http_requests_total{application="gantry", route="/schedule", status="200"}'
    with prometheus(tmp_path, service) as client, service.client() as api:
        # Each router must have a series before, since nobody can tell by how much something new has grown; one that an
        # earlier test has killed may have one still.
        for request in [PLANT_FILE.read_bytes()] * 4 + [json.dumps(body()).encode()] * WARM_UP_REQUESTS:
            _planned(api, request)
        log = tmp_path / "prometheus.log"
        assert eventually(lambda: len(asked(client, plans)) >= 2, 60), log.read_text(encoding="utf-8")
        time.sleep(SETTLING_SECONDS)
        begin = told_at(client, plans)
        request = json.dumps(body()).encode()
        with ThreadPoolExecutor(CLIENTS) as threads:
            list(threads.map(lambda _: _planned(api, request), range(REQUESTS)))
        time.sleep(SETTLING_SECONDS)
        end = told_at(client, plans)
        # From one scrape to another: beyond those Prometheus guesses what may have happened.
        milliseconds = int(1000 * (end - begin)) + 1
        grown = number(client, f"sum(increase({plans}[{milliseconds}ms]))", at=end)
        assert grown == pytest.approx(REQUESTS, rel=0.02)
        assert number(client, "count(count by (deployment) (ray_gantry_uptime_seconds))") >= 6
        groups = client.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        empty = {
            f"{each.board}: {each.panel}: {each.legend}"
            for each in queries()
            if each.panel not in FED_LATER and not asked(client, each.expression.replace(INTERVAL, PANEL_INTERVAL))
        }
        assert empty == set(), "a panel would show nothing"


def told_at(client: httpx.Client, query: str) -> float:
    """When the series were scraped last, in seconds since 1970."""
    return number(client, f"max(timestamp({query}))")


def _planned(api: httpx.Client, request: bytes) -> None:
    """One plan, whenever the machine has room for it: another load may have its cores."""
    while (answer := api.post("/schedule", content=request)).status_code == 503:
        assert answer.json()["error"] == "overloaded", answer.text
        time.sleep(0.1)
    answer.raise_for_status()
