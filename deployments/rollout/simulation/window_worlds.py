"""Worlds of windows, and the whole policy in them: many rollouts at once, day by day.

What a plant has stored tells which world it is: `estimated`. The tests are those of `analysis.e_processes`; arrays are
(rollouts, days, plants) of windows, and one more axis for the lists of a window. What a planner presses again is no
list of its own, see `analysis.windows`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from deployments.rollout.analysis.confidence import Interval
from deployments.rollout.analysis.e_processes import (
    BETTER,
    BETTER_BY_DAYS,
    BETTER_IN_STAGE,
    CLIP,
    FEWER_HOURS,
    FUTILE,
    FUTILE_BY_DAYS,
    HARM,
    MAX_AUTOCORRELATION,
    MIN_WINDOWS_OF_AUTOCORRELATION,
    NO_VARIANCE,
    STAKES,
    TAIL_COST,
    TAIL_FROM,
    UNKNOWN_AUTOCORRELATION,
    WORSE,
    SequentialTest,
    autocorrelation,
    evidence_exponent,
    log_mixture,
)
from deployments.rollout.analysis.sample_ratio import is_paid_for
from deployments.rollout.analysis.windows import WindowObservation

Floats = NDArray[np.float64]
Stages = NDArray[np.int64]

STAGES = ("limited", "expanded", "full")
MIN_DAYS = (7, 7, 14)
"""Of shadow, limited and expanded."""

CHUNK = 250
"""Rollouts that are computed at once, so that memory does not depend on how many there are."""

NEVER = 1_000_000_000

MIN_WINDOWS_OF_WORLD = MIN_WINDOWS_OF_AUTOCORRELATION
"""With fewer windows, or fewer lists beyond the first of each, an estimate would be noise."""

MAX_LISTS_AT_ONCE = 2_000_000
"""Lists of all rollouts of a chunk of `climb`, which has some ten arrays of them."""

MAX_PLANTS = 20
"""Lines of one simulated world: of more, the evidence is nearly the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowWorld:
    """What is true about the challenger, and how windows are alike.

    `effect` is the true relative change of the makespan, from day `change_at` on `later_effect`. `deviation` is that
    of one list's log ratio, of which the part `icc` of the variance is shared by the lists of a window; of that, the
    part `common` by all plants of a day; the rest follows an AR(1) of `rho` from day to day. The part `tail_share` of
    the lists takes `tail_factor` times as long, with the mean kept. The part `long_share` of the lists has
    `long_hours` instead of one and changes by `long_effect`. Of the lists whose noise is among the worst
    `hard_share`, the part `lost_share` is never answered.
    """

    effect: float = 0.0
    later_effect: float = 0.0
    change_at: int = NEVER
    deviation: float = 0.1
    lists: int = 10
    icc: float = 0.2
    rho: float = 0.0
    plants: int = 1
    common: float = 0.0
    tail_share: float = 0.0
    tail_factor: float = 2.0
    long_share: float = 0.0
    long_hours: float = 20.0
    long_effect: float = 0.0
    hard_share: float = 0.0
    lost_share: float = 0.0
    hard_effect: float = 0.0

    def __post_init__(self) -> None:
        parts = ("icc", "common", "tail_share", "long_share", "hard_share", "lost_share")
        for name in parts:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, was {getattr(self, name)}")
        if not -1.0 < self.rho < 1.0:
            raise ValueError(f"rho must lie strictly between -1 and 1, was {self.rho}")
        if min(self.effect, self.later_effect, self.long_effect, self.hard_effect) <= -1.0:
            raise ValueError("an effect must be above -1")
        if self.lists < 1 or self.plants < 1 or not self.deviation >= 0.0:
            raise ValueError(f"lists and plants must be >= 1, were {self.lists} and {self.plants}")

    def lists_of(self, rollouts: int, days: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Log ratios and hours of all lists, both (rollouts, days, plants, lists); NaN where a pair is lost."""
        shape = (rollouts, days, self.plants, self.lists)
        windows = self._windows(rollouts, days, rng)[..., np.newaxis]
        noise = rng.standard_normal(shape)
        ratios = windows + self.deviation * math.sqrt(1.0 - self.icc) * noise
        ratios += self._trend(days)[:, np.newaxis, np.newaxis]
        hours = np.ones(shape)
        if self.tail_share:
            is_tail = rng.random(shape) < self.tail_share
            shift = math.log(self.tail_factor)
            ratios += np.where(is_tail, shift, 0.0) - self.tail_share * shift
        if self.long_share:
            is_long = rng.random(shape) < self.long_share
            ratios += np.where(is_long, math.log1p(self.long_effect), 0.0)
            hours = np.where(is_long, self.long_hours, 1.0)
        if self.hard_share:
            is_hard = rng.random(shape) < self.hard_share
            ratios += np.where(is_hard, math.log1p(self.hard_effect), 0.0)
            ratios = np.where(is_hard & (rng.random(shape) < self.lost_share), np.nan, ratios)
        return ratios, hours

    def means_of(self, rollouts: int, days: int, rng: np.random.Generator) -> Floats:
        """Mean log ratios of windows (rollouts, days, plants), where they are normal: without lists one by one."""
        if self.tail_share or self.long_share or self.hard_share:
            raise ValueError("windows with tails, long or hard lists are no normal ones")
        windows = self._windows(rollouts, days, rng)
        within = self.deviation * math.sqrt((1.0 - self.icc) / self.lists)
        return windows + within * rng.standard_normal(windows.shape) + self._trend(days)[:, np.newaxis]

    def _trend(self, days: int) -> Floats:
        changed = np.arange(days) >= self.change_at
        return np.where(changed, math.log1p(self.later_effect), math.log1p(self.effect))

    def _windows(self, rollouts: int, days: int, rng: np.random.Generator) -> Floats:
        """What the lists of a window share, (rollouts, days, plants), of mean 0."""
        if not self.icc:
            return np.zeros((rollouts, days, self.plants))
        own = rng.standard_normal((rollouts, days, self.plants))
        for day in range(1, days if self.rho else 0):
            own[:, day] = self.rho * own[:, day - 1] + math.sqrt(1.0 - self.rho**2) * own[:, day]
        shared = rng.standard_normal((rollouts, days, 1)) if self.common else 0.0
        mixed = math.sqrt(1.0 - self.common) * own + math.sqrt(self.common) * shared
        return np.asarray(self.deviation * math.sqrt(self.icc) * mixed)


def chunks(rollouts: int, size: int = CHUNK) -> Iterator[int]:
    """How many rollouts each chunk has."""
    for start in range(0, rollouts, size):
        yield min(size, rollouts - start)


def first_crossing(log_ratios: Floats, test: SequentialTest, threshold: float | None = None) -> Stages:
    """After how many windows E reaches the threshold, (rollouts,) of log ratios (rollouts, windows); else `NEVER`."""
    limit = math.log(test.threshold if threshold is None else threshold)
    is_over = log_mixture(np.cumsum(test.log_growth(log_ratios), axis=1)) >= limit
    return np.where(is_over.any(axis=1), is_over.argmax(axis=1) + 1, NEVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldEstimate:
    """What some lines' closed windows say of the world that they come from; None: too few to tell.

    `groups` and `lists` are means for a window, `days_a_window` calendar days from one window of a line to the next.
    `deviation` is that of one list's log ratio, `icc` the part of its variance that a window's lists share, `rho` the
    lag-1 autocorrelation of windows, and `common` the part of what a window shares that all lines of its day do.
    """

    windows: int
    lines: int
    groups: float
    lists: float
    days_a_window: float
    deviation: float | None
    icc: Interval | None
    rho: Interval | None
    common: float

    @property
    def effective_lists(self) -> float | None:
        """So many lists of different windows say as much as those of one (Kish's design effect, 1965)."""
        return None if self.icc is None else self.groups / (1.0 + (self.groups - 1.0) * self.icc.estimate)

    def world(self, effect: float) -> WindowWorld | None:
        """The world that it says, in which the challenger has this effect; None where it cannot be told."""
        if self.deviation is None or self.rho is None:
            return None
        lists = max(1, round(self.groups)) if self.icc is not None else 1
        # Alone in its window a list is the window: then all that it says is shared.
        icc = self.icc.estimate if self.icc is not None and lists > 1 else 1.0
        follows = (1.0 - self.common) * icc * lists / (1.0 + (lists - 1.0) * icc)
        return WindowWorld(
            effect=effect,
            deviation=self.deviation,
            lists=lists,
            icc=icc,
            # Only what a window shares follows the day before; the noise of its lists does not.
            rho=min(max(self.rho.estimate / follows, 0.0), MAX_AUTOCORRELATION) if follows > 0.0 else 0.0,
            plants=min(self.lines, MAX_PLANTS),
            common=self.common if self.lines > 1 else 0.0,
        )


def estimated(closed: Sequence[WindowObservation], alpha: float = 0.05) -> WorldEstimate:
    """The world of these windows, with intervals at level 1 - `alpha`; parts of one window are taken together."""
    windows = _joined(closed)
    series: dict[str, list[WindowObservation]] = {}
    for window in sorted(windows, key=lambda window: window.day):
        series.setdefault(window.line, []).append(window)
    spans = [(of_line[-1].day - of_line[0].day).days for of_line in series.values()]
    steps = sum(len(of_line) - 1 for of_line in series.values())
    rho = _autocorrelation_of([[window.log_ratio for window in of_line] for of_line in series.values()], alpha)
    icc, deviation = _intraclass_of(windows, 0.0 if rho is None else rho.estimate, alpha)
    shared = 0.0 if deviation is None else deviation**2 * (1.0 if icc is None else icc.estimate)
    return WorldEstimate(
        windows=len(windows),
        lines=len(series),
        groups=sum(window.groups for window in windows) / max(len(windows), 1),
        lists=sum(window.lists for window in windows) / max(len(windows), 1),
        days_a_window=sum(spans) / steps if steps else 1.0,
        deviation=deviation,
        icc=icc,
        rho=rho,
        common=min(max(_covariance_of_lines(windows) / shared, 0.0), 1.0) if shared > NO_VARIANCE else 0.0,
    )


def _joined(closed: Sequence[WindowObservation]) -> list[WindowObservation]:
    """One observation a window, whatever its baselines were."""
    parts: dict[str, list[WindowObservation]] = {}
    for observation in closed:
        parts.setdefault(observation.window, []).append(observation)
    found = []
    for of_one in parts.values():
        groups = sum(part.groups for part in of_one)
        mean = math.fsum(part.groups * part.log_ratio for part in of_one) / groups
        squares = math.fsum(part.squares + part.groups * (part.log_ratio - mean) ** 2 for part in of_one)
        lists = sum(part.lists for part in of_one)
        found.append(replace(of_one[0], groups=groups, lists=lists, log_ratio=mean, squares=squares))
    return found


def _intraclass_of(
    windows: Sequence[WindowObservation], rho: float, alpha: float
) -> tuple[Interval | None, float | None]:
    """ICC(1) by analysis of variance, and the deviation of one list; each None with too few windows.

    Interval: Searle's, from the F distribution, with the mean size n_0 of unequal windows (Donner, "A review of
    inference procedures for the intraclass correlation coefficient", 1986). Windows that follow each other vary less
    than independent ones: their degrees of freedom are those of Bayley and Hammersley (1946) for a variance.
    """
    a, total = len(windows), sum(window.groups for window in windows)
    if a < MIN_WINDOWS_OF_WORLD:
        return None, None
    mean = math.fsum(window.groups * window.log_ratio for window in windows) / total
    between = math.fsum(window.groups * (window.log_ratio - mean) ** 2 for window in windows) / (a - 1)
    if total - a < MIN_WINDOWS_OF_WORLD:
        return None, math.sqrt(between * (a - 1) / total)
    within = math.fsum(window.squares for window in windows) / (total - a)
    size = (total - sum(window.groups**2 for window in windows) / total) / (a - 1)
    deviation = math.sqrt(within + max(between - within, 0.0) / size)
    if between <= NO_VARIANCE and within <= NO_VARIANCE:
        return None, deviation
    from scipy.special import fdtri

    freedom = max((a - 1) * (1.0 - rho**2) / (1.0 + rho**2), 1.0)

    def part(ratio: float) -> float:
        return min(max((ratio - 1.0) / (ratio + size - 1.0), 0.0), 1.0)

    ratio = between / max(within, NO_VARIANCE)
    low, high = (float(fdtri(freedom, total - a, level)) for level in (1.0 - alpha / 2.0, alpha / 2.0))
    return Interval(estimate=part(ratio), lower=part(ratio / low), upper=part(ratio / high), n=a), deviation


def _autocorrelation_of(series: Sequence[Sequence[float]], alpha: float) -> Interval | None:
    """Lag-1 autocorrelation within lines, None with too few windows or without spread.

    The mean of each line is estimated, which costs (1 + 3 rho) / n (Kendall, "Note on bias in the estimation of
    autocorrelation", 1954) and is given back. Interval: arcsin rho has about variance 1 / n, since that of r is
    (1 - rho^2) / n (Bartlett, 1946).
    """
    n, lines = sum(map(len, series)), len(series)
    found = autocorrelation(series)
    if n - 3 * lines < MIN_WINDOWS_OF_WORLD or found == UNKNOWN_AUTOCORRELATION:
        return None
    estimate = min(max((found + lines / n) / (1.0 - 3.0 * lines / n), -MAX_AUTOCORRELATION), MAX_AUTOCORRELATION)
    half = NormalDist().inv_cdf(1.0 - alpha / 2.0) / math.sqrt(n)
    angle = math.asin(estimate)
    low, high = (math.sin(min(max(each, -math.pi / 2.0), math.pi / 2.0)) for each in (angle - half, angle + half))
    return Interval(estimate=estimate, lower=low, upper=high, n=n)


def _covariance_of_lines(windows: Sequence[WindowObservation]) -> float:
    """Mean product of two lines' deviations on one day; 0 where no day has two."""
    of_lines: dict[str, list[float]] = {}
    for window in windows:
        of_lines.setdefault(window.line, []).append(window.log_ratio)
    means = {line: math.fsum(values) / len(values) for line, values in of_lines.items()}
    of_days: dict[date, list[float]] = {}
    for window in windows:
        of_days.setdefault(window.day, []).append(window.log_ratio - means[window.line])
    products = math.fsum(math.fsum(each) ** 2 - math.fsum(value**2 for value in each) for each in of_days.values())
    pairs = sum(len(each) * (len(each) - 1) for each in of_days.values())
    return products / pairs if pairs else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbs:
    """What became of many rollouts: the day on which each stage was entered, (rollouts, 3), `NEVER` if it was not.

    `futile` and `harmful` are the first days of those verdicts, (rollouts,).
    """

    entered: Stages
    futile: Stages
    harmful: Stages

    @staticmethod
    def joined(parts: list[Climbs]) -> Climbs:
        """All of them together."""
        return Climbs(
            entered=np.concatenate([part.entered for part in parts]),
            futile=np.concatenate([part.futile for part in parts]),
            harmful=np.concatenate([part.harmful for part in parts]),
        )

    def share(self, stage: str) -> float:
        """Part of the rollouts that ever entered it."""
        return float((self.entered[:, STAGES.index(stage)] < NEVER).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClimbRules:
    """Which rules an operator goes by. `exponent` None: estimated from the windows so far, as the gate does.

    `min_days` is how long each stage lasts at least, in days of the world.
    """

    exponent: float | None = evidence_exponent(UNKNOWN_AUTOCORRELATION)
    min_days: tuple[int, ...] = MIN_DAYS
    by_days: bool = True
    tail: bool = True
    losses: bool = True
    hours: bool = True


def climb(world: WindowWorld, *, days: int, rollouts: int, rng: np.random.Generator, rules: ClimbRules) -> Climbs:
    """Rollouts from shadow on, looked at after each day, by an operator who promotes when all of the rules agree."""
    size = min(CHUNK, max(1, MAX_LISTS_AT_ONCE // (days * world.plants * world.lists)))
    return Climbs.joined([_climb(world, days, part, rng, rules) for part in chunks(rollouts, size)])


class PolicyDays:
    """What is known after each day of some rollouts: arrays (rollouts, days), and wealth with the stakes behind."""

    def __init__(self, ratios: Floats, hours: Floats, rules: ClimbRules) -> None:
        rollouts, days, plants, _ = ratios.shape
        has_pair = ~np.isnan(ratios)
        groups = has_pair.sum(axis=3)
        filled = np.where(has_pair, ratios, 0.0)
        is_window = groups > 0
        means = filled.sum(axis=3) / np.maximum(groups, 1)
        self._is_window = is_window
        self.better = self._wealth(BETTER, means)
        self.windows = np.cumsum(is_window.sum(axis=2), axis=1)
        clipped = np.where(is_window, np.clip(means, -CLIP, CLIP), 0.0)
        self.mean = np.cumsum(clipped.sum(axis=2), axis=1) / np.maximum(self.windows, 1)
        self.may_promote = np.ones((rollouts, days), dtype=bool)
        if rules.tail:
            self.may_promote &= self.mean + _tail_costs(filled, groups) < 0.0
        if rules.losses:
            asked = np.arange(1, days + 1) * plants * ratios.shape[3]
            lost = 1.0 - np.cumsum(groups.sum(axis=2), axis=1) / asked
            self.may_promote &= is_paid_for(self.mean, lost)
        self.is_futile = self._over(FUTILE, self._wealth(FUTILE, means))
        if rules.by_days and plants > 1:
            self.may_promote &= self._over(BETTER_BY_DAYS, self._wealth_of_days(BETTER_BY_DAYS, means))
            self.is_futile &= self._over(FUTILE_BY_DAYS, self._wealth_of_days(FUTILE_BY_DAYS, means))
        self.may_promote &= ~self._over(WORSE, self._wealth(WORSE, means))
        self.is_harmful = self._over(HARM, self._wealth(HARM, means))
        self.has_fewer_hours = np.ones((rollouts, days), dtype=bool)
        if rules.hours:
            weighted = _weighted_hours(np.where(has_pair, hours, 0.0), filled)
            self.has_fewer_hours = self._over(FEWER_HOURS, self._wealth(FEWER_HOURS, weighted))
        self.exponent = np.full((rollouts, days), rules.exponent or 0.0)
        if rules.exponent is None:
            self.exponent = _exponents(means)

    def _wealth(self, test: SequentialTest, log_ratios: Floats) -> Floats:
        growth = np.where(self._is_window[..., np.newaxis], test.log_growth(log_ratios), 0.0)
        return np.asarray(np.cumsum(growth.sum(axis=2), axis=1))

    def _wealth_of_days(self, test: SequentialTest, means: Floats) -> Floats:
        """The same for means over the plants that have a window on a day; a day without any says nothing."""
        count = self._is_window.sum(axis=2)
        of_days = np.where(self._is_window, means, 0.0).sum(axis=2) / np.maximum(count, 1)
        growth = np.where((count > 0)[..., np.newaxis], test.log_growth(of_days), 0.0)
        return np.asarray(np.cumsum(growth, axis=1))

    @staticmethod
    def _over(test: SequentialTest, log_wealth: Floats) -> NDArray[np.bool_]:
        return np.asarray(log_mixture(log_wealth) >= math.log(test.threshold))


def _climb(world: WindowWorld, days: int, rollouts: int, rng: np.random.Generator, rules: ClimbRules) -> Climbs:
    known = PolicyDays(*world.lists_of(rollouts, days, rng), rules)
    is_better = log_mixture(known.better) >= known.exponent * math.log(BETTER.threshold)
    stage, since = np.zeros(rollouts, dtype=np.int64), np.zeros(rollouts, dtype=np.int64)
    at_start = np.zeros((rollouts, len(STAKES)))
    entered = np.full((rollouts, len(STAGES)), NEVER, dtype=np.int64)
    is_over = np.zeros(rollouts, dtype=bool)
    for day in range(days):
        is_over |= known.is_harmful[:, day]
        in_stage = log_mixture(known.better[:, day] - at_start) >= math.log(BETTER_IN_STAGE.threshold)
        next_stage = np.minimum(stage, len(STAGES) - 1)
        goes = is_better[:, day] & in_stage & known.may_promote[:, day] & ~known.is_futile[:, day] & ~is_over
        goes &= (day + 1 - since >= np.asarray(rules.min_days)[next_stage]) & (stage < len(STAGES))
        goes &= known.has_fewer_hours[:, day] | (next_stage < len(STAGES) - 1)
        entered[goes, stage[goes]] = day + 1
        stage[goes] += 1
        since[goes] = day + 1
        at_start[goes] = known.better[goes, day]
    return Climbs(entered=entered, futile=_first(known.is_futile), harmful=_first(known.is_harmful))


def _tail_costs(ratios: Floats, groups: NDArray[np.int64]) -> Floats:
    """`analysis.e_processes.tail_cost` after each day, (rollouts, days)."""
    is_tail = ratios > TAIL_FROM
    tail = np.cumsum(is_tail.sum(axis=(2, 3)), axis=1)
    total = np.cumsum(np.where(is_tail, ratios, 0.0).sum(axis=(2, 3)), axis=1)
    excess = np.where(tail > 0, total / np.maximum(tail, 1) - CLIP, 0.0)
    known = np.maximum(np.cumsum(groups.sum(axis=2), axis=1), 1)
    return np.asarray((tail + 2.0 * np.sqrt(tail) + 3.0) * np.maximum(excess, TAIL_COST - CLIP) / known)


def _weighted_hours(hours: Floats, ratios: Floats) -> Floats:
    """`analysis.e_processes.HoursWeight` over each plant's windows in turn, (rollouts, days, plants)."""
    total = hours.sum(axis=3)
    change = (hours * np.expm1(ratios)).sum(axis=3) / np.maximum(total, 1e-9)
    flat = total.reshape(len(total), -1)
    before = np.cumsum(flat, axis=1) - flat
    count = np.arange(flat.shape[1])
    cap = 2.0 * np.where(count > 0, before / np.maximum(count, 1), flat)
    weight = np.minimum(flat / np.maximum(cap, 1e-9), 1.0).reshape(total.shape)
    return np.asarray(weight * np.clip(change, -CLIP, CLIP))


def _exponents(means: Floats) -> Floats:
    """kappa after each day, (rollouts, days), of the autocorrelation within plants so far."""
    n = np.arange(1, means.shape[1] + 1)[:, np.newaxis]
    total = np.cumsum(means, axis=1)
    mean = total / n
    squares = np.cumsum(means**2, axis=1) - n * mean**2
    neighbours = np.concatenate([np.zeros_like(means[:, :1]), means[:, 1:] * means[:, :-1]], axis=1)
    # Sum of (x_i - m)(x_{i+1} - m), from running sums: the first and the last value have one neighbour only.
    products = np.cumsum(neighbours, axis=1) - mean * (2.0 * total - means[:, :1] - means) + (n - 1) * mean**2
    windows, spread = n[:, 0] * means.shape[2], squares.sum(axis=2)
    is_unknown = (windows < MIN_WINDOWS_OF_AUTOCORRELATION) | (spread <= windows * NO_VARIANCE)
    rho = np.minimum(products.sum(axis=2) / np.where(is_unknown, 1.0, spread), MAX_AUTOCORRELATION)
    rho = np.where(is_unknown, UNKNOWN_AUTOCORRELATION, rho)
    return np.asarray(np.maximum(1.0, (1.0 + rho) / (1.0 - rho)))


def _first(condition: NDArray[np.bool_]) -> Stages:
    return np.where(condition.any(axis=1), condition.argmax(axis=1) + 1, NEVER)
