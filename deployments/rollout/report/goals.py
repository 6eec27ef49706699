"""The user's goals, and how they stand: met, missed, undecided, or not enough data; never a bare tick."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from deployments.rollout.analysis.confidence import (
    MIN_OBSERVATIONS,
    Interval,
    MeanSequence,
    RateSequence,
    window_interval,
)
from deployments.rollout.analysis.outcomes import Evaluation, Outcome
from deployments.rollout.assignment import ArmRole
from deployments.rollout.report.arm_figures import Satisfaction

DISPLAY_ALPHA = 0.05
_PRIOR = (1.0, 20.0)


class GoalState(StrEnum):
    """How a goal stands. UNDECIDED: the interval reaches over the target."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A target for one measure, in `unit`."""

    name: str
    label: str
    target: float
    unit: str
    is_more_better: bool

    @property
    def asks_for_everything(self) -> bool:
        """Whether nothing is better than the target: then the target itself is good, and one miss is one too many."""
        return self.target == (100.0 if self.is_more_better else 0.0)

    def holds(self, value: float) -> bool:
        """Whether `value` is on the good side; the target itself is only good where no more is possible."""
        if value == self.target:
            return self.asks_for_everything
        return value > self.target if self.is_more_better else value < self.target

    @property
    def condition(self) -> str:
        """What `holds` asks, as every report writes it: `> 80 %`, `>= 100 %`, `= 0`."""
        if self.is_more_better:
            sign = ">=" if self.asks_for_everything else ">"
        else:
            sign = "=" if self.asks_for_everything else "<"
        return f"{sign} {self.target:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalReading:
    """A goal with what was measured; `value` is None when nothing was."""

    goal: Goal
    value: float | None
    n: int
    state: GoalState
    interval: Interval | None = None


_CRITICAL = "critical_violations"
# Name, label, unit, and whether more is better.
_GOALS = (
    ("makespan_hours", "makespan", "h", False),
    ("completion_percent", "complete schedules", "%", True),
    ("utilisation_percent", "machine utilisation", "%", True),
    ("on_time_percent", "families on time by LCD", "%", True),
    ("error_percent", "errors", "%", False),
    ("response_seconds", "response, 95th percentile", "s", False),
    (_CRITICAL, "critical violations", "", False),
    ("throughput_percent", "throughput against manual", "%", True),
    ("satisfaction_percent", "satisfied planners", "%", True),
    ("uptime_percent", "uptime", "%", True),
)


def goals_at(targets: Mapping[str, float | None]) -> tuple[Goal, ...]:
    """The goals with these targets, each in the goal's own unit; None leaves one out.

    No critical violation is a goal that nobody may soften.
    """
    at = {**targets, _CRITICAL: 0.0}
    return tuple(
        Goal(name=name, label=label, target=target, unit=unit, is_more_better=is_more_better)
        for name, label, unit, is_more_better in _GOALS
        if (target := at[name]) is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalMeasures:
    """One measure: a value after `n`, with its interval where there is one.

    `is_valid_at_once` says that the interval holds however small `n` is.
    """

    value: float | None
    n: int
    interval: Interval | None = None
    is_valid_at_once: bool = False


def read_goals(goals: Sequence[Goal], measured: Mapping[str, GoalMeasures]) -> tuple[GoalReading, ...]:
    """Every goal with its state; one that nobody measured has not enough data."""
    return tuple(_read(goal, measured.get(goal.name, GoalMeasures(value=None, n=0))) for goal in goals)


def measures_of(evaluations: Sequence[Evaluation]) -> dict[str, GoalMeasures]:
    """What the challenger's counted, unforced evaluations say about the goals; replans are one observation."""
    counted = [evaluation for evaluation in evaluations if evaluation.outcome.is_counted and not evaluation.is_forced]
    outcomes = [evaluation.outcome for evaluation in counted]
    criticals = outcomes.count(Outcome.CRITICAL)
    errors = criticals + outcomes.count(Outcome.CRASH)
    incomplete, complete = outcomes.count(Outcome.INCOMPLETE), outcomes.count(Outcome.OK)
    found = {
        "error_percent": _rate(errors, len(counted)),
        "completion_percent": _rate(incomplete, incomplete + complete, is_mirrored=True),
        "critical_violations": GoalMeasures(value=float(criticals), n=len(counted)),
        "response_seconds": _percentile([e.latency_ms / 1000.0 for e in counted if e.latency_ms is not None]),
    }
    for name, field, factor in (
        ("makespan_hours", "makespan_seconds", 1.0 / 3600.0),
        ("utilisation_percent", "utilisation_percent", 1.0),
        ("on_time_percent", "on_time_percent", 1.0),
    ):
        found[name] = _mean(counted, field, factor)
    return found


def throughput_of(log_ratios: Sequence[float]) -> dict[str, GoalMeasures]:
    """By how many per cent plans are shorter than the rule's, from the windows' log ratios; empty without enough."""
    found = window_interval(log_ratios, DISPLAY_ALPHA)
    if found is None:
        return {}
    estimate, upper, lower = (100.0 * math.expm1(-v) for v in (found.estimate, found.lower, found.upper))
    gain = Interval(estimate=estimate, lower=lower, upper=upper, n=found.n)
    return {"throughput_percent": GoalMeasures(value=estimate, n=found.n, interval=gain, is_valid_at_once=True)}


def satisfaction_goal(satisfied: Sequence[Satisfaction]) -> dict[str, GoalMeasures]:
    """What those who rated the challenger's plans say."""
    found = {}
    for rated in satisfied:
        if rated.arm is ArmRole.PPO:
            low, mean, high = (
                100.0 * v for v in (rated.satisfied.lower, rated.satisfied.estimate, rated.satisfied.upper)
            )
            interval = Interval(estimate=mean, lower=low, upper=high, n=rated.ratings)
            found["satisfaction_percent"] = GoalMeasures(value=mean, n=rated.ratings, interval=interval)
    return found


def _read(goal: Goal, measured: GoalMeasures) -> GoalReading:
    return GoalReading(
        goal=goal,
        value=measured.value,
        n=measured.n,
        state=_state(goal, measured),
        interval=measured.interval,
    )


def _state(goal: Goal, measured: GoalMeasures) -> GoalState:
    value, interval = measured.value, measured.interval
    if value is None:
        return GoalState.NOT_ENOUGH_DATA
    if goal.asks_for_everything and not goal.holds(value):
        return GoalState.MISSED
    if measured.n < MIN_OBSERVATIONS and not measured.is_valid_at_once:
        return GoalState.NOT_ENOUGH_DATA
    if interval is None or goal.asks_for_everything:
        return GoalState.MET if goal.holds(value) else GoalState.MISSED
    bounds = {goal.holds(interval.lower), goal.holds(interval.upper)}
    if len(bounds) == 2:
        return GoalState.UNDECIDED
    return GoalState.MET if bounds == {True} else GoalState.MISSED


def _rate(events: int, trials: int, *, is_mirrored: bool = False) -> GoalMeasures:
    """A rate in per cent; mirrored: of what did not happen."""
    found = RateSequence(prior=_PRIOR, trials=trials, events=events).interval(DISPLAY_ALPHA)
    if found is None:
        return GoalMeasures(value=None, n=0)
    values = [100.0 * value for value in (found.estimate, found.lower, found.upper)]
    if is_mirrored:
        values = [100.0 - values[0], 100.0 - values[2], 100.0 - values[1]]
    estimate, lower, upper = values
    return GoalMeasures(
        value=estimate, n=trials, interval=Interval(estimate=estimate, lower=lower, upper=upper, n=trials)
    )


def _percentile(values: Sequence[float]) -> GoalMeasures:
    if len(values) < 2:
        return GoalMeasures(value=values[0] if values else None, n=len(values))
    return GoalMeasures(value=statistics.quantiles(values, n=20, method="inclusive")[-1], n=len(values))


def _mean(counted: Sequence[Evaluation], field: str, factor: float) -> GoalMeasures:
    lists: dict[tuple[str, str], list[float]] = {}
    for evaluation in counted:
        if evaluation.outcome is Outcome.OK and evaluation.figures is not None:
            key = evaluation.unit, evaluation.job_list_digest
            lists.setdefault(key, []).append(factor * getattr(evaluation.figures, field))
    sequence = MeanSequence(deviation_floor=0.1)
    for values in lists.values():
        sequence.add(statistics.fmean(values))
    if sequence.n == 0:
        return GoalMeasures(value=None, n=0)
    return GoalMeasures(value=sequence.mean, n=sequence.n, interval=sequence.interval(DISPLAY_ALPHA))
