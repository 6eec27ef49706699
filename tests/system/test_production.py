"""A production service on MariaDB: its keys from the bootstrap to an outage, no secret in any log, and how it ends."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from deployments.commands.demo import EXAMPLE
from deployments.local_cluster.processes import is_alive
from deployments.persistence.database import upgrade
from deployments.persistence.tables import service_grants
from tests.deployments.fakes import body
from tests.system.mariadb import PrivateMariaDb, private_mariadb
from tests.system.operating import eventually
from tests.system.serving import COMMAND, Service, config_on_loopback, environment, is_free, running_service

pytestmark = pytest.mark.system

BOOTSTRAP = secrets.token_urlsafe(40)
PASSWORD = f"pw-{secrets.token_hex(12)}"
SECRET = re.compile(r"gantry_[0-9a-f]{12}_(?P<secret>[0-9a-f]{64})_[0-9a-f]{8}")
# Generous, because the tests may share two cores with anything; how fast is for the tests of the parts.
WAIT_SECONDS = 120.0
# Well below the rate at which a key is slowed down.
POLL_SECONDS = 0.25
ASKED_IN_A_ROW = 6
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """A service that runs as the least privileged user, and its server."""

    service: Service
    server: PrivateMariaDb
    owner_url: str
    folder: Path
    ray_folder: Path

    def ask(self, key: str, method: str = "GET", path: str = "/v1/schedules", **sent: Any) -> httpx.Response:
        """One answer to the holder of `key`."""
        headers = {"X-API-Key": key}
        return httpx.request(method, self.service.url + path, headers=headers, timeout=60.0, trust_env=False, **sent)

    def keys(self, *words: str) -> Any:
        """What `gantry keys` says, run by the owner of the schema."""
        done = subprocess.run(
            [*COMMAND, "keys", *words, "--json"],
            env=environment(self.folder, {"GANTRY_DATABASE_URL": self.owner_url}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return json.loads(done.stdout)

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Returns when something is true; a connection that breaks meanwhile is one more reason to wait."""
        came = eventually(holds, WAIT_SECONDS, POLL_SECONDS)
        assert came, f"waited in vain until {what}; the service said:\n{self.service.output}"

    def wait_for(self, status: int, key: str, method: str = "GET", path: str = "/v1/schedules", **sent: Any) -> None:
        """Returns when the holder of `key` is answered by `status`, by whichever router."""
        what = f"{method} {path} is answered by {status}"

        def answers() -> bool:
            return all(self.ask(key, method, path, **sent).status_code == status for _ in range(ASKED_IN_A_ROW))

        self.wait_until(answers, what)


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """Started on a migrated schema, listening to this machine only; its last test ends it."""
    folder = tmp_path_factory.mktemp("production")
    # Where Ray keeps its logs; short, because sockets lie there.
    ray_folder = Path(tempfile.mkdtemp(prefix="gr-"))
    try:
        with private_mariadb() as server, server.schema() as owner_url:
            upgrade(owner_url)
            variables = {
                "GANTRY_ENVIRONMENT": "production",
                "GANTRY_API_KEY": BOOTSTRAP,
                "GANTRY_DATABASE_URL": _least_privileged(server, owner_url),
                "RAY_TMPDIR": str(ray_folder),
            }
            with running_service(folder, variables=variables, config=config_on_loopback(folder)) as service:
                yield Production(
                    service=service, server=server, owner_url=owner_url, folder=folder, ray_folder=ray_folder
                )
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def _least_privileged(server: PrivateMariaDb, owner_url: str) -> str:
    server.execute(f"CREATE USER 'gantry_service'@'%' IDENTIFIED BY '{PASSWORD}'")
    for statement in service_grants(make_url(owner_url).database or "", "gantry_service", "%"):
        server.execute(statement)
    url = make_url(owner_url).set(username="gantry_service", password=PASSWORD)
    return url.render_as_string(hide_password=False)


def test_keys_from_bootstrap_to_outage(production: Production) -> None:
    """The bootstrap key opens until an admin key is stored; a revoked key is refused; a router that restarts without
    the database still knows who calls; and no log, process title or file has a secret."""
    plant = production
    plant.wait_for(200, BOOTSTRAP, "POST", "/schedule", json=body())
    admin = plant.keys("create", "--client", "plant", "--all-plants", *_scopes("admin", "operate", "schedule"))
    erp = plant.keys("create", "--client", "erp", "--plant", "default", *_scopes("schedule"))
    plant.wait_for(200, erp["key"])
    plant.wait_for(401, BOOTSTRAP)
    assert plant.ask(erp["key"], "POST", "/schedule", json=body(plant_id="elsewhere")).status_code == 403

    assert plant.ask(admin["key"], "POST", "/schedule", json=body(arm="manual")).status_code == 200
    made = ["schedule", "keys.create", "keys.create", "service.first_start"]
    plant.wait_until(lambda: _actions(plant, admin["key"]) == made, "the audit trail is complete")

    plant.keys("revoke", erp["id"])
    plant.wait_for(401, erp["key"])

    plant.server.stop()
    _replace_routers(plant)
    plant.wait_for(200, admin["key"], "POST", "/schedule", json=body())
    assert plant.ask(erp["key"], "POST", "/schedule", json=body()).status_code == 401
    assert plant.ask(BOOTSTRAP, "POST", "/schedule", json=body()).status_code == 401
    assert plant.ask(admin["key"], path="/health").json()["keys_age"] > 0
    plant.server.start()
    # What was decided meanwhile is stored, so its bytes are among the files that are searched.
    plant.wait_until(lambda: len(_stored(plant)) >= 3, "all decisions are stored")

    hidden = [BOOTSTRAP, PASSWORD, *(_secret(key["key"]) for key in (admin, erp))]
    assert _where_found(hidden, plant) == []


def test_end_leaves_nothing_behind(production: Production) -> None:
    """SIGTERM beside a request: it is answered, or turned away in order if it came too late; every 200 is in database
    or spool, and no process or listener is left."""
    plant, service = production, production.service
    planner = plant.keys("create", "--client", "planner", "--all-plants", *_scopes("schedule"))["key"]
    plant.wait_for(200, planner)

    def post() -> httpx.Response:
        return plant.ask(planner, "POST", "/schedule", content=EXAMPLE.read_bytes())

    answers = [post()]

    def post_late() -> None:
        with suppress(httpx.ConnectError):
            answers.append(post())

    late = threading.Thread(target=post_late)
    late.start()
    processes = service.processes()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(timeout=STOP_SECONDS) == 0
    late.join()
    assert answers[0].status_code == 200
    assert [answer.json()["error"] for answer in answers if answer.status_code != 200] in ([], ["stopping"])
    assert [process for process in processes if is_alive(process)] == []
    assert is_free(service.port)
    promised, stored = [answer.json()["schedule_id"] for answer in answers if answer.is_success], _stored(plant)
    spooled = b"".join(path.read_bytes() for path in (plant.folder / "data" / "spool").glob("*.segment"))
    assert promised[0] in stored
    assert [decision for decision in promised if decision not in stored and decision.encode() not in spooled] == []


def _replace_routers(plant: Production) -> None:
    """Kills all routers, and returns when as many others live."""
    old = set(plant.service.replicas("RequestRouter"))
    for pid in old:
        os.kill(pid, signal.SIGKILL)

    def are_replaced() -> bool:
        living = set(plant.service.replicas("RequestRouter"))
        return len(living) == len(old) and old.isdisjoint(living)

    plant.wait_until(are_replaced, "other routers live")


def _secret(key: str) -> str:
    found = SECRET.fullmatch(key)
    assert found is not None
    return found["secret"]


def _stored(plant: Production) -> set[str]:
    """Ids of the decisions in the database."""
    rows = plant.server.execute(f"SELECT decision_id FROM {make_url(plant.owner_url).database}.decision")
    return {str(decision_id) for (decision_id,) in rows}


def _scopes(*scopes: str) -> list[str]:
    return [word for scope in scopes for word in ("--scope", scope)]


def _actions(plant: Production, key: str) -> list[str]:
    """The audit trail, newest first."""
    return [event["action"] for event in plant.ask(key, path="/v1/audit").json()["events"]]


def _where_found(hidden: list[str], plant: Production) -> list[str]:
    """Every log, data file and process title that has one of the secrets."""
    files = [path for folder in (plant.ray_folder, plant.folder) for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    titles = [Path(f"/proc/{process.pid}/cmdline") for process in plant.service.processes()]
    return [str(path) for path in (*files, *titles) if _has(path, hidden)]


def _has(path: Path, hidden: list[str]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return any(secret.encode() in content for secret in hidden)
