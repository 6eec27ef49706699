"""The guardrails over a whole stream at once, for simulations: a thin path that a test proves equal to `Guardrails`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deployments.rollout.analysis.confidence import (
    MIN_OBSERVATIONS,
    MeanSequence,
    beta_binomial_log_e,
    one_sided_radius,
)
from deployments.rollout.analysis.outcomes import Baseline, Outcome
from deployments.rollout.analysis.triggers import Condition, Guardrail, GuardrailReading, GuardrailRule, Limits

COUNTED = tuple(outcome for outcome in Outcome if outcome.is_counted)
CODE = {outcome: code for code, outcome in enumerate(COUNTED)}
"""How a stream writes outcomes: their place among those that are counted."""

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """`rule` of `guardrail` fires for the first time at request `index`, from 0."""

    guardrail: Guardrail
    rule: GuardrailRule
    index: int


class Scan:
    """One stream of requests: `outcomes` (requests,) as codes, `log_ratios` (requests,) with NaN where no pair is.

    Every pair is its own observation against the rule: there are no replans, and one kind of baseline.
    """

    def __init__(self, outcomes: NDArray[np.int8], log_ratios: NDArray[np.float64], limits: Limits) -> None:
        if outcomes.shape != log_ratios.shape:
            raise ValueError(f"outcomes and log_ratios must be alike, were {outcomes.shape} and {log_ratios.shape}")
        self._limits = limits
        self._outcomes = outcomes
        self._paired = np.flatnonzero(~np.isnan(log_ratios))
        self._ratios = log_ratios[self._paired]
        self._unpaired = np.flatnonzero(np.isnan(log_ratios) & (outcomes == CODE[Outcome.OK]))
        self._planned = np.flatnonzero((outcomes == CODE[Outcome.OK]) | (outcomes == CODE[Outcome.INCOMPLETE]))

    @cached_property
    def firings(self) -> tuple[Firing, ...]:
        """The first firing of every rule that fires at all, as if there were no other; earliest first."""
        found = (
            (Guardrail.CRITICAL, GuardrailRule.EVENT, _first(self._outcomes == CODE[Outcome.CRITICAL])),
            (Guardrail.CRASH, GuardrailRule.BOUND, self._loss_bound(Outcome.CRASH, self._limits.crash_alpha)),
            (Guardrail.UNJUDGED, GuardrailRule.BOUND, self._loss_bound(Outcome.UNJUDGED, self._limits.unjudged_alpha)),
            (Guardrail.COMPLETION, GuardrailRule.BOUND, self._completion_bound()),
            (Guardrail.COMPLETION, GuardrailRule.CUSUM, self._completion_cusum()),
            (Guardrail.MAKESPAN, GuardrailRule.WINDOW, self._makespan_window()),
            (Guardrail.MAKESPAN, GuardrailRule.BOUND, self._makespan_bound()),
        )
        firings = [
            Firing(guardrail=guardrail, rule=rule, index=index) for guardrail, rule, index in found if index is not None
        ]
        return tuple(sorted(firings, key=lambda firing: firing.index))

    def pairs(self, requests: int) -> int:
        """How many pairs the first `requests` have."""
        return int(np.searchsorted(self._paired, requests))

    def missing(self, requests: int) -> int:
        """How many of the first `requests` have a complete plan and no pair."""
        return int(np.searchsorted(self._unpaired, requests))

    def makespan(self, requests: int) -> MeanSequence:
        """The log makespan ratios of the first `requests`."""
        pairs = self.pairs(requests)
        totals, squares = self._sums
        return MeanSequence(
            deviation_floor=self._limits.deviation_floor,
            n=pairs,
            total=float(totals[pairs - 1]) if pairs else 0.0,
            squares=float(squares[pairs - 1]) if pairs else 0.0,
        )

    def breaches(self, requests: int) -> tuple[GuardrailReading, ...]:
        """Point breaches after the first `requests`."""
        limits, window = self._limits, self._limits.window
        planned, pairs = int(np.searchsorted(self._planned, requests)), self.pairs(requests)
        incomplete, crashes, unjudged, ratios = (
            _last(sums, n, window) for sums, n in zip(self._totals, (planned, requests, requests, pairs), strict=True)
        )
        found = (
            (Guardrail.CRASH, crashes / window, limits.crash_rate, min(requests, window), 1.0),
            (Guardrail.UNJUDGED, unjudged / window, limits.crash_rate, min(requests, window), 1.0),
            (Guardrail.COMPLETION, 1.0 - incomplete / window, limits.completion, min(planned, window), -1.0),
            (Guardrail.MAKESPAN, math.expm1(ratios / window), limits.makespan_increase, min(pairs, window), 1.0),
        )
        return tuple(
            GuardrailReading(
                guardrail=guardrail,
                rule=GuardrailRule.POINT,
                value=value,
                limit=limit,
                n=n,
                condition=Condition.BREACH,
                baseline=Baseline.RULE if guardrail is Guardrail.MAKESPAN else None,
            )
            for guardrail, value, limit, n, worse in found
            if n == window and worse * (value - limit) > 1e-9
        )

    @cached_property
    def _sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.cumsum(self._ratios), np.cumsum(self._ratios * self._ratios)

    @cached_property
    def _totals(self) -> tuple[NDArray[np.float64], ...]:
        """Running sums, from 0: incomplete among planned ones, crashes, unjudged ones, log ratios of pairs."""
        incomplete = self._outcomes[self._planned] == CODE[Outcome.INCOMPLETE]
        crashes, unjudged = (self._outcomes == CODE[outcome] for outcome in (Outcome.CRASH, Outcome.UNJUDGED))
        counted = (incomplete, crashes, unjudged, self._ratios)
        return tuple(np.concatenate([[0.0], np.cumsum(values)]) for values in counted)

    def _loss_bound(self, outcome: Outcome, alpha: float) -> int | None:
        limits, losses = self._limits, self._outcomes == CODE[outcome]
        return _first_above(losses, limits.crash_rate, alpha, limits.crash_prior)

    def _completion_bound(self) -> int | None:
        limits, incomplete = self._limits, self._outcomes[self._planned] == CODE[Outcome.INCOMPLETE]
        place = _first_above(incomplete, 1.0 - limits.completion, limits.completion_alpha, limits.incomplete_prior)
        return None if place is None else int(self._planned[place])

    def _completion_cusum(self) -> int | None:
        limits = self._limits
        up, down, limit = limits.cusum_incomplete, limits.cusum_complete, limits.cusum_limit
        incomplete = self._outcomes[self._planned] == CODE[Outcome.INCOMPLETE]
        walk = np.cumsum(np.where(incomplete, up, down))
        highest = walk - np.minimum(np.minimum.accumulate(walk), 0.0)
        if not (highest >= limit - _ROUNDING).any():
            return None
        # Added one by one, so that a sum that meets the limit exactly is rounded like the accumulator's.
        total = 0.0
        for place, is_incomplete in enumerate(incomplete.tolist()):
            total = max(0.0, total + (up if is_incomplete else down))
            if is_incomplete and total >= limit:
                return int(self._planned[place])
        return None

    def _makespan_window(self) -> int | None:
        window, limits = self._limits.window, self._limits
        totals = self._totals[-1]
        # A bound lies below its mean: only windows with a mean above the limit need a deviation.
        means = (totals[window:] - totals[:-window]) / window
        starts = np.flatnonzero(means > limits.log_makespan_limit - _ROUNDING)
        if not len(starts):
            return None
        recent = np.lib.stride_tricks.sliding_window_view(self._ratios, window)[starts]
        deviations = np.maximum(recent.std(axis=1, ddof=1), limits.deviation_floor)
        bounds = recent.mean(axis=1) - limits.window_errors * deviations / math.sqrt(window)
        place = _first(bounds > limits.log_makespan_limit)
        return None if place is None else int(self._paired[starts[place] + window - 1])

    def _makespan_bound(self) -> int | None:
        limits, (totals, squares) = self._limits, self._sums
        places = np.flatnonzero(totals > limits.log_makespan_limit * np.arange(1, len(totals) + 1))
        places = places[places >= MIN_OBSERVATIONS - 1]
        n = places + 1
        mean = totals[places] / n
        variance = np.maximum(squares[places] - n * mean**2, 0.0) / (n - 1)
        deviation = np.maximum(np.sqrt(variance), limits.deviation_floor)
        place = _first(mean - deviation * one_sided_radius(n, limits.alpha_of_one_baseline) > limits.log_makespan_limit)
        return None if place is None else int(self._paired[places[place]])


def _first_above(is_event: NDArray[np.bool_], limit: float, alpha: float, prior: tuple[float, float]) -> int | None:
    """Where the lower bound of the rate first lies above `limit`: always at an event."""
    places = np.flatnonzero(is_event)
    events, trials = np.arange(1, len(places) + 1), places + 1
    fires = (events > limit * trials) & (beta_binomial_log_e(events, trials, limit, prior) >= -math.log(alpha))
    place = _first(fires)
    return None if place is None else int(places[place])


def _last(sums: NDArray[np.float64], n: int, window: int) -> float:
    """Sum over the last `window` of the first `n`."""
    return float(sums[n] - sums[max(0, n - window)])


def _first(condition: NDArray[np.bool_]) -> int | None:
    return int(condition.argmax()) if condition.any() else None
