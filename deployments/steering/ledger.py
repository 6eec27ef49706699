"""What was decided about the rollout, in order: kept on disk before it is in force, and told to whoever listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from uuid6 import uuid7

from deployments.rollout.configuration import Stage
from deployments.rollout.stages import succeed
from deployments.rollout.state import RolloutState, Transition
from deployments.rollout.triggers import Reading
from deployments.steering.control_journal import ControlJournal, Remembered
from deployments.steering.messages import Incident

_log = logging.getLogger(__name__)
Entry = Transition | Incident | Reading


class Listener(Protocol):
    """Whoever hears of decisions: the database, the webhook. Never waits, never raises."""

    def hear(self, entry: Entry) -> None:
        """A transition, an incident, or a point breach that has just begun."""
        ...


class Ledger:
    """The state with all that led to it. Its caller sees to it that one decision is made at a time."""

    def __init__(
        self,
        journal: ControlJournal,
        listeners: tuple[Listener, ...],
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], object] = uuid7,
    ) -> None:
        self._journal = journal
        self._listeners = listeners
        self._clock = clock
        self._new_id = new_id
        self.state: RolloutState | None = None
        self.transitions: list[Transition] = []
        self.incidents: list[Incident] = []

    async def read(self) -> Remembered:
        """What the journal holds becomes the past. Raises `UnreadableState`."""
        remembered = await asyncio.to_thread(self._journal.read)
        self.transitions, self.incidents = list(remembered.transitions), list(remembered.incidents)
        return remembered

    async def set_aside(self) -> None:
        """A journal that cannot be read is kept for a person, and a new one begun."""
        await asyncio.to_thread(self._journal.set_aside)

    async def commit(self, transition: Transition) -> None:
        """On disk, and only then in force; a rollback is in force whatever the disk says. Raises `StaleVersion`."""
        following = succeed(self.state, transition)
        await self._keep(transition, is_urgent=transition.to_stage is Stage.ROLLED_BACK)
        self.state = following
        self.transitions.append(transition)
        stage, actor = transition.to_stage.value, transition.actor
        _log.warning("rollout version %d: %s by %s: %s", transition.version, stage, actor, transition.reason)
        self.tell(transition)

    async def open_incident(
        self, trigger: str, state: RolloutState, action: str, evidence: dict[str, Any], stage: Stage | None = None
    ) -> None:
        """Something fired in `stage` (None: that of the state), and `action` was taken."""
        incident = Incident(
            incident_id=str(self._new_id()),
            at=self._clock(),
            trigger=trigger,
            stage=(stage or state.stage).value,
            version=state.version,
            action=action,
            evidence=evidence,
        )
        _log.error("incident %s: %s in %s, %s", incident.incident_id, trigger, incident.stage, action)
        self.incidents.append(incident)
        await self._keep(incident, is_urgent=True)
        self.tell(incident)

    def tell(self, entry: Entry) -> None:
        """Passes on one entry."""
        for listener in self._listeners:
            listener.hear(entry)

    async def _keep(self, entry: Transition | Incident, *, is_urgent: bool) -> None:
        try:
            await asyncio.to_thread(self._journal.append, entry)
        except OSError as error:
            if not is_urgent:
                raise
            _log.error("the controller's journal took nothing: %s", error)
