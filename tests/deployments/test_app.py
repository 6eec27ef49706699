"""The composition root: what Ray needs of it, without Ray running."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray import serve
from ray.serve.exceptions import BackPressureError, RayServeException

from deployments.api import Services, create_api
from deployments.app import _load_of_others, build_app, compose, open_router
from deployments.errors import RateLimited
from deployments.local_cluster.service import DEFAULT_CONFIG
from deployments.persistence.database import upgrade
from deployments.persistence.decisions.records import first_id
from deployments.persistence.spool.disk import LocalDisk
from deployments.runtime.metrics import NoMeter
from deployments.runtime.shared_count import SharedCount
from deployments.scheduling.time_budget import LARGE_BODY_BYTES
from deployments.serve.serialization import decode, encode
from deployments.settings.serve_config import AppArgs
from deployments.settings.service import DEVELOPMENT_API_KEY
from env.judge.anomalies import BoundedMakespan
from env.judge.judge import judge
from tests.deployments.api.calls import call
from tests.deployments.fakes import body, development_settings, job
from tests.deployments.shipped_policy import POLICY

MAX_WAITED_SECONDS = 120.0
MAX_UNDISTURBED_SECONDS = 8.0
"""Some three seconds of them compile the rule, where nobody did so before."""


class AnyPolicy:
    """Has nothing that the composition looks at."""


def test_builder_takes_typed_arguments() -> None:
    """The annotation is the class itself: as a string it would make Ray hand over a plain dictionary."""
    assert build_app.__annotations__["args"] is AppArgs


def test_builder_refuses_unsafe_settings_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of Serve, because of those `serve status` shows the words and no traceback."""
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "production")
    monkeypatch.delenv("GANTRY_API_KEY", raising=False)
    with pytest.raises(RayServeException) as refused:
        build_app(AppArgs())
    assert str(refused.value) == (
        "the settings of this cluster must be mended on its nodes: "
        "GANTRY_API_KEY: must not be the development key in production; "
        "GANTRY_DATABASE_URL: must be a MariaDB URL in production, was SQLite"
    )


async def test_router_is_not_ready_without_the_schema(tmp_path: Path) -> None:
    """It serves, and says in a sentence what to do; when that is done it is ready without being started anew."""
    url = f"sqlite:///{tmp_path / 'gantry.sqlite3'}"
    async with AsyncExitStack() as stack:
        services = await _open(stack, tmp_path, url)
        app = create_api(lambda: services)

        async def says(words: str) -> bool:
            return words in (await call("GET", "/readyz", app=app)).text

        async with asyncio.timeout(MAX_WAITED_SECONDS):
            while not await says("was at nothing: run `gantry db upgrade`"):
                await asyncio.sleep(0.05)
        upgrade(url)
        async with asyncio.timeout(MAX_WAITED_SECONDS):
            while await says("the database's schema"):
                await asyncio.sleep(0.05)


def test_application_is_what_the_configuration_configures() -> None:
    """The deployments have the names that serve_config.yaml gives numbers to, the router being the ingress."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    built = compose(AnyPolicy, AppArgs())
    assert isinstance(built, serve.Application)
    router = built._bound_deployment
    below = [argument._bound_deployment.name for argument in router.init_args[:5]]
    assert router.name == "RequestRouter"
    assert {router.name, *below} == {entry["name"] for entry in application["deployments"]}


def test_arguments_of_the_shipped_configuration_are_understood() -> None:
    """Every argument in the file is one of the application's."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    assert AppArgs(**application["args"]) == AppArgs()


def test_arguments_refuse_what_they_do_not_know() -> None:
    """A typo in the configuration is refused, not ignored."""
    with pytest.raises(ValidationError, match="atempts"):
        AppArgs(atempts=3)


class HangingDatabase:
    """A server that takes every connection and never says a word."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"mariadb+pymysql://gantry:secret@127.0.0.1:{self._socket.getsockname()[1]}/gantry"

    def close(self) -> None:
        self._socket.close()


class _Method:
    """One method of a deployment, called here."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work = work

    async def remote(self, *arguments: Any) -> Any:
        return self._work(*arguments)


class _BusyPolicy:
    """Has no room, so manual serves."""

    def __init__(self) -> None:
        self.model_id = _Method(lambda: "full_production@1")
        self.stream_proposal = self

    def options(self, *, stream: bool) -> Any:
        return self

    def remote(self, *arguments: Any) -> Any:
        raise BackPressureError(num_queued_requests=1, max_queued_requests=1)


def _verdict(payload: bytes, recent: tuple[BoundedMakespan, ...]) -> bytes:
    problem, schedule = decode(payload)
    return encode(judge(decode(problem), schedule, POLICY.anomaly_limits, recent_makespans=recent))


def _unreachable(*_: object) -> Any:
    raise RuntimeError("nobody there")


async def _open(stack: AsyncExitStack, folder: Path, url: str, **given: Any) -> Services:
    settings = development_settings(data_folder=folder, database_url=url, **given)
    absent = SimpleNamespace(
        **dict.fromkeys(("write", "compute", "exchange", "command", "overview"), _Method(_unreachable))
    )
    return await open_router(
        stack,
        settings,
        AppArgs(drain_seconds=0),
        policy=_BusyPolicy(),
        validator=SimpleNamespace(judge=_Method(_verdict), ping=_Method(lambda: True)),
        writer=absent,
        counterfactual=absent,
        controller=absent,
        router_count=lambda: 1,
        disk=LocalDisk(),
        meter=NoMeter(),
    )


async def test_router_that_cannot_share_what_it_has_under_way_is_as_if_alone(tmp_path: Path) -> None:
    """Without a file for it, as on a full disk, it sheds by its own requests, and serves."""
    (tmp_path / "run").touch()
    async with AsyncExitStack() as stack:
        assert _load_of_others(stack, tmp_path / "run" / "in-flight") is None
        shared = _load_of_others(stack, tmp_path / "elsewhere" / "in-flight")
        assert (isinstance(shared, SharedCount), shared.of_others()) == (True, 0)


async def test_routers_share_the_rate_of_a_key_also_when_one_comes_later(tmp_path: Path) -> None:
    """The first router begins alone; with a second one on the machine each lets half of the rate in."""
    async with AsyncExitStack() as stack:
        services = await _open(stack, tmp_path, f"sqlite:///{tmp_path}/gantry.sqlite3", rate_limit="8/hour")
        client = services.access.authenticate(DEVELOPMENT_API_KEY)
        for _ in range(4):
            services.rates.count(client)
        later = SharedCount(tmp_path / "run" / "in-flight", 1)
        with pytest.raises(RateLimited):
            services.rates.count(client)
        later.close()
        services.rates.count(client)


async def test_hanging_database_holds_up_neither_plan_nor_rollback(tmp_path: Path) -> None:
    """24 reads that hang: a plan of a large body, a report and a rollback have threads of their own, a 41st read none.

    Whoever used the pool of asyncio would fail here: nobody may.
    """
    large = body(jobs=[job(f"J{number}", family_id=f"F{number}") for number in range(1000)])
    assert len(json.dumps(large)) > LARGE_BODY_BYTES
    database = HangingDatabase()
    async with AsyncExitStack() as stack:
        stack.callback(database.close)
        services = await _open(stack, tmp_path, database.url)
        app = create_api(lambda: services)
        path = f"/v1/schedules/{first_id(datetime(2025, 1, 1, tzinfo=UTC))}-7000-8000-000000000000"
        reads = [asyncio.create_task(call("GET", path, app=app)) for _ in range(24)]
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        plan = await call("POST", "/schedule", app=app, json=large)
        assert (plan.status_code, plan.json()["algorithm_used"]) == (200, "manual")
        rollback = await call("POST", "/v1/rollout/rollback", app=app, json={"reason": "try"})
        assert rollback.status_code == 202
        models = await call("GET", "/v1/models", app=app)
        assert models.status_code == 200
        assert time.monotonic() - begun < MAX_UNDISTURBED_SECONDS
        assert not any(read.done() for read in reads)
        reads += [asyncio.create_task(call("GET", path, app=app)) for _ in range(24)]
        done, _ = await asyncio.wait(reads, timeout=2.0)
        assert {(read.result().status_code, read.result().json()["error"]) for read in done} == {(503, "overloaded")}
        assert len(done) == 8
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
