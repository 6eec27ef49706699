"""The stages of a rollout and what each demands; its state, the orders that change it, and the rows of its trail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from deployments.errors import RolloutError, UnknownStage, UnreadableState
from deployments.rollout.analysis.margins import Margins
from deployments.rollout.analysis.sample_ratio import MAX_LOST_SHARE
from deployments.rollout.analysis.triggers import Limits
from deployments.rollout.assignment import PlanningWindow, UnitAssignment, assign

DAY_SECONDS = 86_400.0
GUARDRAIL = "guardrail"
"""The actor of automatic transitions; no key may have this name."""
MANUAL = "manual"
"""The champion that is no published model: the planner's rule."""


class Stage(StrEnum):
    """Where the rollout stands. The first four are the ramp; the others are the side states."""

    SHADOW = "shadow"
    LIMITED = "limited"
    EXPANDED = "expanded"
    FULL = "full"
    PAUSED = "paused"
    ROLLED_BACK = "rolled_back"

    @property
    def is_on_ramp(self) -> bool:
        return self in RAMP

    @classmethod
    def named(cls, name: str) -> Stage:
        """The stage of that name; raises `UnknownStage`."""
        if name not in cls._value2member_map_:
            raise UnknownStage(name, tuple(stage.value for stage in cls))
        return cls(name)


RAMP = (Stage.SHADOW, Stage.LIMITED, Stage.EXPANDED, Stage.FULL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStep:
    """One stage of the ramp: the challenger's `share` of the units, 0 to 1, and what must pass before the next.

    `min_seconds` is time spent in it unpaused.
    """

    share: float
    min_seconds: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must be between 0 and 100 per cent, was {100.0 * self.share:g}")
        if not 0.0 <= self.min_seconds < float("inf"):
            raise ValueError(f"min_seconds must be >= 0, was {self.min_seconds}")

    def as_json(self) -> dict[str, Any]:
        """No number of pairs is demanded any more: what windows say is."""
        return {"share": self.share, "minimum_seconds": self.min_seconds, "minimum_pairs": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class RampConfiguration:
    """The whole ramp. Shares never fall; shadow serves nothing of the challenger and full everything.

    Raises `ValueError` naming what is required.
    """

    shadow: StageStep
    limited: StageStep
    expanded: StageStep
    full: StageStep = StageStep(share=1.0, min_seconds=0.0)
    limits: Limits

    def __post_init__(self) -> None:
        shares = [step.share for step in (self.shadow, self.limited, self.expanded, self.full)]
        if shares[0] != 0.0 or shares[3] != 1.0:
            raise ValueError(f"shadow must have 0 and full 100 per cent, had {shares[0]:.0%} and {shares[3]:.0%}")
        if not 0.0 < shares[1] <= shares[2] < 1.0:
            raise ValueError(
                "shares must rise from above 0 to below 100 per cent, "
                f"were limited {100 * shares[1]:g} and expanded {100 * shares[2]:g}"
            )

    def step(self, stage: Stage) -> StageStep:
        """What `stage` of the ramp demands."""
        steps: Mapping[Stage, StageStep] = {
            Stage.SHADOW: self.shadow,
            Stage.LIMITED: self.limited,
            Stage.EXPANDED: self.expanded,
            Stage.FULL: self.full,
        }
        return steps[stage]

    @property
    def hash(self) -> str:
        """The same for equal configurations, another for any other: 16 hexadecimal digits."""
        canonical = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Under the names of 0.1.0: clients know them, and the hashes of stored transitions are made of them."""
        steps = {stage.value: self.step(stage).as_json() for stage in RAMP}
        limits = asdict(self.limits)
        if self.limits.margins == Margins():
            # Who has set none keeps the hash of before there were any.
            del limits["margins"]
        return steps | {"most_missing_pairs": MAX_LOST_SHARE, "limits": limits}


class Action(StrEnum):
    """What an order asks for."""

    BEGIN = "begin"
    PROMOTE = "promote"
    RAMP_AGAIN = "ramp again"
    PAUSE = "pause"
    RESUME = "resume"
    ROLLBACK = "rollback"
    CONFIGURE = "configure"
    ACTIVATE = "activate"
    HOLD_BACK = "hold back"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Where the rollout stands: all that a router needs, and small enough to be fetched every 200 ms.

    `version` grows with every transition. `ramp` counts the attempts from shadow; only a person's new start
    after a rollback increases it. `held_stage` is the stage whose share stays while paused, else None. `share`
    is the challenger's part of the units, 0 to 1. `stage_since` is when the stage was entered or resumed and
    `stage_seconds` what it had lasted before. `champion` is `manual` or a published model, `challenger` a model.
    `held_back` names the kinds of lists that stay on the champion, because the challenger was shown to be worse there.
    """

    version: int
    ramp: int
    stage: Stage
    share: float
    seed: str
    challenger: str
    champion: str
    configuration_hash: str
    changed_at: datetime
    stage_since: datetime
    stage_seconds: float = 0.0
    held_stage: Stage | None = None
    held_back: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.version < 1 or self.ramp < 1:
            raise ValueError(f"version and ramp must be >= 1, were {self.version} and {self.ramp}")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must be between 0 and 100 per cent, was {100.0 * self.share:g}")
        if (self.stage is Stage.PAUSED) != (self.held_stage is not None):
            raise ValueError(f"held_stage belongs to paused alone, was {self.held_stage} in {self.stage}")
        if self.stage is Stage.ROLLED_BACK and self.share != 0.0:
            raise ValueError(f"share must be 0 after a rollback, was {self.share}")
        if self.changed_at.tzinfo is None or self.stage_since.tzinfo is None:
            raise ValueError("changed_at and stage_since must have a time zone")

    @property
    def serving_stage(self) -> Stage:
        """The stage that decides who serves: while paused, the one that is held."""
        return self.stage if self.held_stage is None else self.held_stage

    def seconds_in_stage(self, at: datetime) -> float:
        """Unpaused time in the stage until `at`; a clock that stepped back adds nothing and takes nothing away."""
        if self.stage is Stage.PAUSED:
            return self.stage_seconds
        return self.stage_seconds + max(0.0, (at - self.stage_since).total_seconds())

    def assign(self, unit: PlanningWindow | str, strata: Iterable[str] = ()) -> UnitAssignment:
        """The arm of a planning window, or of a unit that the client chose, for a list of the kinds `strata`.

        The challenger's share of what is held back is 0, and the assignment says so: it recomputes like any other.
        """
        share = 0.0 if not set(self.held_back).isdisjoint(strata) else self.share
        return assign(unit, seed=self.seed, share=share, stage=self.serving_stage.value)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse. Without what is held back, as versions before 0.3 wrote it."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        times = {name: getattr(self, name).isoformat() for name in ("changed_at", "stage_since")}
        held = None if self.held_stage is None else self.held_stage.value
        del document["held_back"]
        held_back = {"held_back": list(self.held_back)} if self.held_back else {}
        return document | times | {"stage": self.stage.value, "held_stage": held} | held_back

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RolloutState:
        """Raises `UnreadableState` for anything that `as_json` did not write."""
        try:
            held = document["held_stage"]
            read = {
                "stage": Stage.named(document["stage"]),
                "held_stage": None if held is None else Stage.named(held),
                "changed_at": datetime.fromisoformat(document["changed_at"]),
                "stage_since": datetime.fromisoformat(document["stage_since"]),
                "held_back": tuple(map(str, document.get("held_back", ()))),
            }
            return cls(**(dict(document) | read))
        except (KeyError, TypeError, ValueError, RolloutError) as error:
            raise UnreadableState(f"rollout state cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Somebody wants a transition: `actor` is a key's name or `guardrail`, `at` the instant, `reason` their words.

    `expected_version` is the version that the actor saw; None: whatever it is now.
    """

    actor: str
    reason: str
    at: datetime
    expected_version: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.actor.strip() or not self.reason.strip():
            raise ValueError("an order must have an actor and a reason")
        if self.at.tzinfo is None:
            raise ValueError(f"an instant must have a time zone, was {self.at.isoformat()}")

    @property
    def is_of_a_person(self) -> bool:
        return self.actor != GUARDRAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of the audit trail, with the state that it leads to. `from_stage` is None for the first."""

    action: Action
    from_stage: Stage | None
    state: RolloutState
    actor: str
    reason: str
    evidence: Mapping[str, Any]
    is_forced: bool = False

    @property
    def to_stage(self) -> Stage:
        return self.state.stage

    @property
    def version(self) -> int:
        return self.state.version

    @property
    def at(self) -> datetime:
        return self.state.changed_at

    @property
    def configuration_hash(self) -> str:
        return self.state.configuration_hash

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        return {
            "action": self.action.value,
            "from": None if self.from_stage is None else self.from_stage.value,
            "to": self.to_stage.value,
            "version": self.version,
            "at": self.at.isoformat(),
            "configuration_hash": self.configuration_hash,
            "actor": self.actor,
            "reason": self.reason,
            "evidence": dict(self.evidence),
            "is_forced": self.is_forced,
            "state": self.state.as_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Transition:
        """Raises `UnreadableState` for anything that `as_json` did not write."""
        try:
            origin = document["from"]
            return cls(
                action=Action(document["action"]),
                from_stage=None if origin is None else Stage.named(origin),
                state=RolloutState.from_json(document["state"]),
                actor=document["actor"],
                reason=document["reason"],
                evidence=document["evidence"],
                is_forced=bool(document["is_forced"]),
            )
        except (KeyError, TypeError, ValueError, RolloutError) as error:
            raise UnreadableState(f"transition cannot be read: {error}") from error
