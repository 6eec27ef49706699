"""The guardrail of the makespan: paired observations against one kind of baseline, and its three rules."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from deployments.rollout.analysis.confidence import Interval, MeanSequence
from deployments.rollout.analysis.outcomes import Baseline, PairedObservation, Replans
from deployments.rollout.analysis.triggers import (
    Condition,
    Guardrail,
    GuardrailReading,
    GuardrailRule,
    Limits,
    Trigger,
    condition_of,
    trigger_at,
)


class Makespan:
    """Paired log makespan ratios against one kind of baseline."""

    def __init__(self, limits: Limits, baseline: Baseline) -> None:
        self._limits = limits
        self._baseline = baseline
        self._replans = Replans()
        self._all = MeanSequence(deviation_floor=limits.deviation_floor)
        self._recent: deque[float] = deque(maxlen=limits.window)
        self._fired: GuardrailRule | None = None

    def feed(self, event: PairedObservation) -> Trigger | None:
        self._take(event)
        limits, limit = self._limits, self._limits.log_makespan_limit
        # A bound lies below its mean, and the mean is cheap.
        recent_mean = self._window_mean()
        if recent_mean is not None and recent_mean > limit:
            window = self._window_bound()
            if window is not None and window > limit:
                return self._fire(GuardrailRule.WINDOW, event, window, len(self._recent))
        if self._all.mean > limit:
            bound = self._all.lower_bound(limits.alpha_of_one_baseline)
            if bound is not None and bound > limit:
                return self._fire(GuardrailRule.BOUND, event, bound, self._all.n)
        return None

    def _take(self, event: PairedObservation) -> None:
        revision = self._replans.feed(event.group, (event.log_makespan_ratio,))
        if revision.before is None:
            self._all.add(revision.after[0])
            self._recent.append(revision.after[0])
            return
        self._all.revise(revision.before[0], revision.after[0])
        place = revision.ordinal - (self._replans.observations - len(self._recent))
        if place >= 0:
            self._recent[place] = revision.after[0]

    def _fire(self, rule: GuardrailRule, event: PairedObservation, bound: float, n: int) -> Trigger:
        self._fired = rule
        increase, limit = math.expm1(bound), self._limits.makespan_increase
        return trigger_at(Guardrail.MAKESPAN, rule, event, increase, limit, n, self._baseline)

    def _window_mean(self) -> float | None:
        """Mean of the last observations; None until there is a whole window of them."""
        return math.fsum(self._recent) / len(self._recent) if len(self._recent) == self._limits.window else None

    def _window_bound(self) -> float | None:
        mean = self._window_mean()
        if mean is None:
            return None
        count = len(self._recent)
        variance = math.fsum((value - mean) ** 2 for value in self._recent) / (count - 1)
        deviation = max(math.sqrt(variance), self._limits.deviation_floor)
        return mean - self._limits.window_errors * deviation / math.sqrt(count)

    def readings(self) -> list[GuardrailReading]:
        alpha = self._limits.alpha_of_one_baseline
        mean = self._window_mean()
        point = Condition.BREACH if mean is not None and mean > self._limits.log_makespan_limit else None
        recent = len(self._recent)
        return [
            self._reading(GuardrailRule.BOUND, self._all.lower_bound(alpha), self._all.n, interval=self._interval()),
            self._reading(GuardrailRule.WINDOW, self._window_bound(), recent),
            self._reading(GuardrailRule.POINT, mean, recent, condition=point),
        ]

    def _interval(self) -> Interval | None:
        found = self._all.interval(self._limits.alpha_of_one_baseline)
        if found is None:
            return None
        estimate, lower, upper = map(math.expm1, (found.estimate, found.lower, found.upper))
        return Interval(estimate=estimate, lower=lower, upper=upper, n=found.n)

    def _reading(
        self,
        rule: GuardrailRule,
        value: float | None,
        n: int,
        *,
        condition: Condition | None = None,
        interval: Interval | None = None,
    ) -> GuardrailReading:
        return GuardrailReading(
            guardrail=Guardrail.MAKESPAN,
            rule=rule,
            value=None if value is None else math.expm1(value),
            limit=self._limits.makespan_increase,
            n=n,
            condition=condition or condition_of(has_data=value is not None, has_fired=self._fired is rule),
            baseline=self._baseline,
            interval=interval,
        )

    def snapshot(self) -> dict[str, Any]:
        return {
            "replans": self._replans.snapshot(),
            "all": self._all.snapshot(),
            "recent": list(self._recent),
            "fired": self._fired,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        self._replans = Replans.restored(document["replans"])
        self._all = MeanSequence.restored(document["all"], deviation_floor=self._limits.deviation_floor)
        self._recent.extend(document["recent"])
        self._fired = None if document["fired"] is None else GuardrailRule(document["fired"])
