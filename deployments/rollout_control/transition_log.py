"""What was decided about the rollout: fsynced on the controller's disk before it is in force, then passed on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from uuid6 import uuid7

from deployments.errors import ServiceError, UnreadableState
from deployments.persistence.spool.disk import LocalDisk
from deployments.rollout.analysis.triggers import GuardrailReading
from deployments.rollout.ramp.stages import succeed
from deployments.rollout.ramp.state import RolloutState, Stage, Transition
from deployments.rollout_control.protocol import Incident
from deployments.runtime.background import Threads
from deployments.runtime.durable_file import OWNER_ONLY, sync_folder, write_durably

JOURNAL, STATISTICS, LOCK, IDENTITY = "journal.jsonl", "statistics.json", "lock", "identity"
_LOCK_SECONDS = 20.0
_POLL_SECONDS = 0.1
_log = logging.getLogger(__name__)
Entry = Transition | Incident | GuardrailReading


class ControllerTaken(ServiceError):
    """Another controller lives on this folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a controller left, in the order in which it was in force; `decided` are those that it decided itself."""

    transitions: tuple[Transition, ...] = ()
    decided: tuple[Transition, ...] = ()
    incidents: tuple[Incident, ...] = ()
    statistics: dict[str, Any] | None = None


class ControllerJournal:
    """Blocking: call it in a thread. Raises `OSError` as the disk does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / JOURNAL
        self._lock = -1

    def open(self, patience_seconds: float = _LOCK_SECONDS) -> None:
        """Waits for an earlier controller to end. Raises `ControllerTaken` when it does not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        deadline = time.monotonic() + patience_seconds
        while not LocalDisk().lock(self._lock):
            if time.monotonic() > deadline:
                raise ControllerTaken(f"{self._folder} must belong to one rollout controller, another one lives")
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Lets the next controller in."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def identity(self) -> str:
        """The id of whoever lives on this folder, the same for ever."""
        path = self._folder / IDENTITY
        with suppress(FileNotFoundError, ValueError):
            return str(UUID(path.read_text(encoding="ascii").strip()))
        identity = str(uuid7())
        write_durably(path, identity)
        return identity

    def read(self) -> Remembered:
        """All that is there; a last line that was torn by a death was never promised. Raises `UnreadableState`."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        *lines, torn = data.split(b"\n")
        if torn:
            os.truncate(self._path, len(data) - len(torn))
        transitions, decided, incidents = [], [], []
        for number, line in enumerate(lines, start=1):
            try:
                document = json.loads(line)
                if document["kind"] == "transition":
                    transitions.append(Transition.from_json(document["transition"]))
                    decided += [] if document.get("is_adopted") else transitions[-1:]
                else:
                    incidents.append(Incident.from_json(document["incident"]))
            except (ValueError, KeyError, TypeError, UnreadableState) as error:
                raise UnreadableState(f"line {number} of {self._path} cannot be read: {error!r}") from error
        return Remembered(
            transitions=tuple(transitions),
            decided=tuple(decided),
            incidents=tuple(incidents),
            statistics=self._read_statistics(),
        )

    def set_aside(self) -> None:
        """A journal that cannot be read is kept for a person, and a new one begun."""
        if self._path.exists():
            self._path.rename(self._path.with_suffix(f".damaged-{time.time_ns()}"))
        (self._folder / STATISTICS).unlink(missing_ok=True)

    def append(self, entry: Transition | Incident, *, is_adopted: bool = False) -> None:
        """On the medium when this returns; `is_adopted` marks what somebody else has decided."""
        kind = "transition" if isinstance(entry, Transition) else "incident"
        document = {"kind": kind, kind: entry.as_json()} | ({"is_adopted": True} if is_adopted else {})
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, OWNER_ONLY)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError("the journal took only a part of a line")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(self._folder)

    def save_statistics(self, document: dict[str, Any]) -> None:
        """Replaces the statistics as a whole, on the medium."""
        write_durably(self._folder / STATISTICS, json.dumps(document, separators=(",", ":")))

    def _read_statistics(self) -> dict[str, Any] | None:
        try:
            document = json.loads((self._folder / STATISTICS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UnreadableState(f"{self._folder / STATISTICS} cannot be read: {error}") from error
        if not isinstance(document, dict):
            raise UnreadableState(f"{self._folder / STATISTICS} must hold an object")
        return document


class TransitionListener(Protocol):
    """Whoever hears of decisions: the database, the webhook. Never waits, never raises."""

    def hear(self, entry: Entry) -> None:
        """A transition, an incident, or a point breach that has just begun."""
        ...


class TransitionLog:
    """The state with all that led to it. Its caller sees to it that one decision is made at a time."""

    def __init__(
        self,
        journal: ControllerJournal,
        listeners: tuple[TransitionListener, ...],
        *,
        clock: Callable[[], datetime],
        disk: Threads,
        new_id: Callable[[], object] = uuid7,
    ) -> None:
        self._journal = journal
        self._disk = disk
        self._listeners = listeners
        self._clock = clock
        self._new_id = new_id
        self.state: RolloutState | None = None
        self.transitions: list[Transition] = []
        self.incidents: list[Incident] = []

    async def read(self) -> Remembered:
        """What the journal holds becomes the past. Raises `UnreadableState`."""
        remembered = await self._disk.run(self._journal.read)
        self.transitions, self.incidents = list(remembered.transitions), list(remembered.incidents)
        return remembered

    async def set_aside(self) -> None:
        """A journal that cannot be read is kept for a person, and a new one begun."""
        await self._disk.run(self._journal.set_aside)

    async def commit(self, transition: Transition, *, is_stored: bool = False) -> None:
        """On disk, and only then in force; a rollback, and what the database has, whatever the disk says.

        Raises `StaleVersion`.
        """
        following = succeed(self.state, transition)
        await self._keep(transition, is_urgent=is_stored or transition.to_stage is Stage.ROLLED_BACK)
        self.state = following
        self.transitions.append(transition)
        stage, actor = transition.to_stage.value, transition.actor
        message = "rollout version %d: %s by %s: %s"
        _log.log(_level_of(transition), message, transition.version, stage, actor, transition.reason)
        self.tell(transition)

    async def adopt(self, transition: Transition) -> None:
        """What the database says that somebody else decided: in force, whatever was before."""
        await self._keep(transition, is_urgent=True, is_adopted=True)
        self.state = transition.state
        self.transitions.append(transition)
        stage, actor = transition.to_stage.value, transition.actor
        _log.log(
            _level_of(transition), "rollout version %d of the database: %s by %s", transition.version, stage, actor
        )

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

    async def _keep(self, entry: Transition | Incident, *, is_urgent: bool, is_adopted: bool = False) -> None:
        try:
            await self._disk.run(self._journal.append, entry, is_adopted=is_adopted)
        except OSError as error:
            if not is_urgent:
                raise
            _log.error("the controller's journal took nothing: %s", error)


def _level_of(transition: Transition) -> int:
    """That a rollout begins and goes on is what it is for; somebody should look at a rollback."""
    return logging.WARNING if transition.to_stage is Stage.ROLLED_BACK else logging.INFO


def transition_row(transition: Transition) -> dict[str, Any]:
    """A transition as columns, its evidence and state as JSON; `transition_of` is the inverse."""
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


def transition_of(row: Mapping[str, Any]) -> Transition:
    """A stored row, its JSON decoded, as a transition. Raises `UnreadableState`."""
    evidence = dict(row["evidence"])
    return Transition.from_json(
        {
            "action": evidence.pop("action", None),
            "from": row["from_stage"] or None,
            "actor": row["actor"],
            "reason": row["reason"],
            "is_forced": bool(evidence.pop("is_forced", False)),
            "evidence": evidence,
            "state": row["state"],
        }
    )
