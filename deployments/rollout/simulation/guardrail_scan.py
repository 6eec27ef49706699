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
from deployments.rollout.analysis.guardrail_rules import shrunk_variance
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

    Every request is a list group of its own, against the rule; so a run of failures says nothing before the cumulative
    sums do and is left out, and so is the evidence over windows, see `characteristics`. `windows` (requests,) numbers
    the windows in rising order, at most 256; None: one window.
    """

    def __init__(
        self,
        outcomes: NDArray[np.int8],
        log_ratios: NDArray[np.float64],
        limits: Limits,
        windows: NDArray[np.int64] | None = None,
    ) -> None:
        if outcomes.shape != log_ratios.shape:
            raise ValueError(f"outcomes and log_ratios must be alike, were {outcomes.shape} and {log_ratios.shape}")
        self._limits = limits
        self._windows = np.zeros(len(outcomes), dtype=np.int64) if windows is None else windows
        self._outcomes = outcomes
        self._paired = np.flatnonzero(~np.isnan(log_ratios))
        self._ratios = log_ratios[self._paired]
        self._planned = np.flatnonzero((outcomes == CODE[Outcome.OK]) | (outcomes == CODE[Outcome.INCOMPLETE]))

    @cached_property
    def firings(self) -> tuple[Firing, ...]:
        """The first firing of every rule that fires at all, as if there were no other; earliest first."""
        found = (
            (Guardrail.CRITICAL, GuardrailRule.EVENT, _first(self._outcomes == CODE[Outcome.CRITICAL])),
            (Guardrail.CRASH, GuardrailRule.BOUND, self._loss_bound(Outcome.CRASH, self._limits.crash_alpha)),
            (Guardrail.UNJUDGED, GuardrailRule.BOUND, self._loss_bound(Outcome.UNJUDGED, self._limits.unjudged_alpha)),
            (Guardrail.CRASH, GuardrailRule.CUSUM, self._loss_cusum(Outcome.CRASH)),
            (Guardrail.UNJUDGED, GuardrailRule.CUSUM, self._loss_cusum(Outcome.UNJUDGED)),
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

    def ratios(self, begin: int, end: int) -> NDArray[np.float64]:
        """Log makespan ratios (pairs,) of the requests from `begin` to `end`."""
        return self._ratios[self.pairs(begin) : self.pairs(end)]

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

    def _loss_cusum(self, outcome: Outcome) -> int | None:
        limits = self._limits
        is_loss = self._outcomes == CODE[outcome]
        return _cusum(is_loss, limits.cusum_crash, limits.cusum_no_crash, limits.cusum_crash_limit)

    def _completion_cusum(self) -> int | None:
        limits = self._limits
        incomplete = self._outcomes[self._planned] == CODE[Outcome.INCOMPLETE]
        place = _cusum(incomplete, limits.cusum_incomplete, limits.cusum_complete, limits.cusum_limit)
        return None if place is None else int(self._planned[place])

    def _makespan_window(self) -> int | None:
        window, limits = self._limits.window, self._limits
        totals = self._totals[-1]
        # A bound lies below its mean: only windows with a mean above the limit need an error.
        means = (totals[window:] - totals[:-window]) / window
        starts = np.flatnonzero(means > limits.log_makespan_limit - _ROUNDING)
        if not len(starts):
            return None
        recent = np.lib.stride_tricks.sliding_window_view(self._ratios, window)[starts]
        errors = np.sqrt(recent.var(axis=1, ddof=1) / window + self._between(starts) * self._squared_shares(starts))
        place = _first(recent.mean(axis=1) - limits.window_errors * errors > limits.log_makespan_limit)
        return None if place is None else int(self._paired[starts[place] + window - 1])

    def _between(self, starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Shrunk variance between the windows before those of the pairs from each of `starts` on."""
        of_pairs = self._windows[self._paired]
        numbers, firsts, counts = np.unique(of_pairs, return_index=True, return_counts=True)
        means = np.add.reduceat(self._ratios, firsts) / counts
        known = np.searchsorted(numbers, of_pairs[starts])
        variances = np.array([means[:count].var(ddof=1) if count > 1 else 0.0 for count in range(len(numbers))])
        return np.asarray(shrunk_variance(variances[known], np.where(known > 1, known, 0)))

    def _squared_shares(self, starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum of the squared shares that windows have in the pairs from each of `starts` on."""
        recent = np.lib.stride_tricks.sliding_window_view(self._windows[self._paired], self._limits.window)[starts]
        edges = np.flatnonzero(np.diff(recent, axis=1, prepend=-1, append=-1).ravel())
        # Rows have one edge more than windows; lengths of what lies between edges, but not across rows.
        rows, places = np.divmod(edges, recent.shape[1] + 1)
        lengths = np.diff(places)
        is_inside = rows[1:] == rows[:-1]
        squares = (lengths[is_inside] / recent.shape[1]) ** 2
        return np.asarray(np.bincount(rows[1:][is_inside], squares, minlength=len(starts)), dtype=float)

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


def _cusum(is_event: NDArray[np.bool_], up: float, down: float, limit: float) -> int | None:
    """Where the cumulative sum first reaches `limit`: always at an event."""
    walk = np.cumsum(np.where(is_event, up, down))
    highest = walk - np.minimum(np.minimum.accumulate(walk), 0.0)
    if not (highest >= limit - _ROUNDING).any():
        return None
    # Added one by one, so that a sum that meets the limit exactly is rounded like the accumulator's.
    total = 0.0
    for place, happened in enumerate(is_event.tolist()):
        total = max(0.0, total + (up if happened else down))
        if happened and total >= limit:
            return place
    return None


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
