"""Thresholds of the judge: at the limit nothing is said, beyond it one sentence."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, time

import pytest

from env.judge.anomalies import AnomalyLimits, BoundedMakespan
from env.judge.judge import AnomalyCode, judge
from env.judge.verdict import Anomaly
from env.problem import Alternative, Closure, Job, Machine, Operation, Problem, WeeklyBreak, WorkingHours
from env.schedule import Schedule
from tests.problems import DAY, HOUR, one_machine, operation, schedule_of

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


def unlike(makespan: int, *recent: BoundedMakespan, work: int = 10 * HOUR) -> list[Anomaly]:
    """What history makes of one operation that ends at `makespan`."""
    problem, limits = one_machine(operation("A", seconds=work)), replace(LIMITS, min_utilisation_percent=None)
    plan = schedule_of(("A", 1, makespan - work, makespan))
    return list(judge(problem, plan, limits, recent_makespans=recent).anomalies)


def bounded(makespan: int, bound: int = 10 * HOUR) -> BoundedMakespan:
    return BoundedMakespan(makespan_seconds=makespan, bound_seconds=bound)


USUAL = tuple(bounded(hours * HOUR) for hours in (20, 18, 22, 20, 800))


def test_makespan_may_be_half_as_long_again_as_usual() -> None:
    """Thirty hours where twenty are usual for ten pass; a second more does not, and one breakdown moves no median."""
    assert unlike(30 * HOUR, *USUAL) == []
    (anomaly,) = unlike(30 * HOUR + 1, *USUAL)
    assert (anomaly.code, anomaly.limit) == (AnomalyCode.MAKESPAN_UNLIKE_HISTORY, 50.0)
    assert anomaly.value == pytest.approx(50.0, abs=0.01)


def test_makespan_may_be_half_as_long_as_usual() -> None:
    """What takes its lower bound is strange where three times the bound are usual."""
    assert unlike(10 * HOUR, *USUAL) == []
    (anomaly,) = unlike(10 * HOUR, *[bounded(40 * HOUR)] * 5)
    assert anomaly.message == (
        "The makespan is 1.00 times its lower bound, 75.0 % shorter than usual (4.00 times in the plant's last 5 "
        "schedules of similar size); it should be at most 50 % from it."
    )


def test_small_request_after_large_ones_is_like_them() -> None:
    """An hour of work that takes two is as usual as ten hours that take twenty."""
    assert unlike(20 * HOUR, *[bounded(100 * HOUR, 50 * HOUR)] * 5) == []
    assert unlike(2 * HOUR, *USUAL, work=HOUR) == []


def test_only_plans_of_similar_size_are_history() -> None:
    """Twice and half the bound are similar, a second beyond is not, and four are too few."""
    for bound in (20 * HOUR, 5 * HOUR):
        (anomaly,) = unlike(100 * HOUR, *[bounded(2 * bound, bound)] * 5)
        assert anomaly.value == pytest.approx(400.0)
    for bound in (20 * HOUR + 1, 5 * HOUR - 1):
        assert unlike(100 * HOUR, *[bounded(2 * bound, bound)] * 5) == []


def test_few_schedules_are_no_history() -> None:
    """Four schedules, or only those that had nothing to do, say nothing."""
    assert unlike(100 * HOUR, *USUAL[:4]) == []
    assert unlike(100 * HOUR, *[bounded(0, 0)] * 5) == []


def test_utilisation_may_be_half() -> None:
    """An hour of work in two hours is fifty per cent and passes; a second of waiting more does not."""
    assert found(*hour_of_work(start=HOUR)) == []
    (anomaly,) = found(*hour_of_work(start=HOUR + 1))
    assert (anomaly.code, anomaly.limit) == (AnomalyCode.LOW_UTILISATION, 50.0)
    assert anomaly.message == (
        "Machines work 50.0 % of their open time, where this work could reach 100.0 %; "
        "it should be at least 50 % of that."
    )


def test_utilisation_is_held_to_what_the_work_can_reach() -> None:
    """A job of two steps keeps one of two machines idle in every plan: a quarter is half of what it could reach."""
    steps = Job(id="J", operations=(operation("A", 0), operation("B", 1)))
    problem = Problem(jobs=(steps,), machines=(Machine(id=0), Machine(id=1)))
    assert found(problem, schedule_of(("A", 0, 0, HOUR), ("B", 1, HOUR, 2 * HOUR))) == []
    assert found(problem, schedule_of(("A", 0, 0, HOUR), ("B", 1, 3 * HOUR, 4 * HOUR))) == []
    (anomaly,) = found(problem, schedule_of(("A", 0, 0, HOUR), ("B", 1, 3 * HOUR + 1, 4 * HOUR + 1)))
    assert (anomaly.code, anomaly.limit) == (AnomalyCode.LOW_UTILISATION, 25.0)


def test_openings_that_are_too_short_are_not_held_against_work_that_must_not_pause() -> None:
    """Of three open hours a day work of two can use two, so two of six are no less than half of what it can reach."""
    night = WeeklyBreak(name="night", start=time(3, 0), end=time(0, 0))
    hours = WorkingHours(origin=datetime(2025, 7, 21, tzinfo=UTC), breaks=(night,))
    plan = schedule_of(("A", 1, DAY, DAY + 2 * HOUR))
    for interruptible, flagged in ((True, True), (False, False)):
        problem = one_machine(operation("A", seconds=2 * HOUR, interruptible=interruptible), hours=hours)
        assert bool(found(problem, plan)) is flagged, interruptible


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
    assert anomaly.message == (
        "Machine 1 works 2.1 times as long as it would if the machines that could do so had taken some of its work; "
        "it should be at most 2 times."
    )


def test_imbalance_names_the_machine_that_works_most() -> None:
    """Of two machines above the limit the busier one is named, and of equals the first."""
    limits = replace(LIMITS, min_utilisation_percent=None, max_load_over_mean_ratio=0.0)
    (busiest,) = found(*machines_of_hours(2, 3, 2), limits=limits)
    (first,) = found(*machines_of_hours(1, 3, 3), limits=limits)
    assert busiest.message.startswith("Machine 1 works 1.3 times")
    assert first.message.startswith("Machine 1 works 1.3 times")


def test_idle_machines_could_take_work() -> None:
    """Three operations on one of three machines, all of which could work, are three times an even share."""
    (anomaly,) = found(*machines_of_hours(3, 0, 0), limits=replace(LIMITS, min_utilisation_percent=None))
    assert anomaly.value == pytest.approx(3.0)


def test_one_of_two_machines_must_not_have_everything() -> None:
    """Of two machines none can be above twice an even share: five thirds are the limit, 5 to 1 pass, 6 to 1 do not."""
    limits = replace(LIMITS, min_utilisation_percent=None)
    assert found(*machines_of_hours(5, 1), limits=limits) == []
    (anomaly,) = found(*machines_of_hours(6, 1), limits=limits)
    assert (anomaly.value, anomaly.limit) == (pytest.approx(12 / 7), pytest.approx(5 / 3))


@pytest.mark.parametrize("only_here", [{"release": HOUR}, {"alternatives": True}, {"job": True}])
def test_work_that_gains_nothing_elsewhere_is_no_imbalance(only_here: dict[str, object]) -> None:
    """Work that nobody else can do, that comes in hour by hour, or that follows its own job, is where it may be."""
    elsewhere = () if "alternatives" in only_here else (1, 2)
    steps = tuple(
        operation(str(step), 0, *elsewhere, release_seconds=step * HOUR if "release" in only_here else 0)
        for step in range(6)
    )
    jobs = [Job(id=step.id, operations=(step,)) for step in steps]
    if "job" in only_here:
        jobs = [Job(id="J", operations=steps)]
    idle = Job(id="idle", operations=(operation("short", 1, 2, seconds=1),))
    problem = Problem(jobs=(*jobs, idle), machines=tuple(Machine(id=index) for index in range(3)))
    rows = [(step.id, 0, index * HOUR, (index + 1) * HOUR) for index, step in enumerate(steps)]
    plan = schedule_of(*rows, ("short", 1, 0, 1))
    assert found(problem, plan, replace(LIMITS, min_utilisation_percent=None)) == []


def test_slow_machines_and_closed_ones_relieve_nobody() -> None:
    """Six hours that two other machines would need ten times as long for, or are closed for, are no imbalance."""
    limits = replace(LIMITS, min_utilisation_percent=None)
    here = Alternative(machine=0, processing_seconds=HOUR)
    rows = [(str(step), 0, step * HOUR, (step + 1) * HOUR) for step in range(6)]
    for seconds, closed in ((10 * HOUR, False), (HOUR, True), (HOUR, False)):
        others = tuple(Alternative(machine=machine, processing_seconds=seconds) for machine in (1, 2))
        closures = (Closure(start_seconds=0, end_seconds=DAY),) if closed else ()
        problem = Problem(
            jobs=tuple(
                Job(id=row[0], operations=(Operation(id=row[0], alternatives=(here, *others)),)) for row in rows
            ),
            machines=(Machine(id=0), Machine(id=1, closures=closures), Machine(id=2, closures=closures)),
        )
        assert bool(found(problem, schedule_of(*rows), limits)) is (seconds == HOUR and not closed)


def test_machine_that_needs_no_time_could_take_everything() -> None:
    """Six hours where another machine would need none are an imbalance, and nothing is divided by none."""
    choice = (Alternative(machine=0, processing_seconds=HOUR), Alternative(machine=1, processing_seconds=0))
    rows = [(str(step), 0, step * HOUR, (step + 1) * HOUR) for step in range(6)]
    jobs = tuple(Job(id=row[0], operations=(Operation(id=row[0], alternatives=choice),)) for row in rows)
    problem = Problem(jobs=jobs, machines=(Machine(id=0), Machine(id=1)))
    codes = [each.code for each in found(problem, schedule_of(*rows), replace(LIMITS, min_utilisation_percent=None))]
    assert codes == [AnomalyCode.LOAD_IMBALANCE]


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
