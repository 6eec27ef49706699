"""Intervals that hold at every moment at once, so that looking every minute costs nothing.

Means of windows: the bets of `e_processes`, turned round. Other means: the asymptotic confidence sequence of
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences" (arXiv 2103.06476), two-sided and one-sided. Rates:
the beta-binomial mixture (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240), exact from
the first observation. Functions take scalars and arrays alike.

SciPy is imported where it is used: it has 300 modules, which no router that starts should wait for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deployments.rollout.analysis.e_processes import CLIP, SequentialTest, log_mixture

MIN_OBSERVATIONS = 100
"""Before this many, an asymptotic interval has no meaning and is not given."""

_HALVINGS = 30

TIGHTEST_AT = 200
"""Number of observations at which the asymptotic interval is as narrow as it can be made."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence sequence at one moment: the estimate and its bounds after `n` observations."""

    estimate: float
    lower: float
    upper: float
    n: int


@cache
def mixture_variance(alpha: float, tightest_at: int = TIGHTEST_AT) -> float:
    """rho squared of the normal mixture whose two-sided boundary is narrowest after `tightest_at` observations."""
    from scipy.special import lambertw

    _require_probability("alpha", alpha)
    return float((-lambertw(-(alpha**2) / math.e, k=-1).real - 1.0) / tightest_at)


def two_sided_radius(n: ArrayLike, alpha: float, tightest_at: int = TIGHTEST_AT) -> Floats:
    """Half-width of the two-sided sequence after `n` observations, in standard deviations."""
    count = np.asarray(n, dtype=float)
    rho = mixture_variance(alpha, tightest_at)
    spread = count * rho + 1.0
    return np.sqrt(2.0 * spread / (count**2 * rho) * np.log(np.sqrt(spread) / alpha))


def one_sided_radius(n: ArrayLike, alpha: float, tightest_at: int = TIGHTEST_AT) -> Floats:
    """Distance of the one-sided bound from the mean after `n` observations, in standard deviations."""
    count = np.asarray(n, dtype=float)
    # One side at alpha is tuned like two sides at twice alpha.
    rho = mixture_variance(min(2.0 * alpha, 0.999), tightest_at)
    spread = count * rho + 1.0
    return np.sqrt(2.0 * spread / (count**2 * rho) * np.log1p(np.sqrt(spread) / (2.0 * alpha)))


def beta_binomial_log_e(successes: ArrayLike, trials: ArrayLike, null: ArrayLike, prior: tuple[float, float]) -> Floats:
    """Log of the e-value against "the rate is `null`" after `successes` of `trials`, mixing over Beta(`prior`)."""
    from scipy.special import betaln, xlog1py, xlogy

    hits, count = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    rate = np.asarray(null, dtype=float)
    marginal = betaln(prior[0] + hits, prior[1] + count - hits) - betaln(*prior)
    return np.asarray(marginal - xlogy(hits, rate) - xlog1py(count - hits, -rate), dtype=float)


def window_interval(log_ratios: Sequence[float], alpha: float) -> Interval | None:
    """Two-sided bounds of the mean log ratio of windows, clipped about it: what neither bet refutes at alpha / 2.

    Valid from the first window on, and in agreement with the gate: the upper bound is below 0 exactly when "shorter"
    is answered at 2 / alpha to 1. None while nothing at all is refuted. Source: Waudby-Smith and Ramdas (arXiv
    2010.09686), section 4, by search, since the wealth of each bet is monotone in what is bet against.
    """
    if not log_ratios:
        return None
    values = np.asarray(log_ratios, dtype=float)
    lower, upper = _bound(values, 1, alpha), _bound(values, -1, alpha)
    if lower is None or upper is None:
        return None
    estimate = min(max(float(np.clip(values, lower - CLIP, upper + CLIP).mean()), lower), upper)
    return Interval(estimate=estimate, lower=lower, upper=upper, n=len(values))


def _bound(values: Floats, sign: int, alpha: float) -> float | None:
    """The highest mean that "longer" refutes, or the lowest that "shorter" does."""
    limit = math.log(2.0 / alpha)

    def is_refuted(center: float) -> bool:
        test = SequentialTest(sign=sign, center=center, threshold=2.0 / alpha)
        return bool(log_mixture(test.log_growth(values).sum(axis=0)) >= limit)

    refuted, kept = (values.min() - CLIP, values.max() + CLIP)[::sign]
    if not is_refuted(float(refuted)):
        return None
    for _ in range(_HALVINGS):
        middle = (refuted + kept) / 2.0
        refuted, kept = (middle, kept) if is_refuted(float(middle)) else (refuted, middle)
    return float(kept)


class MeanSequence:
    """Running mean of observations that may still be revised, and its anytime-valid bounds.

    `deviation_floor` is the least standard deviation that is believed: identical observations have none, and
    would make every difference significant.
    """

    def __init__(self, *, deviation_floor: float, n: int = 0, total: float = 0.0, squares: float = 0.0) -> None:
        if not deviation_floor > 0:
            raise ValueError(f"deviation_floor must be > 0, was {deviation_floor}")
        self.deviation_floor = deviation_floor
        self.n = n
        self._total = total
        self._squares = squares

    def add(self, value: float) -> None:
        """One more observation."""
        self.n += 1
        self._total += value
        self._squares += value * value

    @property
    def mean(self) -> float:
        """Of all observations; there must be one."""
        return self._total / self.n

    @property
    def deviation(self) -> float:
        """Standard deviation, not below the floor."""
        if self.n < 2:
            return self.deviation_floor
        variance = (self._squares - self.n * self.mean**2) / (self.n - 1)
        return max(math.sqrt(max(variance, 0.0)), self.deviation_floor)

    def interval(self, alpha: float) -> Interval | None:
        """Two-sided bounds at level 1 - alpha; None before `MIN_OBSERVATIONS`."""
        if self.n < MIN_OBSERVATIONS:
            return None
        radius = self.deviation * float(two_sided_radius(self.n, alpha))
        return Interval(estimate=self.mean, lower=self.mean - radius, upper=self.mean + radius, n=self.n)

    def lower_bound(self, alpha: float) -> float | None:
        """One-sided lower bound at level 1 - alpha; None before `MIN_OBSERVATIONS`."""
        if self.n < MIN_OBSERVATIONS:
            return None
        return self.mean - self.deviation * float(one_sided_radius(self.n, alpha))

    def snapshot(self) -> dict[str, float | int]:
        """Plain values; `restored` is the inverse."""
        return {"n": self.n, "total": self._total, "squares": self._squares}

    @classmethod
    def restored(cls, document: Mapping[str, Any], *, deviation_floor: float) -> MeanSequence:
        return cls(
            deviation_floor=deviation_floor,
            n=int(document["n"]),
            total=float(document["total"]),
            squares=float(document["squares"]),
        )


class RateSequence:
    """Running rate of events among trials, and its anytime-valid bounds from the first trial on."""

    def __init__(self, *, prior: tuple[float, float], trials: int = 0, events: int = 0) -> None:
        if min(prior) <= 0:
            raise ValueError(f"prior must be positive, was {prior}")
        if not 0 <= events <= trials:
            raise ValueError(f"events must lie between 0 and {trials} trials, were {events}")
        self.prior = prior
        self.trials = trials
        self.events = events

    def add(self, is_event: bool) -> None:
        """One more trial."""
        self.trials += 1
        self.events += is_event

    @property
    def rate(self) -> float:
        """Events per trial; there must be a trial."""
        return self.events / self.trials

    def exceeds(self, limit: float, alpha: float) -> bool:
        """Whether the lower bound at level 1 - alpha lies above `limit`."""
        if self.trials == 0 or self.events <= limit * self.trials:
            return False
        return bool(beta_binomial_log_e(self.events, self.trials, limit, self.prior) >= -math.log(alpha))

    def interval(self, alpha: float) -> Interval | None:
        """Two-sided bounds at level 1 - alpha; None without a trial."""
        if self.trials == 0:
            return None
        _require_probability("alpha", alpha)

        def excess(rate: float) -> float:
            return float(beta_binomial_log_e(self.events, self.trials, rate, self.prior)) + math.log(alpha)

        estimate = self.rate
        lower = 0.0 if self.events == 0 else _crossing(excess, 0.0, estimate)
        upper = 1.0 if self.events == self.trials else _crossing(excess, 1.0, estimate)
        return Interval(estimate=estimate, lower=lower, upper=upper, n=self.trials)

    def snapshot(self) -> dict[str, int]:
        """Plain values; `restored` is the inverse."""
        return {"trials": self.trials, "events": self.events}

    @classmethod
    def restored(cls, document: Mapping[str, Any], *, prior: tuple[float, float]) -> RateSequence:
        return cls(prior=prior, trials=int(document["trials"]), events=int(document["events"]))


def _crossing(excess: Any, edge: float, estimate: float) -> float:
    """Where `excess` turns from positive (near the edge, which is refuted) to negative (near the estimate)."""
    from scipy.optimize import brentq

    nudge = 1e-15
    outermost = edge + nudge if edge < estimate else edge - nudge
    inner = estimate if 0.0 < estimate < 1.0 else min(max(estimate, nudge), 1.0 - nudge)
    if excess(outermost) <= 0.0:
        return edge
    return float(brentq(excess, outermost, inner, xtol=1e-14))


def _require_probability(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, was {value}")
