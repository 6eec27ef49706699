"""`python -m tests.system.chaos`: what clients notice of each fault, while requests keep arriving at a fixed rate.

A private MariaDB, `gantry serve` under a supervisor that starts it again whenever it ends, and requests of 170 jobs
that leave at fixed moments, whatever became of those before, each with a connection of its own and sent once: nobody
tries again. One fault after the other, each a number of times, and time to recover after each. The table has for every
fault how many requests were sent and answered right, how many were turned away in order (503 problem details with
Retry-After) or found nobody listening, and how many met anything else; the longest time without a 200; and how many
acknowledged decisions are missing from the database afterwards, or stand in it twice. The exit code says whether
something was lost or doubled, or a bound of its fault exceeded.

Example: python -m tests.system.chaos --times 2 --rate 2 --only PPOPolicy --only gcs_server
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import httpx
import yaml
from rich.console import Console
from rich.progress import track

from deployments.local_cluster.cluster import free_port
from deployments.local_cluster.service import DEFAULT_CONFIG
from deployments.persistence.database import upgrade
from deployments.persistence.delivery.inspection import inspect
from tests.system.auditing.audit import stored_rows
from tests.system.auditing.faults import REPLICAS, cut_off, kill_database, stall
from tests.system.auditing.ledger import Balance, TransitionLog
from tests.system.auditing.proxy import FaultProxy
from tests.system.mariadb import PrivateMariaDb, private_mariadb
from tests.system.serving import (
    ANSWERED,
    HEADERS,
    REFUSED,
    UNCONNECTED,
    Service,
    await_line,
    await_ready,
    eventually,
    kind_of,
    starting_service,
)
from tests.system.test_serve import example

LEAD_SECONDS = 1.0
RECOVERY_SECONDS = 8.0
MAX_RECOVERY_SECONDS = 120.0
HANG_SECONDS = 6.0
POLL_SECONDS = 0.2
TIMEOUT_SECONDS = 60.0
MAX_GAP_SECONDS = 2.0
JOBS = len(example()["jobs"])
"""Of each request."""
Fault = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a fault may cost: `cut` requests each time that are not answered, whether any number more may be turned away
    in order, and the longest time without a 200, in seconds; None where the service itself ends."""

    cut: int = 0
    may_refuse: bool = False
    gap_seconds: float | None = MAX_GAP_SECONDS


UNNOTICED = Bound()
BOUNDS = {
    # What was in flight on it is cut; a proxy in front of a dead process cannot know more.
    "RequestRouter": Bound(cut=4),
    "haproxy": Bound(cut=4, may_refuse=True, gap_seconds=None),
    "SIGTERM": Bound(may_refuse=True, gap_seconds=None),
    "gantry serve": Bound(cut=4, may_refuse=True, gap_seconds=None),
    "gcs_server": Bound(cut=4, may_refuse=True, gap_seconds=None),
    "raylet": Bound(cut=4, may_refuse=True, gap_seconds=None),
}
"""By the name of the fault; what is not listed must not be noticed."""


@dataclass(slots=True)
class Seen:
    """What became of the requests around one kind of fault."""

    name: str
    times: int = 0
    sent: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    longest_gap_seconds: float = 0.0
    slowest_seconds: float = 0.0
    lost: int = 0
    doubled: int = 0

    @property
    def disorderly(self) -> Counter[str]:
        """Whatever was neither an answer, nor a refusal in order, nor a closed door."""
        return Counter({kind: n for kind, n in self.kinds.items() if kind not in (ANSWERED, REFUSED, UNCONNECTED)})

    def faults(self) -> Iterator[str]:
        """What went beyond the bound of this fault."""
        bound = BOUNDS.get(self.name, UNNOTICED)
        unanswered = self.disorderly.total() if bound.may_refuse else self.sent - self.kinds[ANSWERED]
        if self.lost or self.doubled:
            yield f"{self.name}: no decision may be lost or doubled, {self.lost} and {self.doubled} were"
        if unanswered > bound.cut * self.times:
            yield f"{self.name}: at most {bound.cut * self.times} requests may be cut, {unanswered} were"
        if bound.gap_seconds is not None and self.longest_gap_seconds > bound.gap_seconds:
            yield f"{self.name}: longest gap must be <= {bound.gap_seconds:g} s, was {self.longest_gap_seconds:.2f} s"

    def line(self) -> str:
        """The row of the table."""
        return (
            f"{self.name:28} {self.times:5} {self.sent:6} {self.kinds[ANSWERED]:9} {self.kinds[REFUSED]:8} "
            f"{self.kinds[UNCONNECTED]:12} {self.disorderly.total():11} {self.longest_gap_seconds:8.2f} "
            f"{self.slowest_seconds:8.2f} {self.lost:5} {self.doubled:8}"
        )


HEADING = (
    f"{'fault':28} {'times':>5} {'sent':>6} {ANSWERED:>9} {REFUSED:>8} {UNCONNECTED:>12} {'disorderly':>11} "
    f"{'gap s':>8} {'slowest':>8} {'lost':>5} {'doubled':>8}"
)


class Clients:
    """Requests that leave at fixed moments, `rate` a second; each is an attempt in `log`."""

    def __init__(self, url: Callable[[], str], rate: float, log: TransitionLog) -> None:
        self._url = url
        self._rate = rate
        self._log = log
        self._number = count(1)

    @asynccontextmanager
    async def arriving(self, seen: Seen) -> AsyncIterator[None]:
        """Meanwhile they come, and at the end all of them are waited for."""
        under_way: list[asyncio.Task[float | None]] = []
        begun_at = time.monotonic()
        source = asyncio.create_task(self._source(seen, under_way))
        try:
            yield
        finally:
            source.cancel()
            ended_at = time.monotonic()
            answered_at = [each for each in await asyncio.gather(*under_way) if each is not None]
            moments = sorted([begun_at, *answered_at, ended_at])
            gaps = [later - earlier for earlier, later in pairwise(moments)]
            seen.longest_gap_seconds = max(seen.longest_gap_seconds, *gaps, 0.0)

    async def _source(self, seen: Seen, under_way: list[asyncio.Task[float | None]]) -> None:
        begun_at = time.monotonic()
        for number in count():
            await asyncio.sleep(max(0.0, begun_at + number / self._rate - time.monotonic()))
            under_way.append(asyncio.create_task(self._post(seen)))

    async def _post(self, seen: Seen) -> float | None:
        """When it was answered."""
        attempt = self._log.open(f"{seen.name}/{next(self._number)}", None)
        body = json.dumps(example(request_id=attempt.request_id)).encode()
        seen.sent += 1
        sent_at = time.monotonic()
        # Certificates would be read first, for a tenth of a second, and there are none to check.
        async with httpx.AsyncClient(headers=HEADERS, timeout=TIMEOUT_SECONDS, trust_env=False, verify=False) as http:
            try:
                response = await http.post(f"{self._url()}/schedule", content=body)
            except httpx.ConnectError:
                seen.kinds[UNCONNECTED] += 1
                return None
            except httpx.TransportError as error:
                seen.kinds[type(error).__name__] += 1
                return None
        attempt.status = response.status_code
        kind = _kind(response)
        seen.kinds[kind] += 1
        if kind == REFUSED:
            seen.refusals[response.json()["detail"]] += 1
        if kind != ANSWERED:
            return None
        attempt.decision_id = response.json()["schedule_id"]
        attempt.body_sha256 = hashlib.sha256(response.content).hexdigest()
        now = time.monotonic()
        seen.slowest_seconds = max(seen.slowest_seconds, now - sent_at)
        return now


def _kind(response: httpx.Response) -> str:
    kind = kind_of(response)
    if kind != ANSWERED:
        return kind
    answer = response.json()
    is_right = answer["safety"]["valid"] and answer["metrics"]["scheduled_jobs"] == JOBS
    return ANSWERED if is_right else "wrong schedule"


async def drill(faults: Mapping[str, Fault], clients: Clients, missing: Callable[[], str], times: int) -> list[Seen]:
    """One kind after the other, `times` each; before the next one nothing is `missing` any more."""
    found = []
    for name, inflict in track(faults.items(), console=Console(stderr=True), description="faults", transient=True):
        seen = Seen(name)
        for _ in range(times):
            async with clients.arriving(seen):
                await asyncio.sleep(LEAD_SECONDS)
                await inflict()
                seen.times += 1
                await asyncio.sleep(RECOVERY_SECONDS)
                recovered = await asyncio.to_thread(eventually, lambda: not missing(), MAX_RECOVERY_SECONDS, 0.5)
            assert recovered, f"{name}: not recovered after {MAX_RECOVERY_SECONDS:g} s: {missing()}"
        found.append(seen)
    return found


def settle(found: Iterable[Seen], log: TransitionLog, balance: Balance) -> None:
    """Write into each row what the books say of its requests."""
    request_ids = {attempt.decision_id: attempt.request_id for attempt in log.attempts}
    missing = [request_ids[decision_id] for decision_id in (*balance.lost, *balance.mismatched)]
    for seen in found:
        seen.lost = sum(name.startswith(f"{seen.name}/") for name in missing)
        seen.doubled = sum(name.startswith(f"{seen.name}/") for name in balance.duplicated)


def killing(service: Callable[[], Service], deployment: str) -> Fault:
    """SIGKILL of one replica."""

    async def kill() -> None:
        pids = await asyncio.to_thread(service().replicas, deployment)
        os.kill(pids[0], signal.SIGKILL)

    return kill


def smallest_counts() -> dict[str, int]:
    """How many replicas there are of each deployment, as shipped, when nobody asks for more."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    return {
        each["name"]: each.get("num_replicas") or each["autoscaling_config"]["min_replicas"]
        for each in application["deployments"]
    }


def missing(service: Service, counts: Mapping[str, int]) -> str:
    """What it still lacks to be ready, healthy, and of no fewer replicas than `counts`; empty if nothing."""
    if service.process.poll() is not None or "Gantry is ready on" not in service.output:
        return "the service"
    found = {name: len(service.replicas(name)) for name in counts}
    if any(found[name] < number for name, number in counts.items()):
        return f"replicas: {found} of {dict(counts)}"
    try:
        routers = service.routers_in_proxy()
    except OSError as error:
        return f"an answer of the proxy: {error}"
    if routers < counts["RequestRouter"]:
        return f"routers: the proxy knows {routers} of {counts['RequestRouter']}"
    with service.client() as client:
        try:
            health = client.get("/health").json()
        except httpx.HTTPError as error:
            return f"an answer of /health: {error!r}"
    # On its way down it is the launcher that answers, with a problem.
    return "" if health["status"] == "healthy" else f"health: {health.get('reasons', health)}"


class Supervisor:
    """Starts the service on one port and in one folder, and again whenever it ends, as systemd would."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = variables
        self._port = free_port()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep)
        self.service: Service | None = None

    def __enter__(self) -> Supervisor:
        self._thread.start()
        eventually(lambda: self.service is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def current(self) -> Service:
        """The one that runs now, or is being started."""
        assert self.service is not None
        return self.service

    def url(self) -> str:
        """The same for all of them."""
        return f"http://127.0.0.1:{self._port}"

    def _keep(self) -> None:
        while not self._is_over.is_set():
            with starting_service(self._folder, variables=self._variables, port=self._port) as self.service:
                while self.service.process.poll() is None and not self._is_over.is_set():
                    time.sleep(POLL_SECONDS)


class NamedFaults:
    """Every fault of the table, by name."""

    def __init__(self, supervisor: Supervisor, database: PrivateMariaDb, to_database: FaultProxy) -> None:
        self._supervisor = supervisor
        self._database = database
        self._to_database = to_database

    def all(self) -> dict[str, Fault]:
        """In the order of the table."""
        service = self._supervisor.current
        return {
            **{name: killing(service, name) for name in REPLICAS},
            "ServeController": self._killing(lambda: service().serve_controllers()[0]),
            "haproxy": self._killing(lambda: service().named("haproxy")),
            "all policies hang": self._hang_policies,
            "mariadbd": lambda: kill_database(self._database, _hang),
            "database cut off": lambda: cut_off(self._to_database, _hang),
            "database hangs": lambda: stall(self._to_database, _hang),
            "SIGTERM": self._killing(lambda: service().process.pid, signal.SIGTERM),
            "gantry serve": self._killing(lambda: service().process.pid),
            "gcs_server": self._killing(lambda: service().named("gcs_server")),
            "raylet": self._killing(lambda: service().named("raylet")),
        }

    def _killing(self, pid: Callable[[], int], number: signal.Signals = signal.SIGKILL) -> Fault:
        async def kill() -> None:
            os.kill(await asyncio.to_thread(pid), number)

        return kill

    async def _hang_policies(self) -> None:
        pids = await asyncio.to_thread(self._supervisor.current().replicas, "PPOPolicy")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await _hang()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def _hang() -> None:
    await asyncio.sleep(HANG_SECONDS)


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit code says whether anything was lost, doubled, or beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="how often each fault")
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second: half of what the machine can do")
    parser.add_argument("--only", action="append", metavar="FAULT", help="this one, or several; else all")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="gantry-chaos-", ignore_cleanup_errors=True) as folder,
        private_mariadb() as database,
    ):
        found = asyncio.run(_table(Path(folder), database, options.times, options.rate, options.only))
    print(HEADING, *(seen.line() for seen in found), sep="\n")
    for seen in found:
        for kind, number in (seen.disorderly + seen.refusals).items():
            print(f"{seen.name}: {number} x {kind}")
    missed = [line for seen in found for line in seen.faults()]
    print(*(f"MISSED {line}" for line in missed), sep="\n")
    return 1 if missed else 0


async def _table(
    folder: Path, database: PrivateMariaDb, times: int, rate: float, only: Sequence[str] | None
) -> list[Seen]:
    database.execute("CREATE DATABASE gantry CHARACTER SET utf8mb4")
    url = database.url.set(database="gantry")
    readable = url.render_as_string(hide_password=False)
    await asyncio.to_thread(upgrade, readable)
    to_database = FaultProxy(url.port or 0)
    await to_database.start()
    variables = {"GANTRY_DATABASE_URL": url.set(port=to_database.port).render_as_string(hide_password=False)}
    supervisor, log = Supervisor(folder, variables), TransitionLog()
    try:
        await asyncio.to_thread(supervisor.__enter__)
        await asyncio.to_thread(await_ready, supervisor.current())
        await asyncio.to_thread(await_line, supervisor.current(), "all replicas are there")
        counts = smallest_counts()
        faults = NamedFaults(supervisor, database, to_database).all()
        if unknown := set(only or ()) - set(faults):
            raise SystemExit(f"--only must be of {', '.join(faults)}; was {', '.join(sorted(unknown))}")
        chosen = {name: fault for name, fault in faults.items() if not only or name in only}
        clients = Clients(supervisor.url, rate, log)
        await asyncio.to_thread(
            eventually, lambda: not missing(supervisor.current(), counts), MAX_RECOVERY_SECONDS, 0.5
        )
        found = await drill(chosen, clients, lambda: missing(supervisor.current(), counts), times)
    finally:
        await asyncio.to_thread(supervisor.__exit__)
        await to_database.stop()
    # What it had not delivered before it was told to stop is in its spool, and goes in first thing at the next start.
    with Supervisor(folder, {"GANTRY_DATABASE_URL": readable}) as again:
        await asyncio.to_thread(await_ready, again.current())
        empty = await asyncio.to_thread(eventually, lambda: not inspect(folder / "data" / "spool").waiting_records, 60)
    assert empty, "the spool must be empty at the end"
    settle(found, log, log.balance(await asyncio.to_thread(stored_rows, readable)))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
