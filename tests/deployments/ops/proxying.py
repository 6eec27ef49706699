"""A real nginx by the shipped configuration, on free ports and with a certificate of its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.local_cluster.cluster import free_ports
from tests.deployments.ops.test_prometheus import ROOT
from tests.requirements import not_run

CONFIGURATION = ROOT / "deployments" / "ops" / "nginx" / "gantry.conf"
HOST = "gantry.example"
START_SECONDS = 30.0
# What /etc/nginx/nginx.conf is elsewhere: one process, and nothing outside of the folder.
MAIN = """
daemon off;
worker_processes 1;
user {user};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/gantry.conf;
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """A running nginx: `port` speaks HTTPS, `plain_port` sends there."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    plain_port: int

    @property
    def url(self) -> str:
        """Where clients find the service."""
        return f"https://{HOST}:{self.port}"

    def client(self, address: str = "127.0.0.1", headers: Mapping[str, str] | None = None) -> httpx.Client:
        """A client at that loopback address, who believes any certificate."""
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": HOST} | dict(headers or {}),
            transport=transport,
            timeout=60.0,
        )

    def reload(self) -> None:
        """As `nginx -s reload` does."""
        self.process.send_signal(signal.SIGHUP)


def nginx_command() -> str:
    """The program; without it the calling test does not run."""
    return shutil.which("nginx", path="/usr/sbin:/usr/bin") or not_run("nginx", "nginx is not installed")


def certify(folder: Path) -> int:
    """Writes a key and a certificate that it has signed itself; the certificate's number."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "privkey.pem").write_bytes(private)
    return certificate.serial_number


def configured(folder: Path, upstream_port: int, changes: Mapping[str, str]) -> tuple[Path, int, int]:
    """The shipped configuration in `folder` for ports that are free, with `changes` to its text."""
    port, plain_port = free_ports(2, promised=(upstream_port,))
    text = CONFIGURATION.read_text(encoding="utf-8")
    places = {
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl http2;\n": "",
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{upstream_port};",
        "/etc/gantry/tls/": f"{folder}/",
    }
    for old, new in (places | dict(changes)).items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "gantry.conf").write_text(text, encoding="utf-8")
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder, user=folder.owner()), encoding="utf-8")
    return main, port, plain_port


@contextmanager
def running_nginx(folder: Path, upstream_port: int, changes: Mapping[str, str] | None = None) -> Iterator[Nginx]:
    """An nginx that listens; ended at the end."""
    command = nginx_command()
    main, port, plain_port = configured(folder, upstream_port, changes or {})
    process = subprocess.Popen([command, "-e", f"{folder}/error.log", "-c", str(main)])
    found = Nginx(process=process, folder=folder, port=port, plain_port=plain_port)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(plain_port):
            log = folder / "error.log"
            said = log.read_text(encoding="utf-8") if log.exists() else ""
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=5.0)
    except httpx.TransportError:
        return False
    return True
