"""How a start ends that leads to no service: refused with one clear line before Ray is started, or given up."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from deployments.local_cluster.processes import is_alive
from tests.system.serving import COMMAND, environment, eventually, is_free, running_service, starting_service

pytestmark = pytest.mark.system


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


def test_start_closes_folders_that_were_open(tmp_path: Path) -> None:
    """Before anything else is looked at, and in one line it says which one it cannot close."""
    models, spool = tmp_path / "models", tmp_path / "shared"
    models.mkdir()
    spool.mkdir()
    models.chmod(0o755)
    spool.chmod(0o1777)
    folders = {"GANTRY_MODELS_FOLDER": str(models), "GANTRY_SPOOL_FOLDER": str(spool)}
    done = _serve(tmp_path, {"GANTRY_MODEL_PATH": str(tmp_path / "nothing"), **folders})
    assert done.returncode == 1
    assert models.stat().st_mode & 0o777 == 0o700
    assert f"other users may be able to read {spool} (it is for everybody): take it from them with" in done.stdout


def test_service_refuses_a_spool_folder_that_it_cannot_make(tmp_path: Path) -> None:
    """The way to the folder leads through a file: one clear line, before Ray is started."""
    (tmp_path / "file").write_bytes(b"")
    done = _serve(tmp_path, {"GANTRY_SPOOL_FOLDER": str(tmp_path / "file" / "spool")})
    assert done.returncode == 1
    assert done.stderr.startswith(f"gantry: could not write to the spool folder {tmp_path}/file/spool: ")
    assert done.stderr.endswith(f"Not a directory: {tmp_path}/file/spool; mend it or set GANTRY_SPOOL_FOLDER\n")


def test_service_refuses_an_old_schema(mariadb_url: str, tmp_path: Path) -> None:
    """A database that nobody has migrated is left alone, and the line says which command brings it up to date."""
    done = _serve(tmp_path, {"GANTRY_DATABASE_URL": mariadb_url})
    assert done.returncode == 1
    assert "gantry db upgrade" in done.stderr
    assert done.stderr.count("\n") == 1


def test_start_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM while Ray starts the replicas: an end without an error, and without a process that stays."""
    with starting_service(tmp_path) as service:
        assert eventually(lambda: bool(service.serve_controllers()), seconds=120.0)
        processes = service.processes()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=30) == 0
    assert [process for process in processes if is_alive(process)] == []
    assert re.search(r"draining \.\.\.\n\[ *[\d.]+ s\] stopped\n\Z", service.output)


def test_ctrl_c_while_the_core_is_compiled_frightens_nobody(tmp_path: Path) -> None:
    """It reaches the whole group, as in a terminal: the start says what it is at, and ends without a traceback."""
    with starting_service(tmp_path, variables={"NUMBA_CACHE_DIR": str(tmp_path / "compiled")}) as service:
        assert eventually(
            lambda: "compiling the core (the first start only, some minutes) ..." in service.output, 120.0
        )
        processes = service.processes()
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.process.wait(timeout=30) == 0
    assert [process for process in processes if is_alive(process)] == []
    assert "Traceback" not in service.output
    assert re.search(r"stopped\n\Z", service.output)


def test_processes_that_are_told_to_end_leave_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM to the service and to each of Ray's own processes at once, so that Ray answers nobody: it ends.

    Only the service is of its process group, so that a signal to that alone is no such case.
    """
    with running_service(tmp_path) as service:
        processes = service.processes()
        assert [each for each in processes if os.getpgid(each.pid) == os.getpgid(service.process.pid)] == []
        for process in (service.process, *processes):
            # Ray ends idle workers of its own accord.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        assert service.process.wait(timeout=60) == 0
        assert [process for process in processes if is_alive(process)] == []
        assert eventually(lambda: is_free(service.port))


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
