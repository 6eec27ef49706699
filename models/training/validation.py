"""The fixed problems that checkpoints and published policies are compared on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from env.instances.generator import Plant, random_problem
from env.objective import objective_value
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.network import CandidateScorer
from models.policy.predictor import Predictor, Weights

VALIDATION_SEED = 20_260_105


class Validation:
    """Problems of one kind of plant, scored against the composite rule; no training seed draws the same ones."""

    def __init__(self, plant: Plant, count: int) -> None:
        rng = np.random.default_rng(VALIDATION_SEED)
        self.problems: Sequence[Problem] = [random_problem(rng, plant) for _ in range(count)]
        baseline = [dispatch(problem, Rule.COMPOSITE) for problem in self.problems]
        self.values = np.array(
            [objective_value(problem, schedule) for problem, schedule in zip(self.problems, baseline, strict=True)]
        )

    def gains(self, schedule: Callable[[Problem], Schedule]) -> NDArray[np.float64]:
        """Per problem, shape [problem]: (rule's objective - the schedule's) / the larger one; positive is better.

        Between -1 and 1, and with the sign turned when the two change places, so that neither the plants where a
        rule fails nor those where next to nothing is late decide alone.
        """
        found = np.array([objective_value(problem, schedule(problem)) for problem in self.problems])
        return (self.values - found) / np.maximum(self.values, found)  # type: ignore[no-any-return]


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
