"""Goals: met and missed only where the interval says so."""

from __future__ import annotations

import pytest

from deployments.rollout.analysis.confidence import Interval
from deployments.rollout.analysis.outcomes import Outcome
from deployments.rollout.report.goals import Goal, GoalMeasures, GoalState, measures_of, read_goals
from tests.deployments.rollout.events import evaluation, key_figures
from tests.deployments.shipped_policy import GOALS


def measured(lower: float, estimate: float, upper: float, n: int = 200) -> GoalMeasures:
    return GoalMeasures(value=estimate, n=n, interval=Interval(estimate=estimate, lower=lower, upper=upper, n=n))


@pytest.mark.parametrize(
    ("name", "found", "state"),
    [
        ("makespan_hours", measured(40, 42, 44.9), GoalState.MET),
        ("makespan_hours", measured(44, 44.5, 45.5), GoalState.UNDECIDED),
        ("makespan_hours", measured(46, 47, 48), GoalState.MISSED),
        ("makespan_hours", measured(40, 42, 44, n=99), GoalState.NOT_ENOUGH_DATA),
        ("makespan_hours", GoalMeasures(value=None, n=0), GoalState.NOT_ENOUGH_DATA),
        ("utilisation_percent", measured(81, 83, 85), GoalState.MET),
        ("utilisation_percent", measured(70, 75, 79), GoalState.MISSED),
        ("completion_percent", measured(97, 100, 100), GoalState.MET),
        ("completion_percent", measured(97, 99.9, 100), GoalState.MISSED),
        ("completion_percent", measured(50, 100, 100, n=9), GoalState.NOT_ENOUGH_DATA),
        ("completion_percent", measured(20, 50, 80, n=2), GoalState.MISSED),
        ("critical_violations", GoalMeasures(value=0.0, n=500), GoalState.MET),
        ("critical_violations", GoalMeasures(value=1.0, n=500), GoalState.MISSED),
        ("response_seconds", GoalMeasures(value=1.9, n=100), GoalState.MET),
        ("response_seconds", GoalMeasures(value=2.0, n=100), GoalState.MISSED),
    ],
)
def test_goal_state_follows_the_interval(name: str, found: GoalMeasures, state: GoalState) -> None:
    """On one side of the target: met or missed; across it: undecided; little data: said so."""
    goal = next(goal for goal in GOALS if goal.name == name)
    (reading,) = read_goals([goal], {name: found})
    assert (reading.state, reading.value, reading.n) == (state, found.value, found.n)


@pytest.mark.parametrize(
    ("target", "is_more_better", "condition", "good", "bad"),
    [
        (80.0, True, "> 80 %", 80.1, 80.0),
        (100.0, True, ">= 100 %", 100.0, 99.9),
        (0.0, True, "> 0 %", 0.1, 0.0),
        (1.0, False, "< 1 %", 0.9, 1.0),
        (0.0, False, "= 0 %", 0.0, 0.1),
        (100.0, False, "< 100 %", 99.9, 100.0),
    ],
)
def test_condition_is_what_the_goal_compares(
    target: float, is_more_better: bool, condition: str, good: float, bad: float
) -> None:
    """No condition is written that nothing could fulfil, or that the goal does not hold anybody to."""
    goal = Goal(name="share", label="share", target=target, unit="%", is_more_better=is_more_better)
    assert (goal.condition, goal.holds(good), goal.holds(bad)) == (condition, True, False)


def test_condition_without_a_unit_ends_with_the_target() -> None:
    """Critical violations are counted in nothing."""
    assert next(goal for goal in GOALS if goal.name == "critical_violations").condition == "= 0"


def test_round_target_is_as_undecided_as_any_other() -> None:
    """A makespan of 100 h is nothing like 100 % of the schedules: an hour more in the mean decides nothing."""
    goal = Goal(name="makespan_hours", label="makespan", target=100.0, unit="h", is_more_better=False)
    (reading,) = read_goals([goal], {goal.name: measured(95, 101, 107)})
    assert reading.state is GoalState.UNDECIDED


def test_user_s_goals_are_all_there() -> None:
    """The list of the production checklist with its numbers."""
    targets = {goal.name: (goal.target, goal.is_more_better) for goal in GOALS}
    assert targets["makespan_hours"] == (45.0, False)
    assert targets["completion_percent"] == (100.0, True)
    assert targets["utilisation_percent"] == (80.0, True)
    assert targets["on_time_percent"] == (95.0, True)
    assert targets["error_percent"] == (1.0, False)
    assert targets["response_seconds"] == (2.0, False)
    assert targets["uptime_percent"] == (99.9, True)
    assert targets["satisfaction_percent"] == (90.0, True)


def test_measures_come_from_counted_evaluations() -> None:
    """Crashes and critical outcomes are errors; shed, input and forced ones are nothing; replans are one."""
    rows = [evaluation(minute, latency_ms=1000.0, figures=key_figures(36_000.0)) for minute in range(96)]
    rows += [evaluation(200, Outcome.CRASH), evaluation(201, Outcome.CRITICAL), evaluation(202, Outcome.INCOMPLETE)]
    rows += [evaluation(203, Outcome.SHED), evaluation(204, Outcome.INPUT), evaluation(205, is_forced=True)]
    rows += [evaluation(206, job_list_digest="jobs-0", figures=key_figures(72_000.0))]
    found = measures_of(rows)
    assert (found["error_percent"].value, found["error_percent"].n) == (2.0, 100)
    assert found["completion_percent"].value == pytest.approx(100 * 97 / 98)
    assert found["completion_percent"].interval is not None
    assert found["completion_percent"].interval.lower < 100 * 97 / 98 < found["completion_percent"].interval.upper
    assert found["critical_violations"].value == 1.0
    assert found["response_seconds"].value == 1.0
    assert found["makespan_hours"].n == 96
    assert found["makespan_hours"].value == pytest.approx((95 * 10 + 15) / 96)


def test_nothing_measured_is_not_enough_data() -> None:
    """An empty period leaves every goal open, critical violations included."""
    states = {reading.goal.name: reading.state for reading in read_goals(GOALS, measures_of([]))}
    assert set(states.values()) == {GoalState.NOT_ENOUGH_DATA}
