"""What is suspicious about a schedule that may well be valid: measures held against thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median

from env.judge.verdict import Anomaly, AnomalyCode
from env.problem import SECONDS_PER_HOUR, Problem
from env.schedule import Measures, Schedule, usable_machines, working_seconds_by_machine

MIN_HISTORY = 5
"""So many recent schedules make a history; with fewer nothing is compared with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyLimits:
    """Thresholds; a measure exactly at its threshold is no anomaly, and None switches one off. At first all are off.

    Raises `ValueError` when a threshold is negative or not finite.
    """

    max_makespan_hours: float | None = None
    max_makespan_over_baseline_percent: float | None = None
    max_makespan_from_history_percent: float | None = None
    min_utilisation_percent: float | None = None
    min_completion_percent: float | None = None
    max_load_over_mean_ratio: float | None = None

    def __post_init__(self) -> None:
        for threshold in fields(self):
            value = getattr(self, threshold.name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{threshold.name} must be >= 0 and finite, or None, was {value}")


def anomalies(
    problem: Problem,
    schedule: Schedule,
    measures: Measures,
    limits: AnomalyLimits,
    baseline_makespan_seconds: int | None = None,
    recent_makespans_seconds: Sequence[int] = (),
    left_seconds: Mapping[str, int] | None = None,
) -> tuple[Anomaly, ...]:
    """Each measure of `schedule` that lies beyond its limit, in the order of `AnomalyCode`.

    `left_seconds` is what each operation that has begun before second 0 works after it.

    The baseline is the makespan of another plan for the same problem; without one, or with one of 0,
    nothing is compared with it. The recent makespans are those of the same plant's earlier schedules;
    fewer than `MIN_HISTORY` of them, or a median of 0, say nothing.
    """
    return (
        *_makespan(measures, limits, baseline_makespan_seconds),
        *_history(measures, limits, recent_makespans_seconds),
        *_shortfalls(measures, limits),
        *_imbalance(problem, schedule, limits, left_seconds or {}),
    )


def _makespan(measures: Measures, limits: AnomalyLimits, baseline_seconds: int | None) -> Iterator[Anomaly]:
    hours = measures.makespan_seconds / SECONDS_PER_HOUR
    if limits.max_makespan_hours is not None and hours > limits.max_makespan_hours:
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_ABOVE_LIMIT,
            message=f"The makespan is {hours:.1f} h; it should be at most {limits.max_makespan_hours:g} h.",
            value=hours,
            limit=limits.max_makespan_hours,
        )
    if limits.max_makespan_over_baseline_percent is None or not baseline_seconds:
        return
    excess = 100.0 * (measures.makespan_seconds - baseline_seconds) / baseline_seconds
    if excess > limits.max_makespan_over_baseline_percent:
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_ABOVE_BASELINE,
            message=f"The makespan is {excess:.1f} % longer than the baseline's; "
            f"it should be at most {limits.max_makespan_over_baseline_percent:g} % longer.",
            value=excess,
            limit=limits.max_makespan_over_baseline_percent,
        )


def _history(measures: Measures, limits: AnomalyLimits, recent_seconds: Sequence[int]) -> Iterator[Anomaly]:
    """The median, because one breakdown among the recent schedules must not move what is usual."""
    if limits.max_makespan_from_history_percent is None or len(recent_seconds) < MIN_HISTORY:
        return
    usual = median(recent_seconds)
    if usual <= 0:
        return
    deviation = 100.0 * abs(measures.makespan_seconds - usual) / usual
    if deviation > limits.max_makespan_from_history_percent:
        longer = "longer" if measures.makespan_seconds > usual else "shorter"
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_UNLIKE_HISTORY,
            message=f"The makespan is {deviation:.1f} % {longer} than the median of the plant's last "
            f"{len(recent_seconds)} schedules; it should be at most {limits.max_makespan_from_history_percent:g} % "
            "from it.",
            value=deviation,
            limit=limits.max_makespan_from_history_percent,
        )


def _shortfalls(measures: Measures, limits: AnomalyLimits) -> Iterator[Anomaly]:
    used, least_used = measures.utilisation_percent, limits.min_utilisation_percent
    if least_used is not None and used < least_used:
        yield Anomaly(
            code=AnomalyCode.LOW_UTILISATION,
            message=f"Machines work {used:.1f} % of their open time; it should be at least {least_used:g} %.",
            value=used,
            limit=least_used,
        )
    complete, least_complete = measures.completion_percent, limits.min_completion_percent
    if least_complete is not None and complete < least_complete:
        yield Anomaly(
            code=AnomalyCode.INCOMPLETE,
            message=f"{complete:.1f} % of the operations are scheduled; it should be at least {least_complete:g} %.",
            value=complete,
            limit=least_complete,
        )


def _imbalance(
    problem: Problem, schedule: Schedule, limits: AnomalyLimits, left_seconds: Mapping[str, int]
) -> Iterator[Anomaly]:
    """The machine that works most, if too far above the mean of all machines that some operation may use.

    A machine with a single operation is passed over: that work could not have been divided.
    """
    if limits.max_load_over_mean_ratio is None:
        return
    working = working_seconds_by_machine(problem, schedule, left_seconds)
    shared = {machine: sum(durations) for machine, durations in working.items() if len(durations) > 1}
    if not shared:
        return
    machine, most = max(shared.items(), key=lambda item: (item[1], -item[0]))
    mean = sum(map(sum, working.values())) / len(usable_machines(problem))
    if most > limits.max_load_over_mean_ratio * mean:
        yield Anomaly(
            code=AnomalyCode.LOAD_IMBALANCE,
            message=f"Machine {problem.machines[machine].id} works {most / mean:.1f} times as long as the mean "
            f"machine; it should be at most {limits.max_load_over_mean_ratio:g} times.",
            value=most / mean,
            limit=limits.max_load_over_mean_ratio,
        )
