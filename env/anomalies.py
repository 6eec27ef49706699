"""What is suspicious about a schedule that may well be valid: measures held against thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from env.problem import SECONDS_PER_HOUR, Problem
from env.schedule import Measures, Schedule
from env.verdict import Anomaly, AnomalyCode


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyLimits:
    """Thresholds; a measure exactly at its threshold is no anomaly, and None switches one off.

    Raises `ValueError` when a threshold is negative or not finite.
    """

    makespan_hours: float | None = None
    makespan_over_baseline_percent: float | None = 10.0
    lowest_utilisation_percent: float | None = 50.0
    lowest_completion_percent: float | None = 100.0
    load_over_mean: float | None = 2.0

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
) -> tuple[Anomaly, ...]:
    """Each measure of `schedule` that lies beyond its limit, in the order of `AnomalyCode`.

    The baseline is the makespan of another plan for the same problem; without one, or with one of 0,
    nothing is compared with it.
    """
    return (
        *_makespan(measures, limits, baseline_makespan_seconds),
        *_shortfalls(measures, limits),
        *_imbalance(problem, schedule, limits),
    )


def working_seconds_by_machine(problem: Problem, schedule: Schedule) -> dict[int, list[int]]:
    """Machine index -> durations of the operations on it, one entry for each; what is not eligible is left out."""
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    working: dict[int, list[int]] = {}
    for operation in problem.operations:
        assignment = schedule.by_operation.get(operation.id)
        machine = None if assignment is None else index_of.get(assignment.machine_id)
        for alternative in operation.alternatives:
            if alternative.machine == machine:
                working.setdefault(machine, []).append(alternative.duration_seconds)
    return working


def _makespan(measures: Measures, limits: AnomalyLimits, baseline_seconds: int | None) -> Iterator[Anomaly]:
    hours = measures.makespan_seconds / SECONDS_PER_HOUR
    if limits.makespan_hours is not None and hours > limits.makespan_hours:
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_ABOVE_LIMIT,
            message=f"The makespan is {hours:.1f} h; it should be at most {limits.makespan_hours:g} h.",
            value=hours,
            limit=limits.makespan_hours,
        )
    if limits.makespan_over_baseline_percent is None or not baseline_seconds:
        return
    excess = 100.0 * (measures.makespan_seconds - baseline_seconds) / baseline_seconds
    if excess > limits.makespan_over_baseline_percent:
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_ABOVE_BASELINE,
            message=f"The makespan is {excess:.1f} % longer than the baseline's; "
            f"it should be at most {limits.makespan_over_baseline_percent:g} % longer.",
            value=excess,
            limit=limits.makespan_over_baseline_percent,
        )


def _shortfalls(measures: Measures, limits: AnomalyLimits) -> Iterator[Anomaly]:
    used, least_used = measures.utilisation_percent, limits.lowest_utilisation_percent
    if least_used is not None and used < least_used:
        yield Anomaly(
            code=AnomalyCode.LOW_UTILISATION,
            message=f"Machines work {used:.1f} % of their open time; it should be at least {least_used:g} %.",
            value=used,
            limit=least_used,
        )
    complete, least_complete = measures.completion_percent, limits.lowest_completion_percent
    if least_complete is not None and complete < least_complete:
        yield Anomaly(
            code=AnomalyCode.INCOMPLETE,
            message=f"{complete:.1f} % of the operations are scheduled; it should be at least {least_complete:g} %.",
            value=complete,
            limit=least_complete,
        )


def _imbalance(problem: Problem, schedule: Schedule, limits: AnomalyLimits) -> Iterator[Anomaly]:
    """The machine that works most, if too far above the mean of all machines that some operation may use.

    A machine with a single operation is passed over: that work could not have been divided.
    """
    if limits.load_over_mean is None:
        return
    working = working_seconds_by_machine(problem, schedule)
    usable = {alternative.machine for operation in problem.operations for alternative in operation.alternatives}
    shared = {machine: sum(durations) for machine, durations in working.items() if len(durations) > 1}
    if not shared:
        return
    machine, most = max(shared.items(), key=lambda item: (item[1], -item[0]))
    mean = sum(map(sum, working.values())) / len(usable)
    if most > limits.load_over_mean * mean:
        yield Anomaly(
            code=AnomalyCode.LOAD_IMBALANCE,
            message=f"Machine {problem.machines[machine].id} works {most / mean:.1f} times as long as the mean "
            f"machine; it should be at most {limits.load_over_mean:g} times.",
            value=most / mean,
            limit=limits.load_over_mean,
        )
