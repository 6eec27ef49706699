"""The rules of the guardrails: rates of crashes, unjudged and incomplete plans, and makespans in pairs."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from deployments.rollout.analysis.confidence import Interval, MeanSequence, RateSequence
from deployments.rollout.analysis.e_processes import HARM, EProcess, recent_error
from deployments.rollout.analysis.outcomes import Baseline, Evaluation, Outcome, PairedObservation
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
from deployments.rollout.analysis.windows import MAX_WINDOWS, closes_at

_MAX_SOURCES = 256
_MAX_EARLIER = 256
"""Windows before the last pairs whose means are remembered, for the spread between windows."""

_ONE_WINDOW = "before windows were told apart"


class FailureRun:
    """Failures in a row, presses too: total failure is seen in few requests, whatever list groups they belong to.

    One bad list that is pressed again and again is no total failure, hence several different lists.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._digests: deque[str] = deque(maxlen=limits.run)

    @property
    def length(self) -> int:
        """How many there are now, at most as many as count."""
        return len(self._digests)

    def feed(self, event: Evaluation, is_failure: bool) -> bool:
        """Take one evaluation; whether the run is total failure now."""
        if not is_failure:
            self._digests.clear()
            return False
        self._digests.append(event.job_list_digest)
        return self.length >= self._limits.run and len(set(self._digests)) >= self._limits.run_lists

    def reading(self, guardrail: Guardrail, n: int, *, has_fired: bool) -> GuardrailReading:
        """The run as it stands, after `n` trials of the guardrail."""
        return GuardrailReading(
            guardrail=guardrail,
            rule=GuardrailRule.RUN,
            value=float(self.length),
            limit=float(self._limits.run),
            n=n,
            condition=condition_of(has_data=n > 0, has_fired=has_fired),
        )

    def snapshot(self) -> list[str]:
        return list(self._digests)

    def restore(self, digests: Iterable[str]) -> None:
        self._digests.extend(digests)


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
        self._sum = 0.0
        self._run = FailureRun(limits)
        self._fired: GuardrailRule | None = None

    def feed(self, event: Evaluation, is_trial: bool) -> Trigger | None:
        """Take one evaluation; `is_trial` says whether its list group has not been tried before."""
        is_loss = event.outcome is self._outcome
        if is_loss and self._is_same_moment(event):
            return None
        is_total = self._run.feed(event, is_loss)
        limits = self._limits
        if is_trial:
            self.rate.add(is_loss)
            self._recent.append(is_loss)
            self._sum = max(0.0, self._sum + (limits.cusum_crash if is_loss else limits.cusum_no_crash))
        if not is_loss:
            return None
        # Only a loss can lift the bound over the limit, so nothing else needs to be asked.
        if is_trial and self.rate.exceeds(limits.crash_rate, self._alpha):
            bound = self.rate.interval(self._alpha)
            assert bound is not None
            return self._fire(GuardrailRule.BOUND, event, bound.lower, limits.crash_rate)
        if is_trial and self._sum >= limits.cusum_crash_limit:
            return self._fire(GuardrailRule.CUSUM, event, self._sum, limits.cusum_crash_limit)
        return self._fire(GuardrailRule.RUN, event, self._run.length, limits.run) if is_total else None

    def _fire(self, rule: GuardrailRule, event: Evaluation, value: float, limit: float) -> Trigger:
        self._fired = rule
        return trigger_at(self._guardrail, rule, event, value, limit, self.rate.trials)

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
        limits, n = self._limits, self.rate.trials
        interval = self.rate.interval(self._alpha)
        bound = GuardrailReading(
            guardrail=self._guardrail,
            rule=GuardrailRule.BOUND,
            value=None if interval is None else interval.lower,
            limit=limits.crash_rate,
            n=n,
            condition=condition_of(has_data=n > 0, has_fired=self._fired is GuardrailRule.BOUND),
            interval=interval,
        )
        cusum = GuardrailReading(
            guardrail=self._guardrail,
            rule=GuardrailRule.CUSUM,
            value=self._sum,
            limit=limits.cusum_crash_limit,
            n=n,
            condition=condition_of(has_data=n > 0, has_fired=self._fired is GuardrailRule.CUSUM),
        )
        run = self._run.reading(self._guardrail, n, has_fired=self._fired is GuardrailRule.RUN)
        return [bound, cusum, run, _point(self._guardrail, self._recent, limits, limits.crash_rate)]

    def snapshot(self) -> dict[str, Any]:
        return {
            "rate": self.rate.snapshot(),
            "recent": list(map(int, self._recent)),
            "latest": [[source, at.isoformat()] for source, at in self._latest.items()],
            "sum": self._sum,
            "run": self._run.snapshot(),
            "fired": self._fired,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        self.rate = RateSequence.restored(document["rate"], prior=self._limits.crash_prior)
        self._recent.extend(document["recent"])
        self._latest = OrderedDict((source, datetime.fromisoformat(at)) for source, at in document["latest"])
        if "has_fired" in document:  # format 1, in which the bound was the only rule
            self._fired = GuardrailRule.BOUND if document["has_fired"] else None
            return
        self._sum = float(document["sum"])
        self._run.restore(document["run"])
        self._fired = None if document["fired"] is None else GuardrailRule(document["fired"])


class Completion:
    """Incomplete plans among those that were complete or incomplete."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._incomplete = RateSequence(prior=limits.incomplete_prior)
        self._recent: deque[int] = deque(maxlen=limits.window)
        self._sum = 0.0
        self._run = FailureRun(limits)
        self._fired: GuardrailRule | None = None

    def feed(self, event: Evaluation, is_trial: bool) -> Trigger | None:
        """Take one evaluation; `is_trial` says whether its list group has not been tried before."""
        if event.outcome not in (Outcome.OK, Outcome.INCOMPLETE):
            return None
        limits, is_incomplete = self._limits, event.outcome is Outcome.INCOMPLETE
        is_total = self._run.feed(event, is_incomplete)
        if is_trial:
            self._incomplete.add(is_incomplete)
            self._recent.append(is_incomplete)
            self._sum = max(0.0, self._sum + (limits.cusum_incomplete if is_incomplete else limits.cusum_complete))
        if not is_incomplete:
            return None
        found = self._trial_trigger(event) if is_trial else None
        return self._run_trigger(event) if found is None and is_total else found

    def _trial_trigger(self, event: Evaluation) -> Trigger | None:
        limits, trials = self._limits, self._incomplete.trials
        if self._incomplete.exceeds(1.0 - limits.completion, limits.completion_alpha):
            self._fired = GuardrailRule.BOUND
            bound = self._bound()
            assert bound is not None
            return trigger_at(Guardrail.COMPLETION, GuardrailRule.BOUND, event, bound.upper, limits.completion, trials)
        if self._sum >= limits.cusum_limit:
            self._fired = GuardrailRule.CUSUM
            return trigger_at(Guardrail.COMPLETION, GuardrailRule.CUSUM, event, self._sum, limits.cusum_limit, trials)
        return None

    def _run_trigger(self, event: Evaluation) -> Trigger:
        self._fired = GuardrailRule.RUN
        length, trials = self._run.length, self._incomplete.trials
        return trigger_at(Guardrail.COMPLETION, GuardrailRule.RUN, event, length, self._limits.run, trials)

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
        run = self._run.reading(
            Guardrail.COMPLETION, self._incomplete.trials, has_fired=self._fired is GuardrailRule.RUN
        )
        return [bound, cusum, run, _mirrored(point)]

    def snapshot(self) -> dict[str, Any]:
        return {
            "incomplete": self._incomplete.snapshot(),
            "recent": list(map(int, self._recent)),
            "sum": self._sum,
            "run": self._run.snapshot(),
            "fired": self._fired,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        self._incomplete = RateSequence.restored(document["incomplete"], prior=self._limits.incomplete_prior)
        self._recent.extend(document["recent"])
        self._run.restore(document.get("run", ()))  # not in format 1
        self._sum = float(document["sum"])
        self._fired = None if document["fired"] is None else GuardrailRule(document["fired"])


class Makespan:
    """Paired log makespan ratios against one kind of baseline: the first pair of each list group."""

    def __init__(self, limits: Limits, baseline: Baseline) -> None:
        self._limits = limits
        self._baseline = baseline
        self._all = MeanSequence(deviation_floor=limits.deviation_floor)
        self._recent: deque[tuple[str, float]] = deque(maxlen=limits.window)
        self._earlier: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._open: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._harm = EProcess(replace(HARM, center=limits.log_makespan_limit))
        self._newest = datetime.min.replace(tzinfo=UTC)
        self._fired: GuardrailRule | None = None

    def feed(self, event: PairedObservation, window: str) -> Trigger | None:
        """Take the first pair of a list group, which lies in `window`."""
        has_closed = self._close_windows(event.at)
        self._take(event.log_makespan_ratio, window)
        limits, limit = self._limits, self._limits.log_makespan_limit
        if has_closed and self._harm.exceeds():
            self._fired = GuardrailRule.EVIDENCE
            odds, n = self._odds(), self._harm.n
            threshold = self._harm.test.threshold
            return trigger_at(Guardrail.MAKESPAN, GuardrailRule.EVIDENCE, event, odds, threshold, n, self._baseline)
        # A bound lies below its mean, and the mean is cheap.
        recent_mean = self._window_mean()
        if recent_mean is not None and recent_mean > limit:
            bound_of_window = self._window_bound()
            if bound_of_window is not None and bound_of_window > limit:
                return self._fire(GuardrailRule.WINDOW, event, bound_of_window, len(self._recent))
        if self._all.mean > limit:
            bound = self._all.lower_bound(limits.alpha_of_one_baseline)
            if bound is not None and bound > limit:
                return self._fire(GuardrailRule.BOUND, event, bound, self._all.n)
        return None

    def _close_windows(self, at: datetime) -> bool:
        """Feeds the evidence with the windows that are over by the newest event, in the order of their days."""
        if at.replace(minute=0, second=0, microsecond=0) <= self._newest:
            self._newest = max(self._newest, at)
            return False
        self._newest = at
        over = sorted((closes_at(key), key) for key in self._open if closes_at(key) <= at)
        for _, key in over:
            count, total = self._open.pop(key)
            self._harm.add(total / count)
        return bool(over)

    def _odds(self) -> float:
        return math.exp(min(self._harm.log_e, 700.0))

    def _take(self, log_ratio: float, window: str) -> None:
        # A pair that comes after its window's close has said nothing by then, and says nothing now.
        if closes_at(window) > self._newest:
            known, sum_of_known = self._open.get(window, (0, 0.0))
            self._open[window] = (known + 1, sum_of_known + log_ratio)
            self._open.move_to_end(window)
            if len(self._open) > MAX_WINDOWS:
                self._open.popitem(last=False)
        self._all.add(log_ratio)
        if len(self._recent) == self._limits.window:
            left, value = self._recent[0]
            count, total = self._earlier.get(left, (0, 0.0))
            self._earlier[left] = (count + 1, total + value)
            if len(self._earlier) > _MAX_EARLIER:
                self._earlier.popitem(last=False)
        self._recent.append((window, log_ratio))

    def _fire(self, rule: GuardrailRule, event: PairedObservation, bound: float, n: int) -> Trigger:
        self._fired = rule
        increase, limit = math.expm1(bound), self._limits.makespan_increase
        return trigger_at(Guardrail.MAKESPAN, rule, event, increase, limit, n, self._baseline)

    def _window_mean(self) -> float | None:
        """Mean of the last pairs; None until there are as many as count."""
        values = [value for _, value in self._recent]
        return math.fsum(values) / len(values) if len(values) == self._limits.window else None

    def _window_bound(self) -> float | None:
        mean = self._window_mean()
        if mean is None:
            return None
        windows = [window for window, _ in self._recent]
        inside = set(windows)
        earlier = [total / count for window, (count, total) in self._earlier.items() if window not in inside]
        return mean - self._limits.window_errors * recent_error([value for _, value in self._recent], windows, earlier)

    def readings(self) -> list[GuardrailReading]:
        alpha = self._limits.alpha_of_one_baseline
        mean = self._window_mean()
        point = Condition.BREACH if mean is not None and mean > self._limits.log_makespan_limit else None
        recent = len(self._recent)
        return [
            self._reading(GuardrailRule.BOUND, self._all.lower_bound(alpha), self._all.n, interval=self._interval()),
            self._reading(GuardrailRule.WINDOW, self._window_bound(), recent),
            GuardrailReading(
                guardrail=Guardrail.MAKESPAN,
                rule=GuardrailRule.EVIDENCE,
                value=self._odds() if self._harm.n else None,
                limit=self._harm.test.threshold,
                n=self._harm.n,
                condition=condition_of(has_data=self._harm.n > 0, has_fired=self._fired is GuardrailRule.EVIDENCE),
                baseline=self._baseline,
            ),
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
            "all": self._all.snapshot(),
            "recent": [[window, value] for window, value in self._recent],
            "earlier": [[window, count, total] for window, (count, total) in self._earlier.items()],
            "open": [[window, count, total] for window, (count, total) in self._open.items()],
            "harm": self._harm.snapshot(),
            "newest": self._newest.isoformat(),
            "fired": self._fired,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        self._all = MeanSequence.restored(document["all"], deviation_floor=self._limits.deviation_floor)
        self._fired = None if document["fired"] is None else GuardrailRule(document["fired"])
        if "replans" in document:  # format 1, whose pairs do not say their window
            self._recent.extend((_ONE_WINDOW, float(value)) for value in document["recent"])
            return
        self._recent.extend((str(window), float(value)) for window, value in document["recent"])
        for stored, kept, most in (("earlier", self._earlier, _MAX_EARLIER), ("open", self._open, MAX_WINDOWS)):
            for window, count, total in document[stored][-most:]:
                kept[str(window)] = (int(count), float(total))
        self._harm = EProcess.restored(document["harm"], self._harm.test)
        self._newest = datetime.fromisoformat(document["newest"])


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
