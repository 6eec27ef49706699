"""The rules of the guardrails: rates of crashes, unjudged and incomplete plans, and makespans in pairs."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from deployments.rollout.analysis.confidence import Interval, MeanSequence, RateSequence
from deployments.rollout.analysis.outcomes import Baseline, Evaluation, Outcome, PairedObservation, Replans
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

_MAX_SOURCES = 256


class LossRate:
    """The rate of one kind of loss among all counted evaluations: crashes, or plans that the judge failed on."""

    def __init__(self, limits: Limits, guardrail: Guardrail, outcome: Outcome, alpha: float) -> None:
        self._limits = limits
        self._guardrail = guardrail
        self._outcome = outcome
        self._alpha = alpha
        self.rate = RateSequence(prior=limits.crash_prior)
        self._recent: deque[int] = deque(maxlen=limits.window)
        self._latest: OrderedDict[str, datetime] = OrderedDict()
        self._has_fired = False

    def feed(self, event: Evaluation) -> Trigger | None:
        is_loss = event.outcome is self._outcome
        if is_loss and self._is_same_moment(event):
            return None
        self.rate.add(is_loss)
        self._recent.append(is_loss)
        limit = self._limits.crash_rate
        # Only a loss can lift the bound over the limit, so nothing else needs to be asked.
        if not is_loss or not self.rate.exceeds(limit, self._alpha):
            return None
        self._has_fired = True
        bound = self.rate.interval(self._alpha)
        assert bound is not None
        return trigger_at(self._guardrail, GuardrailRule.BOUND, event, bound.lower, limit, bound.n)

    def _is_same_moment(self, event: Evaluation) -> bool:
        """Whether the replica that is to blame was lost a moment ago already, by whichever clock."""
        if event.source is None:
            return False
        earlier = self._latest.get(event.source)
        if earlier is not None and abs((event.at - earlier).total_seconds()) <= self._limits.same_moment_seconds:
            return True
        self._latest[event.source] = event.at
        self._latest.move_to_end(event.source)
        if len(self._latest) > _MAX_SOURCES:
            self._latest.popitem(last=False)
        return False

    def readings(self) -> list[GuardrailReading]:
        limits = self._limits
        interval = self.rate.interval(self._alpha)
        bound = GuardrailReading(
            guardrail=self._guardrail,
            rule=GuardrailRule.BOUND,
            value=None if interval is None else interval.lower,
            limit=limits.crash_rate,
            n=self.rate.trials,
            condition=condition_of(has_data=interval is not None, has_fired=self._has_fired),
            interval=interval,
        )
        return [bound, _point(self._guardrail, self._recent, limits, limits.crash_rate)]

    def snapshot(self) -> dict[str, Any]:
        return {
            "rate": self.rate.snapshot(),
            "recent": list(map(int, self._recent)),
            "latest": [[source, at.isoformat()] for source, at in self._latest.items()],
            "has_fired": self._has_fired,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        self.rate = RateSequence.restored(document["rate"], prior=self._limits.crash_prior)
        self._recent.extend(document["recent"])
        self._latest = OrderedDict((source, datetime.fromisoformat(at)) for source, at in document["latest"])
        self._has_fired = bool(document["has_fired"])


class Completion:
    """Incomplete plans among those that were complete or incomplete."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._incomplete = RateSequence(prior=limits.incomplete_prior)
        self._recent: deque[int] = deque(maxlen=limits.window)
        self._sum = 0.0
        self._fired: GuardrailRule | None = None

    def feed(self, event: Evaluation) -> Trigger | None:
        if event.outcome not in (Outcome.OK, Outcome.INCOMPLETE):
            return None
        limits, is_incomplete = self._limits, event.outcome is Outcome.INCOMPLETE
        self._incomplete.add(is_incomplete)
        self._recent.append(is_incomplete)
        self._sum = max(0.0, self._sum + (limits.cusum_incomplete if is_incomplete else limits.cusum_complete))
        if not is_incomplete:
            return None
        if self._incomplete.exceeds(1.0 - limits.completion, limits.completion_alpha):
            self._fired = GuardrailRule.BOUND
            bound = self._bound()
            assert bound is not None
            return trigger_at(Guardrail.COMPLETION, GuardrailRule.BOUND, event, bound.upper, limits.completion, bound.n)
        if self._sum >= limits.cusum_limit:
            self._fired = GuardrailRule.CUSUM
            trials = self._incomplete.trials
            return trigger_at(Guardrail.COMPLETION, GuardrailRule.CUSUM, event, self._sum, limits.cusum_limit, trials)
        return None

    def _bound(self) -> Interval | None:
        """Of the completion rate: the mirror image of the incomplete rate."""
        found = self._incomplete.interval(self._limits.completion_alpha)
        if found is None:
            return None
        return Interval(estimate=1.0 - found.estimate, lower=1.0 - found.upper, upper=1.0 - found.lower, n=found.n)

    def readings(self) -> list[GuardrailReading]:
        limits, interval = self._limits, self._bound()
        bound = GuardrailReading(
            guardrail=Guardrail.COMPLETION,
            rule=GuardrailRule.BOUND,
            value=None if interval is None else interval.upper,
            limit=limits.completion,
            n=self._incomplete.trials,
            condition=condition_of(has_data=interval is not None, has_fired=self._fired is GuardrailRule.BOUND),
            interval=interval,
        )
        cusum = GuardrailReading(
            guardrail=Guardrail.COMPLETION,
            rule=GuardrailRule.CUSUM,
            value=self._sum,
            limit=limits.cusum_limit,
            n=self._incomplete.trials,
            condition=condition_of(has_data=interval is not None, has_fired=self._fired is GuardrailRule.CUSUM),
        )
        point = _point(Guardrail.COMPLETION, self._recent, limits, 1.0 - limits.completion)
        return [bound, cusum, _mirrored(point)]

    def snapshot(self) -> dict[str, Any]:
        return {
            "incomplete": self._incomplete.snapshot(),
            "recent": list(map(int, self._recent)),
            "sum": self._sum,
            "fired": self._fired,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        self._incomplete = RateSequence.restored(document["incomplete"], prior=self._limits.incomplete_prior)
        self._recent.extend(document["recent"])
        self._sum = float(document["sum"])
        self._fired = None if document["fired"] is None else GuardrailRule(document["fired"])


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


def _point(guardrail: Guardrail, recent: deque[int], limits: Limits, limit: float) -> GuardrailReading:
    """Rate of events over a whole window, a breach when it lies above `limit`."""
    is_whole = len(recent) == limits.window
    events = sum(recent)
    # Compared as counts: five of a hundred are not above five per cent, whatever the rounding.
    is_breach = is_whole and events > limit * limits.window + 1e-9
    return GuardrailReading(
        guardrail=guardrail,
        rule=GuardrailRule.POINT,
        value=events / limits.window if is_whole else None,
        limit=limit,
        n=len(recent),
        condition=Condition.BREACH if is_breach else condition_of(has_data=is_whole, has_fired=False),
    )


def _mirrored(point: GuardrailReading) -> GuardrailReading:
    """The incomplete rate told as a completion rate."""
    return replace(point, value=None if point.value is None else 1.0 - point.value, limit=1.0 - point.limit)
