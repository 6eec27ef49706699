"""Plans that nobody waits for: taken in any router, planned by whichever router has time, one at a time in each.

A run is a row of the database (`deployments.persistence.decisions.plan_run_repository`), so that every router can
answer for it, whoever took it or plans it. What comes of it is a decision under the id of the run, on its way like any
other.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from typing import Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential
from uuid6 import uuid7

from deployments.contracts.parsing import RequestLimits, read_schedule_request
from deployments.errors import JudgeUnavailable, Overloaded, RunUnavailable
from deployments.persistence.decisions.plan_run import Accepted, BestSoFar, PlanRun, RunRequest, RunState
from deployments.persistence.decisions.records import ClaimKey
from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.ramp.traffic import Rollout, TrafficSplit
from deployments.runtime.background import BackgroundTask
from deployments.scheduling.arms import shortened
from deployments.scheduling.evaluations import ShadowTask
from deployments.scheduling.idempotency import Lease
from deployments.scheduling.ports import Judge
from deployments.scheduling.time_budget import run_blocking
from deployments.scheduling.use_case import Scheduling
from env.errors import GantryError
from env.judge.anomalies import BoundedMakespan
from env.judge.verdict import Verdict
from env.problem import Problem
from env.schedule import Schedule

POLL_SECONDS = 1.0
"""So often a router looks for work, and a listener for news."""
RENEW_SECONDS = 1.0
STOP_SECONDS = 8.0
"""So long the end of a router waits for its run to keep the best plan so far."""
JUDGE_PATIENCE_SECONDS = 300.0
MAX_LISTENERS = 64
MAX_LISTENING_SECONDS = 120.0
"""Below what Serve lets an answer take (`request_timeout_s`): who wants more listens anew."""
RUN_ROUTE = "plan_run"
_RETRY_AFTER_SECONDS = 5
_LOOK_SECONDS = 0.2
_STORED_SECONDS = 2.0
_log = logging.getLogger(__name__)


class RunStore(Protocol):
    """The runs, wherever they are kept. Every method raises `RunUnavailable` when they cannot be had now."""

    async def accept(self, wanted: RunRequest) -> Accepted:
        """Queues a request, or finds the run of its key. Raises `KeyConflict` or `Overloaded`."""
        ...

    async def get(self, run_id: str, client: str | None) -> PlanRun | None:
        """How a run stands, None where `client` (None: nobody) has it."""
        ...

    async def take(self, owner_id: str) -> RunRequest | None:
        """The oldest that waits, which is the owner's from now on; None where none does."""
        ...

    async def renew(self, run: RunRequest, owner_id: str, best: BestSoFar | None) -> bool | None:
        """Keeps what was found so far, and the run; whether somebody wants it stopped, None when it is lost.

        It is when it was given up meanwhile, and another run stands for its key.
        """
        ...

    async def finish(
        self, run_id: str, owner_id: str, state: RunState, reason: str | None, best: BestSoFar | None
    ) -> None:
        """The run has come to its end."""
        ...

    async def stop(self, run_id: str) -> None:
        """Whoever plans it keeps the best so far; what has not begun never does."""
        ...


class ServiceEnd(Protocol):
    """What whoever ends the service waits for."""

    @property
    def refuses(self) -> bool:
        """Whether the service is about to end."""
        ...

    def passing(self, on_grace_over: Callable[[], None]) -> AbstractContextManager[None]:
        """Around what is waited for; `on_grace_over` is called when that takes too long."""
        ...


class RunProgress:
    """What the run of this router has found so far, and whether it is to end: between its search and its row."""

    def __init__(self) -> None:
        self.best: BestSoFar | None = None
        self.is_stopped = False

    def begin(self) -> None:
        """Another run."""
        self.best, self.is_stopped = None, False


class Uncompared:
    """The rollout for plans that no statistics count: they are assigned by its share, and it hears nothing of them."""

    def __init__(self, rollout: Rollout) -> None:
        self._rollout = rollout

    def traffic_split(self) -> TrafficSplit:
        """What is in force now."""
        return self._rollout.traffic_split()

    def observe(self, event: Event) -> None:
        """Nothing."""

    def is_sampled(self, decision_id: str) -> bool:  # noqa: ARG002
        """The other arm is computed for none of them."""
        return False

    def offer(self, shadow_task: ShadowTask) -> None:
        """None."""


class PatientJudge:
    """A judge that is asked again while it cannot be had: the search of an hour is not lost for a second without it."""

    def __init__(self, judge: Judge, *, patience_seconds: float = JUDGE_PATIENCE_SECONDS) -> None:
        self._judge = judge
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type((JudgeUnavailable, Overloaded)),
            stop=stop_after_delay(patience_seconds),
            wait=wait_exponential(multiplier=0.5, max=10.0),
            reraise=True,
        )

    async def judge(self, problem: Problem, schedule: Schedule, recent: tuple[BoundedMakespan, ...] = ()) -> Verdict:
        """The verdict. Raises `JudgeUnavailable`, `JudgeFailed` or `Overloaded`, the first and last after patience."""
        return await self._retrying.copy()(self._judge.judge, problem, schedule, recent)


class PlanRuns(BackgroundTask):
    """Takes requests, and plans one at a time. `owner_id` names the spool that this router appends to.

    A run is over when its decision can be read: `wait_until_stored` returns when all that was appended before is.

    `scheduling` is the use case with all the time that a run takes, whose policy reports to `progress`.
    """

    def __init__(
        self,
        runs: RunStore,
        scheduling: Scheduling,
        progress: RunProgress,
        *,
        owner_id: str,
        limits: RequestLimits,
        max_budget_ms: int,
        wait_until_stored: Callable[[], Awaitable[None]],
        keeper: RunStore | None = None,
        poll_seconds: float = POLL_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        new_id: Callable[[], object] = uuid7,
    ) -> None:
        super().__init__("plan runs", self._plan_next)
        self._runs = runs
        # On threads of its own, for what clients ask must not keep a run from being renewed.
        self._keeper = runs if keeper is None else keeper
        self._scheduling = scheduling
        self._progress = progress
        self._owner_id = owner_id
        self._limits = limits
        self._max_budget_ms = max_budget_ms
        self._wait_until_stored = wait_until_stored
        self._poll_seconds = poll_seconds
        self._renew_seconds = renew_seconds
        self._new_id = new_id
        self._arrived = asyncio.Event()
        self._gate: ServiceEnd | None = None
        self._is_planning = False
        self._is_stopping = False
        self._listeners = 0

    def count_in(self, gate: ServiceEnd) -> None:
        """From now on runs end when `gate` says that the service does, which waits for them."""
        self._gate = gate

    @property
    def _is_ending(self) -> bool:
        return self._is_stopping or (self._gate is not None and self._gate.refuses)

    async def accept(
        self, raw: bytes, *, client: str, plant_id: str, key: str | None, is_strict: bool, budget_ms: int
    ) -> Accepted:
        """Queues a request that was found to be possible. Raises `KeyConflict`, `Overloaded` or `RunUnavailable`."""
        wanted = RunRequest(
            run_id=str(self._new_id()),
            client=client,
            plant_id=plant_id,
            key=key,
            request_sha256=sha256(raw).hexdigest(),
            request=raw,
            is_strict=is_strict,
            budget_ms=min(budget_ms, self._max_budget_ms),
        )
        accepted = await self._runs.accept(wanted)
        self._arrived.set()
        return accepted

    async def get(self, run_id: str, client: str | None) -> PlanRun | None:
        """How a run stands, None where `client` (None: nobody) has it. Raises `RunUnavailable`."""
        return await self._runs.get(run_id, client)

    async def stop_run(self, run_id: str) -> None:
        """Whoever plans it keeps the best so far; what has not begun never does. Raises `RunUnavailable`."""
        await self._runs.stop(run_id)

    async def changes(self, run: PlanRun) -> AsyncIterator[PlanRun | None]:
        """How the run stands now and after each change, up to its end; None where a while brought none.

        Ends with this router, too. Raises `Overloaded` when too many listen.
        """
        if self._listeners >= MAX_LISTENERS:
            raise Overloaded(f"{self._listeners} clients listen to this router already", _RETRY_AFTER_SECONDS)
        self._listeners += 1
        try:
            yield run
            end = time.monotonic() + MAX_LISTENING_SECONDS
            while not run.state.is_final and not self._is_ending and time.monotonic() < end:
                await asyncio.sleep(self._poll_seconds)
                try:
                    now = await self._runs.get(run.run_id, run.client)
                except RunUnavailable:
                    now = run
                if now is None:
                    return
                yield None if now == run else now
                run = now
        finally:
            self._listeners -= 1

    async def stop(self) -> None:
        """Ends the run under way, with the best plan so far as its decision, and takes no other."""
        self._is_stopping = self._progress.is_stopped = True
        end = time.monotonic() + STOP_SECONDS
        while self._is_planning and time.monotonic() < end:
            await asyncio.sleep(0.05)
        await super().stop()

    async def _plan_next(self) -> None:
        self._arrived.clear()
        # A stop waits for what is being taken, too.
        self._is_planning = True
        try:
            run = None if self._is_ending else await self._taken()
            if run is not None:
                await self._plan(run)
        finally:
            self._is_planning = False
        if run is None:
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                return

    async def _taken(self) -> RunRequest | None:
        try:
            return await self._keeper.take(self._owner_id)
        except RunUnavailable as error:
            _log.debug("no plan can be taken now: %s", error)
            return None

    async def _plan(self, run: RunRequest) -> None:
        self._progress.begin()
        # A stop that came while the run was taken.
        self._progress.is_stopped = self._is_ending
        planning = asyncio.create_task(self._planned(run), name="plan run")
        renewing = asyncio.create_task(self._renew_for_ever(run, planning), name="renew run")
        ending = asyncio.create_task(self._heed_the_end(), name="heed the end")
        try:
            with nullcontext() if self._gate is None else self._gate.passing(lambda: None):
                await asyncio.wait({planning})
                if planning.cancelled():
                    _log.warning("the run %s was given up, and another stands for its key", run.run_id)
                    return
                state, reason = planning.result()
                await self._stored()
                renewing.cancel()
                await self._finish(run.run_id, state, reason)
        finally:
            for task in (planning, renewing, ending):
                task.cancel()

    async def _heed_the_end(self) -> None:
        while not self._is_ending:
            await asyncio.sleep(_LOOK_SECONDS)
        self._progress.is_stopped = True

    async def _planned(self, run: RunRequest) -> tuple[RunState, str | None]:
        """What became of it; whatever it meets is the end of this run alone."""
        claim = ClaimKey(client=run.client, route=RUN_ROUTE, key=run.run_id)
        lease = Lease(claim=claim, decision_id=run.run_id, held_until=math.inf, stopwatch=time.monotonic)
        try:
            size = len(run.request)
            received = await run_blocking(
                size, read_schedule_request, run.request, self._limits, is_strict=run.is_strict
            )
            await self._scheduling.schedule(
                received.body, client=run.client, raw_body=run.request, warnings=received.warnings, lease=lease
            )
        except GantryError as error:
            return RunState.FAILED, shortened(str(error))
        except Exception as error:  # the edge of the run: the next one must have its turn
            _log.exception("the run %s failed", run.run_id)
            return RunState.FAILED, f"{type(error).__name__}"
        return (RunState.STOPPED if self._progress.is_stopped else RunState.DONE), None

    async def _stored(self) -> None:
        """While the database is away that takes long; the end of the router does not wait for it."""
        storing = asyncio.ensure_future(self._wait_until_stored())
        try:
            while not storing.done():
                await asyncio.wait({storing}, timeout=_STORED_SECONDS)
                if self._is_ending:
                    return
        finally:
            storing.cancel()

    async def _renew_for_ever(self, run: RunRequest, planning: asyncio.Task[tuple[RunState, str | None]]) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            try:
                is_stop_wanted = await self._keeper.renew(run, self._owner_id, self._progress.best)
            except RunUnavailable as error:
                _log.debug("how far the run %s is cannot be told now: %s", run.run_id, error)
                continue
            if is_stop_wanted is None:
                planning.cancel()
            self._progress.is_stopped = self._progress.is_stopped or bool(is_stop_wanted)

    async def _finish(self, run_id: str, state: RunState, reason: str | None) -> None:
        """Until it is told: the decision is kept whatever becomes of the row, and who asks finds it first."""
        while True:
            try:
                await self._keeper.finish(run_id, self._owner_id, state, reason, self._progress.best)
            except RunUnavailable as error:
                _log.warning("the end of the run %s cannot be told now: %s", run_id, error)
                if self._is_ending:
                    return
                await asyncio.sleep(self._poll_seconds)
            else:
                return
