"""The controller's background task that brings transitions and incidents to the database, sooner or later."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.errors import DatabaseError
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.state import RolloutState, Transition
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.transition_log import Entry

MAX_PAUSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


class DatabaseSync:
    """Listens to the transition log; what the database did not take is kept and tried again, for ever."""

    def __init__(self, rows: RolloutRows, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._rows = rows
        self._sleep = sleep
        self._transitions: list[Transition] = []
        self._incidents: list[Incident] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def newest_state(self) -> RolloutState | None:
        """The state of the newest transition in the database. Raises `DatabaseError` or `UnreadableState`."""
        try:
            document = await asyncio.to_thread(self._rows.newest_state)
        except ValueError as error:
            raise UnreadableState(f"the newest transition must hold a state: {error}") from error
        return None if document is None else RolloutState.from_json(document)

    def hear(self, entry: Entry) -> None:
        """Keeps transitions and incidents for the database; a breach is no row."""
        if isinstance(entry, Transition):
            self._transitions.append(entry)
        elif isinstance(entry, Incident):
            self._incidents.append(entry)
        self._arrived.set()

    def start(self) -> None:
        """Begins, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="rollout filing")

    async def stop(self) -> None:
        """Ends at once: what is not in the database yet is passed on again by the next controller."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause_seconds = 0.1
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            transitions, incidents = tuple(self._transitions), tuple(self._incidents)
            try:
                rows = [_transition_row(each) for each in transitions], [_incident_row(each) for each in incidents]
                await asyncio.to_thread(self._rows.save, *rows)
            except DatabaseError as error:
                _log.warning("the audit trail waits for the database: %s", error)
                self._arrived.set()
                await self._sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, MAX_PAUSE_SECONDS)
            else:
                pause_seconds = 0.1
                del self._transitions[: len(transitions)]
                del self._incidents[: len(incidents)]


def _transition_row(transition: Transition) -> dict[str, Any]:
    origin = "" if transition.from_stage is None else transition.from_stage.value
    return {
        "version": transition.version,
        "created_at": transition.at,
        "from_stage": origin,
        "to_stage": transition.to_stage.value,
        "actor": transition.actor,
        "reason": transition.reason,
        "evidence": json.dumps(
            dict(transition.evidence) | {"action": transition.action.value, "is_forced": transition.is_forced}
        ),
        "configuration_sha256": hashlib.sha256(transition.configuration_hash.encode()).hexdigest(),
        "state": json.dumps(transition.state.as_json()),
    }


def _incident_row(incident: Incident) -> dict[str, Any]:
    return {
        "incident_id": incident.incident_id,
        "created_at": incident.at,
        "trigger": incident.trigger,
        "stage": incident.stage,
        "rollout_version": incident.version,
        "action": incident.action,
        "evidence": json.dumps(incident.evidence),
    }
