"""How the service starts on MariaDB, and how it ends: nothing lost, nothing left behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
import sqlalchemy

from deployments.commands.demonstration import EXAMPLE
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.tables import DECISION
from tests.system.serving import COMMAND, HEADERS, environment, is_free, running_service

pytestmark = pytest.mark.system

STOP_SECONDS = 30


def test_service_on_mariadb_ends_without_a_trace(mariadb_url: str, tmp_path: Path) -> None:
    """SIGTERM beside a request just sent: every 200 is in database or spool, and no process or listener is left."""
    upgrade(mariadb_url)
    with running_service(tmp_path, variables={"GANTRY_DATABASE_URL": mariadb_url}) as service:
        answers: list[httpx.Response] = []
        with service.client() as client:
            answers.append(client.post("/schedule", content=EXAMPLE.read_bytes()))
            late = threading.Thread(target=lambda: answers.append(_post_large(service.url)))
            late.start()
            processes = service.processes()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(timeout=STOP_SECONDS) == 0
            late.join()
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [process for process in processes if process.is_alive] == []
        assert is_free(service.port)
    engine = create_engine(mariadb_url)
    with engine.connect() as connection:
        stored = set(connection.execute(sqlalchemy.select(DECISION.c.decision_id)).scalars())
    engine.dispose()
    spooled = b"".join(path.read_bytes() for path in (tmp_path / "data" / "spool").glob("*.segment"))
    promised = [answer.json()["schedule_id"] for answer in answers]
    assert promised[0] in stored
    assert [decision for decision in promised if decision not in stored and decision.encode() not in spooled] == []


def test_service_refuses_a_taken_port(tmp_path: Path) -> None:
    """A port that somebody else listens on is one clear line and a non-zero exit, before Ray is started."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = _serve(tmp_path, {}, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"gantry: port {port} must be free, was taken; choose another with --port\n"


def test_service_refuses_a_damaged_policy(tmp_path: Path) -> None:
    """A policy folder that is not what its manifest says is one clear line and a non-zero exit."""
    done = _serve(tmp_path, {"GANTRY_MODEL_PATH": str(tmp_path / "nothing")})
    assert done.returncode == 1
    assert done.stderr.startswith("gantry: ")
    assert "manifest.json must exist" in done.stderr
    assert done.stderr.count("\n") == 1


def test_service_refuses_a_spool_folder_that_it_cannot_make(tmp_path: Path) -> None:
    """The way to the folder leads through a file: one clear line, before Ray is started."""
    (tmp_path / "file").write_bytes(b"")
    done = _serve(tmp_path, {"GANTRY_SPOOL_FOLDER": str(tmp_path / "file" / "spool")})
    assert done.returncode == 1
    assert done.stderr.startswith(f"gantry: could not write to the spool folder {tmp_path}/file/spool: ")
    assert done.stderr.endswith(f"Not a directory: '{tmp_path}/file/spool'; mend it or set GANTRY_SPOOL_FOLDER\n")


def test_service_refuses_an_old_schema(mariadb_url: str, tmp_path: Path) -> None:
    """A database that nobody has migrated is left alone, and the line says which command brings it up to date."""
    done = _serve(tmp_path, {"GANTRY_DATABASE_URL": mariadb_url})
    assert done.returncode == 1
    assert "gantry db upgrade" in done.stderr
    assert done.stderr.count("\n") == 1


def _serve(folder: Path, variables: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "serve", *options]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _post_large(url: str) -> httpx.Response:
    return httpx.post(f"{url}/schedule", content=EXAMPLE.read_bytes(), headers=HEADERS, timeout=60.0, trust_env=False)
