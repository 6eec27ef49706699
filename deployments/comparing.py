"""The arm that did not serve, computed on the same request, outside of it: what is asked for, and of whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deployments.attempting import Attempts
from deployments.contracts.translation import Question
from deployments.evaluating import Asked
from deployments.standing import Contender


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """`contender` is still to be computed on `question`; `attempts` is what was made of it for the answer."""

    asked: Asked
    question: Question
    recent: tuple[int, ...]
    attempts: Attempts
    contender: Contender


class Counterfactuals(Protocol):
    """Whoever computes them."""

    def offer(self, rerun: Rerun) -> None:
        """Take it, or drop it and count; never waits, never raises."""
        ...


class NoCounterfactuals:
    """Computes nothing."""

    def offer(self, rerun: Rerun) -> None:
        """Nothing."""
