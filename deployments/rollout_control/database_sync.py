"""The controller's background task that brings transitions and incidents to the database, sooner or later."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.state import RolloutState, Transition
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.transition_log import Entry
from deployments.runtime.background import BackgroundTask, Threads

_log = logging.getLogger(__name__)


class DatabaseSync(BackgroundTask):
    """Listens to the transition log; what the database did not take is kept and tried again, for ever.

    What is not in the database when it is stopped is passed on again by the next controller.
    """

    def __init__(self, rows: RolloutRows, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        super().__init__("rollout filing", self._save, on_failure=_note_failure, sleep=sleep)
        self._rows = rows
        self._threads = Threads("the rows of the rollout", 1)
        self._transitions: list[Transition] = []
        self._incidents: list[Incident] = []
        self._arrived = asyncio.Event()

    async def newest_state(self) -> RolloutState | None:
        """The state of the newest transition in the database. Raises `DatabaseError` or `UnreadableState`."""
        try:
            document = await self._threads.run(self._rows.newest_state)
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

    async def _save(self) -> None:
        while not self._transitions and not self._incidents:
            self._arrived.clear()
            await self._arrived.wait()
        transitions, incidents = tuple(self._transitions), tuple(self._incidents)
        rows = [_transition_row(each) for each in transitions], [_incident_row(each) for each in incidents]
        await self._threads.run(self._rows.save, *rows)
        del self._transitions[: len(transitions)]
        del self._incidents[: len(incidents)]


def _note_failure(error: Exception, _: float) -> None:
    _log.warning("the audit trail waits for the database: %s", error)


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
