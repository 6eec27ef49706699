"""THE CONTROLLER: owns the stage, hears of every event, rolls back, takes orders. Plain asyncio.

Whatever it decides is fsynced in its own journal first; the database follows in the background and is never
asked for a guardrail. One decision at a time: a lock makes exchange and order wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.errors import RolloutUnavailable
from deployments.rollout.analysis.triggers import Trigger
from deployments.rollout.ramp.gate import GateReason, GateVerdict, PromotionGate, judge_gate
from deployments.rollout.ramp.latch import roll_back_for
from deployments.rollout.ramp.stages import activate, pause, promote, resume, rollback
from deployments.rollout.ramp.state import GUARDRAIL, Action, Order, RolloutState, Stage, Transition
from deployments.rollout_control.protocol import ControllerReply, RouterReport
from deployments.rollout_control.ramp_statistics import RampStatistics
from deployments.rollout_control.recovery import ControlSettings, Recovery, StoredTransitions
from deployments.rollout_control.transition_log import ControllerJournal, TransitionListener, TransitionLog
from deployments.runtime.background import BackgroundTask, Threads

HEARTBEAT_SECONDS = 1.0
BY_HAND = "by hand"
AGAIN = "rolled back: a promotion starts again from shadow"
_RETRY_SECONDS = 2
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
        memory: StoredTransitions,
        listeners: tuple[TransitionListener, ...],
        clock: Callable[[], datetime],
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._disk = Threads("the journal of the rollout", 1)
        self.transition_log = TransitionLog(journal, listeners, clock=clock, disk=self._disk)
        self._recovery = Recovery(settings, self.transition_log, memory, clock=clock)
        self._lock = asyncio.Lock()
        self._statistics = RampStatistics(ramp=0, limits=settings.configuration.limits)
        self._kept: dict[str, int] = {}
        self._is_dirty = False
        self._breaches: frozenset[str] = frozenset()
        self._routers: dict[str, dict[str, Any]] = {}
        self._heart = BackgroundTask("rollout heartbeat", self._beat, period_seconds=heartbeat_seconds)

    async def open(self) -> None:
        """Takes the newest of journal and database; begins where nobody knows anything. Raises `ControllerTaken`."""
        await self._disk.run(self._journal.open)
        await self._recover()
        self._heart.start()

    async def close(self) -> None:
        """Saves the statistics and lets the next controller in."""
        await self._heart.stop()
        await self._save_statistics()
        await self._disk.run(self._journal.close)
        self._disk.close()

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
            return ControllerReply(state=self.transition_log.state, received=received, kept=kept)

    async def command(self, command: Command) -> RolloutState:
        """Carries out a person's order. Raises `RolloutError`, `RolloutUnavailable`, or `OSError` of the disk."""
        async with self._lock:
            state = self._known()
            transition = self._transition(command, state)
            if transition is not None:
                await self._commit(transition)
                if command.action is Action.ROLLBACK:
                    evidence = {"actor": command.order.actor, "reason": command.order.reason}
                    await self._rolled_back(BY_HAND, transition, evidence)
            return self._known()

    def gate(self, integrity: tuple[str, ...] = ()) -> PromotionGate:
        """The verdict on the present stage. Raises `RolloutUnavailable`."""
        state = self._known()
        serving = state.serving_stage
        if serving is Stage.ROLLED_BACK:
            return PromotionGate(verdict=GateVerdict.HOLD, reasons=(GateReason(text=AGAIN, is_forcible=False),))
        return judge_gate(
            serving,
            state.seconds_in_stage(self._clock()),
            self._settings.configuration,
            self._statistics.evidence(serving, integrity),
            is_paused=state.stage is Stage.PAUSED,
        )

    def overview(self) -> dict[str, Any]:
        """Everything that an operator looks at, as plain JSON values. Raises `RolloutUnavailable`."""
        state, gate = self._known(), self.gate()
        return state.as_json() | {
            "serving_stage": state.serving_stage.value,
            "actual_share": self._statistics.served_share(state.serving_stage),
            "seconds_in_stage": state.seconds_in_stage(self._clock()),
            "is_dry_run": self._settings.is_dry_run,
            "configuration": self._settings.configuration.as_json(),
            "gate": gate.as_json(),
            "guardrails": [reading.as_json() for reading in self._statistics.readings()],
            "triggers": [trigger.as_json() for trigger in self._statistics.triggers],
            "routers": list(self._routers.values()),
        }

    def _known(self) -> RolloutState:
        if self.transition_log.state is None:
            raise RolloutUnavailable("the stage is not known: the database does not answer", _RETRY_SECONDS)
        return self.transition_log.state

    def _transition(self, command: Command, state: RolloutState) -> Transition | None:
        order = command.order
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
            case _:
                return rollback(state, order)

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
            transition = roll_back_for(self._known(), report.latch)
            if transition is not None:
                await self._commit(transition)
                cause = report.latch.trigger
                name = BY_HAND if cause is None else cause.guardrail.value
                await self._rolled_back(name, transition, dict(transition.evidence))

    async def _react(self, trigger: Trigger) -> None:
        """What a guardrail that fires leads to; in shadow, where nothing is served, to an incident alone."""
        state = self._known()
        evidence = {
            "trigger": trigger.as_json(),
            "readings": [reading.as_json() for reading in self._statistics.readings()],
            "recent": self._statistics.recent,
        }
        may_roll_back = state.serving_stage not in (Stage.SHADOW, Stage.ROLLED_BACK)
        if not may_roll_back or self._settings.is_dry_run:
            action = "dry run" if may_roll_back else "promotion is blocked"
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
        await self.transition_log.commit(transition)
        if transition.state.ramp != self._statistics.ramp:
            self._statistics.begin(transition.state.ramp)
            self._is_dirty = True

    async def _recover(self) -> None:
        async with self._lock:
            self._statistics = await self._recovery.recover()
            self._kept = dict(self._statistics.all_received)
            await self._insist()

    async def _beat(self) -> None:
        """Once a second: statistics to disk, breaches to whoever listens, the database asked while nobody knows."""
        if self.transition_log.state is None:
            await self._recover()
        self._notice_breaches()
        await self._save_statistics()

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
