"""The unit's own command as the unit runs it: unprivileged, on a read-only root, with its secret in a file."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.local_cluster.cluster import free_port
from env.simulator.compilation import cache_folder
from tests.deployments.ops.test_logrotate import lines_of, rotate
from tests.deployments.ops.units import (
    CREDENTIALS,
    SERVICE,
    environment_of,
    logrotate_command,
    sandbox_command,
    seconds_of,
    values_of,
)
from tests.system.serving import ROOT, eventually

pytestmark = pytest.mark.system

NOBODY = 65_534
API_KEY = "from-a-file-" + "k" * 32
PLANT = ROOT / "deployments" / "examples" / "plant-170.json"
NOTICES = "/run/notices"
REQUESTS, CLIENTS = 60, 4
MAX_WRONG_KEYS = 200
WRONG_KEYS = 230
# Of the host the sandbox sees what a program needs, and nothing that is anybody's.
SYSTEM_FOLDERS = ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/sys")
# Otherwise than the unit has it: no MariaDB, and what the test of proxies needs.
CHANGES = {
    "GANTRY_ENVIRONMENT": "development",
    "GANTRY_TRUSTED_PROXIES": "127.0.0.1",
    "GANTRY_RATE_LIMIT": f"{MAX_WRONG_KEYS}/hour",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Folders that the unit may write, and its notices, which a thread of this process gathers as a supervisor."""

    folder: Path
    port: int
    notices: list[str]

    @property
    def run_folder(self) -> Path:
        """Where the service keeps its logs."""
        return self.folder / "state" / "run"

    def client(self, address: str = "127.0.0.1", headers: Mapping[str, str] | None = None) -> httpx.Client:
        """A client at that loopback address; with the key unless given other headers."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"X-API-Key": API_KEY} if headers is None else dict(headers),
            transport=httpx.HTTPTransport(local_address=address),
            timeout=60.0,
        )

    def planned(self, request_id: str = "") -> httpx.Response:
        """The shipped list, planned."""
        with self.client() as client:
            return client.post("/schedule", content=PLANT.read_bytes(), headers={"X-Request-ID": request_id or "plan"})


@contextmanager
def host() -> Iterator[Host]:
    """A place that other users may look into, as those of the unit's paths may: logrotate takes the user's rights."""
    with tempfile.TemporaryDirectory(prefix="gantry-units-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("state", "cache", "notices", "credentials"):
            (folder / part).mkdir(mode=0o700)
        (folder / "credentials" / "api_key").write_text(f"{API_KEY}\n", encoding="utf-8")
        _write_program(folder / "gantry")
        # What an earlier start has compiled.
        compiled = cache_folder()
        shutil.copytree(compiled, folder / "cache" / "gantry" / "compiled" / compiled.name)
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                if path != folder:
                    os.chown(path, NOBODY, NOBODY)
        notices: list[str] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(folder / "notices" / "socket"))
            (folder / "notices" / "socket").chmod(0o777)
            (folder / "notices").chmod(0o755)
            thread = threading.Thread(target=_gather, args=(server, notices), daemon=True)
            thread.start()
            try:
                yield Host(folder=folder, port=free_port(), notices=notices)
            finally:
                server.shutdown(socket.SHUT_RDWR)
                thread.join()


def _gather(server: socket.socket, notices: list[str]) -> None:
    while text := server.recv(4096):
        notices += text.decode().splitlines()


def _write_program(path: Path) -> None:
    path.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from deployments.cli import main; main()' \"$@\"\n", encoding="utf-8"
    )
    path.chmod(0o755)


def sandbox(found: Host) -> list[str]:
    """bubblewrap with the unit's write paths, and then the unit's command as nobody, without any privilege."""
    environment = environment_of(SERVICE) | CHANGES | {"PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": f"{NOTICES}/socket"}
    del environment["GANTRY_DATABASE_URL_FILE"]
    state, cache = environment["GANTRY_DATA_FOLDER"], environment["XDG_CACHE_HOME"]
    assert values_of(SERVICE, "StateDirectory") == [Path(state).name]
    assert values_of(SERVICE, "CacheDirectory") == [Path(cache).name]
    assert values_of(SERVICE, "ProtectSystem") == ["strict"]
    assert values_of(SERVICE, "PrivateTmp") == ["yes"]
    (text,) = values_of(SERVICE, "ExecStart")
    program, *arguments = shlex.split(text.replace("--port 8000", f"--port {found.port}"))
    readable = [Path(sys.base_prefix), Path(sys.prefix).resolve(), ROOT]
    binds = [
        *(("--ro-bind", name, name) for name in SYSTEM_FOLDERS if Path(name).exists()),
        ("--bind", "/proc", "/proc"),
        ("--dev", "/dev"),
        ("--perms", "1777", "--tmpfs", "/dev/shm"),
        ("--perms", "1777", "--tmpfs", "/tmp"),
        *(bind for path in readable for bind in _seen(path, path, "--ro-bind")),
        *_seen(found.folder / "gantry", Path(program), "--ro-bind"),
        *_seen(found.folder / "credentials", Path(CREDENTIALS), "--ro-bind"),
        *_seen(found.folder / "notices", Path(NOTICES), "--bind"),
        *_seen(found.folder / "state", Path(state), "--bind"),
        *_seen(found.folder / "cache", Path(cache), "--bind"),
        ("--remount-ro", "/"),
        ("--chdir", state),
        ("--clearenv",),
        *(("--setenv", name, value) for name, value in {**environment, "HOME": state, "PATH": "/usr/bin:/bin"}.items()),
    ]
    unprivileged: list[str] = []
    if os.geteuid() == 0:
        binds.append(("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"))
        ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        unprivileged = ["setpriv", *ids, "--no-new-privs", "--bounding-set=-all", "--"]
    return [sandbox_command(), *(word for bind in binds for word in bind), *unprivileged, program, *arguments]


def _seen(source: Path, place: Path, how: str) -> Iterator[tuple[str, ...]]:
    """Above it folders that everybody may enter."""
    yield from (("--perms", "0755", "--dir", str(parent)) for parent in [*reversed(place.parents)][1:])
    yield (how, str(source), str(place))


@contextmanager
def running_unit(found: Host) -> Iterator[subprocess.Popen[bytes]]:
    """The unit's command, ready; killed at the end unless the test has ended it."""
    found.notices.clear()
    with (found.folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(sandbox(found), stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        limit = seconds_of(SERVICE, "TimeoutStartSec")
        eventually(lambda: "READY=1" in found.notices or process.poll() is not None, limit)
        said = (found.folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        assert "READY=1" in found.notices, said
        assert eventually(lambda: "all replicas are there" in (found.folder / "output.txt").read_text(), 180), said
        yield process
    finally:
        if process.poll() is None:
            main_of(process).send_signal(signal.SIGTERM)
        process.wait(timeout=seconds_of(SERVICE, "TimeoutStopSec"))


def test_unit_serves_and_comes_back_after_a_kill() -> None:
    """170 jobs planned on a read-only root by nobody; logs rotated under load; killed, begun anew, ended in order."""
    sandbox_command()
    logrotate_command()
    with host() as found:
        with running_unit(found) as process:
            answer = found.planned()
            assert len(answer.json()["scheduled_jobs"]) == 170
            assert_no_line_is_lost(found)
            assert_nobody_spoofs(found)
            assert eventually(lambda: "WATCHDOG=1" in found.notices, seconds_of(SERVICE, "WatchdogSec") / 2)
            main_of(process).kill()
            process.wait(timeout=30)
        with running_unit(found) as process:
            with found.client() as client:
                assert client.get(f"/v1/schedules/{answer.json()['schedule_id']}").status_code == 200
            assert len(found.planned().json()["scheduled_jobs"]) == 170
            main_of(process).send_signal(signal.SIGTERM)
            assert process.wait(timeout=seconds_of(SERVICE, "TimeoutStopSec")) == 0
            assert eventually(lambda: "STOPPING=1" in found.notices, 5)


def main_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The service itself: bubblewrap waits for it, and ends with its code."""
    (main,) = psutil.Process(process.pid).children()
    return main


def assert_no_line_is_lost(found: Host) -> None:
    """Each of many requests leaves its line in one of the files, while two rotations move them away."""
    ids = [f"rotated-{number}" for number in range(REQUESTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = [clients.submit(found.planned, request_id) for request_id in ids]
        for part in (REQUESTS // 3, 2 * REQUESTS // 3):
            answers[part].result()
            rotate(found.run_folder, found.folder / "logrotate-state")
        kinds = {answer.result().status_code for answer in answers}
    assert kinds <= {200, 503}

    def missing() -> list[str]:
        text = "\n".join(lines_of(found.run_folder))
        return [each for each in ids if f'"request_id":"{each}"' not in text]

    assert eventually(lambda: not missing(), 30), missing()
    assert (found.run_folder / "gantry.log").exists()


def assert_nobody_spoofs(found: Host) -> None:
    """Wrong keys count for the address of the connection, whatever it says; a trusted proxy says who the client is."""

    def refused(client: httpx.Client, number: int) -> int:
        spoofed = {"X-Forwarded-For": f"198.51.{number // 250}.{1 + number % 250}"}
        return client.get("/v1/schedules", headers=spoofed).status_code

    wrong = {"X-API-Key": "wrong"}
    with found.client("127.0.0.7", wrong) as stranger, found.client("127.0.0.1", wrong) as proxy:
        statuses = [refused(stranger, number) for number in range(WRONG_KEYS)]
        assert set(statuses) == {401, 429}
        assert {refused(proxy, number) for number in range(WRONG_KEYS)} == {401}
        forwarded = {"X-Forwarded-For": "127.0.0.7"}
        statuses += [proxy.get("/v1/schedules", headers=forwarded).status_code for _ in range(WRONG_KEYS)]
        assert statuses.count(401) <= MAX_WRONG_KEYS < len(statuses)
