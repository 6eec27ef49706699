"""What one router knows of the rollout, how fresh that is, and the rollback that it keeps on local disk."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from deployments.errors import UnreadableState
from deployments.persistence.errors import CorruptionEvent, FoundBy
from deployments.rollout.analysis.guardrails import Event, Guardrails, one_event_trigger
from deployments.rollout.analysis.outcomes import Alarm, CorruptionKind
from deployments.rollout.analysis.triggers import Limits, Trigger
from deployments.rollout.model_registry import Artefact
from deployments.rollout.ramp.latch import Latch, in_force, is_fresh, latched, newer
from deployments.rollout.ramp.state import GUARDRAIL, RolloutState
from deployments.rollout.ramp.traffic import TrafficSplit, traffic_split_of
from deployments.rollout_control.protocol import ControllerReply, RouterReport
from deployments.runtime.background import DetachedTasks, Threads
from deployments.runtime.durable_file import sync_folder, write_durably

NAME = "rollout.latch"
_log = logging.getLogger(__name__)
MAX_EVENTS = 20_000
MAX_EVENTS_OF_ONE_REPORT = 2_000
SILENT_SECONDS = 0.45
"""Two exchanges without an answer: nobody else looks at the guardrails."""


class LatchFile:
    """Blocking: call it in a thread. Raises `OSError` as the disk does."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def stamp(self) -> int:
        """Changes whenever the latch does; 0 without one."""
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0

    def read(self, now: datetime, router: str) -> Latch | None:
        """The latch that is set, None when none is. One that cannot be read is one all the same, of any ramp."""
        try:
            return Latch.from_json(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (UnreadableState, ValueError, TypeError, OSError) as error:
            _log.error("the latch %s cannot be read, so the router stays rolled back: %s", self._path, error)
            reason = f"the latch file cannot be read: {error}"
            return unknown_latch(now=now, router=router, actor=GUARDRAIL, reason=reason)

    def write(self, latch: Latch) -> None:
        """The latch is on the medium when this returns; an older one is replaced as a whole."""
        write_durably(self._path, json.dumps(latch.as_json()))

    def clear(self, below_ramp: int) -> None:
        """Removes the latch if it is of an earlier ramp than `below_ramp`: a person has started again."""
        try:
            latch = Latch.from_json(json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, UnreadableState, ValueError, TypeError):
            latch = None
        if latch is None or latch.ramp < below_ramp:
            self._path.unlink(missing_ok=True)
            sync_folder(self._path.parent)


def unknown_latch(*, now: datetime, router: str, actor: str, reason: str) -> Latch:
    """A rollback by a router that knows no state: it holds against whichever it hears of first."""
    return Latch(ramp=0, version=0, at=now, router=router, actor=actor, reason=reason)


def of_ramp(latch: Latch, ramp: int, version: int) -> Latch:
    """A latch of unknown ramp, now that the ramp is known; any other as it is."""
    return latch if latch.ramp else replace(latch, ramp=ramp, version=version)


class RolloutView:
    """The rollout as the use case meets it. Lives on one event loop; only the latch file is touched in threads.

    `steady` is a clock that only runs forward, in seconds; `find_model` knows registered policies by id; `limits`
    are those of the guardrails, which the router asks itself while the controller is silent.
    """

    def __init__(
        self,
        *,
        router: str,
        latches: LatchFile,
        seed: str,
        find_model: Callable[[str], Artefact | None],
        clock: Callable[[], datetime],
        steady: Callable[[], float],
        limits: Limits,
        is_dry_run: bool = False,
        max_events: int = MAX_EVENTS,
    ) -> None:
        self._router = router
        self._latches = latches
        self._seed = seed
        self._find_model = find_model
        self._clock = clock
        self._steady = steady
        self._limits = limits
        self._is_dry_run = is_dry_run
        self._max_events = max_events
        self._state: RolloutState | None = None
        self._heard_at = float("-inf")
        self._latch: Latch | None = None
        self._stamp = 0
        self._events: deque[Event] = deque()
        self._oldest = 0
        self._next = 0
        self._dropped = 0
        self._writes = DetachedTasks()
        self._threads = Threads("the rollout", 1)
        # A rollback waits for nothing but other latches.
        self._latch_thread = Threads("latches", 1)
        self.news = asyncio.Event()
        """Set when the controller should hear of something at once."""
        self.alarms: tuple[str, ...] = ()
        """What a person must look at, as the controller said last."""

    async def open(self) -> None:
        """Finds the latch that an earlier router left. A disk that cannot be read is a latch."""
        self._stamp = self._latches.stamp()
        self._latch = await self._threads.run(self._latches.read, self._clock(), self._router)

    async def look(self) -> None:
        """Takes over the latch of another router on this node, and stands guard while the controller is silent."""
        await self._take_over()
        await self._stand_guard()

    async def _take_over(self) -> None:
        stamp = self._latches.stamp()
        if stamp in (0, self._stamp):
            return
        self._stamp = stamp
        found = await self._threads.run(self._latches.read, self._clock(), self._router)
        if found is not None and self._latch is None and (self._state is None or found.holds(self._state)):
            _log.error("rolled back with router %s: %s", found.router, found.reason)
            self._latch = found
            self.news.set()

    async def _stand_guard(self) -> None:
        """Rolls back for what nobody else can see: what happened here since the controller took note last.

        Older evidence died with the controller or comes back with it; until then a failure must be plain to count.
        """
        state, silent_seconds = self._state, self._steady() - self._heard_at
        if state is None or self._latch is not None or self._is_dry_run or not self._events:
            return
        if silent_seconds < SILENT_SECONDS or not self.is_current:
            return
        # In a thread, because it may be the first to need the statistics' library.
        trigger = await self._threads.run(_first_trigger, tuple(self._events), state.ramp, self._limits)
        latch = None if trigger is None or self._state is not state else latched(state, trigger, self._router)
        if latch is not None and self._latch is None:
            _log.error("rolled back without the controller: %s", latch.reason)
            self._set(latch)
            self.news.set()

    async def close(self) -> None:
        """Waits for latches that are being written."""
        await self._writes.finish()
        self._threads.close()
        self._latch_thread.close()

    @property
    def is_current(self) -> bool:
        """Whether the controller has told a state, not too long ago."""
        return self._state is not None and is_fresh(self._steady() - self._heard_at)

    @property
    def latch(self) -> Latch | None:
        """The rollback that this router acts on by itself."""
        return self._latch

    @property
    def state(self) -> RolloutState | None:
        """The newest state that was heard of, however long ago."""
        return self._state

    def traffic_split(self) -> TrafficSplit:
        """What is in force now: nothing when the state is stale, rolled back while a latch holds."""
        fresh = self._state if self.is_current else None
        return traffic_split_of(in_force(fresh, self._latch), self._seed, self._find_model)

    def observe(self, event: Event) -> None:
        """Keeps the event for the controller; one that is a trigger by itself latches this router at once."""
        trigger = one_event_trigger(event)
        if trigger is not None and self._state is not None and trigger_counts(event, self._state):
            latch = latched(self._state, trigger, self._router)
            if latch is not None and self._latch is None and not self._is_dry_run:
                _log.error("rolled back at once: %s", latch.reason)
                self._set(latch)
        if len(self._events) >= self._max_events:
            self._events.popleft()
            self._oldest += 1
            self._next = max(self._next, self._oldest)
            self._dropped += 1
        self._events.append(event)
        if trigger is not None:
            self.news.set()

    def corrupted(self, event: CorruptionEvent) -> None:
        """Corrupt data say nothing about one arm; they roll back because nothing that was stored can be trusted."""
        state = self._state
        if state is None:
            return
        kind = CorruptionKind.TWO_PAYLOADS if event.found_by is FoundBy.WRITE else CorruptionKind.CHECKSUM
        self.observe(
            Alarm(
                decision_id="",
                at=self._clock(),
                ramp=state.ramp,
                stage=state.serving_stage.value,
                corruption=kind,
                detail=event.detail,
            )
        )

    async def roll_back(self, actor: str, reason: str) -> Latch:
        """A person's rollback on this router: in force at once, on disk when this returns. Raises `OSError`."""
        state, now = self._state, self._clock()
        if state is None:
            latch = unknown_latch(now=now, router=self._router, actor=actor, reason=reason)
        else:
            latch = Latch(
                ramp=state.ramp, version=state.version, at=now, router=self._router, actor=actor, reason=reason
            )
        self._latch = latch
        self.news.set()
        await self._latch_thread.run(self._latches.write, latch)
        return latch

    def report(self) -> RouterReport:
        """What the controller has not heard yet."""
        start = self._next - self._oldest
        events = tuple(
            self._events[index] for index in range(start, min(len(self._events), start + MAX_EVENTS_OF_ONE_REPORT))
        )
        return RouterReport(
            router=self._router,
            first=self._next,
            oldest=self._oldest,
            events=events,
            latch=self._latch,
            dropped=self._dropped,
        )

    def accept(self, reply: ControllerReply, asked_at: float) -> None:
        """What the controller answered to a report that left at `asked_at`, by the steady clock."""
        self.alarms = reply.alarms
        self._next = max(self._oldest, reply.received)
        while self._events and self._oldest < reply.kept:
            self._events.popleft()
            self._oldest += 1
        self._next = max(self._next, self._oldest)
        if reply.state is not None:
            self.learn(reply.state, asked_at)

    def learn(self, state: RolloutState, heard_at: float) -> None:
        """A state that the controller told; a lower version than the known one is no news, but no silence either."""
        self._state = newer(self._state, state)
        self._heard_at = max(self._heard_at, heard_at)
        if self._latch is None:
            return
        known = of_ramp(self._latch, self._state.ramp, self._state.version)
        if known is not self._latch:
            self._set(known)
        if not known.holds(self._state):
            _log.warning("ramp %d was started by a person: the latch of ramp %d is cleared", state.ramp, known.ramp)
            self._latch = None
            self._writes.start(self._logged(self._latches.clear, self._state.ramp), "latch")

    def _set(self, latch: Latch) -> None:
        self._latch = latch
        self._writes.start(self._logged(self._latches.write, latch), "latch")

    async def _logged(self, change: Callable[..., None], argument: object) -> None:
        try:
            await self._latch_thread.run(change, argument)
        except OSError as error:
            # In force in memory all the same, and on its way to the controller.
            _log.error("the latch file could not be changed: %s", error)


def _first_trigger(events: Sequence[Event], ramp: int, limits: Limits) -> Trigger | None:
    guardrails = Guardrails(ramp=ramp, limits=limits)
    return next((trigger for event in events if (trigger := guardrails.observe(event)) is not None), None)


def trigger_counts(event: Event, state: RolloutState) -> bool:
    """Whether news of an event still concern the ramp that is going on."""
    return event.ramp == state.ramp
