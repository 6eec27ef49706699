"""Keys of a production service on MariaDB: from the bootstrap to the outage, and nothing of them in any log."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import make_url

from deployments.persistence.database import upgrade
from deployments.persistence.grants import service_grants
from deployments.serving import DEFAULT_CONFIG
from tests.deployments.fakes import body
from tests.system.mariadb import PrivateMariaDb, private_mariadb
from tests.system.serving import COMMAND, Service, environment, running_service

pytestmark = pytest.mark.system

BOOTSTRAP = secrets.token_urlsafe(40)
PASSWORD = f"pw-{secrets.token_hex(12)}"
SECRET = re.compile(r"gantry_[0-9a-f]{12}_(?P<secret>[0-9a-f]{64})_[0-9a-f]{8}")
# Generous, because the tests may share two cores with anything; how fast is for the tests of the parts.
WAIT_SECONDS = 120.0
# Well below the rate at which a key is slowed down.
POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """A service that runs as the least privileged user, and its server."""

    service: Service
    server: PrivateMariaDb
    owner_url: str
    folder: Path

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
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with suppress(httpx.HTTPError):
                if holds():
                    return
            assert time.monotonic() < deadline, f"waited in vain until {what}; the service said:\n{self.service.output}"
            time.sleep(POLL_SECONDS)

    def wait_for(self, status: int, key: str, method: str = "GET", path: str = "/v1/schedules", **sent: Any) -> None:
        """Returns when the holder of `key` is answered by `status`."""
        what = f"{method} {path} is answered by {status}"
        self.wait_until(lambda: self.ask(key, method, path, **sent).status_code == status, what)


@contextmanager
def production(folder: Path, ray_folder: Path) -> Iterator[Production]:
    """Started on a migrated schema, listening to this machine only."""
    with private_mariadb() as server, server.schema() as owner_url:
        upgrade(owner_url)
        database = make_url(owner_url).database or ""
        server.execute(f"CREATE USER 'gantry_service'@'%' IDENTIFIED BY '{PASSWORD}'")
        for statement in service_grants(database, "gantry_service", "%"):
            server.execute(statement)
        url = make_url(owner_url).set(username="gantry_service", password=PASSWORD)
        config = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
        config["http_options"]["host"] = "127.0.0.1"
        (folder / "serve.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        variables = {
            "GANTRY_ENVIRONMENT": "production",
            "GANTRY_API_KEY": BOOTSTRAP,
            "GANTRY_DATABASE_URL": url.render_as_string(hide_password=False),
            "RAY_TMPDIR": str(ray_folder),
        }
        with running_service(folder, variables=variables, config=folder / "serve.yaml") as service:
            yield Production(service=service, server=server, owner_url=owner_url, folder=folder)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its logs; short, because sockets lie there."""
    folder = Path(tempfile.mkdtemp(prefix="gr-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_keys_from_bootstrap_to_outage(tmp_path: Path, ray_folder: Path) -> None:
    """The bootstrap key opens until an admin key is stored; a revoked key is refused; a router that restarts without
    the database still knows who calls; and no log, process title or file has a secret."""
    with production(tmp_path, ray_folder) as plant:
        plant.wait_for(200, BOOTSTRAP, "POST", "/schedule", json=body())
        admin = plant.keys("create", "--client", "plant", "--all-plants", *_scopes("admin", "operate", "schedule"))
        erp = plant.keys("create", "--client", "erp", "--plant", "default", *_scopes("schedule"))
        plant.wait_for(200, erp["key"])
        plant.wait_for(401, BOOTSTRAP)
        assert plant.ask(erp["key"], "POST", "/schedule", json=body(plant_id="elsewhere")).status_code == 403

        assert plant.ask(admin["key"], "POST", "/schedule", json=body(arm="manual")).status_code == 200
        made = ["schedule", "keys.create", "keys.create"]
        plant.wait_until(lambda: _actions(plant, admin["key"]) == made, "the audit trail is complete")

        plant.keys("revoke", erp["id"])
        plant.wait_for(401, erp["key"])

        plant.server.stop()
        _replace_router(plant)
        plant.wait_for(200, admin["key"], "POST", "/schedule", json=body())
        assert plant.ask(erp["key"], "POST", "/schedule", json=body()).status_code == 401
        assert plant.ask(BOOTSTRAP, "POST", "/schedule", json=body()).status_code == 401
        assert plant.ask(admin["key"], path="/health").json()["keys_age"] > 0
        plant.server.start()
        # What was decided meanwhile is stored, so its bytes are among the files that are searched.
        plant.wait_until(lambda: _decisions(plant) >= 3, "all decisions are stored")

        hidden = [BOOTSTRAP, PASSWORD, *(_secret(key["key"]) for key in (admin, erp))]
        assert _where_found(hidden, plant, ray_folder) == []


def _replace_router(plant: Production) -> None:
    """Kills the router, and returns when another one lives."""
    (old,) = plant.service.replicas("RequestRouter")
    os.kill(old, signal.SIGKILL)

    def is_replaced() -> bool:
        living = plant.service.replicas("RequestRouter")
        return bool(living) and old not in living

    plant.wait_until(is_replaced, "another router lives")


def _secret(key: str) -> str:
    found = SECRET.fullmatch(key)
    assert found is not None
    return found["secret"]


def _decisions(plant: Production) -> int:
    ((number,),) = plant.server.execute(f"SELECT count(*) FROM {make_url(plant.owner_url).database}.decision")
    assert isinstance(number, int)
    return number


def _scopes(*scopes: str) -> list[str]:
    return [word for scope in scopes for word in ("--scope", scope)]


def _actions(plant: Production, key: str) -> list[str]:
    """The audit trail, newest first."""
    return [event["action"] for event in plant.ask(key, path="/v1/audit").json()["events"]]


def _where_found(hidden: list[str], plant: Production, ray_folder: Path) -> list[str]:
    """Every log, data file and process title that has one of the secrets."""
    files = [path for folder in (ray_folder, plant.folder) for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    titles = [Path(f"/proc/{process.pid}/cmdline") for process in plant.service.processes()]
    return [str(path) for path in (*files, *titles) if _has(path, hidden)]


def _has(path: Path, hidden: list[str]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return any(secret.encode() in content for secret in hidden)
