"""The arm of a request: a pure function of its unit, a seed and a share, so that anyone can recompute it.

The hash is version 2 of the GrowthBook specification. A bucket never depends on the share, hence
whoever is in at ten per cent is in at fifty.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from urllib.parse import quote, unquote

HASH_VERSION = 2
BLOCK_WINDOWS = 10
_BUCKETS = 10_000
_SAMPLING_SEED = "counterfactual"
_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193


class ArmRole(StrEnum):
    """Who proposes: the learned policy, or the rule that planners follow by hand."""

    PPO = "ppo"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningWindow:
    """One production day of one line: requests within it share machines, hence they share an arm."""

    plant_id: str
    line_id: str | None
    day: date

    @property
    def unit(self) -> str:
        """The window as one string; ids are escaped so that no two windows look alike."""
        line = "" if self.line_id is None else quote(self.line_id, safe="")
        return f"{quote(self.plant_id, safe='')}/{line}/{self.day.isoformat()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAssignment:
    """An arm together with everything it was derived from. `bucket` and `share` run from 0 to 1."""

    arm: ArmRole
    unit: str
    bucket: float
    seed: str
    share: float
    stage: str
    hash_version: int = HASH_VERSION


def assign(unit: PlanningWindow | str, *, seed: str, share: float, stage: str) -> UnitAssignment:
    """The arm of a planning window, or of a unit that the client chose, at `share` from 0 to 1."""
    bucket = unit_bucket(seed, unit) if isinstance(unit, str) else window_bucket(seed, unit)
    return UnitAssignment(
        arm=ArmRole.PPO if bucket < share else ArmRole.MANUAL,
        unit=unit if isinstance(unit, str) else unit.unit,
        bucket=bucket,
        seed=seed,
        share=share,
        stage=stage,
    )


def planning_window(unit: str) -> PlanningWindow | None:
    """The window whose `unit` this is; None for any other text. A window without a line has the line None."""
    plant, *rest = unit.split("/")
    if len(rest) != 2:
        return None
    line, day = rest
    try:
        window = PlanningWindow(plant_id=unquote(plant), line_id=unquote(line) or None, day=date.fromisoformat(day))
    except ValueError:
        return None
    return window if window.unit == unit else None


def unit_bucket(seed: str, unit: str) -> float:
    """Bucket of an explicit unit in [0, 1), in steps of 1/10,000: GrowthBook hash version 2 over UTF-8."""
    return _fnv32a(str(_fnv32a(seed + unit))) % _BUCKETS / _BUCKETS


def window_bucket(seed: str, window: PlanningWindow) -> float:
    """Bucket of a planning window: its rank by hash among the ten days of its block, in the middle of a tenth.

    With one plant a plain hash may pick no day in weeks; in blocks of ten, a share of ten per cent
    picks exactly one day in ten, and which one is still decided by the hash alone.
    """
    first = window.day.toordinal() // BLOCK_WINDOWS * BLOCK_WINDOWS
    # The calendar starts at ordinal 1 and ends within a block, so the outermost blocks are shorter.
    ordinals = range(max(first, date.min.toordinal()), min(first + BLOCK_WINDOWS, date.max.toordinal() + 1))
    block = (
        PlanningWindow(plant_id=window.plant_id, line_id=window.line_id, day=date.fromordinal(ordinal))
        for ordinal in ordinals
    )
    ranking = sorted((unit_bucket(seed, other.unit), other.unit) for other in block)
    rank = [unit for _, unit in ranking].index(window.unit)
    return (rank + 0.5) / BLOCK_WINDOWS


def is_sampled(decision_id: str, share: float) -> bool:
    """Whether the arms of this decision are to be compared, where `share` of all decisions (0 to 1) are."""
    return unit_bucket(_SAMPLING_SEED, decision_id) < share


def _fnv32a(text: str) -> int:
    value = _FNV_OFFSET
    for octet in text.encode():
        value = (value ^ octet) * _FNV_PRIME & 0xFFFFFFFF
    return value
