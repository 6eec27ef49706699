from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from env.instances.generator import Plant, random_problem
from env.problem import Alternative, Changeover, Job, Machine, Objective, Problem
from env.simulator.arrays import ProblemArrays, compile_problem
from env.simulator.episode import objective_bound
from env.simulator.rules import Rule, follow_rule, mean_times
from env.simulator.simulation import new_state
from env.simulator.state import State
from models.policy.justification import can_be_justified, dispatch_in, justification, justified, new_blocks, put_off
from tests.problems import WITH_INSTANTS, operation, problems

RULES = (Rule.SPT, Rule.FIFO)


def played(arrays: ProblemArrays, rule: Rule) -> State:
    state = new_state(arrays)
    follow_rule(arrays, state, int(rule), mean_times(arrays))
    return state


def later_long_work() -> Problem:
    """Machine 0 does A, B and then C, which alone has work elsewhere afterwards; C could as well go first."""
    steps = {
        "A": (operation("a", 0, seconds=10),),
        "B": (operation("b", 0, seconds=20),),
        "C": (operation("c", 0, seconds=30), operation("c1", 1, seconds=50)),
    }
    return Problem(
        jobs=tuple(Job(id=name, operations=each) for name, each in steps.items()),
        machines=(Machine(id=0, name="M0"), Machine(id=1, name="M1")),
    )


def test_what_can_wait_is_put_off() -> None:
    """A and B may end with the plant at second 110, so that C comes first and the plant ends at 80."""
    arrays = compile_problem(later_long_work())
    state = new_state(arrays)
    dispatch_in(arrays, state, np.array([0, 1, 2, 3]))
    assert state.end.tolist() == [10, 30, 60, 110]
    best = justified(arrays, [justification(arrays, state)])
    assert best.end.tolist() == [40, 60, 30, 80]


@given(st.integers(0, 10**6), st.sampled_from(Objective))
@settings(max_examples=80, deadline=None)
def test_justified_is_never_worse(seed: int, objective: Objective) -> None:
    """Calendars, setups, any objective: at least as good as each play, complete, and nothing more to gain."""
    plant = Plant(operations=(20, 90), calendar_share=0.5, changeover_share=0.5, objectives=(objective,))
    arrays = compile_problem(random_problem(np.random.default_rng(seed), plant))
    plays = [played(arrays, rule) for rule in RULES]
    best = justified(arrays, [justification(arrays, play) for play in plays])
    assert objective_bound(arrays, best) <= min(objective_bound(arrays, play) for play in plays)
    assert best.job_count[0] == 0
    assert justified(arrays, [justification(arrays, best)]) is best


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_put_off_keeps_jobs_and_machines_apart(seed: int) -> None:
    """In a plant that never closes nothing overlaps, nothing ends behind the makespan, nothing begins before it did."""
    plant = Plant(operations=(20, 90), calendar_share=0.0, changeover_share=0.0, type_share=0.0, speed_spread=0.0)
    arrays = compile_problem(random_problem(np.random.default_rng(seed), plant))
    # One machine each: then how long an operation takes does not depend on the choice.
    assume(np.all(np.diff(arrays.pair_first) == 1))
    state = played(arrays, Rule.SPT)
    latest = np.zeros(len(state.start), dtype=np.int64)
    put_off(arrays, state, np.lexsort((-np.arange(len(latest)), -state.start, -state.end)), new_blocks(arrays), latest)
    end = latest + state.end - state.start
    assert np.all(latest >= state.start)
    assert end.max() == state.end.max()
    same_job = arrays.operation_job[1:] == arrays.operation_job[:-1]
    assert np.all((end[:-1] <= latest[1:])[same_job])
    for machine in range(len(state.machine_ready)):
        mine = np.flatnonzero(arrays.pair_machine == machine)
        mine = mine[np.argsort(latest[mine])]
        assert np.all(end[mine][:-1] <= latest[mine][1:])


@pytest.mark.parametrize(("objective", "begin"), [(Objective.MAKESPAN, 90), (Objective.TARDINESS, 20)])
def test_due_dates_hold_where_they_count(objective: Objective, begin: int) -> None:
    """Work of 10 s that is due at 30 waits until 20 at most when tardiness counts, else until 90 of 100."""
    early, long = operation("a", 0, seconds=10, due_seconds=30), operation("b", 1, seconds=100)
    jobs = (Job(id="A", operations=(early,)), Job(id="B", operations=(long,)))
    problem = Problem(jobs=jobs, machines=(Machine(id=0, name="M0"), Machine(id=1, name="M1")), objective=objective)
    arrays = compile_problem(problem)
    state = played(arrays, Rule.FIFO)
    latest = np.zeros(2, dtype=np.int64)
    put_off(arrays, state, np.array([1, 0]), new_blocks(arrays), latest)
    assert latest.tolist() == [begin, 0]


def put_off_from(problem: Problem, *order: int) -> list[int]:
    """When each operation would begin if it were put off, in a schedule that dispatches them in this order."""
    arrays = compile_problem(problem)
    state = new_state(arrays)
    dispatch_in(arrays, state, np.array(order))
    latest = np.zeros(len(order), dtype=np.int64)
    put_off(arrays, state, np.array(order[::-1]), new_blocks(arrays), latest)
    return latest.tolist()


def test_work_that_holds_two_machines_waits_for_both() -> None:
    """C ends last, on machine 0 until 60; B holds 0 and 1 and fits before C only, though machine 1 is free until 60."""
    both = Alternative(machine=0, processing_seconds=20, also_holds=(1,))
    jobs = (
        Job(id="B", operations=(replace(operation("b", 0), alternatives=(both,)),)),
        Job(id="C", operations=(operation("c", 0, seconds=40),)),
    )
    problem = Problem(jobs=jobs, machines=(Machine(id=0, name="M0"), Machine(id=1, name="M1")))
    assert put_off_from(problem, 0, 1) == [0, 20]


def test_the_machine_is_chosen_on_which_work_waits_longest() -> None:
    """A may run on both machines; machine 0 is taken by B until the end, machine 1 is not."""
    jobs = (
        Job(id="A", operations=(operation("a", 0, 1, seconds=10),)),
        Job(id="B", operations=(operation("b", 0, seconds=60),)),
    )
    problem = Problem(jobs=jobs, machines=(Machine(id=0, name="M0"), Machine(id=1, name="M1")))
    assert put_off_from(problem, 0, 1)[0] == 60


@pytest.mark.parametrize(
    ("changeovers", "begin"), [((), 60), ((Changeover(before="g", after="h", setup_seconds=5),), 0)]
)
def test_setups_by_sequence_leave_gaps_alone(changeovers: tuple[Changeover, ...], begin: int) -> None:
    """A could wait until C's work elsewhere ends, but stays before C where setups depend on the sequence."""
    jobs = (
        Job(id="A", operations=(operation("a", 0, seconds=10),)),
        Job(id="C", operations=(operation("c0", 0, seconds=10), operation("c1", 1, seconds=50))),
    )
    machines = (Machine(id=0, name="M0"), Machine(id=1, name="M1"))
    problem = Problem(jobs=jobs, machines=machines, changeovers=changeovers)
    assert put_off_from(problem, 0, 1, 2)[0] == begin


@given(problems(features=WITH_INSTANTS))
def test_pinned_work_is_left_alone(problem: Problem) -> None:
    """It stays where it is, so that no other order may be tried."""
    is_pinned = any(step.pin is not None for step in problem.operations)
    assert can_be_justified(compile_problem(problem)) != is_pinned
