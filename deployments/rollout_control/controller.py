"""THE CONTROLLER: owns the stage, hears of every event, rolls back, takes orders. Plain asyncio.

A rollback is fsynced in its own journal and in force at once; whatever else it decides is in the database first, and
only the owner of the rollout decides it. The database is never asked for a guardrail. One decision at a time: a
lock makes exchange and order wait for each other, and nobody holds it who waits for the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.errors import RolloutError, RolloutUnavailable, TransitionRefused, UnreadableState
from deployments.persistence.errors import DatabaseError
from deployments.rollout.analysis.e_processes import worse_text
from deployments.rollout.analysis.triggers import GuardrailReading, Trigger
from deployments.rollout.ramp.comparison import WindowComparison, replay
from deployments.rollout.ramp.gate import GateReason, GateVerdict, PromotionGate, judge_gate
from deployments.rollout.ramp.latch import roll_back_for
from deployments.rollout.ramp.stages import activate, hold_back, pause, promote, resume, rollback
from deployments.rollout.ramp.state import GUARDRAIL, Action, Order, RolloutState, Stage, Transition
from deployments.rollout_control.agreement import ControlSettings, DatabaseAgreement, ModelIdentity, StoredRollout
from deployments.rollout_control.protocol import BLOCKED, DRY_RUN, ControllerReply, RouterReport
from deployments.rollout_control.ramp_statistics import UNCOUNTED, RampStatistics
from deployments.rollout_control.transition_log import ControllerJournal, TransitionListener, TransitionLog
from deployments.runtime.background import BackgroundTask, Threads

HEARTBEAT_SECONDS = 1.0
MEETING_SECONDS = 0.25
BY_HAND = "by hand"
AGAIN = "rolled back: a promotion starts again from shadow"
_RETRY_SECONDS = 2
OWNED_BY_ANOTHER = "another service owns the rollout of this database: give the order there"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person wants: an action with its order. `integrity` is what makes the experiment doubtful.

    `force` promotes although data are missing, and keeps the stage when other arms are activated; `challenger` and
    `champion` are those arms.
    """

    action: Action
    order: Order
    force: bool = False
    integrity: tuple[str, ...] = ()
    challenger: str = ""
    champion: str | None = None


class Controller:
    """Use `open` before anything else, on the event loop that it lives on, and `close` in the end."""

    def __init__(
        self,
        settings: ControlSettings,
        *,
        journal: ControllerJournal,
        database: StoredRollout,
        listeners: tuple[TransitionListener, ...],
        clock: Callable[[], datetime],
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        meeting_seconds: float = MEETING_SECONDS,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._disk = Threads("the journal of the rollout", 1)
        self._counting = Threads("stored windows", 1)
        self.transition_log = TransitionLog(journal, listeners, clock=clock, disk=self._disk)
        self._database = database
        self._lock = asyncio.Lock()
        self._agreement = DatabaseAgreement(
            settings, self.transition_log, database, lock=self._lock, clock=clock, on_change=self._enter_ramp
        )
        self._statistics = RampStatistics(ramp=0, limits=settings.configuration.limits)
        self._kept: dict[str, int] = {}
        self._identities: dict[str, ModelIdentity] = {}
        self._is_dirty = False
        self._breaches: frozenset[str] = frozenset()
        self._routers: dict[str, dict[str, Any]] = {}
        self._is_due = asyncio.Event()
        self._meeting_seconds = meeting_seconds
        self._tasks = (
            # Each a task of its own: whatever windows cannot be counted for, the statistics are saved all the same.
            BackgroundTask("rollout windows", self.close_windows, period_seconds=heartbeat_seconds),
            BackgroundTask("rollout heartbeat", self._beat, period_seconds=heartbeat_seconds),
            BackgroundTask("rollout agreement", self._meet_when_due),
        )

    async def open(self) -> None:
        """Takes the newest of journal and database; begins where nobody knows anything. Raises `ControllerTaken`."""
        await self._disk.run(self._journal.open)
        self._database.owner_id = await self._disk.run(self._journal.identity)
        self._statistics = await self._agreement.read_journal()
        self._kept = dict(self._statistics.all_received)
        await self._agreement.meet()
        async with self._lock:
            await self._enter_ramp()
            await self._insist()
        for task in self._tasks:
            task.start()

    async def meet(self) -> None:
        """Takes what others have decided, and stores what was decided here, as far as the database answers."""
        await self._agreement.meet()

    async def close(self) -> None:
        """Saves the statistics and lets the next controller in."""
        for task in self._tasks:
            await task.stop()
        await self._save_statistics()
        await self._disk.run(self._journal.close)
        self._disk.close()
        self._counting.close()

    async def exchange(self, report: RouterReport) -> ControllerReply:
        """Takes a router's news and tells the state."""
        async with self._lock:
            self._routers.pop(report.router, None)
            self._routers[report.router] = {
                "router": report.router,
                "heard_at": self._clock().isoformat(),
                "dropped_events": report.dropped,
                "is_latched": report.latch is not None,
            }
            while len(self._routers) > len(self._statistics.all_received) + 1:
                self._routers.pop(next(iter(self._routers)))
            if self.transition_log.state is not None:
                await self._take(report)
            received = self._statistics.received(report.router)
            kept = min(received, self._kept.get(report.router, 0))
            return ControllerReply(
                state=self.transition_log.state, received=received, kept=kept, alarms=self._agreement.alarms
            )

    async def command(self, command: Command) -> RolloutState:
        """Carries out a person's order. Raises `RolloutError`, `RolloutUnavailable`, or `OSError` of the disk."""
        if command.action is not Action.ROLLBACK:
            return await self._agreement.decide(lambda state: self._transition(command, state))
        async with self._lock:
            transition = rollback(self._agreement.known(), command.order)
            if transition is not None:
                await self._commit(transition)
                evidence = {"actor": command.order.actor, "reason": command.order.reason}
                await self._rolled_back(BY_HAND, transition, evidence)
            return self._agreement.known()

    async def close_windows(self) -> None:
        """Counts the windows that are over by now, after those that an earlier controller has left in the database."""
        await self._recount()
        async with self._lock:
            known = self._statistics.windows
            for trigger in self._statistics.close(self._clock()) if self.transition_log.state is not None else ():
                await self._react(trigger)
            self._is_dirty = self._is_dirty or self._statistics.windows != known
        await self._hold_back()

    async def _hold_back(self) -> None:
        """Lists on which the challenger is shown to be worse stay on the champion; in the database first, as all that
        is no rollback. What cannot be stored now is asked again with the next heartbeat."""
        async with self._lock:
            state, found = self.transition_log.state, self._statistics.worse_at_the_door
        if state is None or self._settings.is_dry_run or not self._database.is_owner or found <= {*state.held_back}:
            return
        reason = "; ".join(map(worse_text, sorted(found - {*state.held_back})))
        order = Order(actor=GUARDRAIL, reason=reason, at=self._clock(), expected_version=state.version)
        try:
            # Of another version are other arms, perhaps, and the next heartbeat asks again.
            await self._agreement.decide(lambda newest: hold_back(newest, found, order))
        except (RolloutUnavailable, RolloutError) as error:
            _log.warning("lists that should stay on the champion do not yet: %s", error)

    async def _recount(self) -> None:
        """Counts what was stored of the present arms, where this controller may not know all of it."""
        async with self._lock:
            state, statistics = self.transition_log.state, self._statistics
            if state is None or statistics.uncounted is None:
                return
            arms = await self._arms(state)
            if arms is None:
                return
            (challenger, champion), now, asked = statistics.arms, self._clock(), statistics.recounts

        def is_same(other: RolloutState) -> bool:
            names, found = (other.challenger, other.champion), self._settings.identify
            return names == (state.challenger, state.champion) or [
                identity and identity.sha256 for identity in map(found, names)
            ] == [challenger, champion]

        if self._database.failure is not None:
            statistics.uncounted = f"{UNCOUNTED}: {self._database.failure}"
            return
        try:
            transitions, stored = await self._database.compared(
                now,
                challenger=arms[0].model_id,
                champion=arms[1].model_id,
                is_same=is_same,
                seed=self._settings.seed,
                sampled_share=self._settings.sampled_share,
            )
        except DatabaseError as error:
            statistics.uncounted = f"{UNCOUNTED}: {error.advice}"
            return
        except UnreadableState as error:
            statistics.uncounted = f"{UNCOUNTED}: {error}"
            return
        limits = self._settings.configuration.limits
        counted = WindowComparison(challenger=challenger, champion=champion, limits=limits)
        events = statistics.with_latest(stored)
        # In a thread, because there may be months of it, and routers must not wait for the state.
        await self._counting.run(replay, counted, events, transitions, now=now)
        async with self._lock:
            if statistics.recounts == asked:
                statistics.adopt(counted, events)
                self._is_dirty = True

    def gate(self, integrity: tuple[str, ...] = ()) -> PromotionGate:
        """The verdict on the present stage. Raises `RolloutUnavailable`."""
        state = self._agreement.known()
        serving = state.serving_stage
        if self._database.is_follower:
            return PromotionGate(
                verdict=GateVerdict.HOLD, reasons=(GateReason(text=OWNED_BY_ANOTHER, is_forcible=False),)
            )
        if serving is Stage.ROLLED_BACK:
            return PromotionGate(verdict=GateVerdict.HOLD, reasons=(GateReason(text=AGAIN, is_forcible=False),))
        return judge_gate(
            serving,
            state.seconds_in_stage(self._clock()),
            self._settings.configuration,
            self._statistics.evidence(serving, integrity),
            is_paused=state.stage is Stage.PAUSED,
            held_back=state.held_back,
        )

    def guardrails(self) -> tuple[GuardrailReading, ...]:
        """Every rule of the present ramp as it stands."""
        return self._statistics.readings()

    def overview(self) -> dict[str, Any]:
        """Everything that an operator looks at, as plain JSON values. Raises `RolloutUnavailable`."""
        state, gate, lease = self._agreement.known(), self.gate(), self._database.lease
        return state.as_json() | {
            "serving_stage": state.serving_stage.value,
            "actual_share": self._statistics.served_share(state.serving_stage),
            "seconds_in_stage": state.seconds_in_stage(self._clock()),
            "is_dry_run": self._settings.is_dry_run,
            "is_owner": self._database.is_owner,
            "owner": None if lease is None else lease.owner_name or None,
            "configuration": self._settings.configuration.as_json(),
            "gate": gate.as_json(),
            "guardrails": [reading.as_json() for reading in self.guardrails()],
            "triggers": [trigger.as_json() for trigger in self._statistics.triggers],
            "routers": list(self._routers.values()),
        }

    def _transition(self, command: Command, state: RolloutState) -> Transition | None:
        order = command.order
        if self._database.is_follower:
            raise TransitionRefused(command.action.value, state.stage.value, (OWNED_BY_ANOTHER,))
        if not self._database.is_owner:
            message = f"nothing but a rollback is possible without the database: {self._database.failure}"
            raise RolloutUnavailable(message, _RETRY_SECONDS)
        match command.action:
            case Action.PROMOTE:
                gate = self.gate(command.integrity)
                return promote(state, self._settings.configuration, order, gate, force=command.force)
            case Action.PAUSE:
                return pause(state, order)
            case Action.RESUME:
                return resume(state, order)
            case Action.ACTIVATE:
                return activate(
                    state,
                    self._settings.configuration,
                    order,
                    challenger=command.challenger,
                    champion=command.champion,
                    keep_stage=command.force,
                )
            case action:
                raise AssertionError(f"no order of a person is {action.value}")

    async def _insist(self) -> None:
        """Carries out a trigger whose rollback failed on the disk, or died with an earlier controller.

        A guardrail fires once a ramp and its event is not told again, so nothing else would.
        """
        state, triggers = self.transition_log.state, self._statistics.triggers
        if state is None or not triggers or self._settings.is_dry_run:
            return
        if state.serving_stage not in (Stage.SHADOW, Stage.ROLLED_BACK):
            await self._react(triggers[0])

    async def _take(self, report: RouterReport) -> None:
        await self._insist()
        for trigger in self._statistics.take(report):
            await self._react(trigger)
        self._is_dirty = self._is_dirty or bool(report.events)
        # A latch of ramp 0 was set by a router that knew no state; it takes the ramp that this answer tells.
        if report.latch is not None and report.latch.ramp:
            transition = roll_back_for(self._agreement.known(), report.latch)
            if transition is not None:
                await self._commit(transition)
                cause = report.latch.trigger
                name = BY_HAND if cause is None else cause.guardrail.value
                await self._rolled_back(name, transition, dict(transition.evidence))

    async def _react(self, trigger: Trigger) -> None:
        """What a guardrail that fires leads to; in shadow, where nothing is served, to an incident alone."""
        state = self._agreement.known()
        evidence = {
            "trigger": trigger.as_json(),
            "readings": [reading.as_json() for reading in self._statistics.readings()],
            "recent": self._statistics.recent,
        }
        may_roll_back = state.serving_stage not in (Stage.SHADOW, Stage.ROLLED_BACK)
        if not may_roll_back or self._settings.is_dry_run:
            action = DRY_RUN if may_roll_back else BLOCKED
            await self.transition_log.open_incident(trigger.guardrail.value, state, action, evidence)
            return
        order = Order(actor=GUARDRAIL, reason=trigger.reason, at=self._clock(), evidence=evidence)
        transition = rollback(state, order)
        assert transition is not None, "what is not rolled back can be"
        await self._commit(transition)
        await self._rolled_back(trigger.guardrail.value, transition, evidence)

    async def _rolled_back(self, trigger: str, transition: Transition, evidence: dict[str, Any]) -> None:
        await self.transition_log.open_incident(
            trigger, transition.state, "rolled back", evidence, transition.from_stage
        )

    async def _commit(self, transition: Transition) -> None:
        """A rollback, whose way to the database begins at once."""
        await self.transition_log.commit(transition)
        await self._enter_ramp()
        self._is_due.set()

    async def _enter_ramp(self) -> None:
        """The next ramp begins without what the guardrails saw in the last one, whoever has begun it."""
        state = self.transition_log.state
        if (token := self._database.token) is not None:
            self._is_dirty = self._statistics.own(token) or self._is_dirty
        if state is not None:
            arms = await self._arms(state)
            hashes = None if arms is None else (arms[0].sha256, arms[1].sha256)
            self._is_dirty = self._statistics.enter(state, hashes) or self._is_dirty

    async def _arms(self, state: RolloutState) -> tuple[ModelIdentity, ModelIdentity] | None:
        """Challenger and champion; None while nobody can tell who they are. Read once, and not on the event loop."""
        for name in (state.challenger, state.champion):
            if name not in self._identities:
                identity = await self._disk.run(self._settings.identify, name)
                if identity is None:
                    return None
                self._identities[name] = identity
        return self._identities[state.challenger], self._identities[state.champion]

    async def _meet_when_due(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._meeting_seconds):
                await self._is_due.wait()
        self._is_due.clear()
        await self._agreement.meet()

    async def _beat(self) -> None:
        """Once a second: statistics to disk, breaches to whoever listens."""
        await self._save_statistics()
        self._notice_breaches()

    def _notice_breaches(self) -> None:
        found = {f"{each.guardrail.value}/{each.baseline}": each for each in self._statistics.breaches()}
        for name, reading in found.items():
            if name not in self._breaches:
                _log.warning("point breach of %s: %s, limit %s", name, reading.value, reading.limit)
                self.transition_log.tell(reading)
        self._breaches = frozenset(found)

    async def _save_statistics(self) -> None:
        if not self._is_dirty:
            return
        self._is_dirty = False
        document, received = self._statistics.snapshot(), self._statistics.all_received
        try:
            await self._disk.run(self._journal.save_statistics, document)
        except OSError as error:
            self._is_dirty = True
            _log.error("the statistics could not be saved: %s", error)
            return
        self._kept = dict(received)
