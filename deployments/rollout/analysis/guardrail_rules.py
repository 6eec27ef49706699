"""The rules of the guardrails: rates of crashes, unjudged and incomplete plans, and makespans in pairs."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deployments.rollout.analysis.confidence import Interval, MeanSequence, RateSequence
from deployments.rollout.analysis.e_processes import HARM, EProcess
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

_PRIOR_DEVIATION = 0.03
_PRIOR_WINDOWS = 4.0
"""What is believed of the spread between windows before any has closed, and how many windows that is worth."""

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

    def snapshot(self) -> list[str]:
        return list(self._digests)

    def restore(self, digests: Iterable[str]) -> None:
        self._digests.extend(digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateNumbers:
    """What a guardrail on a failure's rate goes by. `limit` is the rate that is allowed; `alpha` and `prior` are those
    of its bound, and a cumulative sum with floor 0 goes `up` at each failure and `down` otherwise until `sum_limit`.

    `told` is the limit as people know it: of the rate of success where `is_of_success`, and then all rates are.
    """

    limit: float
    alpha: float
    prior: tuple[float, float]
    up: float
    down: float
    sum_limit: float
    told: float
    is_of_success: bool = False


class FailureRate:
    """One kind of failure under four rules: a bound, a cumulative sum, a run, and the mean of the last trials."""

    def __init__(self, limits: Limits, guardrail: Guardrail, numbers: RateNumbers) -> None:
        self._limits = limits
        self._guardrail = guardrail
        self._numbers = numbers
        self.rate = RateSequence(prior=numbers.prior)
        self._recent: deque[int] = deque(maxlen=limits.window)
        self._sum = 0.0
        self._run = FailureRun(limits)
        self._fired: GuardrailRule | None = None

    def feed(self, event: Evaluation, is_failure: bool, is_trial: bool) -> Trigger | None:
        """Take one evaluation; `is_trial` says whether its list group has not been tried before."""
        is_total = self._run.feed(event, is_failure)
        numbers = self._numbers
        if is_trial:
            self.rate.add(is_failure)
            self._recent.append(is_failure)
            self._sum = max(0.0, self._sum + (numbers.up if is_failure else numbers.down))
        if not is_failure:
            return None
        # Only a failure can lift the bound over the limit, so nothing else needs to be asked.
        if is_trial and self.rate.exceeds(numbers.limit, numbers.alpha):
            bound = self._bound(self._interval())
            assert bound is not None
            return self._fire(GuardrailRule.BOUND, event, bound, numbers.told)
        if is_trial and self._sum >= numbers.sum_limit:
            return self._fire(GuardrailRule.CUSUM, event, self._sum, numbers.sum_limit)
        return self._fire(GuardrailRule.RUN, event, self._run.length, self._limits.run) if is_total else None

    def readings(self) -> list[GuardrailReading]:
        interval = self._interval()
        return [
            replace(self._reading(GuardrailRule.BOUND, self._bound(interval), self._numbers.told), interval=interval),
            self._reading(GuardrailRule.CUSUM, self._sum, self._numbers.sum_limit),
            self._reading(GuardrailRule.RUN, float(self._run.length), float(self._limits.run)),
            self._point(),
        ]

    def snapshot(self) -> dict[str, Any]:
        return {
            "rate": self.rate.snapshot(),
            "recent": list(map(int, self._recent)),
            "sum": self._sum,
            "run": self._run.snapshot(),
            "fired": self._fired,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        self.rate = RateSequence.restored(document["rate"], prior=self._numbers.prior)
        self._recent.extend(document["recent"])
        if "has_fired" in document:  # crashes in format 1, in which the bound was their only rule
            self._fired = GuardrailRule.BOUND if document["has_fired"] else None
            return
        self._sum = float(document["sum"])
        self._run.restore(document.get("run", ()))  # not in format 1
        self._fired = None if document["fired"] is None else GuardrailRule(document["fired"])

    def _fire(self, rule: GuardrailRule, event: Evaluation, value: float, limit: float) -> Trigger:
        self._fired = rule
        return trigger_at(self._guardrail, rule, event, value, limit, self.rate.trials)

    def _interval(self) -> Interval | None:
        """Of the rate as people know it; that of success is the mirror image of the failures'."""
        found = self.rate.interval(self._numbers.alpha)
        if found is None or not self._numbers.is_of_success:
            return found
        return Interval(estimate=1.0 - found.estimate, lower=1.0 - found.upper, upper=1.0 - found.lower, n=found.n)

    def _bound(self, interval: Interval | None) -> float | None:
        if interval is None:
            return None
        return interval.upper if self._numbers.is_of_success else interval.lower

    def _reading(self, rule: GuardrailRule, value: float | None, limit: float) -> GuardrailReading:
        n = self.rate.trials
        return GuardrailReading(
            guardrail=self._guardrail,
            rule=rule,
            value=value,
            limit=limit,
            n=n,
            condition=condition_of(has_data=n > 0, has_fired=self._fired is rule),
        )

    def _point(self) -> GuardrailReading:
        """Rate of failures over the last trials, once they are enough; a breach when it lies above the limit."""
        limit, window, failures = self._numbers.limit, self._limits.window, sum(self._recent)
        is_whole, is_of_success = len(self._recent) == window, self._numbers.is_of_success
        # Compared as counts: five of a hundred are not above five per cent, whatever the rounding.
        is_breach = is_whole and failures > limit * window + 1e-9
        share = failures / window
        return GuardrailReading(
            guardrail=self._guardrail,
            rule=GuardrailRule.POINT,
            value=(1.0 - share if is_of_success else share) if is_whole else None,
            limit=1.0 - limit if is_of_success else limit,
            n=len(self._recent),
            condition=Condition.BREACH if is_breach else condition_of(has_data=is_whole, has_fired=False),
        )


class LossRate:
    """The rate of one kind of loss among all counted evaluations: crashes, or plans that the judge failed on."""

    def __init__(self, limits: Limits, guardrail: Guardrail, outcome: Outcome, alpha: float) -> None:
        self._limits = limits
        self._outcome = outcome
        self._latest: OrderedDict[str, datetime] = OrderedDict()
        numbers = RateNumbers(
            limit=limits.crash_rate,
            alpha=alpha,
            prior=limits.crash_prior,
            up=limits.cusum_crash,
            down=limits.cusum_no_crash,
            sum_limit=limits.cusum_crash_limit,
            told=limits.crash_rate,
        )
        self._failures = FailureRate(limits, guardrail, numbers)

    @property
    def trials(self) -> int:
        """How many list groups were tried."""
        return self._failures.rate.trials

    def feed(self, event: Evaluation, is_trial: bool) -> Trigger | None:
        """Take one evaluation; `is_trial` says whether its list group has not been tried before."""
        is_loss = event.outcome is self._outcome
        if is_loss and self._is_same_moment(event):
            return None
        return self._failures.feed(event, is_loss, is_trial)

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
        return self._failures.readings()

    def snapshot(self) -> dict[str, Any]:
        latest = [[source, at.isoformat()] for source, at in self._latest.items()]
        return self._failures.snapshot() | {"latest": latest}

    def restore(self, document: Mapping[str, Any]) -> None:
        self._latest = OrderedDict((source, datetime.fromisoformat(at)) for source, at in document["latest"])
        self._failures.restore(document)


class Completion:
    """Incomplete plans among those that were complete or incomplete."""

    def __init__(self, limits: Limits) -> None:
        numbers = RateNumbers(
            limit=1.0 - limits.completion,
            alpha=limits.completion_alpha,
            prior=limits.incomplete_prior,
            up=limits.cusum_incomplete,
            down=limits.cusum_complete,
            sum_limit=limits.cusum_limit,
            told=limits.completion,
            is_of_success=True,
        )
        self._failures = FailureRate(limits, Guardrail.COMPLETION, numbers)

    def feed(self, event: Evaluation, is_trial: bool) -> Trigger | None:
        """Take one evaluation; `is_trial` says whether its list group has not been tried before."""
        if event.outcome not in (Outcome.OK, Outcome.INCOMPLETE):
            return None
        return self._failures.feed(event, event.outcome is Outcome.INCOMPLETE, is_trial)

    def readings(self) -> list[GuardrailReading]:
        return self._failures.readings()

    def snapshot(self) -> dict[str, Any]:
        found = self._failures.snapshot()
        return {"incomplete": found.pop("rate")} | found

    def restore(self, document: Mapping[str, Any]) -> None:
        self._failures.restore({**document, "rate": document["incomplete"]})


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


def recent_error(recent: Sequence[float], windows: Sequence[str], earlier: Sequence[float]) -> float:
    """Standard error of the mean of `recent` pairs that lie in `windows`, given means of windows that closed `earlier`.

    SE^2 = s^2 / n + s_b^2 sum(share_w^2): pairs of one window share its day (a one-way random effect, as in Searle,
    Casella and McCulloch, "Variance Components", 1992). s_b^2 is shrunk to 0.03^2, worth four windows.
    """
    if len(recent) != len(windows) or len(recent) < 2:
        raise ValueError(f"pairs and their windows must be as many, >= 2, were {len(recent)} and {len(windows)}")
    known = len(earlier)
    between = float(np.var(np.asarray(earlier, dtype=float), ddof=1)) if known > 1 else 0.0
    shrunk = float(shrunk_variance(between, known if known > 1 else 0))
    shares = np.unique(np.asarray(windows), return_counts=True)[1] / len(windows)
    within = float(np.var(np.asarray(recent, dtype=float), ddof=1))
    return math.sqrt(within / len(recent) + shrunk * float((shares**2).sum()))


def shrunk_variance(between: ArrayLike, windows: ArrayLike) -> NDArray[np.float64]:
    """(4 x 0.03^2 + k b) / (4 + k): the variance between k windows, drawn to what is believed before any has closed."""
    known = np.asarray(windows, dtype=float)
    believed = _PRIOR_WINDOWS * _PRIOR_DEVIATION**2
    return np.asarray((believed + known * np.asarray(between, dtype=float)) / (_PRIOR_WINDOWS + known))
