"""Everything that a training run depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from env.generator import Plant
from env.problem import Objective


def _training_plant() -> Plant:
    return Plant(objectives=(Objective.MAKESPAN,) * 8 + (Objective.BALANCED, Objective.TARDINESS))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What is learned from and how; stored in the manifest of what it publishes.

    First MaskablePPO plays `decisions` decisions in `slots` episodes at a time; then come
    `group_updates` updates with group advantages, each from `group_problems` problems played
    `group_size` times, with at most `group_steps` gradient steps of `group_rows` candidate rows each.
    Validated and published is the exponential average of the weights.
    """

    seed: int = 0
    plant: Plant = field(default_factory=_training_plant)
    threads: int = 2
    validation_problems: int = 96

    decisions: int = 100_000
    slots: int = 32
    rollout: int = 128
    batch_size: int = 1_024
    epochs: int = 3
    learning_rate: float = 5e-4
    entropy: float = 0.01
    gae_lambda: float = 0.97
    clip: float = 0.2

    group_updates: int = 1_000
    group_problems: int = 12
    group_size: int = 12
    group_rows: int = 50_000
    group_steps: int = 3
    group_average: float = 0.98
    group_learning_rate: float = 1e-3
    group_entropy: float = 0.003
    group_validate_every: int = 50

    def __post_init__(self) -> None:
        counts = ("threads", "validation_problems", "slots", "rollout", "batch_size", "epochs", "group_validate_every")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, was {getattr(self, name)}")
        for name in ("seed", "decisions", "group_updates"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, was {getattr(self, name)}")
        if self.group_size < 2:
            raise ValueError(f"group_size must be >= 2, because an advantage needs a comparison, was {self.group_size}")

    def as_json(self) -> dict[str, Any]:
        """The config as plain JSON values."""
        return asdict(self)
