"""The page of the first day, command by command as it stands, on a MariaDB with TLS."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.local_cluster.cluster import free_port
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.delivery.batch_writer import DecisionWriter
from tests.deployments.persistence.payloads import decision
from tests.system.mariadb import EncryptedMariaDb, encrypted_mariadb
from tests.system.serving import ROOT, config_on_loopback, environment, eventually

pytestmark = pytest.mark.system

PAGE = ROOT / "docs" / "FIRST_DAY.md"
DECISIONS = 1_200
# With fewer an optimiser rightly takes no index, and `gantry db check` says so.
GANTRY = """#!/bin/sh
case "$1" in serve) set -- "$@" --port {port} --config {config} ;; esac
exec {python} -c "from deployments.cli import main; main()" "$@"
"""
MARIADB = """#!/bin/sh
exec /usr/bin/mariadb --no-defaults --host 127.0.0.1 --port {port} --user root --ssl-ca {ca} "$@"
"""
START_SECONDS = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A folder to work in, with `gantry` and `mariadb` as a host has them, and what the page's names stand for."""

    folder: Path
    encrypted: EncryptedMariaDb
    service_port: int

    def meant(self, commands: str) -> str:
        """The commands with the names of this plant; the last one of a shell becomes that shell's own process."""
        names = {
            "db.plant.example": f"127.0.0.1:{self.encrypted.server.url.port}",
            "/etc/gantry/ca.pem": str(self.encrypted.ca),
            "/srv/backup": str(self.folder / "backup"),
            "/mnt/off-site": str(self.folder / "off-site"),
            "127.0.0.1:8000": f"127.0.0.1:{self.service_port}",
            "gantry serve": "exec gantry serve",
        }
        for name, value in names.items():
            commands = commands.replace(name, value)
        return commands

    def variables(self, others: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of its shells."""
        found = environment(self.folder, others or {})
        return found | {"PATH": f"{self.folder / 'bin'}:{found['PATH']}"}

    def run(self, commands: str, *, code: int = 0) -> str:
        """What a shell prints, on both ways out, that stops at the first failure."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.meant(commands)],
            env=self.variables(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o700)


def _tried_out(folder: Path) -> None:
    """What a service in development has left: decisions in the SQLite file of its data folder, and an empty spool."""
    (folder / "data" / "spool").mkdir(parents=True)
    url = f"sqlite:///{folder / 'data' / 'gantry.sqlite3'}"
    upgrade(url)
    engine = create_engine(url)
    report = DecisionWriter(engine).write([decision(number).to_bytes() for number in range(1, DECISIONS + 1)])
    assert not report.poisoned
    engine.dispose()


def test_page_leads_from_an_empty_server_to_a_service_that_plans(tmp_path: Path) -> None:
    """Users, schema, keys, backup, drill, switch-over, in the page's order; the start before the drill is refused."""
    blocks = re.findall(r"```(sql|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sql", "sh", "sh", "sh", "sh", "sh", "sh"]
    users, tried_out, schema, keys, backups, switch_over, status = (text for _, text in blocks)
    (tmp_path / "tls").mkdir()
    for name in ("backup", "off-site"):
        (tmp_path / name).mkdir()
    with encrypted_mariadb(tmp_path / "tls") as encrypted:
        plant = Plant(folder=tmp_path, encrypted=encrypted, service_port=free_port())
        values = {"python": sys.executable, "port": plant.service_port, "config": config_on_loopback(tmp_path)}
        _program(tmp_path / "bin" / "gantry", GANTRY.format(**values))
        _program(tmp_path / "bin" / "mariadb", MARIADB.format(port=encrypted.server.url.port, ca=encrypted.ca))
        for statement in filter(None, map(str.strip, users.split(";"))):
            encrypted.server.execute(statement)
        _tried_out(tmp_path)
        plant.run(tried_out)
        settings = "".join(line + "\n" for line in schema.splitlines() if line.startswith("export "))
        assert "all tables equal" in plant.run(schema)
        said = plant.run(settings + keys)
        (admin, *others) = re.findall(r"gantry_[0-9a-f]{12}_[0-9a-f]{64}_[0-9a-f]{8}", said)
        assert len(others) == 2
        refused = plant.run(settings + switch_over, code=1)
        assert "its first start in production needs a verified backup of the last 24 h, there was none" in refused
        said = plant.run(settings + backups)
        assert said.count(f"{DECISIONS:,} of them decisions") == 3
        assert len(list((tmp_path / "off-site").glob("gantry-*.backup.age"))) == 1
        assert (
            encrypted.server.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'gantry_drill' "
                "AND table_name <> 'alembic_version'"
            )
            == []
        )
        _serves(plant, settings + switch_over, status.replace("ADMIN_KEY", admin))


def _serves(plant: Plant, start: str, status: str) -> None:
    """The service comes, answers the administrator, and goes; its own user sees all well but what is the server's."""
    path = plant.folder / "output.txt"
    with path.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euc", plant.meant(start)],
            env=plant.variables(),
            cwd=plant.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        came = eventually(
            lambda: "all replicas are there" in path.read_text() or process.poll() is not None, START_SECONDS, 0.5
        )
        assert came
        assert process.poll() is None, path.read_text()
        checked = [line for line in path.read_text().splitlines() if re.match(r"\w+ +(query|backup|drill)", line)]
        assert [line for line in checked if not line.startswith("ok ")] == []
        assert len(checked) > 20
        assert plant.run(status).startswith("Stage: shadow")
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        process.wait(60)
