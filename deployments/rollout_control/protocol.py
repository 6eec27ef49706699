"""What a router and the controller say to each other in one exchange."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import RolloutState

BLOCKED, DRY_RUN = "promotion is blocked", "dry run"
"""What an incident leads to where nothing is rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterReport:
    """News of one router. `events` are numbered from `first`; it still holds all from `oldest` on.

    `dropped` counts the events that its bounded memory had no room for, since it was started.
    """

    router: str
    first: int
    oldest: int
    events: tuple[Event, ...]
    latch: Latch | None
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerReply:
    """`state` is None while the controller does not know any. Events below `received` are known to it, and
    those below `kept` survive its death. `alarms` are what a person must look at."""

    state: RolloutState | None
    received: int
    kept: int
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A guardrail fired, or somebody rolled back: what it was, what was done, and the evidence."""

    incident_id: str
    at: datetime
    trigger: str
    stage: str
    version: int
    action: str
    evidence: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        return {
            "incident_id": self.incident_id,
            "at": self.at.isoformat(),
            "trigger": self.trigger,
            "stage": self.stage,
            "version": self.version,
            "action": self.action,
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Incident:
        """Raises `KeyError`, `TypeError` or `ValueError` for anything that `as_json` did not write."""
        return cls(**document | {"at": datetime.fromisoformat(document["at"])})

    def as_row(self) -> dict[str, Any]:
        """As columns, its evidence as JSON."""
        return {
            "incident_id": self.incident_id,
            "created_at": self.at,
            "trigger": self.trigger,
            "stage": self.stage,
            "rollout_version": self.version,
            "action": self.action,
            "evidence": json.dumps(self.evidence),
        }
