"""One audit from start to report: write under faults, let everything catch up, compare."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
from sqlalchemy import make_url, text

from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.delivery.inspection import inspect
from tests.system.auditing.application import FULL_DISK_VARIABLE
from tests.system.auditing.clients import Client, Progress, connections_to
from tests.system.auditing.faults import Faults
from tests.system.auditing.ledger import Row, TransitionLog, row_of
from tests.system.auditing.proxy import FaultProxy
from tests.system.auditing.report import Plan, Report
from tests.system.mariadb import PrivateMariaDb, private_mariadb
from tests.system.serving import config_with, running_service

_CATCH_UP_SECONDS = 600.0
_ROWS_AT_ONCE = 500
_MIN_PEACE_SECONDS = 0.2
_MAX_PEACE_SECONDS = 60.0
OnProgress = Callable[[int, int], None]


def run_audit(plan: Plan, on_progress: OnProgress = lambda decisions, faults: None) -> Report:
    """A private database and service, in a folder that is left, spool and output in it, when the audit fails.

    `on_progress` hears after each fault how many decisions were acknowledged and how many faults inflicted.
    """
    folder = Path(tempfile.mkdtemp(prefix="gantry-audit-"))
    with private_mariadb() as database:
        report = asyncio.run(_audit(plan, folder, database, on_progress))
    if not report.failures:
        shutil.rmtree(folder, ignore_errors=True)
    return report


async def _audit(plan: Plan, folder: Path, database: PrivateMariaDb, on_progress: OnProgress) -> Report:
    database.execute("CREATE DATABASE gantry CHARACTER SET utf8mb4")
    url = database.url.set(database="gantry")
    await asyncio.to_thread(upgrade, url.render_as_string(hide_password=False))
    to_database = FaultProxy(url.port or 0)
    await to_database.start()
    variables = {
        "GANTRY_DATABASE_URL": url.set(port=to_database.port).render_as_string(hide_password=False),
        FULL_DISK_VARIABLE: str(folder / "disk_is_full"),
    }
    config = config_with(folder, "tests.system.auditing.application:build_app")
    running = running_service(folder, variables=variables, config=config)
    service = await asyncio.to_thread(running.__enter__)
    to_service = FaultProxy(service.port)
    await to_service.start()
    try:
        faults = Faults(
            service,
            database,
            to_service=to_service,
            to_database=to_database,
            full_disk=folder / "disk_is_full",
            rng=np.random.default_rng(plan.seed),
        )
        async with connections_to(f"http://127.0.0.1:{to_service.port}") as http:
            return await _Auditor(plan, folder / "data" / "spool", database, http, faults, on_progress).audit()
    finally:
        await to_service.stop()
        # The writers still drain through the other proxy while the service ends.
        await asyncio.to_thread(running.__exit__, None, None, None)
        await to_database.stop()


class _Auditor:
    def __init__(
        self,
        plan: Plan,
        spool: Path,
        database: PrivateMariaDb,
        http: httpx.AsyncClient,
        faults: Faults,
        on_progress: OnProgress,
    ) -> None:
        self._plan = plan
        self._spool = spool
        self._database = database
        self._http = http
        self._faults = faults
        self._on_progress = on_progress
        self._ledger = TransitionLog()
        self._progress = Progress()
        self._stop = asyncio.Event()
        self._began_at = time.monotonic()

    async def audit(self) -> Report:
        await self._write_under_faults()
        writing_seconds, longest_outage_seconds = self._seconds, self._progress.longest_outage_seconds
        await self._wait_until_stored()
        backlog, catch_up_seconds = await self._catch_up()
        sent_again, answered_otherwise = await self._send_again()
        found = inspect(self._spool)
        return Report(
            plan=self._plan,
            balance=self._ledger.balance(await asyncio.to_thread(stored_rows, self._url)),
            faults=self._faults.counts,
            writing_seconds=writing_seconds,
            seconds=self._seconds,
            longest_outage_seconds=longest_outage_seconds,
            backlog=backlog,
            catch_up_seconds=catch_up_seconds,
            sent_again=sent_again,
            answered_otherwise=answered_otherwise,
            dead_letters=sum(found.dead_letters.values()),
            damaged=len(found.damaged_files),
        )

    @property
    def _url(self) -> str:
        return make_url(self._database.url).set(database="gantry").render_as_string(hide_password=False)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began_at

    async def _write_under_faults(self) -> None:
        clients = [asyncio.create_task(self._client(str(number)).run()) for number in range(self._plan.clients)]
        while not self._is_done():
            await self._faults.inflict()
            self._tell()
            await self._let_write()
        self._stop.set()
        async with asyncio.timeout(_CATCH_UP_SECONDS):
            await asyncio.gather(*clients)
        self._tell()

    def _client(self, name: str) -> Client:
        name = f"audit{self._plan.seed}-{name}"
        return Client(name, self._http, self._ledger, self._progress, self._stop)

    def _tell(self) -> None:
        self._on_progress(self._progress.acknowledged, self._faults.counts.total())

    def _is_done(self) -> bool:
        enough = self._progress.acknowledged >= self._plan.decisions
        return (enough and self._faults.counts.total() >= self._plan.faults) or self._is_late()

    def _is_late(self) -> bool:
        return self._seconds > self._plan.longest_seconds

    async def _let_write(self) -> None:
        """Until the decisions are as far as the faults, so that these come evenly; but not for ever."""
        share = min(1.0, self._faults.counts.total() / self._plan.faults)
        until = time.monotonic() + _MAX_PEACE_SECONDS
        await asyncio.sleep(_MIN_PEACE_SECONDS)
        while self._progress.acknowledged < share * self._plan.decisions and time.monotonic() < until:
            await asyncio.sleep(_MIN_PEACE_SECONDS)

    async def _wait_until_stored(self) -> None:
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while await asyncio.to_thread(lambda: inspect(self._spool).waiting_records):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the spool must be empty within {_CATCH_UP_SECONDS:g} s")
            await asyncio.sleep(0.2)

    async def _catch_up(self) -> tuple[int, float]:
        """A backlog written while the database is down, and how long it takes to store once it is back."""
        await asyncio.to_thread(self._database.stop, signal.SIGKILL)
        client = self._client("backlog")
        for first in range(0, self._plan.backlog, self._plan.clients):
            numbers = range(first, min(first + self._plan.clients, self._plan.backlog))
            await asyncio.gather(*(client.write(number, is_keyed=False) for number in numbers))
        await self._await_degraded()
        backlog = inspect(self._spool).waiting_records
        await asyncio.to_thread(self._database.start)
        started = time.monotonic()
        await self._wait_until_stored()
        return backlog, time.monotonic() - started

    async def _send_again(self) -> tuple[int, int]:
        """Keys of acknowledged decisions once more: how many, and how many were not answered byte for byte alike."""
        first = {each.key: each for each in self._ledger.attempts if each.key is not None and each.status == 200}
        chosen = list(first.values())[-self._plan.backlog :]
        client, different = self._client("again"), 0
        for begin in range(0, len(chosen), self._plan.clients):
            some = chosen[begin : begin + self._plan.clients]
            again = await asyncio.gather(*(client.send_until_answered(each.request_id, each.key) for each in some))
            different += sum(
                not new.is_replayed or new.body_sha256 != old.body_sha256 for old, new in zip(some, again, strict=True)
            )
        return len(chosen), different

    async def _await_degraded(self) -> None:
        """Not down: a router says so itself, once it has noticed."""
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        said = "nothing"
        while time.monotonic() < deadline:
            # The last faults may still be felt.
            with suppress(httpx.HTTPError):
                answer = await self._http.get("/health")
                said = answer.text
                if answer.status_code == 200 and _is_degraded(answer.json()):
                    return
            await asyncio.sleep(0.5)
        raise TimeoutError(f"a service without database must say that it is degraded, said {said}")


def stored_rows(url: str) -> list[Row]:
    """All decisions of a database."""
    engine = create_engine(url)
    query = text(
        "SELECT decision_id, request_id, request, answer, payload_sha256 FROM decision "
        "WHERE decision_id > :after ORDER BY decision_id LIMIT :limit"
    )
    rows: list[Row] = []
    with engine.connect() as connection:
        after = ""
        while found := connection.execute(query, {"after": after, "limit": _ROWS_AT_ONCE}).all():
            rows += [row_of(*row) for row in found]
            after = found[-1][0]
    engine.dispose()
    return rows


def _is_degraded(health: dict[str, object]) -> bool:
    return health["status"] == "degraded" and not health["database_connected"]
