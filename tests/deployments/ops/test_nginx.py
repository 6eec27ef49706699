"""The proxy: understood by nginx, and what a real one makes of requests to our own API."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from cryptography import x509
from starlette.types import Receive, Scope, Send

from deployments.api import create_api
from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.service import DEFAULT_CONFIG
from deployments.settings.service import Settings
from tests.deployments.api.calls import KEY
from tests.deployments.fakes import NOW, FullJournal, body, services_over
from tests.deployments.ops.proxying import CONFIGURATION, HOST, Nginx, certify, configured, nginx_command, running_nginx
from tests.system.serving import Service

PROBLEM = "application/problem+json"
TEXT = CONFIGURATION.read_text(encoding="utf-8")
SPOOFED = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}


class Upstream:
    """Our own API, and around it what only a slow or streaming service shows; remembers who came."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.clients: list[str] = []
        self.paths: list[str] = []
        self.may_go_on = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.clients.append(scope["client"][0])
        self.paths.append(scope["path"])
        if scope["path"] not in ("/stream/events", "/slow"):
            await self._app(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        if scope["path"] == "/stream/events":
            await send(start)
            await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
        while not self.may_go_on.is_set():
            await asyncio.sleep(0.02)
        if scope["path"] == "/slow":
            await send(start)
        await send({"type": "http.response.body", "body": b"last\n"})


@contextmanager
def serving(app: Any, port: int) -> Iterator[Upstream]:
    """The upstream, as Ray Serve runs it: uvicorn, which believes what 127.0.0.1 forwards."""
    upstream = Upstream(app)
    server = uvicorn.Server(uvicorn.Config(upstream, host="127.0.0.1", port=port, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield upstream
    finally:
        upstream.may_go_on.set()
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nginx, Upstream]]:
    """nginx by the shipped configuration over the API."""
    nginx_command()
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    certify(folder)
    services = services_over()
    app = create_api(lambda: services, clock=lambda: NOW)
    with serving(app, port) as upstream, running_nginx(folder, port) as nginx:
        yield nginx, upstream


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of problem details, which every refusal is."""
    assert answer.headers["content-type"] == PROBLEM, answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"] == f"urn:gantry:problem:{document['error'].replace('_', '-')}"
    return answer.status_code, document["error"]


def number_of(text: str, pattern: str) -> int:
    """The one number that the configuration has there."""
    (found,) = set(re.findall(pattern, text))
    return int(found)


def test_bounds_fit_those_of_the_service() -> None:
    """As large a body, a longer patience, and connections that nginx closes first."""
    options = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["http_options"]
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert number_of(TEXT, r"client_max_body_size (\d+)m;") * 2**20 == defaults["max_body_bytes"]
    assert number_of(TEXT, r"client_body_timeout (\d+)s;") == defaults["body_timeout_seconds"]
    assert number_of(TEXT, r"proxy_read_timeout (\d+)s;") > options["request_timeout_s"]
    assert number_of(TEXT, r"[^_]keepalive_timeout (\d+)s;\n}") < options["keep_alive_timeout_s"]
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in TEXT


@pytest.mark.system
def test_configuration_is_understood_by_nginx(tmp_path: Path) -> None:
    """The program itself accepts the file, without a warning about it."""
    certify(tmp_path)
    main, *_ = configured(tmp_path, 8000, {})
    done = subprocess.run(
        [nginx_command(), "-t", "-e", f"{tmp_path}/error.log", "-c", str(main)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.mark.system
def test_plans_come_by_https_alone(proxied: tuple[Nginx, Upstream]) -> None:
    """Plain HTTP is sent there with its method, to the name of the configuration whatever the client calls it."""
    nginx, _ = proxied
    with nginx.client() as client:
        answer = client.post("/schedule", json=body(), headers=KEY)
        assert answer.status_code == 200
        assert answer.json()["scheduled_jobs"]
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "1.22" not in answer.headers["server"]
    plain = httpx.post(f"http://127.0.0.1:{nginx.plain_port}/schedule?x=1", headers={"Host": "evil.example"})
    assert plain.status_code == 308
    assert plain.headers["location"] == f"https://{HOST}/schedule?x=1"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://127.0.0.1:{nginx.port}/livez")


@pytest.mark.system
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_versions_of_tls_are_spoken(proxied: tuple[Nginx, Upstream], version: ssl.TLSVersion) -> None:
    """Both of them."""
    nginx, _ = proxied
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    assert httpx.get(f"https://127.0.0.1:{nginx.port}/livez", verify=context, trust_env=False).status_code == 200


@pytest.mark.system
@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6detrics", "/./metrics", "/-/routes", "/x/../-/healthz"])
def test_metrics_and_side_doors_stay_inside(proxied: tuple[Nginx, Upstream], path: str) -> None:
    """However the path is written; the service never hears of it."""
    nginx, upstream = proxied
    with nginx.client() as client:
        before = len(upstream.paths)
        # As it stands: a client would tidy it up first.
        request = client.build_request("GET", "/", headers=KEY)
        request.url = request.url.copy_with(raw_path=path.encode())
        assert problem_of(client.send(request)) == (404, "not_found")
        assert len(upstream.paths) == before


@pytest.mark.system
def test_service_hears_who_the_client_is(proxied: tuple[Nginx, Upstream]) -> None:
    """The address of the connection, whatever the client says of itself."""
    nginx, upstream = proxied
    for address in ("127.0.0.5", "127.0.0.6"):
        with nginx.client(address, SPOOFED) as client:
            assert client.get("/livez").status_code == 200
        assert upstream.clients[-1] == address


@pytest.mark.system
def test_body_that_is_too_large_is_refused_as_a_problem(proxied: tuple[Nginx, Upstream]) -> None:
    """As the service would refuse it."""
    nginx, _ = proxied
    with nginx.client() as client:
        answer = client.post("/schedule", headers=KEY, content=b" " * (32 * 2**20 + 1))
        assert problem_of(answer) == (413, "too_large")


@pytest.mark.system
def test_events_come_as_they_happen(proxied: tuple[Nginx, Upstream]) -> None:
    """The first one is here while the stream goes on; and a new certificate disturbs nobody who is connected."""
    nginx, upstream = proxied
    upstream.may_go_on.clear()
    with nginx.client() as client, client.stream("GET", "/stream/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "first"
        serial = certify(nginx.folder)
        nginx.reload()
        deadline = time.monotonic() + 30
        while _serial_of(nginx.port) != serial:
            assert time.monotonic() < deadline, "nginx must take the new certificate"
            time.sleep(0.05)
        upstream.may_go_on.set()
        assert next(lines) == "last"


def _serial_of(port: int) -> int:
    """The number of the certificate that a new connection is shown."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


@pytest.mark.system
def test_refusals_of_the_service_come_through(tmp_path: Path) -> None:
    """503 with its own words and Retry-After; when nobody listens any more, nginx says the like."""
    certify(tmp_path)
    services, port = services_over(journal=FullJournal()), free_port()
    app = create_api(lambda: services, clock=lambda: NOW)
    with running_nginx(tmp_path, port) as nginx, nginx.client() as client:
        with serving(app, port):
            answer = client.post("/schedule", json=body(), headers=KEY)
            assert problem_of(answer) == (503, "journal_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        gone = client.post("/schedule", json=body(), headers=KEY)
        assert problem_of(gone) == (503, "unavailable")
        assert gone.headers["retry-after"] == "5"


@pytest.mark.system
def test_silent_service_is_answered_for(tmp_path: Path) -> None:
    """After the time-out of nginx, here a second, as if nobody listened."""
    certify(tmp_path)
    port = free_port()
    changes = {"proxy_read_timeout 155s": "proxy_read_timeout 1s"}
    with serving(None, port), running_nginx(tmp_path, port, changes) as nginx, nginx.client() as client:
        silent = client.get("/slow")
        assert problem_of(silent) == (503, "unavailable")
        assert silent.headers["retry-after"] == "5"


@pytest.mark.system
def test_address_that_floods_is_told_when_to_come_back(tmp_path: Path) -> None:
    """Each address by itself."""
    certify(tmp_path)
    port = free_port()
    app = create_api(services_over, clock=lambda: NOW)
    changes = {"rate=100r/s": "rate=1r/m", "burst=200": "burst=2"}
    with serving(app, port), running_nginx(tmp_path, port, changes) as nginx:
        with nginx.client("127.0.0.5") as client:
            statuses = [client.get("/livez").status_code for _ in range(3)]
            refused = client.get("/livez")
            assert statuses == [200, 200, 200]
            assert problem_of(refused) == (429, "rate_limited")
            assert refused.headers["retry-after"] == "1"
        with nginx.client("127.0.0.6") as client:
            assert client.get("/livez").status_code == 200


@pytest.mark.system
def test_real_service_plans_behind_nginx(service: Service, tmp_path: Path) -> None:
    """The shipped example, as planners send it."""
    certify(tmp_path)
    plant = json.loads((DEFAULT_CONFIG.parent / "examples" / "plant-170.json").read_text(encoding="utf-8"))
    with running_nginx(tmp_path, service.port) as nginx, nginx.client() as client:
        answer = client.post("/schedule", json=plant, headers=KEY)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["scheduled_jobs"]) == 170
        assert problem_of(client.post("/schedule", json=plant, headers={"X-API-Key": "wrong"}))[0] == 401
        assert problem_of(client.get("/metrics", headers=KEY))[0] == 404
