"""What a router knows about its surroundings, asked in the background so that no probe ever waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import get_args

import httpx
import ray

from deployments.api.services import HealthProbe, HealthReport
from deployments.contracts.answers.service import Status
from deployments.errors import Overloaded, TemporarilyUnavailable
from deployments.persistence.database import MAX_SKEW_SECONDS
from deployments.persistence.delivery.drain import DrainState
from deployments.persistence.errors import CorruptionLog
from deployments.persistence.spool.spool import SpoolDepth
from deployments.rollout.ramp.state import RolloutState, Stage
from deployments.rollout.ramp.traffic import UNKNOWN_STAGE
from deployments.runtime import metrics as known
from deployments.runtime.background import BackgroundTask, Threads
from deployments.runtime.metrics import Meter
from deployments.serve.metrics import PERIOD_SECONDS
from env.judge.verdict import quantity

_log = logging.getLogger(__name__)
# A router that has just started waits this long for the stage, or for the policy; then it serves manual without.
STAGE_PATIENCE_SECONDS = 15.0
MODEL_PATIENCE_SECONDS = 30.0
# Whoever has answered nobody for so long is worth a word, and soon after that he counts as gone.
SILENT_SECONDS = 3.5
# A record is in the database within a fraction of a second, so whatever the reason, something is wrong.
MAX_SPOOL_AGE_SECONDS = 10.0
EXPIRY_SPANS = {"1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
STATUSES: tuple[Status, ...] = get_args(Status)
_SCRAPE_SECONDS = 5.0
Ask = Callable[[], Awaitable[object]]
Clock = Callable[[], float]


class Probe:
    """One neighbour, asked every `period_seconds`, unless it has just answered somebody (`heard`): that counts as well.

    It holds from its first answer until it fails outright, or gives no answer for `patience_seconds`: a busy
    neighbour is slow to answer, and that is no reason to send its work elsewhere. Long before that it is silent.
    """

    def __init__(
        self,
        name: str,
        ask: Ask,
        *,
        clock: Clock = time.monotonic,
        period_seconds: float = 2.0,
        timeout_seconds: float = 3.0,
        patience_seconds: float = 8.0,
    ) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._period_seconds = period_seconds
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._answered_at: float | None = None
        self._was_there_at: float | None = None
        self._is_full = False

    @property
    def name(self) -> str:
        """What people call it."""
        return self._name

    @property
    def answered_at(self) -> float | None:
        """When it answered anybody last, by the clock; None before that. One lost replica changes nothing about it."""
        return self._was_there_at

    @property
    def was_there(self) -> bool:
        """Whether it has ever answered."""
        return self._was_there_at is not None

    @property
    def complaint(self) -> str | None:
        """What is wrong with it, in words; None while nothing is."""
        if self._is_full:
            return f"{self._name} is overloaded: its queue is full"
        if self._was_there_at is None:
            return f"{self._name} has not answered yet"
        seconds = self._clock() - self._was_there_at
        if self._answered_at is None or seconds >= SILENT_SECONDS:
            return f"{self._name} has not answered for {seconds:.0f} s: dead, overloaded, or unable to start"
        return None

    def heard(self) -> None:
        """It has answered somebody."""
        self._answered_at = self._was_there_at = self._clock()

    @property
    def holds(self) -> bool:
        """Whether the neighbour was there when it was last heard of, not too long ago."""
        return self._answered_at is not None and self._clock() - self._answered_at < self._patience_seconds

    @property
    def _was_just_heard(self) -> bool:
        """Whether it has answered within half the period; only an answer to a question tells that it has room again."""
        if self._answered_at is None or self._is_full:
            return False
        return self._clock() - self._answered_at < self._period_seconds / 2

    async def ask_once(self) -> None:
        """Ask, and remember what came of it. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._ask()
        except TimeoutError:
            return
        except Overloaded:
            # Full is reachable.
            self.heard()
            self._is_full = True
        except Exception as error:  # the edge of a background task: whatever it is, the neighbour is not there
            if self.holds:
                _log.warning("%s is not reachable: %s", self._name, error)
            self._answered_at, self._is_full = None, False
        else:
            self.heard()
            self._is_full = False

    async def ask_and_wait(self) -> None:
        """One round; shorter while the neighbour is not there, so that a start is noticed at once.

        Whoever has just answered somebody is not asked: under load that is nearly always so.
        """
        if not self._was_just_heard:
            await self.ask_once()
        await asyncio.sleep(self._period_seconds if self.holds else self._period_seconds / 10)


class HealthMonitor:
    """The health probe of one router. `start` and `stop` on its event loop."""

    def __init__(
        self,
        *,
        model: Probe,
        judge: Probe,
        database: Probe,
        depth: Callable[[], SpoolDepth],
        drain: Callable[[], DrainState] = DrainState,
        corruption: CorruptionLog | None = None,
        knows_stage: Callable[[], bool] = lambda: True,
        rollout_alarms: Callable[[], tuple[str, ...]] = lambda: (),
        skew_seconds: Callable[[], float] = lambda: 0.0,
        losses: Callable[[], tuple[int, int]] = lambda: (0, 0),
        schema_fault: Callable[[], str | None] = lambda: None,
        node_fault: Callable[[], str | None] = lambda: None,
        needs_database: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self._model, self._judge, self._database = model, judge, database
        self._depth = depth
        self._drain = drain
        self._corruption = corruption or CorruptionLog()
        self._knows_stage = knows_stage
        self._rollout_alarms = rollout_alarms
        self._skew_seconds = skew_seconds
        self._losses = losses
        self._schema_fault, self._node_fault = schema_fault, node_fault
        self._needs_database = needs_database
        self._clock = clock
        self._started_at = clock()
        self._tasks = tuple(BackgroundTask("watch", probe.ask_and_wait) for probe in (model, judge, database))

    def start(self) -> None:
        """Begin to ask."""
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            await task.stop()

    async def report(self) -> HealthReport:
        """The newest knowledge; nobody is asked now."""
        depth = self._depth()
        return HealthReport(
            model_loaded=self._model.holds,
            model_awaited=not self._model.was_there and self._clock() - self._started_at < MODEL_PATIENCE_SECONDS,
            judge_reachable=self._judge.holds,
            database_connected=self._database.holds,
            spool_has_room=depth.has_room,
            spool_records=depth.records,
            spool_bytes=depth.bytes,
            spool_oldest_seconds=depth.oldest_age_seconds or 0.0,
            uptime_seconds=self._clock() - self._started_at,
            spool_works=depth.failure is None,
            stage_awaited=not self._knows_stage() and self._clock() - self._started_at < STAGE_PATIENCE_SECONDS,
            schema_fault=self._schema_fault(),
            node_fault=self._node_fault(),
            needs_database=self._needs_database,
            alarms=tuple(self._alarms(depth)),
        )

    def _alarms(self, depth: SpoolDepth) -> Iterator[str]:
        if complaint := self._model.complaint:
            yield f"{complaint}; manual serves"
        if complaint := self._judge.complaint:
            yield complaint
        lost, asked = self._losses()
        if lost:
            requests = quantity(asked, "request")
            yield f"of the last {requests} the policy had no room or no time for {lost}: manual served them"
        if not self._knows_stage():
            yield "the rollout's controller does not tell the stage, so manual serves"
        yield from self._rollout_alarms()
        drain = self._drain()
        if drain.is_failing:
            yield f"the database takes no decisions, they wait in the spool: {drain.advice}"
        elif (age_seconds := depth.oldest_age_seconds or 0.0) > MAX_SPOOL_AGE_SECONDS:
            yield f"decisions have waited {age_seconds:.0f} s for the database: look at `gantry db spool show`"
        if abs(skew := self._skew_seconds()) > MAX_SKEW_SECONDS:
            yield f"the database's clock is {skew:+.1f} s off that of this machine: let a time service set both"
        if depth.dead_letter_files:
            cause = "" if depth.dead_letter_cause is None else f", the newest because {depth.dead_letter_cause}"
            files = quantity(depth.dead_letter_files, "file")
            yield f"{files} of dead letters{cause}: look at `gantry db spool show`"
        if depth.damaged_regions:
            yield f"{quantity(depth.damaged_regions, 'damaged region')} in the spool: look at `gantry db spool status`"
        if self._corruption.count:
            yield f"{quantity(self._corruption.count, 'corruption event')} since the start: the log names each decision"


class RouterMetrics(BackgroundTask):
    """What one router knows: its spool, its way to the database, the stage, its health and what is under way.

    `tell` is one round; `start` and `stop` on the event loop of the router.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        health: HealthProbe,
        depth: Callable[[], SpoolDepth],
        drain: Callable[[], DrainState],
        state: Callable[[], RolloutState | None],
        in_flight: Callable[[], int],
        keys_age_seconds: Callable[[], float | None],
        keys_expiring: Callable[[timedelta], int],
        model_written_at: float | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("metrics of the router", self.tell, period_seconds=PERIOD_SECONDS)
        self._meter = meter
        self._health = health
        self._depth, self._drain, self._state = depth, drain, state
        self._in_flight, self._keys_age_seconds, self._keys_expiring = in_flight, keys_age_seconds, keys_expiring
        self._model_written_at = model_written_at
        self._clock = clock
        self._written = 0

    async def tell(self) -> None:
        """One round."""
        self._tell_spool()
        self._tell_rollout()
        report = await self._health.report()
        for status in STATUSES:
            self._meter.set(known.HEALTH, status == report.status, status=status)
        self._meter.set(known.READY, not report.obstacles)
        self._meter.set(known.ALARMS, len(report.shortcomings))
        self._meter.set(known.IN_FLIGHT, self._in_flight())
        if (age := self._keys_age_seconds()) is not None:
            self._meter.set(known.KEYS_AGE, age)
            for name, span in EXPIRY_SPANS.items():
                self._meter.set(known.KEYS_EXPIRING, self._keys_expiring(span), within=name)
        if self._model_written_at is not None:
            self._meter.set(known.MODEL_AGE, self._clock() - self._model_written_at)

    def _tell_spool(self) -> None:
        depth, drain = self._depth(), self._drain()
        self._meter.set(known.SPOOL_RECORDS, depth.records)
        self._meter.set(known.SPOOL_BYTES, depth.disk_bytes)
        self._meter.set(known.SPOOL_CAPACITY, depth.capacity_bytes)
        self._meter.set(known.SPOOL_AGE, depth.oldest_age_seconds or 0.0)
        self._meter.set(known.SPOOL_DEAD_LETTERS, depth.dead_letter_files)
        self._meter.count(known.WRITES, drain.written - self._written)
        self._written = drain.written
        self._meter.set(known.WRITE_FAILURES, drain.failures_in_a_row)

    def _tell_rollout(self) -> None:
        state = self._state()
        present = UNKNOWN_STAGE if state is None else state.stage.value
        for stage in (*(stage.value for stage in Stage), UNKNOWN_STAGE):
            self._meter.set(known.ROLLOUT_STAGE, stage == present, stage=stage)
        self._meter.set(known.ROLLOUT_SHARE, 0.0 if state is None else state.share)


class Exporter:
    """What Ray's exporter of this node prints: the metrics of all processes of the node."""

    def __init__(self, threads: Threads, find_address: Callable[[], str] | None = None) -> None:
        """Ray is asked in `threads` where its exporter is, by `find_address`."""
        self._threads = threads
        self._find_address = find_address or _exporter_address
        self._address: str | None = None
        self._client = httpx.AsyncClient(timeout=_SCRAPE_SECONDS, trust_env=False)

    async def text(self) -> tuple[bytes, str]:
        """The text and its media type. Raises `TemporarilyUnavailable`."""
        address = self._address
        if address is None:
            address = await self._threads.run(self._address_now)
        try:
            answer = (await self._client.get(address)).raise_for_status()
        except httpx.HTTPError as error:
            self._address = None
            raise TemporarilyUnavailable(f"Ray's exporter of metrics must answer, did not: {error}", 5) from error
        self._address = address
        return answer.content, answer.headers.get("content-type", "text/plain; version=0.0.4")

    def _address_now(self) -> str:
        try:
            return self._find_address()
        except Exception as error:  # the edge to Ray, which says of none of these calls what it raises
            _log.warning("Ray does not tell where its exporter of metrics is: %r", error)
            raise TemporarilyUnavailable("Ray must tell where its exporter of metrics is, did not", 5) from error

    async def close(self) -> None:
        """Its connections."""
        await self._client.aclose()


def _exporter_address() -> str:
    node_id = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["NodeID"] == node_id:
            return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    raise LookupError(f"node {node_id} is not known to Ray")
