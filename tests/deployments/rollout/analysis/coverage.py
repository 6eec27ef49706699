"""How often the intervals miss the truth when looked at after every observation, beside an independent package.

Run it: python -m tests.deployments.rollout.analysis.coverage; exit code 1 when one misses more often than it promises,
or not exactly where the package misses.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ville

from deployments.rollout.analysis.confidence import (
    MIN_OBSERVATIONS,
    beta_binomial_log_e,
    one_sided_radius,
    two_sided_radius,
)

STREAMS = 1000
OBSERVATIONS = 5000
MEANS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n) - 1.0,
}
MEAN_ALPHA, RATE_ALPHA = 0.05, 0.01
RATES = ((0.05, (3.0, 15.0)), (0.01, (1.0, 20.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Parts of the streams in which the truth lay outside at some moment; `farthest` is between both lower bounds."""

    missed: float
    missed_by_ville: float
    missed_one_sided: float
    farthest: float

    def holds(self, alpha: float, streams: int) -> bool:
        """Whether the promise is kept, by all that so many streams can tell, and the package says the same."""
        noise = 2.0 * math.sqrt(alpha * (1.0 - alpha) / streams)
        return self.missed == self.missed_by_ville <= alpha + noise and self.farthest < 1e-6


def of_means(
    kind: str, streams: int, observations: int, rng: np.random.Generator, alpha: float = MEAN_ALPHA
) -> Coverage:
    """Means of `kind`, whose truth is 0."""
    missed, by_ville, one_sided, farthest = 0, 0, 0, 0.0
    n = np.arange(1, observations + 1)
    late = slice(MIN_OBSERVATIONS - 1, None)
    for _ in range(streams):
        values = MEANS[kind](rng, observations)
        mean = np.cumsum(values) / n
        deviation = np.sqrt(np.maximum(np.cumsum(values**2) - n * mean**2, 0.0) / np.maximum(n - 1, 1))
        radius = deviation * two_sided_radius(n, alpha)
        oracle = ville.AsymptoticCS(alpha=alpha, t_opt=200, min_samples=MIN_OBSERVATIONS).fit(values)
        missed += (np.abs(mean) > radius)[late].any()
        by_ville += ((oracle.lower_ > 0) | (oracle.upper_ < 0)).any()
        one_sided += (mean > deviation * one_sided_radius(n, alpha))[late].any()
        farthest = max(farthest, float(np.abs(mean - radius - oracle.lower_)[late].max()))
    return Coverage(
        missed=missed / streams,
        missed_by_ville=by_ville / streams,
        missed_one_sided=one_sided / streams,
        farthest=farthest,
    )


def of_rates(
    rate: float,
    prior: tuple[float, float],
    streams: int,
    observations: int,
    rng: np.random.Generator,
    alpha: float = RATE_ALPHA,
) -> Coverage:
    """Rates whose truth is `rate`; one-sided: the lower bound lay above it."""
    missed, by_ville, one_sided, farthest = 0, 0, 0, 0.0
    n = np.arange(1, observations + 1)
    for _ in range(streams):
        events = (rng.random(observations) < rate).astype(float)
        total = np.cumsum(events)
        log_e = beta_binomial_log_e(total, n, rate, prior)
        oracle = ville.BernoulliTest(rate, alpha=alpha, prior=prior).fit(events)
        is_out = log_e >= -np.log(alpha)
        missed += is_out.any()
        by_ville += oracle.rejected_
        one_sided += (is_out & (total > rate * n)).any()
        farthest = max(farthest, float(np.abs(log_e - oracle.log_e_values_).max()))
    return Coverage(
        missed=missed / streams,
        missed_by_ville=by_ville / streams,
        missed_one_sided=one_sided / streams,
        farthest=farthest,
    )


def main() -> int:
    """Print both kinds, with a fixed seed."""
    rng, kept = np.random.default_rng(11), True
    print(f"{STREAMS:,} streams of {OBSERVATIONS:,} observations, looked at after every one")
    for kind in MEANS:
        found = of_means(kind, STREAMS, OBSERVATIONS, rng)
        kept &= _tell(f"mean, {kind}", found, MEAN_ALPHA)
    for rate, prior in RATES:
        found = of_rates(rate, prior, STREAMS, OBSERVATIONS, rng)
        kept &= _tell(f"rate {rate:.0%}", found, RATE_ALPHA)
    return 0 if kept else 1


def _tell(name: str, found: Coverage, alpha: float) -> bool:
    holds = found.holds(alpha, STREAMS)
    print(
        f"{name}, {1.0 - alpha:.0%}: missed in {found.missed:.1%}, by ville in {found.missed_by_ville:.1%}, "
        f"one-sided {found.missed_one_sided:.1%}; bounds or e-values differ by at most {found.farthest:.1e}"
        f"{'' if holds else ': PROMISE NOT KEPT'}"
    )
    return holds


if __name__ == "__main__":
    sys.exit(main())
