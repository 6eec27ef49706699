"""What a router knows about its surroundings, asked in the background so that no probe ever waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

from deployments.api.services import HealthReport
from deployments.errors import Overloaded
from deployments.persistence.database import MAX_SKEW_SECONDS
from deployments.persistence.delivery.drain import DrainState
from deployments.persistence.integrity.events import CorruptionLog
from deployments.persistence.spool.spool import SpoolDepth
from deployments.runtime.background import BackgroundTask

_log = logging.getLogger(__name__)
# A router that has just started waits this long for the stage; then it serves manual without it.
STAGE_PATIENCE_SECONDS = 15.0
Ask = Callable[[], Awaitable[object]]
Clock = Callable[[], float]


class Probe:
    """One neighbour, asked every `period_seconds`.

    It holds from its first answer until it fails outright, or gives no answer for `patience_seconds`: a busy
    neighbour is slow to answer, and that is no reason to send its work elsewhere.
    """

    def __init__(
        self,
        name: str,
        ask: Ask,
        *,
        clock: Clock = time.monotonic,
        period_seconds: float = 2.0,
        timeout_seconds: float = 5.0,
        patience_seconds: float = 20.0,
    ) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._period_seconds = period_seconds
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._answered_at: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the neighbour was there when it was last heard of, not too long ago."""
        return self._answered_at is not None and self._clock() - self._answered_at < self._patience_seconds

    async def ask_once(self) -> None:
        """Ask, and remember what came of it. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._ask()
        except TimeoutError:
            return
        except Overloaded:
            # Full is reachable.
            self._answered_at = self._clock()
        except Exception as error:  # the edge of a background task: whatever it is, the neighbour is not there
            if self.holds:
                _log.warning("%s is not reachable: %s", self._name, error)
            self._answered_at = None
        else:
            self._answered_at = self._clock()

    async def ask_and_wait(self) -> None:
        """One round; shorter while the neighbour is not there, so that a start is noticed at once."""
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
        skew_seconds: Callable[[], float] = lambda: 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._model, self._judge, self._database = model, judge, database
        self._depth = depth
        self._drain = drain
        self._corruption = corruption or CorruptionLog()
        self._knows_stage = knows_stage
        self._skew_seconds = skew_seconds
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
            judge_reachable=self._judge.holds,
            database_connected=self._database.holds,
            spool_has_room=depth.has_room,
            spool_records=depth.records,
            spool_bytes=depth.bytes,
            spool_oldest_seconds=depth.oldest_age_seconds or 0.0,
            uptime_seconds=self._clock() - self._started_at,
            spool_works=depth.failure is None,
            stage_awaited=not self._knows_stage() and self._clock() - self._started_at < STAGE_PATIENCE_SECONDS,
            alarms=tuple(self._alarms(depth)),
        )

    def _alarms(self, depth: SpoolDepth) -> Iterator[str]:
        if not self._knows_stage():
            yield "the rollout's controller does not tell the stage, so manual serves"
        drain = self._drain()
        if drain.is_failing:
            yield f"the database takes no decisions, they wait in the spool: {drain.advice}"
        if abs(skew := self._skew_seconds()) > MAX_SKEW_SECONDS:
            yield f"the database's clock is {skew:+.1f} s off that of this machine: let a time service set both"
        if depth.dead_letter_files:
            yield f"{depth.dead_letter_files} files of dead letters: look at `gantry db spool status`"
        if depth.damaged_regions:
            yield f"{depth.damaged_regions} damaged regions in the spool: look at `gantry db spool status`"
        if self._corruption.count:
            yield f"{self._corruption.count} corruption events since the start: the log names each decision"
