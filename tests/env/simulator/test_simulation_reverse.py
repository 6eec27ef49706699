from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from env.instances.generator import Plant, random_problem
from env.problem import Job, Machine, Objective, Problem
from env.simulator.arrays import ProblemArrays, compile_problem
from env.simulator.rules import Rule, follow_rule, mean_times
from env.simulator.simulation import ReversedPlant, is_reversible, new_state, order_of, reversed_plant
from env.simulator.state import State
from tests.problems import WITH_INSTANTS, operation, problems

SEEDS = st.integers(0, 10**6)


def arrays_of(seed: int, objective: Objective = Objective.MAKESPAN) -> ProblemArrays:
    plant = Plant(operations=(20, 90), changeover_share=0.0, objectives=(objective,))
    return compile_problem(random_problem(np.random.default_rng(seed), plant))


def played(reverse: ReversedPlant) -> State:
    state = new_state(reverse.arrays)
    follow_rule(reverse.arrays, state, int(Rule.MWKR), mean_times(reverse.arrays))
    return state


@given(problems(features=WITH_INSTANTS))
def test_special_work_has_no_mirror(problem: Problem) -> None:
    """Setups by sequence, pins and work on several machines: their order backwards is not that forwards."""
    holds_several = any(option.also_holds for step in problem.operations for option in step.alternatives)
    is_pinned = any(step.pin is not None for step in problem.operations)
    assert is_reversible(compile_problem(problem)) == (not problem.changeovers and not holds_several and not is_pinned)


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_the_mirror_of_a_mirror_is_the_plant(seed: int) -> None:
    """Work, machines and what lies ahead come back as they were."""
    arrays = arrays_of(seed)
    back = reversed_plant(reversed_plant(arrays, 0).arrays, 0).arrays
    for name in (
        "operation_shortest",
        "operation_remaining",
        "operation_pressed",
        "operation_peak",
        "operation_until_peak",
        "operation_weight",
        "pair_first",
        "pair_operation",
        "pair_machine",
        "pair_setup",
        "pair_processing",
    ):
        np.testing.assert_allclose(getattr(back, name), getattr(arrays, name), err_msg=name)


@given(SEEDS, st.sampled_from(Objective))
@settings(max_examples=50, deadline=None)
def test_the_order_keeps_the_sequence_of_each_job(seed: int, objective: Objective) -> None:
    """Whatever is played backwards, everything comes once, and behind what is before it in its job."""
    arrays = arrays_of(seed, objective)
    reverse = reversed_plant(arrays, 100_000)
    order = order_of(reverse, played(reverse))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    assert sorted(order.tolist()) == list(range(len(order)))
    same_job = arrays.operation_job[1:] == arrays.operation_job[:-1]
    assert np.all(np.diff(place)[same_job] > 0)


def test_due_dates_become_releases_and_releases_work_left() -> None:
    """Seen from second 100, what is due at 70 begins no earlier than 30 backwards.

    A job that is not released before 15 has that much more to do at its other end.
    """
    steps = (operation("a0", 0, seconds=10, release_seconds=15), operation("a1", 0, seconds=20, due_seconds=70))
    problem = Problem(
        jobs=(Job(id="a", operations=steps),), machines=(Machine(id=0, name="M"),), objective=Objective.TARDINESS
    )
    arrays = compile_problem(problem)
    reverse = reversed_plant(arrays, 100)
    assert reverse.operation.tolist() == [1, 0]
    assert reverse.arrays.operation_release.tolist() == [30, 0]
    assert reverse.arrays.operation_remaining.tolist() == [45, 25]
    assert not reversed_plant(arrays._replace(objective=np.array([1.0, 0.0, 0.0])), 100).arrays.operation_release.any()
