"""What a starting controller takes for the truth: the newest of its journal and the database, or manual."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from deployments.persistence.errors import DatabaseError
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.latch import recovered
from deployments.rollout.ramp.stages import begin, configure, rollback
from deployments.rollout.ramp.state import Order, RampConfiguration, RolloutState, Stage
from deployments.rollout_control.ramp_statistics import RampStatistics
from deployments.rollout_control.transition_log import TransitionLog

CONFIGURATION = "configuration"
SYSTEM = "system"
DATABASE_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """How a controller begins, and what it watches for."""

    configuration: RampConfiguration
    initial_stage: Stage
    seed: str
    challenger: str
    is_dry_run: bool = False


class StoredTransitions(Protocol):
    """The database, as far as the controller asks it: once, when it starts."""

    async def newest_state(self) -> RolloutState | None:
        """The state of the newest transition, None in a new database. Raises `DatabaseError` or `UnreadableState`."""
        ...


class Recovery:
    """Done once, and again every second while nobody knows a state."""

    def __init__(
        self,
        settings: ControlSettings,
        transition_log: TransitionLog,
        memory: StoredTransitions,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._transition_log = transition_log
        self._memory = memory
        self._clock = clock

    async def recover(self) -> RampStatistics:
        """Gives the transition log its state, if anybody knows one, and returns the statistics of its ramp."""
        statistics, damage = await self._own()
        stored, is_known = None, False
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                stored, is_known = await self._memory.newest_state(), True
        except (DatabaseError, TimeoutError) as error:
            _log.warning("the database does not tell the stage: %s", error)
        except UnreadableState as error:
            damage = damage or f"the database's newest state cannot be read: {error}"
        if damage is None and not self._transition_log.transitions and not is_known:
            # An empty journal may be a new disk: only the database can tell a new rollout from an old one.
            return statistics
        await self._settle(stored, damage)
        await self._configure()
        assert self._transition_log.state is not None
        if self._transition_log.state.ramp != statistics.ramp:
            statistics.begin(self._transition_log.state.ramp)
        return statistics

    async def _own(self) -> tuple[RampStatistics, str | None]:
        """The journal's statistics, and what is wrong with the journal."""
        limits = self._settings.configuration.limits
        try:
            remembered = await self._transition_log.read()
            if remembered.statistics is not None:
                return RampStatistics.restored(remembered.statistics, limits=limits), None
        except UnreadableState as error:
            _log.error("the controller's journal is set aside: %s", error)
            await self._transition_log.set_aside()
            return RampStatistics(ramp=0, limits=limits), f"the controller's journal cannot be read: {error}"
        return RampStatistics(ramp=0, limits=limits), None

    async def _settle(self, stored: RolloutState | None, damage: str | None) -> None:
        settings, transition_log = self._settings, self._transition_log
        order = self._order(SYSTEM, damage or "the controller has started")
        own = transition_log.transitions[-1].state if transition_log.transitions else None
        # Passed on again, because whoever listens may have missed them when the last controller died.
        for transition_before in transition_log.transitions:
            transition_log.tell(transition_before)
        for incident in transition_log.incidents:
            transition_log.tell(incident)
        state, transition = recovered((own, stored), (), order=order)
        transition_log.state = state
        if state is None:
            stage = Stage.ROLLED_BACK if damage else settings.initial_stage
            transition = begin(
                settings.configuration, stage=stage, seed=settings.seed, challenger=settings.challenger, order=order
            )
        elif damage is not None:
            transition = rollback(state, order)
        if transition is not None:
            await transition_log.commit(transition)

    async def _configure(self) -> None:
        """Other numbers in the settings are another configuration, which the audit trail must show."""
        assert self._transition_log.state is not None
        order = self._order(CONFIGURATION, "the settings have changed")
        transition = configure(self._transition_log.state, self._settings.configuration, order)
        if transition is not None:
            await self._transition_log.commit(transition)

    def _order(self, actor: str, reason: str) -> Order:
        return Order(actor=actor, reason=reason, at=self._clock())
