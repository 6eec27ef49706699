"""What a policy must hold before it is published: gates as data, and the comparison with the published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

NOT_WORSE_MARGIN = 0.002
"""A policy is no worse when it loses less than this share of the objective, with 95 % confidence."""
MAX_DOUBLINGS = 3
_RESAMPLES = 4_000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingGate:
    """A bound on a figure; exactly one of `at_most` and `at_least` is given."""

    name: str
    quantity: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"gate {self.name!r} must have one bound, had {self.at_most} and {self.at_least}")

    def miss(self, value: float) -> str | None:
        """Why the value does not pass, None if it does. What is no number never passes."""
        if self.at_most is not None:
            return None if value <= self.at_most else self._message("<=", self.at_most, value)
        assert self.at_least is not None
        return None if value >= self.at_least else self._message(">=", self.at_least, value)

    def _message(self, relation: str, bound: float, value: float) -> str:
        return f"gate {self.name!r}: {self.quantity} must be {relation} {bound:g}, was {value:.4g}"


AGREEMENT, VALID, SIZE, PASS_TIME, RULE = "agreement", "valid", "size", "pass time", "rule"
GATES = (
    PublishingGate(name=AGREEMENT, quantity="decisions that differ from Stable-Baselines3's", at_most=0),
    PublishingGate(name=VALID, quantity="validation schedules that the judge refuses", at_most=0),
    PublishingGate(name=SIZE, quantity="megabytes of model and weights", at_most=8),
    PublishingGate(name=PASS_TIME, quantity="median time of a policy pass in times of the composite rule", at_most=10),
    PublishingGate(name=RULE, quantity="mean gain over the composite rule in per cent of its objective", at_least=0),
)


def missed(measured: Mapping[str, float], gates: Sequence[PublishingGate] = GATES) -> list[str]:
    """A message for each gate that is missed; a figure that was not measured is missed too."""
    messages = [gate.miss(measured.get(gate.name, float("nan"))) for gate in gates]
    return [message for message in messages if message is not None]


class ComparisonOutcome(StrEnum):
    """What paired figures say about a candidate."""

    NOT_WORSE = "not worse"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyComparison:
    """Candidate minus another policy, problem by problem, in shares of the objective; positive is better.

    `published` is the other one's id, and `low` to `high` is the 95 % bootstrap interval of the mean.
    """

    published: str
    problems: int
    wins: int
    losses: int
    mean: float
    low: float
    high: float

    @property
    def decision(self) -> ComparisonOutcome:
        """Worse only if noise cannot explain it, no worse only if noise cannot hide more than the margin."""
        if self.high < 0:
            return ComparisonOutcome.WORSE
        return ComparisonOutcome.NOT_WORSE if self.low >= -NOT_WORSE_MARGIN else ComparisonOutcome.UNDECIDED

    def miss(self) -> str | None:
        """Why the candidate may not replace the published policy, None if it may."""
        if self.decision is ComparisonOutcome.NOT_WORSE:
            return None
        return (
            f"gate 'not worse': the mean gain over {self.published} must be shown to be >= "
            f"{-100 * NOT_WORSE_MARGIN:.1f} % of the objective, was {self.found}"
        )

    @property
    def found(self) -> str:
        """The mean, its interval, and what follows from it, in words."""
        return (
            f"{100 * self.mean:.2f} % ({100 * self.low:.2f} to {100 * self.high:.2f} %) on {self.problems} problems, "
            f"{self.wins} won and {self.losses} lost: {self.decision}"
        )


def compared(
    published: str, candidate_gains: NDArray[np.float64], published_gains: NDArray[np.float64]
) -> PolicyComparison:
    """Compare gains of both on the same problems, shape [problem]."""
    differences = candidate_gains - published_gains
    rng = np.random.default_rng(0)
    picked = rng.integers(0, len(differences), size=(_RESAMPLES, len(differences)))
    tail = 50.0 * (1.0 - _CONFIDENCE)
    low, high = np.percentile(differences[picked].mean(axis=1), [tail, 100.0 - tail])
    return PolicyComparison(
        published=published,
        problems=len(differences),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        mean=float(differences.mean()),
        low=float(low),
        high=float(high),
    )
