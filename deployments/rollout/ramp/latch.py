"""A rollback that one router decides alone, and who knows the newest state when everybody restarts.

A latch beats every state of its own ramp, however new: only a person's new start, which begins the next ramp,
clears it. So a pause that crossed the latch on its way cannot undo it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from deployments.rollout.analysis.triggers import Trigger
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.stages import rollback
from deployments.rollout.ramp.state import GUARDRAIL, Order, RolloutState, Stage, Transition

STALE_SECONDS = 5.0
"""State that was fetched longer ago is no state: the planner's rule serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """One router has rolled back at `version` of `ramp`; `actor` is `guardrail` or the key of a person."""

    ramp: int
    version: int
    at: datetime
    router: str
    actor: str
    reason: str
    trigger: Trigger | None = None

    def holds(self, state: RolloutState) -> bool:
        """Whether the latch is in force against `state`."""
        return self.ramp >= state.ramp

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        trigger = None if self.trigger is None else self.trigger.as_json()
        return document | {"at": self.at.isoformat(), "trigger": trigger}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Latch:
        """Raises `UnreadableState` for anything that `as_json` did not write."""
        try:
            trigger = document["trigger"]
            read = {
                "at": datetime.fromisoformat(document["at"]),
                "trigger": None if trigger is None else Trigger.from_json(trigger),
            }
            return cls(**(dict(document) | read))
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableState(f"latch cannot be read: {error!r}") from error


def latched(state: RolloutState, trigger: Trigger, router: str) -> Latch | None:
    """What a router does with a one-event trigger: None in shadow, where nothing of the challenger is served."""
    if state.serving_stage in (Stage.SHADOW, Stage.ROLLED_BACK):
        return None
    return Latch(
        ramp=state.ramp,
        version=state.version,
        at=trigger.at,
        router=router,
        actor=GUARDRAIL,
        reason=trigger.reason,
        trigger=trigger,
    )


def in_force(state: RolloutState | None, latch: Latch | None) -> RolloutState | None:
    """The state that a router acts on: rolled back while its latch holds."""
    if state is None or latch is None or not latch.holds(state) or state.stage is Stage.ROLLED_BACK:
        return state
    return replace(state, stage=Stage.ROLLED_BACK, share=0.0, held_stage=None)


def newer(current: RolloutState | None, offered: RolloutState) -> RolloutState:
    """The state that a router keeps: never one of a lower version."""
    return offered if current is None or offered.version >= current.version else current


def is_fresh(age_seconds: float) -> bool:
    """Whether state that was fetched `age_seconds` ago, by a steady clock, may still be acted on."""
    return 0.0 <= age_seconds <= STALE_SECONDS


def roll_back_for(state: RolloutState, latch: Latch) -> Transition | None:
    """What a controller does when it hears of a latch; None when the rollback is there, or the latch is of the past."""
    if not latch.holds(state):
        return None
    order = Order(actor=latch.actor, reason=latch.reason, at=latch.at, evidence={"latch": latch.as_json()})
    return rollback(state, order, seen_version=latch.version, seen_ramp=latch.ramp)


def recovered(
    states: Iterable[RolloutState | None], latches: Iterable[Latch], *, order: Order
) -> tuple[RolloutState | None, Transition | None]:
    """What a starting controller takes from the database, its journal (each None when empty) and the routers' latches.

    The newest state, and the rollback that has to follow it: because a latch holds, or because two sources
    disagree about the newest version. (None, None) when nobody knows anything: a new database. A source that
    cannot be read is the caller's to tell: it passes what it has and rolls back by itself.
    """
    known = [state for state in states if state is not None]
    if not known:
        return None, None
    newest = max(known, key=lambda state: state.version)
    holding = [latch for latch in latches if latch.holds(newest)]
    if holding:
        return newest, roll_back_for(newest, max(holding, key=lambda latch: (latch.ramp, latch.version)))
    if any(state.version == newest.version and state != newest for state in known):
        evidence = {"versions": [state.as_json() for state in known]}
        disagreed = replace(order, reason="two sources disagree about the newest version", evidence=evidence)
        return newest, rollback(newest, disagreed)
    return newest, None
