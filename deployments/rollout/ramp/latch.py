"""A rollback that one router or one service decides alone, and what becomes of it where others have gone on.

A latch beats every state of its own ramp, however new: only a person's new start, which begins the next ramp,
clears it. So a pause that crossed the latch on its way cannot undo it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from deployments.errors import UnreadableState
from deployments.rollout.analysis.triggers import Trigger
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What follows from a controller's own transitions and those of the database.

    `adopted` were decided elsewhere and are in force from now on; `missing` were decided here and are not stored yet.
    A `conflict` is the newest of either side, which cannot both be true: the database's is, but where `rolls_back` a
    rollback above both versions takes its place at once. None of them is in force where `is_foreign`: no version is
    the same on both sides, and the database's are lower than those that routers may hold.
    """

    adopted: tuple[Transition, ...] = ()
    missing: tuple[Transition, ...] = ()
    conflict: tuple[Transition, Transition] | None = None
    rolls_back: bool = False
    is_foreign: bool = False


def base_of(own: Sequence[Transition]) -> Transition | None:
    """The newest transition that no rollback on local disk alone can have followed: from it on one has to compare."""
    return next((each for each in reversed(own) if each.to_stage is not Stage.ROLLED_BACK), own[0] if own else None)


def reconcile(own: Sequence[Transition], stored: Sequence[Transition]) -> Reconciliation:
    """Compares a controller's transitions, in the order in which they were in force, with the database's.

    `stored` are those from `base_of(own)` on, by version, or the newest one below; empty in a new database. A rollback
    that was decided here without the database holds against the same ramp there, as a latch does; against a
    later one, which a person has started, it is of the past.
    """
    if not own or not stored:
        return Reconciliation(adopted=tuple(stored[-1:]), missing=tuple(own))
    by_version = {each.version: each for each in stored}
    common = next((index for index in range(len(own) - 1, -1, -1) if _is_in(own[index], by_version)), None)
    ours, theirs = own[-1], stored[-1]
    if common is None:
        is_lower = theirs.version < ours.version
        return Reconciliation(adopted=() if is_lower else (theirs,), conflict=(ours, theirs), is_foreign=is_lower)
    missing = tuple(own[common + 1 :])
    adopted = tuple(each for each in stored if each.version > own[common].version)
    if not missing or not adopted:
        return Reconciliation(adopted=adopted, missing=missing)
    holds = ours.to_stage is Stage.ROLLED_BACK and ours.state.ramp >= theirs.state.ramp
    if holds and theirs.version < ours.version:
        return Reconciliation(missing=(ours,))
    rolls_back = theirs.version < ours.version or (holds and theirs.to_stage is not Stage.ROLLED_BACK)
    return Reconciliation(adopted=() if rolls_back else adopted, conflict=(ours, theirs), rolls_back=rolls_back)


def _is_in(transition: Transition, stored: Mapping[int, Transition]) -> bool:
    found = stored.get(transition.version)
    return found is not None and _key_of(found) == _key_of(transition)


def _key_of(transition: Transition) -> tuple[RolloutState, str, str]:
    return transition.state, transition.actor, transition.reason
