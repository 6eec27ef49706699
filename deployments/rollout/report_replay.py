"""The ramp once more, event by event: what guardrails and comparison know now, and how the intervals came there."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from deployments.rollout.assignment import Arm
from deployments.rollout.comparison import DISPLAY_ALPHA, MAKESPAN, Comparison
from deployments.rollout.confidence import Interval, RateSequence
from deployments.rollout.guardrails import Event, Guardrails
from deployments.rollout.outcomes import Baseline, Evaluation, Outcome, PairedObservation, paired
from deployments.rollout.triggers import Limits

MOST_TREND_POINTS = 120

Point = TypeVar("Point")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """A confidence sequence at one moment."""

    at: datetime
    stage: str
    interval: Interval


class Replay:
    """`events` of any ramp and in any order; those of `ramp` are taken, by their time."""

    def __init__(self, events: Iterable[Event], *, ramp: int, limits: Limits) -> None:
        self.guardrails = Guardrails(ramp=ramp, limits=limits)
        self.comparison = Comparison(ramp=ramp)
        self.makespans: dict[Baseline, list[TrendPoint]] = {baseline: [] for baseline in Baseline}
        self._counts: list[tuple[Evaluation, int, int]] = []
        self._incomplete = RateSequence(prior=limits.incomplete_prior)
        for event in sorted((event for event in events if event.ramp == ramp), key=lambda event: event.at):
            self._take(event)

    def _take(self, event: Event) -> None:
        self.guardrails.observe(event)
        self.comparison.observe(event)
        if isinstance(event, PairedObservation):
            found = self.comparison.interval(event.baseline, MAKESPAN)
            if found is not None:
                point = TrendPoint(at=event.at, stage=event.stage, interval=as_change(found))
                self.makespans[event.baseline].append(point)
        elif isinstance(event, Evaluation) and not event.is_forced:
            self._take_completion(event)

    def _take_completion(self, event: Evaluation) -> None:
        if event.outcome not in (Outcome.OK, Outcome.INCOMPLETE):
            return
        self._incomplete.add(event.outcome is Outcome.INCOMPLETE)
        self._counts.append((event, self._incomplete.trials, self._incomplete.events))

    def completions(self) -> tuple[TrendPoint, ...]:
        """The completion rate over time. Its bounds are searched for, so only at the points that are shown."""
        return tuple(
            TrendPoint(at=event.at, stage=event.stage, interval=self._completion(trials, incomplete))
            for event, trials, incomplete in thinned(self._counts)
        )

    def _completion(self, trials: int, incomplete: int) -> Interval:
        found = RateSequence(prior=self._incomplete.prior, trials=trials, events=incomplete).interval(DISPLAY_ALPHA)
        assert found is not None
        return Interval(estimate=1 - found.estimate, lower=1 - found.upper, upper=1 - found.lower, n=found.n)


def as_change(log_ratio: Interval) -> Interval:
    """The relative change that an interval of the log ratio means: -0.05 is five per cent less."""
    estimate, lower, upper = map(math.expm1, (log_ratio.estimate, log_ratio.lower, log_ratio.upper))
    return Interval(estimate=estimate, lower=lower, upper=upper, n=log_ratio.n)


def pairs_of(evaluations: Iterable[Evaluation]) -> tuple[PairedObservation, ...]:
    """The pairs among these evaluations, by the time of the challenger's."""
    by_decision: dict[str, dict[Arm, Evaluation]] = defaultdict(dict)
    for evaluation in evaluations:
        by_decision[evaluation.decision_id][evaluation.arm] = evaluation
    found = (paired(arms[Arm.PPO], arms[Arm.MANUAL]) for arms in by_decision.values() if len(arms) == len(Arm))
    return tuple(sorted((pair for pair in found if pair is not None), key=lambda pair: pair.at))


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most `MOST_TREND_POINTS` of them, the last one always among them."""
    if len(points) <= MOST_TREND_POINTS:
        return tuple(points)
    step = (len(points) - 1) / (MOST_TREND_POINTS - 1)
    return tuple(points[round(place * step)] for place in range(MOST_TREND_POINTS))
