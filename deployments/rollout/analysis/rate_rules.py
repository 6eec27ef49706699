"""The guardrails of rates: crashes and unjudged plans among all evaluations, incomplete plans among all plans."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from deployments.rollout.analysis.confidence import Interval, RateSequence
from deployments.rollout.analysis.outcomes import Evaluation, Outcome
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
