"""A MariaDB server for tests: a given one, or a private one in a temporary folder on a loopback port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pymysql.cursors
from sqlalchemy import URL, make_url

from deployments.local_cluster.cluster import free_port
from tests.requirements import not_run

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class MariaDbServer:
    """A reachable server on which the tests may make and drop schemas."""

    def __init__(self, url: URL) -> None:
        self.url = url

    @contextmanager
    def schema(self) -> Iterator[str]:
        """The URL of a new empty schema, which is dropped at the end."""
        name = f"gantry_test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield self.url.set(database=name).render_as_string(hide_password=False)
        finally:
            self.execute(f"DROP DATABASE {name}")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Runs one statement on a connection of its own; its rows."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def is_answering(self) -> bool:
        """Whether a connection can be made now."""
        try:
            self._connect().close()
        except pymysql.Error:
            return False
        return True

    def _connect(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(
            host=self.url.host or "127.0.0.1",
            port=self.url.port or 3306,
            user=self.url.username,
            password=self.url.password or "",
            connect_timeout=5,
        )


class PrivateMariaDb(MariaDbServer):
    """A server of our own, which may be killed and started again on the same data and port."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self._server_options = tuple(options)
        port = free_port()
        super().__init__(URL.create("mariadb+pymysql", username="root", host="127.0.0.1", port=port))
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        _run("mariadb-install-db", [*self._options(), "--auth-root-authentication-method=normal", "--skip-test-db"])

    def start(self) -> None:
        """Returns when the server answers. Raises `RuntimeError` with the end of its log when it does not."""
        log_path = self._folder / "mariadbd.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    _binary("mariadbd"),
                    *self._options(),
                    f"--port={self._port}",
                    "--bind-address=127.0.0.1",
                    f"--socket={self._folder / 'server.sock'}",
                    f"--pid-file={self._folder / 'server.pid'}",
                    "--innodb-buffer-pool-size=64M",
                    *self._server_options,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_answering():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"mariadbd must answer on port {self._port}:\n{log_path.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """Ends the server; with SIGKILL, as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal_number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _options(self) -> list[str]:
        options = ["--no-defaults", f"--datadir={self._folder / 'data'}"]
        # The server refuses to run as root unless told to.
        return [*options, "--user=root"] if os.geteuid() == 0 else options


@contextmanager
def mariadb_server() -> Iterator[MariaDbServer]:
    """The server of `GANTRY_TEST_MARIADB_URL`, else a private one, else the test does not run."""
    if given := os.environ.get("GANTRY_TEST_MARIADB_URL"):
        yield MariaDbServer(make_url(given).set(database=None))
        return
    with private_mariadb() as server:
        yield server


@contextmanager
def private_mariadb(options: Sequence[str] = ()) -> Iterator[PrivateMariaDb]:
    """A private server with its own data and `options`, started, and stopped and removed at the end."""
    if not is_installed():
        not_run("mariadb", "neither GANTRY_TEST_MARIADB_URL is set nor is mariadbd installed")
    folder = Path(tempfile.mkdtemp(prefix="gantry-mariadb-"))
    try:
        server = PrivateMariaDb(folder, options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedMariaDb:
    """A server that speaks TLS with a certificate for 127.0.0.1, who signed it, and who did not."""

    server: PrivateMariaDb
    ca: Path
    other_ca: Path


@contextmanager
def encrypted_mariadb(folder: Path) -> Iterator[EncryptedMariaDb]:
    """Such a server; its certificates are in `folder`."""
    ca, other = _authority(folder, "ca"), _authority(folder, "other")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-subj", "/CN=db")
    _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "db.key", "-out", "db.csr", *names)
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy")
    _openssl(folder, "x509", "-req", "-in", "db.csr", *signing, "-out", "db.pem")
    options = (f"--ssl-cert={folder / 'db.pem'}", f"--ssl-key={folder / 'db.key'}", f"--ssl-ca={ca}")
    with private_mariadb(options) as server:
        yield EncryptedMariaDb(server=server, ca=ca, other_ca=other)


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _authority(folder: Path, name: str) -> Path:
    subject = ("-subj", f"/CN={name}", "-days", "2", "-newkey", "rsa:2048", "-nodes")
    _openssl(folder, "req", "-x509", *subject, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder / f"{name}.pem"


def is_installed() -> bool:
    """Whether a private server can be had."""
    return bool(_binary("mariadbd") and _binary("mariadb-install-db"))


def _binary(name: str) -> str:
    # Debian puts the server where only root's PATH looks.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""


def _run(name: str, arguments: list[str]) -> None:
    done = subprocess.run([_binary(name), *arguments], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} must succeed, ended with {done.returncode}:\n{done.stdout}{done.stderr}")
