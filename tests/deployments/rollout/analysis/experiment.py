"""Figures of margins, recomputations and realised effects, printed by `python -m` with the name of this module."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deployments.rollout.analysis.margins import WITHIN, WORSE
from tests.deployments.rollout.analysis import test_margins as margins
from tests.deployments.rollout.analysis import test_recomputations as recomputations
from tests.deployments.rollout.analysis import test_regression as regression

HOUR = 3600.0
ROLLOUTS = 1000
# What is true of a figure in its unit: name, margin, mean and deviation of days.
FIGURES = (
    ("tardiness +30 s, deviation 60 s", 900.0, 30.0, 60.0),
    ("tardiness +1 h, deviation 8 h", 900.0, HOUR, 8.0 * HOUR),
    ("tardiness at its margin, deviation 1 h", 900.0, 900.0, HOUR),
    ("tardiness equal, deviation 1 h", 900.0, 0.0, HOUR),
    ("on time equal, deviation 1 point", 1.0, 0.0, 1.0),
    ("on time equal, deviation 3 points", 1.0, 0.0, 3.0),
    ("on time -2 points, deviation 3 points", 1.0, 2.0, 3.0),
)


def main() -> None:
    """Prints one line for each world."""
    rng = np.random.default_rng(1)
    print(f"margins, {ROLLOUTS} rollouts of 250 days: within in, after median / 95 % days; shown worse in")
    for name, margin, mean, deviation in FIGURES:
        harms = rng.normal(mean, deviation, (ROLLOUTS, 250))
        within, worse = (
            margins.rollouts(process, margin, part, harms) for process, part in ((WITHIN, 1.0), (WORSE, 0.5))
        )
        print(f"  {name}: {_share(within)}, {_days(within)}; {_share(worse)}")
    print("  at the margin where days follow each other, AR(1): within in; at half of it: shown worse in")
    for rho in (0.0, 0.3, 0.6):
        noise = margins.correlated_days(rho, ROLLOUTS, 2)
        within, worse = (
            margins.rollouts(process, 1.0, part, part + noise) for process, part in ((WITHIN, 1.0), (WORSE, 0.5))
        )
        print(f"  rho {rho:g}: {_share(within)}; {_share(worse)}")
    print(f"recomputations, {ROLLOUTS} stages of 2,000, deviation 1 %: INVALID in, after median / 95 %")
    for bias in (0.0, 0.01, 0.02):
        found = recomputations.seen_after(rng.normal(math.log1p(bias), 0.01, (ROLLOUTS, 2000)))
        print(f"  bias {bias:.0%}: {_share(found)}, {_days(found)}")
    print("realised effects, 600 windows: fewer windows by, where plans tell 30 / 50 / 80 % of the spread")
    print(f"  {', '.join(f'{_gain(told):.2f}' for told in (0.3, 0.5, 0.8))}")


def _share(found: np.ndarray[Any, Any]) -> str:
    return f"{100.0 * np.isfinite(found).mean():.1f} %"


def _days(found: np.ndarray[Any, Any]) -> str:
    """Of those that came to an end."""
    ended = found[np.isfinite(found)]
    return f"{np.median(ended):.0f} / {np.quantile(ended, 0.95):.0f}" if len(ended) else "-"


def _gain(told: float) -> float:
    seeds = [np.random.default_rng(seed) for seed in range(8)]
    plain = regression.variance([regression.windows(rng, 600, told, is_planned=False) for rng in seeds])
    seeds = [np.random.default_rng(seed) for seed in range(8)]
    return plain / regression.variance([regression.windows(rng, 600, told) for rng in seeds])


if __name__ == "__main__":
    main()
