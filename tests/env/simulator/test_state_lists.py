from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.instances.generator import Plant, random_problem
from env.judge.judge import violations
from env.problem import Job, Machine, Objective, Problem
from env.simulator.arrays import ProblemArrays, compile_problem
from env.simulator.candidates import find_candidates, new_candidates
from env.simulator.rules import Rule, finished_schedule, follow_rule, mean_times
from env.simulator.simulation import dispatch, is_complete, new_state, operation_of
from env.simulator.state import ALL_LISTED, CLOSED, MAX_LISTED, SHORT, State
from tests.problems import WITH_INSTANTS, operation, problems

LIMIT = 8


def _waiting_pairs(arrays: ProblemArrays, state: State, machine: int) -> tuple[list[int], list[int]]:
    """The pairs of next operations that count for a machine and are not urgent: listed, and standing back."""
    listed, back = [], []
    for job in range(len(state.job_next)):
        if state.job_next[job] == arrays.job_first[job + 1] or arrays.operation_urgent[state.job_next[job]]:
            continue
        for pair in range(arrays.pair_first[state.job_next[job]], arrays.pair_first[state.job_next[job] + 1]):
            if arrays.pair_bottleneck[pair] == machine:
                (back if state.pair_end[pair] == CLOSED else listed).append(pair)
    return listed, back


def _assert_lists_are_right(arrays: ProblemArrays, state: State) -> None:
    def ready(pairs: list[int]) -> list[int]:
        return [int(state.job_ready[arrays.operation_job[arrays.pair_operation[pair]]]) for pair in pairs]

    for machine in range(len(state.machine_ready)):
        listed, back = _waiting_pairs(arrays, state, machine)
        assert len(listed) == state.machine_listed[machine] <= LIMIT
        if back:
            assert len(listed) == LIMIT // SHORT
            assert max(ready(listed)) <= max(int(state.machine_ready[machine]), *ready(back))
            assert all(min(ready(back)) >= each for each in ready(listed) if each > state.machine_ready[machine])


def _play(problem: Problem, limit: int, seed: int | None = None, *, checks: bool = False) -> State:
    """Dispatch candidates, drawn by `seed` or without one the best by rank, until everything is dispatched."""
    arrays = compile_problem(problem)
    state, found = new_state(arrays, limit), new_candidates(arrays)
    rng = np.random.default_rng(seed)
    while not is_complete(state):
        if checks:
            _assert_lists_are_right(arrays, state)
        find_candidates(arrays, state, found)
        pair = int(found.pair[0 if seed is None else rng.integers(found.filled[0])])
        dispatch(arrays, state, pair, operation_of(arrays, pair))
    return state


@given(st.integers(0, 10**6), st.sampled_from(Objective))
@settings(max_examples=25, deadline=None)
def test_a_machine_lists_what_could_begin_first(seed: int, objective: Objective) -> None:
    """Few while others stand back, of which none is ready before any that is listed and not ready yet."""
    plant = Plant(operations=(60, 120), operations_per_job=(1, 3), machines=(1, 4), jobs_per_machine=(20.0, 60.0))
    problem = replace(random_problem(np.random.default_rng(seed), plant), objective=objective)
    releases = np.random.default_rng(seed).integers(0, 10**6, size=len(problem.jobs)).tolist()
    if seed % 2:
        jobs = [
            replace(job, operations=(replace(job.operations[0], release_seconds=release), *job.operations[1:]))
            for job, release in zip(problem.jobs, releases, strict=True)
        ]
        problem = replace(problem, jobs=tuple(jobs))
    assert violations(problem, finished_schedule(problem, _play(problem, LIMIT, seed, checks=True))) == ()


@given(problems(features=WITH_INSTANTS), st.integers(0, 99), st.sampled_from([4, 5, 8]))
@settings(max_examples=100, deadline=None)
def test_everything_is_dispatched_however_short_the_lists(problem: Problem, seed: int, limit: int) -> None:
    """Calendars, pins, setups, shared machines: nobody stands back for ever."""
    assert (_play(problem, limit, seed).chosen_pair >= 0).all()


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_short_queues_are_listed_in_full(seed: int) -> None:
    """However much a machine does in all: while no more wait than it lists, the choices are the same as without end."""
    plant = Plant(operations=(60, 120), operations_per_job=(12, 15), machines=(2, 3), calendar_share=0.5)
    problem = random_problem(np.random.default_rng(seed), plant)
    limit = len(problem.jobs)
    assert int(np.diff(compile_problem(problem).backlog_first).max()) > limit
    expected, found = _play(problem, ALL_LISTED, seed), _play(problem, limit, seed)
    np.testing.assert_array_equal(found.start, expected.start)
    np.testing.assert_array_equal(found.chosen_pair, expected.chosen_pair)


@pytest.mark.parametrize("rule", Rule)
def test_a_rule_knows_all_that_waits(rule: Rule) -> None:
    """What it does depends on no list."""
    plant = Plant(operations=(150, 150), operations_per_job=(1, 3), machines=(3, 3), due_tightness=(1.0, 3.0))
    arrays = compile_problem(random_problem(np.random.default_rng(5), plant))
    expected, found = new_state(arrays, ALL_LISTED), new_state(arrays, LIMIT)
    for state in (expected, found):
        follow_rule(arrays, state, int(rule), mean_times(arrays))
    np.testing.assert_array_equal(found.start, expected.start)


def test_urgent_work_is_listed_beside_the_others() -> None:
    """Work that a pin waits for never stands behind work that nobody waits for."""
    problem = _queue(3 * LIMIT)
    arrays = compile_problem(problem)
    urgent = arrays.operation_urgent.copy()
    urgent[-3:] = True
    state = new_state(arrays._replace(operation_urgent=urgent), LIMIT)
    assert (state.pair_end[-3:] < CLOSED).all()
    assert (state.machine_listed[0], state.machine_urgent[0]) == (LIMIT // SHORT, 3)


def _queue(jobs: int, machines: int = 1) -> Problem:
    """So many jobs of one operation, which may all run on any of the machines."""
    return Problem(
        jobs=tuple(
            Job(id=str(job), operations=(operation(str(job), *range(machines), seconds=60 + job * 7 % 101),))
            for job in range(jobs)
        ),
        machines=tuple(Machine(id=machine) for machine in range(machines)),
    )


@pytest.mark.parametrize("jobs", [1_000, 2_000])
def test_work_of_a_play_grows_with_the_jobs(jobs: int) -> None:
    """What is placed anew at each decision is bounded however many wait, so all of it is linear, not quadratic."""
    arrays = compile_problem(_queue(jobs, machines=2))
    state, found = new_state(arrays), new_candidates(arrays)
    placed = 0
    while not is_complete(state):
        find_candidates(arrays, state, found)
        pair = found.pair[0]
        dispatch(arrays, state, pair, operation_of(arrays, pair))
        placed += int(np.count_nonzero(state.pair_end[state.chosen_pair[arrays.pair_operation] < 0] < CLOSED))
    assert placed <= 2 * (MAX_LISTED // SHORT) * jobs
