"""What one arm changes about what really happened, where each window had one arm: the less of its spread is chance.

A window tells what happened under the arm that served it, and nothing of the other. Weighed by the chance of that arm,
the difference of the arms is the mean over windows (Horvitz and Thompson 1952), whatever each window is compared with,
as long as that was known before the arm was dealt. What both arms have planned on the window's first list is known
then, and tells which windows are hard: so each outcome is compared with what past windows make one expect. Source: the
augmented inverse-probability weights of Robins, Rotnitzky and Zhao (1994), with predictions of the past alone, as in
Waudby-Smith and others (arXiv 2103.06476), section 3; for experiments Deng, Xu, Kohavi and Walker (CUPED, 2013).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deployments.rollout.analysis.confidence import MeanSequence

MIN_WINDOWS = 10
"""Past windows from which a regression is fitted; before, and where nothing was planned, their mean is expected."""

RIDGE = 5.0
"""Penalty on the squared coefficients of standardised figures: as if so many windows had said that none matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedWindow:
    """One window: what happened, under which arm, and what the chance of that arm was.

    `planned` are the figures that both arms planned, as many in each window; empty: not known.
    """

    share: float
    is_challenger: bool
    outcome: float
    planned: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share must lie strictly between 0 and 1, was {self.share}")
        if not all(map(math.isfinite, (self.outcome, *self.planned))):
            raise ValueError(f"outcome and planned must be finite, were {self.outcome} and {self.planned}")

    @property
    def weight(self) -> float:
        """By which a deviation counts: one over the chance of the arm, negative for the champion's."""
        return 1.0 / self.share if self.is_challenger else -1.0 / (1.0 - self.share)


class RidgeRegression:
    """Expected outcome by the figures of windows so far (Hoerl and Kennard 1970), standardised, without an intercept's
    penalty. Sums alone are kept."""

    def __init__(self, figures: int) -> None:
        self.windows = 0
        self._total = np.zeros(figures + 1)
        self._squares = np.zeros((figures + 1, figures + 1))

    def add(self, planned: Iterable[float], outcome: float) -> None:
        """One more window."""
        row = np.array([*planned, outcome], dtype=float)
        self.windows += 1
        self._total += row
        self._squares += np.outer(row, row)

    def expected(self, planned: Iterable[float]) -> float:
        """Of a window with these figures; there must be one window."""
        mean = self._total / self.windows
        spread = self._squares - self.windows * np.outer(mean, mean)
        figures, products = spread[:-1, :-1], spread[:-1, -1]
        variances = np.maximum(np.diag(figures) / self.windows, 0.0)
        # A figure that is the same in each window tells nothing, whatever rounding says.
        is_told = variances > 1e-9 * (1.0 + mean[:-1] ** 2)
        if self.windows < MIN_WINDOWS or not is_told.any():
            return float(mean[-1])
        penalised = figures[np.ix_(is_told, is_told)] + RIDGE * np.diag(variances[is_told])
        slopes = np.linalg.solve(penalised, products[is_told])
        away = np.array(list(planned), dtype=float)[is_told] - mean[:-1][is_told]
        return float(mean[-1] + slopes @ away)


def realised_effect(windows: Iterable[RealisedWindow], *, deviation_floor: float) -> MeanSequence:
    """Challenger less champion of the outcome, in its unit; `windows` in the order of their days.

    Mean over windows of weight x (outcome - expected), expected being what the windows before tell of it: nothing that
    its arm can have changed. The first window is compared with itself.
    """
    found = MeanSequence(deviation_floor=deviation_floor)
    regressions: dict[int, RidgeRegression] = {}
    level = RidgeRegression(0)
    for window in windows:
        regression = regressions.setdefault(len(window.planned), RidgeRegression(len(window.planned)))
        if regression.windows >= MIN_WINDOWS:
            expected = regression.expected(window.planned)
        else:
            expected = level.expected(()) if level.windows else window.outcome
        found.add(window.weight * (window.outcome - expected))
        regression.add(window.planned, window.outcome)
        level.add((), window.outcome)
    return found
