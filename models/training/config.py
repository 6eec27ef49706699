"""Everything that a training run depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from env.instances.generator import Plant
from env.problem import Objective

SPECIALIST_UPDATES = 1_200
"""Of the look-ahead stage, for a network that learns a part of the objectives."""
MIN_GAP = 0.12
"""Of the plants that a network for makespans learns from: what rules schedule well has nothing to teach it."""


def _training_plant() -> Plant:
    return Plant(
        operations=(25, 300),
        loaded_due_share=0.6,
        objectives=(Objective.MAKESPAN,) * 6 + (Objective.BALANCED,) * 2 + (Objective.TARDINESS,) * 4,
        calendar_share=0.25,
        changeover_share=0.25,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What is learned from and how; stored in the manifest of what it publishes.

    First MaskablePPO plays `decisions` decisions in `slots` episodes at a time. Then `demonstrations`
    problems are solved with `demonstration_moves` moves of local search per operation, and imitated for
    `imitation_epochs` epochs in batches of `imitation_decisions`. Each of `lookahead_updates` updates
    looks ahead from about `lookahead_decisions` decisions of `lookahead_problems` problems, following
    `lookahead_tries` choices of each, and takes `lookahead_steps` gradient steps on `lookahead_replayed`
    of the last `lookahead_memory` updates' decisions. Last come `group_updates` updates with group
    advantages, each from `group_problems` problems played `group_size` times, with at most `group_steps`
    gradient steps of `group_rows` candidate rows each. Validated and published are exponential averages
    of the weights.
    """

    seed: int = 0
    plant: Plant = field(default_factory=_training_plant)
    threads: int = 2
    validation_problems: int = 256
    validate_every: int = 50

    demonstrations: int = 3_000
    demonstration_moves: int = 100
    imitation_epochs: int = 2
    imitation_decisions: int = 1_024
    imitation_learning_rate: float = 2e-3

    decisions: int = 10_000
    slots: int = 32
    rollout: int = 128
    batch_size: int = 1_024
    epochs: int = 3
    learning_rate: float = 5e-4
    entropy: float = 0.01
    gae_lambda: float = 0.97
    clip: float = 0.2

    lookahead_updates: int = 2_000
    lookahead_problems: int = 40
    lookahead_decisions: int = 5
    lookahead_tries: int = 5
    lookahead_wander: float = 0.05
    lookahead_memory: int = 24
    lookahead_replayed: int = 16
    lookahead_steps: int = 2
    lookahead_average: float = 0.99
    lookahead_learning_rate: float = 4e-4
    lookahead_entropy: float = 0.001

    group_updates: int = 40
    group_problems: int = 12
    group_size: int = 12
    group_rows: int = 50_000
    group_steps: int = 3
    group_average: float = 0.98
    group_learning_rate: float = 2e-4
    group_entropy: float = 0.001

    def __post_init__(self) -> None:
        counts = ("threads", "validation_problems", "slots", "rollout", "batch_size", "epochs", "validate_every")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, was {getattr(self, name)}")
        for name in ("seed", "decisions", "imitation_epochs", "lookahead_updates", "group_updates"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, was {getattr(self, name)}")
        if self.group_size < 2:
            raise ValueError(f"group_size must be >= 2, because an advantage needs a comparison, was {self.group_size}")

    @classmethod
    def for_makespan(cls, *, seed: int, threads: int) -> Self:
        """The config of a network for makespans alone, on plants that rules schedule badly."""
        plant = replace(_training_plant(), objectives=(Objective.MAKESPAN,), least_gap=MIN_GAP)
        return cls(seed=seed, threads=threads, plant=plant, lookahead_updates=SPECIALIST_UPDATES)

    @classmethod
    def for_due_dates(cls, *, seed: int, threads: int) -> Self:
        """The config of a network for objectives that count tardiness, on plants with more calendars and setups."""
        objectives = (Objective.BALANCED, Objective.TARDINESS, Objective.TARDINESS)
        plant = replace(_training_plant(), objectives=objectives, calendar_share=0.5, changeover_share=0.5)
        return cls(seed=seed, threads=threads, plant=plant, lookahead_updates=SPECIALIST_UPDATES)

    def steps_of(self, stage: str) -> int:
        """How many steps a stage of training has."""
        steps = {
            "imitation": self.imitation_epochs,
            "lookahead": self.lookahead_updates,
            "groups": self.group_updates,
        }
        return steps[stage]

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The config that `as_json` was made from, as a manifest keeps it. Raises `TypeError` for unknown names."""
        plant = {name: tuple(value) if isinstance(value, list) else value for name, value in document["plant"].items()}
        plant["objectives"] = tuple(Objective(name) for name in plant["objectives"])
        return cls(**(document | {"plant": Plant(**plant)}))  # type: ignore[arg-type]

    def as_json(self) -> dict[str, Any]:
        """The config as plain JSON values."""
        return asdict(self)
