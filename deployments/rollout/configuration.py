"""The stages of a rollout and what each demands: shares, minimum durations and minimum pairs are configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from deployments.rollout.errors import UnknownStage
from deployments.rollout.triggers import Limits

DAY_SECONDS = 86_400.0


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
class Step:
    """One stage of the ramp: the challenger's `share` of the units, 0 to 1, and what must pass before the next.

    `minimum_pairs` are paired observations within the stage, `minimum_seconds` time spent in it unpaused.
    """

    share: float
    minimum_seconds: float
    minimum_pairs: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must be between 0 and 100 per cent, was {100.0 * self.share:g}")
        if not 0.0 <= self.minimum_seconds < float("inf"):
            raise ValueError(f"minimum_seconds must be >= 0, was {self.minimum_seconds}")
        if self.minimum_pairs < 0:
            raise ValueError(f"minimum_pairs must be >= 0, was {self.minimum_pairs}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RampConfiguration:
    """The whole ramp. Shares never fall; shadow serves nothing of the challenger and full everything.

    Raises `ValueError` naming what is required. `most_missing_pairs` is the largest part of the pairs that may
    be missing, 0 to 1, before promotion is held.
    """

    shadow: Step = Step(share=0.0, minimum_seconds=7 * DAY_SECONDS, minimum_pairs=100)
    limited: Step = Step(share=0.1, minimum_seconds=7 * DAY_SECONDS, minimum_pairs=100)
    expanded: Step = Step(share=0.5, minimum_seconds=14 * DAY_SECONDS, minimum_pairs=100)
    full: Step = Step(share=1.0, minimum_seconds=0.0, minimum_pairs=0)
    most_missing_pairs: float = 0.05
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        shares = [step.share for step in (self.shadow, self.limited, self.expanded, self.full)]
        if shares[0] != 0.0 or shares[3] != 1.0:
            raise ValueError(f"shadow must have 0 and full 100 per cent, had {shares[0]:.0%} and {shares[3]:.0%}")
        if not 0.0 < shares[1] <= shares[2] < 1.0:
            raise ValueError(
                "shares must rise from above 0 to below 100 per cent, "
                f"were limited {100 * shares[1]:g} and expanded {100 * shares[2]:g}"
            )
        if not 0.0 <= self.most_missing_pairs <= 1.0:
            raise ValueError(f"most_missing_pairs must be between 0 and 1, was {self.most_missing_pairs}")

    def step(self, stage: Stage) -> Step:
        """What `stage` of the ramp demands."""
        steps: Mapping[Stage, Step] = {
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
        return asdict(self)
