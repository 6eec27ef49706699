"""The fixed problems that checkpoints and published policies are compared on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from env.instances.generator import Plant, validation_problems
from env.objective import objective_value, relative_gain
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.network import CandidateScorer
from models.policy.predictor import Predictor, Weights


class Validation:
    """The validation problems of one kind of plant, scored against the composite rule."""

    def __init__(self, plant: Plant, count: int) -> None:
        self.problems: Sequence[Problem] = validation_problems(plant, count)
        self.values = [objective_value(problem, dispatch(problem, Rule.COMPOSITE)) for problem in self.problems]

    def gains(self, schedule: Callable[[Problem], Schedule]) -> NDArray[np.float64]:
        """Per problem, shape [problem]: the `relative_gain` over the composite rule; positive is better."""
        found = [objective_value(problem, schedule(problem)) for problem in self.problems]
        return np.array([relative_gain(rule, value) for rule, value in zip(self.values, found, strict=True)])


class BestCheckpoint:
    """Remembers the weights that validated best."""

    def __init__(self, validation: Validation, file: Path | None = None) -> None:
        """Each best is written to `file` as well, so that a run that is cut short leaves what it had."""
        self.validation = validation
        self.file = file
        self.gain = -np.inf
        self.state: dict[str, Any] = {}

    def offer(self, scorer: CandidateScorer) -> float:
        """Validate the scorer as it is now and keep it if it is the best so far; gives its mean gain.

        A single play of its own tells more of a network than the best of several.
        """
        gain = float(self.validation.gains(Predictor([weights_of(scorer)]).schedule_once).mean())
        if gain > self.gain:
            self.gain = gain
            self.state = {name: value.detach().clone() for name, value in scorer.state_dict().items()}
            if self.file is not None:
                torch.save(self.state, self.file)
        return gain


def weights_of(scorer: CandidateScorer) -> Weights:
    """The scorer's weights as the predictor takes them."""

    def matrix(parameter: torch.Tensor) -> NDArray[np.float32]:
        return np.ascontiguousarray(parameter.detach().cpu().numpy().T.astype(np.float32))

    return Weights(
        first=matrix(scorer.first.weight),
        first_bias=matrix(scorer.first.bias),
        second=matrix(scorer.second.weight),
        context=matrix(scorer.context.weight),
        second_bias=matrix(scorer.second.bias),
        score=matrix(scorer.score.weight).reshape(-1),
    )
