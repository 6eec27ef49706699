"""The service as its users meet it: `gantry serve` in a process, on a free port and in a folder of its own."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import yaml

from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.processes import descendants
from deployments.local_cluster.service import DEFAULT_CONFIG
from deployments.settings.service import DEVELOPMENT_API_KEY

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = (sys.executable, "-c", "from deployments.cli import main; main()")
HEADERS = {"X-API-Key": DEVELOPMENT_API_KEY}
# Generous, because the tests may share two cores with anything.
START_SECONDS = 180.0
FAULTY = "/faulty"
ANSWERED, REFUSED, UNCONNECTED = "answered", "refused", "unconnected"
"""What may become of a request in order: the last where nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        """The file of the embedded database."""
        return self.folder / "data" / "gantry.sqlite3"

    @property
    def output(self) -> str:
        """All that it said so far."""
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")

    def client(self) -> httpx.Client:
        """A client with the development key."""
        return httpx.Client(base_url=self.url, headers=HEADERS, timeout=60.0, trust_env=False)

    def processes(self) -> tuple[psutil.Process, ...]:
        """Every process below the service."""
        return descendants(self.process.pid)

    def replicas(self, deployment: str, application: str = "gantry") -> list[int]:
        """Process ids of the replicas of a deployment."""
        return [process.pid for process in self.processes() if _title(process.pid) == f"{application}:{deployment}"]

    def named(self, name: str) -> int:
        """Process id of the one program of that name."""
        (process,) = (each for each in self.processes() if each.name() == name)
        return process.pid

    def routers_in_proxy(self) -> int:
        """How many routers the proxy gives requests to: a replica's process is there long before it is one of them."""
        proxies = [each for each in self.processes() if each.name() == "haproxy"]
        command = max(proxies, key=lambda each: each.create_time()).cmdline() if proxies else []
        if "-f" not in command:
            return 0
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5.0)
            admin.connect(str(Path(command[command.index("-f") + 1]).with_name("admin.sock")))
            admin.sendall(b"show stat\n")
            rows = csv.DictReader(admin.makefile().read().removeprefix("# ").splitlines())
        return sum("RequestRouter" in row["svname"] and row["status"].startswith("UP") for row in rows)

    def serve_controllers(self) -> list[int]:
        """Process ids of the controller of Ray Serve."""
        return [process.pid for process in self.processes() if _title(process.pid).startswith("ray::ServeController")]


@contextmanager
def running_service(
    folder: Path, *, variables: Mapping[str, str] | None = None, config: Path = DEFAULT_CONFIG
) -> Iterator[Service]:
    """A service that is ready, with all its replicas; ended, if the test has not done so, by SIGTERM."""
    with starting_service(folder, variables=variables, config=config) as service:
        await_ready(service)
        await_line(service, "all replicas are there")
        yield service


@contextmanager
def starting_service(
    folder: Path,
    *,
    variables: Mapping[str, str] | None = None,
    config: Path = DEFAULT_CONFIG,
    port: int | None = None,
    grace: float | None = None,
) -> Iterator[Service]:
    """A service that has just been started; ended, if the test has not done so, by SIGTERM."""
    port = port or free_port()
    options = () if grace is None else ("--grace", str(grace))
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", str(port), "--config", str(config), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(folder, variables or {}),
            # A group of its own, as a shell or a supervisor gives it.
            start_new_session=True,
        )
    service = Service(process=process, port=port, folder=folder)
    try:
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service: none of the settings of whoever runs the tests, then `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GANTRY_", "RAY_"))}
    kept.pop("ENVIRONMENT", None)
    own = {"GANTRY_DATA_FOLDER": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    return kept | own | dict(variables)


def config_with(folder: Path, import_path: str, replicas: Mapping[str, int] | None = None) -> Path:
    """The shipped configuration of another application, with as many replicas of some deployments as is said."""
    config = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    application["import_path"] = import_path
    for deployment in application["deployments"]:
        if deployment["name"] in (replicas or {}):
            deployment["num_replicas"] = (replicas or {})[deployment["name"]]
    return _written(folder, config)


def config_with_faulty_application(folder: Path) -> Path:
    """The shipped configuration, and beside it the same application with a policy that fails on demand."""
    config = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    faulty = application | {"name": "faulty", "route_prefix": FAULTY, "import_path": "tests.system.faults:build_app"}
    # Of what does not fail there one is enough: the machine of the tests is small.
    faulty["deployments"] = [
        deployment | ({"num_replicas": 1} if "num_replicas" in deployment else {})
        for deployment in application["deployments"]
    ]
    return _written(folder, config | {"applications": [application, faulty]})


def config_on_loopback(folder: Path) -> Path:
    """The shipped configuration, listening to this machine only in production, too."""
    config = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
    config["http_options"]["host"] = "127.0.0.1"
    return _written(folder, config)


def _written(folder: Path, config: Mapping[str, object]) -> Path:
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    return path


def eventually(holds: Callable[[], bool], seconds: float = 30.0, pause_seconds: float = 0.05) -> bool:
    """Whether something became true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_seconds)
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def kind_of(answer: httpx.Response) -> str:
    """`ANSWERED`, `REFUSED` (503 problem details that say when to come again), or what else it is."""
    if answer.status_code == httpx.codes.OK:
        return ANSWERED
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and is_problem and "retry-after" in answer.headers:
        return REFUSED
    return f"{answer.status_code} {answer.headers.get('content-type')} {answer.text[:120]}"


def await_ready(service: Service) -> None:
    """Returns when the service says that it is ready; fails with all that it said."""
    await_line(service, "Gantry is ready on")


def await_line(service: Service, words: str) -> None:
    """Returns when the service has said these words; fails with all that it said."""
    deadline = time.monotonic() + START_SECONDS
    while words not in service.output:
        assert service.process.poll() is None, service.output
        assert time.monotonic() < deadline, service.output
        time.sleep(0.1)


def _title(pid: int) -> str:
    """`application:deployment` of a replica, from the title that Ray gives its process."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""
    return title.removeprefix("ray::ServeReplica:").split(".")[0].strip()
