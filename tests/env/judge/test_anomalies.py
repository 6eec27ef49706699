"""Thresholds of the judge: at the limit nothing is said, beyond it one sentence."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from env.judge.anomalies import AnomalyLimits
from env.judge.judge import AnomalyCode, judge
from env.judge.verdict import Anomaly
from env.problem import Alternative, Job, Machine, Operation, Problem
from env.schedule import Schedule
from tests.problems import HOUR, one_machine, operation, schedule_of

LIMITS = AnomalyLimits(
    max_makespan_over_baseline_percent=10.0,
    max_makespan_from_history_percent=50.0,
    min_utilisation_percent=50.0,
    min_completion_percent=100.0,
    max_load_over_mean_ratio=2.0,
)


def found(
    problem: Problem, schedule: Schedule, limits: AnomalyLimits = LIMITS, baseline: int | None = None
) -> list[Anomaly]:
    return list(judge(problem, schedule, limits, baseline).anomalies)


def hour_of_work(start: int = 0) -> tuple[Problem, Schedule]:
    """One operation of an hour on one machine."""
    return one_machine(operation("A")), schedule_of(("A", 1, start, start + HOUR))


def machines_of_hours(*loads: int) -> tuple[Problem, Schedule]:
    """Machines that work so many operations of an hour each, all of which any machine could do."""
    rows = [
        (f"{machine}-{step}", machine, step * HOUR, (step + 1) * HOUR)
        for machine, load in enumerate(loads)
        for step in range(load)
    ]
    jobs = tuple(Job(id=f"job {row[0]}", operations=(operation(row[0], *range(len(loads))),)) for row in rows)
    return Problem(jobs=jobs, machines=tuple(Machine(id=index) for index in range(len(loads)))), schedule_of(*rows)


def test_makespan_is_held_to_an_absolute_limit_only_when_there_is_one() -> None:
    """An hour is not above a limit of an hour, but above one of half an hour."""
    assert found(*hour_of_work()) == []
    assert found(*hour_of_work(), limits=replace(LIMITS, max_makespan_hours=1.0)) == []
    (anomaly,) = found(*hour_of_work(), limits=replace(LIMITS, max_makespan_hours=0.5))
    assert anomaly == Anomaly(
        code=AnomalyCode.MAKESPAN_ABOVE_LIMIT,
        message="The makespan is 1.0 h; it should be at most 0.5 h.",
        value=1.0,
        limit=0.5,
    )


def test_makespan_may_exceed_the_baseline_by_ten_per_cent() -> None:
    """Eleven hours against ten are ten per cent and pass; a second more does not."""
    problem = one_machine(operation("A", seconds=11 * HOUR), operation("B", seconds=11 * HOUR + 1))
    limits = replace(LIMITS, min_completion_percent=None)
    assert found(problem, schedule_of(("A", 1, 0, 11 * HOUR)), limits, 10 * HOUR) == []
    (anomaly,) = found(problem, schedule_of(("B", 1, 0, 11 * HOUR + 1)), limits, 10 * HOUR)
    assert (anomaly.code, anomaly.limit) == (AnomalyCode.MAKESPAN_ABOVE_BASELINE, 10.0)
    assert anomaly.value == pytest.approx(10.0, abs=0.01)
    assert found(problem, schedule_of(("B", 1, 0, 11 * HOUR + 1)), limits, 0) == []


def unlike(makespan: int, *recent: int) -> list[Anomaly]:
    """What history makes of one operation that fills the makespan."""
    problem = one_machine(operation("A", seconds=makespan))
    return list(judge(problem, schedule_of(("A", 1, 0, makespan)), LIMITS, recent_makespans_seconds=recent).anomalies)


USUAL = (10 * HOUR, 9 * HOUR, 11 * HOUR, 10 * HOUR, 400 * HOUR)


def test_makespan_may_be_half_as_long_again_as_usual() -> None:
    """Fifteen hours against a median of ten pass; a second more does not, and one breakdown moves no median."""
    assert unlike(15 * HOUR, *USUAL) == []
    (anomaly,) = unlike(15 * HOUR + 1, *USUAL)
    assert (anomaly.code, anomaly.limit) == (AnomalyCode.MAKESPAN_UNLIKE_HISTORY, 50.0)
    assert anomaly.value == pytest.approx(50.0, abs=0.01)


def test_makespan_may_be_half_as_long_as_usual() -> None:
    """Too little work is as strange as too much."""
    assert unlike(5 * HOUR, *USUAL) == []
    (anomaly,) = unlike(2 * HOUR, *USUAL)
    assert anomaly.message == (
        "The makespan is 80.0 % shorter than the median of the plant's last 5 schedules; "
        "it should be at most 50 % from it."
    )


def test_few_schedules_are_no_history() -> None:
    """Four schedules, or only empty ones, say nothing."""
    assert unlike(100 * HOUR, *USUAL[:4]) == []
    assert unlike(100 * HOUR, 0, 0, 0, 0, 0) == []


def test_utilisation_may_be_half() -> None:
    """An hour of work in two hours is fifty per cent and passes; a second of waiting more does not."""
    assert found(*hour_of_work(start=HOUR)) == []
    (anomaly,) = found(*hour_of_work(start=HOUR + 1))
    assert (anomaly.code, anomaly.limit) == (AnomalyCode.LOW_UTILISATION, 50.0)
    assert anomaly.message == "Machines work 50.0 % of their open time; it should be at least 50 %."


def test_incomplete_schedule_is_an_anomaly_too() -> None:
    """Half of the operations is less than all of them."""
    problem = one_machine(operation("A"), operation("B"))
    (anomaly,) = found(problem, schedule_of(("A", 1, 0, HOUR)))
    assert (anomaly.code, anomaly.value) == (AnomalyCode.INCOMPLETE, 50.0)
    assert anomaly.message == "50.0 % of the operations are scheduled; it should be at least 100 %."


def test_machine_may_work_twice_the_mean() -> None:
    """Loads of 4, 1 and 1 hours are twice the mean of 2 and pass; 5, 1 and 1 do not."""
    limits = replace(LIMITS, min_utilisation_percent=None)
    assert found(*machines_of_hours(4, 1, 1), limits=limits) == []
    (anomaly,) = found(*machines_of_hours(1, 5, 1), limits=limits)
    assert (anomaly.code, anomaly.limit) == (AnomalyCode.LOAD_IMBALANCE, 2.0)
    assert anomaly.value == pytest.approx(15 / 7)
    assert anomaly.message == "Machine 1 works 2.1 times as long as the mean machine; it should be at most 2 times."


def test_imbalance_names_the_machine_that_works_most() -> None:
    """Of two machines above the limit the busier one is named, and of equals the first."""
    limits = replace(LIMITS, min_utilisation_percent=None, max_load_over_mean_ratio=0.0)
    (busiest,) = found(*machines_of_hours(2, 3, 2), limits=limits)
    (first,) = found(*machines_of_hours(1, 3, 3), limits=limits)
    assert busiest.message.startswith("Machine 1 works 1.3 times")
    assert first.message.startswith("Machine 1 works 1.3 times")


def test_idle_machines_count_for_the_mean() -> None:
    """Two operations on one of three machines, all of which could work, are three times the mean."""
    (anomaly,) = found(*machines_of_hours(2, 0, 0), limits=replace(LIMITS, min_utilisation_percent=None))
    assert anomaly.value == pytest.approx(3.0)


def test_work_on_several_machines_is_load_of_each() -> None:
    """Two operations that hold both machines all the time leave them equal."""
    both = Alternative(machine=0, processing_seconds=HOUR, also_holds=(1,))
    jobs = tuple(Job(id=id, operations=(Operation(id=id, alternatives=(both,)),)) for id in "AB")
    problem = Problem(jobs=jobs, machines=(Machine(id=0), Machine(id=1)))
    limits = replace(LIMITS, max_load_over_mean_ratio=1.0)
    assert found(problem, schedule_of(("A", 0, 0, HOUR), ("B", 0, HOUR, 2 * HOUR)), limits) == []


def test_single_operation_is_no_imbalance() -> None:
    """One operation among three machines cannot be divided, so nobody could do better."""
    assert found(*machines_of_hours(1, 0, 0), limits=replace(LIMITS, min_utilisation_percent=None)) == []


def test_limits_can_be_switched_off() -> None:
    """None everywhere: nothing is suspicious, not even an empty schedule."""
    nothing = AnomalyLimits(**dict.fromkeys((field.name for field in fields(AnomalyLimits)), None))
    verdict = judge(one_machine(operation("A")), Schedule(assignments=()), nothing, 1, USUAL)
    assert verdict.anomalies == ()
    assert nothing == AnomalyLimits()


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_limit_that_cannot_mean_anything_is_refused(value: float) -> None:
    """A threshold is a finite number of at least zero."""
    with pytest.raises(ValueError, match=r"max_load_over_mean_ratio must be >= 0 and finite, or None, was"):
        AnomalyLimits(max_load_over_mean_ratio=value)
