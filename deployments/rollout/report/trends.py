"""What the report draws over time: intervals, evidence and single windows; and how each kind of lists fares."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from deployments.rollout.analysis.confidence import Interval, window_interval
from deployments.rollout.analysis.e_processes import BETTER, FUTILE, HARM, EProcess, WindowEvidence
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.analysis.triggers import Limits
from deployments.rollout.analysis.windows import WindowObservation
from deployments.rollout.ramp.comparison import DISPLAY_ALPHA

MAX_TREND_POINTS = 120
Point = TypeVar("Point")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """A confidence sequence at one moment."""

    at: datetime
    stage: str
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePoint:
    """Decimal logarithms of E by question when windows closed: "better", "not better by 2 %" and "harm"."""

    at: datetime
    log10_e: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumFinding:
    """One kind of lists by `n` windows; `interval` of its relative change is None with too few.

    `is_worse`: named by the gate.
    """

    name: str
    n: int
    interval: Interval | None
    is_worse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Charts:
    """What is drawn besides: evidence and where its questions are answered, each window's change, kinds of lists."""

    evidence: tuple[EvidencePoint, ...]
    thresholds: dict[str, float]
    changes: dict[Baseline, tuple[tuple[datetime, float], ...]]
    strata: tuple[StratumFinding, ...]


def trend_of(closed: Sequence[tuple[datetime, WindowObservation]], baseline: Baseline) -> tuple[TrendPoint, ...]:
    """The makespan interval after each window, at the points that are shown."""
    windows = [(at, each) for at, each in closed if each.baseline is baseline]
    ratios = [each.log_ratio for _, each in windows]
    found = (
        (at, each.stage, window_interval(ratios[:number], DISPLAY_ALPHA))
        for number, (at, each) in thinned(list(enumerate(windows, start=1)))
    )
    return tuple(
        TrendPoint(at=at, stage=stage, interval=as_change(interval))
        for at, stage, interval in found
        if interval is not None
    )


def charts_of(closed: Sequence[tuple[datetime, WindowObservation]], known: WindowEvidence, limits: Limits) -> Charts:
    """What the windows say over time and by kinds of lists; `known` has counted all of them."""
    harm = replace(HARM, center=limits.log_makespan_limit)
    questions = {"better": BETTER, "not better by 2 %": FUTILE}
    of_all = {name: EProcess(test) for name, test in questions.items()}
    of_harm = {baseline: EProcess(harm) for baseline in Baseline}
    points, strata = [], defaultdict[str, list[float]](list)
    for at, batch in groupby(closed, key=lambda each: each[0]):
        windows = defaultdict[str, list[WindowObservation]](list)
        for _, each in batch:
            windows[each.window].append(each)
            of_harm[each.baseline].add(each.log_ratio)
            for name, log_ratio in each.strata.items():
                strata[name].append(log_ratio)
        for parts in windows.values():
            mean = sum(part.groups * part.log_ratio for part in parts) / sum(part.groups for part in parts)
            for process in of_all.values():
                process.add(mean)
        found = {name: process.log_e for name, process in of_all.items()}
        found["harm"] = max(process.log_e for process in of_harm.values())
        points.append(EvidencePoint(at=at, log10_e={name: log_e / math.log(10.0) for name, log_e in found.items()}))
    intervals = {name: window_interval(values, DISPLAY_ALPHA) for name, values in strata.items()}
    return Charts(
        evidence=thinned(points),
        thresholds={
            "better": known.exponent * math.log10(BETTER.threshold),
            "not better by 2 %": math.log10(FUTILE.threshold),
            "harm": math.log10(harm.threshold),
        },
        changes={
            baseline: tuple((at, math.expm1(each.log_ratio)) for at, each in closed if each.baseline is baseline)
            for baseline in Baseline
        },
        strata=tuple(
            StratumFinding(
                name=name, n=len(strata[name]), interval=found and as_change(found), is_worse=name in known.worse_strata
            )
            for name, found in sorted(intervals.items())
        ),
    )


def as_change(log_ratio: Interval) -> Interval:
    """The relative change that an interval of the log ratio means: -0.05 is five per cent less."""
    estimate, lower, upper = map(math.expm1, (log_ratio.estimate, log_ratio.lower, log_ratio.upper))
    return Interval(estimate=estimate, lower=lower, upper=upper, n=log_ratio.n)


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most `MAX_TREND_POINTS` of them, the last one always among them."""
    if len(points) <= MAX_TREND_POINTS:
        return tuple(points)
    step = (len(points) - 1) / (MAX_TREND_POINTS - 1)
    return tuple(points[round(place * step)] for place in range(MAX_TREND_POINTS))
