from __future__ import annotations

from dataclasses import replace

import pytest

from env.objective import MISSED_SECONDS, missed_seconds, objective_value, value_besides_deadlines
from env.problem import Alternative, Job, Machine, Objective, Operation, Problem
from env.schedule import Schedule, measure, setup_seconds_of
from tests.problems import schedule_of


def _plant(objective: Objective = Objective.MAKESPAN) -> Problem:
    def step(name: str, due: int, important: bool, weight: float) -> Operation:
        alternative = Alternative(machine=0, processing_seconds=8, setup_seconds=2)
        return Operation(id=name, alternatives=(alternative,), due_seconds=due, is_important=important, weight=weight)

    return Problem(
        machines=(Machine(id=9),),
        jobs=(
            Job(id="A", operations=(step("A1", 10, True, 3.0),)),
            Job(id="B", operations=(step("B1", 15, False, 1.0),)),
        ),
        objective=objective,
    )


BOTH = schedule_of(("A1", 9, 0, 10), ("B1", 9, 10, 20))


def test_measures_of_a_known_schedule() -> None:
    """Two jobs of 10 s each, one of them 5 s late, on a machine that is open for 25 s."""
    found = measure(_plant(), BOTH, open_seconds=25)
    assert (found.makespan_seconds, found.setup_seconds, found.working_seconds) == (20, 4, 20)
    assert (found.tardiness_seconds, found.weighted_tardiness_seconds) == (5, 5.0)
    assert (found.completion_percent, found.utilisation_percent) == (100.0, 80.0)
    assert (found.on_time_percent, found.important_on_time_percent) == (50.0, 100.0)


def test_missing_work_counts_against_the_schedule() -> None:
    """A job that was left out is neither complete nor on time."""
    found = measure(_plant(), schedule_of(("B1", 9, 0, 10)), open_seconds=10)
    assert (found.completion_percent, found.on_time_percent, found.important_on_time_percent) == (50.0, 50.0, 0.0)


def test_empty_schedule_has_measures() -> None:
    """Nothing scheduled: makespan 0 and no division by zero."""
    found = measure(_plant(), Schedule(assignments=()), open_seconds=0)
    assert (found.makespan_seconds, found.utilisation_percent, found.completion_percent) == (0, 0.0, 0.0)


def test_flow_time_runs_from_release_to_last_end() -> None:
    """10 s for A, and for B, released at 12, from there to 20; a job that is not scheduled as a whole has none."""
    plant = _plant()
    later = replace(plant.jobs[1].operations[0], release_seconds=12)
    plant = replace(plant, jobs=(plant.jobs[0], Job(id="B", operations=(later,))))
    assert measure(plant, BOTH, open_seconds=25).flow_time_mean_seconds == (10 + 8) / 2
    assert measure(plant, schedule_of(("A1", 9, 0, 10)), open_seconds=25).flow_time_mean_seconds == 10
    assert measure(plant, schedule_of(), open_seconds=25).flow_time_mean_seconds is None
    assert measure(plant, BOTH, open_seconds=25).key_figures.flow_time_mean_seconds == 9


def test_setup_is_looked_up_by_machine() -> None:
    """The setup of an assignment is that of its own machine, 0 where it is not eligible."""
    assert setup_seconds_of(_plant(), BOTH) == {"A1": 2, "B1": 2}
    assert setup_seconds_of(_plant(), schedule_of(("A1", 8, 0, 10))) == {"A1": 0}


def test_objectives_follow_their_formula() -> None:
    """Makespan 20 s, weighted tardiness 5 s over a total weight of 4: 20, 0.01 x 20 + 1.25, 20 + 40 x (1.25 + 1,800).

    Balanced counts being late as two hours, which are 7,200 / 4 s here.
    """
    values = [objective_value(replace(_plant(), objective=objective), BOTH) for objective in Objective]
    assert values == pytest.approx([20.0, 1.45, 72_070.0])


def test_tardiness_decides_between_equal_makespans() -> None:
    """An order in which the heavier job is late is worse by less than a second, however late it is within days."""
    other_order = schedule_of(("A1", 9, 10, 20), ("B1", 9, 0, 10))
    assert 0 < objective_value(_plant(), other_order) - objective_value(_plant(), BOTH) < 1e-3


@pytest.mark.parametrize("objective", list(Objective))
def test_missed_deadline_outweighs_everything(objective: Objective) -> None:
    """One second past a deadline is worse than everything late by ten years; the rest is told apart all the same."""
    plant = replace(_plant(), objective=objective)
    strict = replace(plant.jobs[0].operations[0], deadline_seconds=10)
    plant = replace(plant, jobs=(Job(id="A", operations=(strict,)), plant.jobs[1]))
    missed = schedule_of(("A1", 9, 1, 11), ("B1", 9, 11, 21))
    decade = 10 * 365 * 24 * 3600
    late = schedule_of(("A1", 9, 0, 10), ("B1", 9, decade, decade + 10))
    assert missed_seconds(plant, BOTH) == missed_seconds(plant, late) == 0
    assert missed_seconds(plant, missed) == MISSED_SECONDS + 1
    assert objective_value(plant, late) < objective_value(plant, missed)
    later = schedule_of(("A1", 9, 1, 11), ("B1", 9, 12, 22))
    assert objective_value(plant, later) - objective_value(plant, missed) == pytest.approx(
        value_besides_deadlines(plant, later) - value_besides_deadlines(plant, missed), abs=1e-3
    )
