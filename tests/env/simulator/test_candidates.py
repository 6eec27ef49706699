from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from env.instances.generator import Plant, random_problem
from env.problem import Alternative, Job, Machine, Objective, Operation, Problem
from env.simulator.arrays import ProblemArrays, compile_problem
from env.simulator.candidates import find_candidates, keep, new_candidates, rank, sort
from env.simulator.simulation import dispatch, is_complete, new_state, operation_of
from env.simulator.state import CLOSED, State
from tests.problems import WITH_INSTANTS, problems


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 50))
@settings(max_examples=200)
def test_bounded_heap_keeps_the_best_in_order(ranks: list[int], limit: int) -> None:
    """Whatever the order of arrival, the lowest (rank, pair) remain, ascending."""
    pairs, kept, count = np.zeros(limit, dtype=np.int64), np.zeros(limit), 0
    for pair, its_rank in enumerate(ranks):
        count = keep(pairs, kept, count, pair, float(its_rank))
    sort(pairs, kept, count)
    expected = sorted((rank, pair) for pair, rank in enumerate(ranks))[:limit]
    assert list(zip(kept[:count].tolist(), pairs[:count].tolist(), strict=True)) == expected


def assert_candidates_are_rivals(problem: Problem, limit: int, seed: int) -> None:
    """Play at random; before each decision compare with a plain search for the connected conflicts."""
    arrays = compile_problem(problem)
    state, found = new_state(arrays), new_candidates(arrays, limit)
    rng = np.random.default_rng(seed)
    while not is_complete(state):
        find_candidates(arrays, state, found)
        count = found.filled[0]
        chosen = list(zip(found.rank[:count].tolist(), found.pair[:count].tolist(), strict=True))
        assert chosen == _rivals(arrays, state)[:limit]
        pair = int(rng.choice(found.pair[:count]))
        dispatch(arrays, state, pair, operation_of(arrays, pair))


@given(problems(features=WITH_INSTANTS), st.sampled_from(Objective), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_candidates_are_the_rivals_of_the_first_completion(
    problem: Problem, objective: Objective, limit: int, seed: int
) -> None:
    """Calendars, pins, setups, shared machines: exactly what a plain reading of the definition gives, at any limit."""
    assert_candidates_are_rivals(replace(problem, objective=objective), limit, seed)


@given(st.integers(0, 10**6), st.sampled_from([1, 7, 128]))
@settings(max_examples=25, deadline=None)
def test_candidates_of_many_jobs_are_rivals(seed: int, limit: int) -> None:
    """The same where jobs fill several blocks, and there may be more candidates than room for them."""
    plant = Plant(operations=(60, 120), operations_per_job=(1, 3), machines=(3, 15), objectives=tuple(Objective))
    assert_candidates_are_rivals(random_problem(np.random.default_rng(seed), plant), limit, seed)


def _rivals(arrays: ProblemArrays, state: State) -> list[tuple[float, int]]:
    """(rank, pair) of the conflict set that is connected by machines with what completes first, best first."""
    waiting = [job for job in range(len(state.job_next)) if state.job_start[job] < CLOSED]
    clock = min(state.job_start[job] for job in waiting)
    urgent = [job for job in waiting if arrays.operation_urgent[state.job_next[job]]]
    if any(state.job_start[job] == clock for job in urgent):
        waiting = urgent
    first = min(waiting, key=lambda job: (state.job_end[job], job))
    latest = max(state.job_end[first], state.job_start[first] + 1)
    options = {
        job: [
            pair
            for pair in range(arrays.pair_first[state.job_next[job]], arrays.pair_first[state.job_next[job] + 1])
            if state.pair_start[pair] < latest
        ]
        for job in waiting
    }
    machines = {
        job: {
            int(arrays.held_machine[held])
            for pair in pairs
            for held in range(arrays.held_first[pair], arrays.held_first[pair + 1])
        }
        for job, pairs in options.items()
    }
    connected, contested = {first}, set(machines[first])
    while more := {job for job in waiting if job not in connected and machines[job] & contested}:
        connected |= more
        contested = contested.union(*(machines[job] for job in more))
    return sorted(
        (rank(arrays, state.job_next[job], state.pair_end[pair], state.pair_work[pair]), pair)
        for job in connected
        for pair in _without_twins(arrays, state, job, options[job])
    )


def _without_twins(arrays: ProblemArrays, state: State, job: int, options: list[int]) -> list[int]:
    """Those that begin at once or end before all that do; of equal ones the lowest."""
    at_once = min(state.pair_end[pair] for pair in options if state.pair_start[pair] == state.job_start[job])
    kept: dict[object, int] = {}
    for pair in options:
        if state.pair_start[pair] == state.job_start[job] or state.pair_end[pair] < at_once:
            kind = (
                int(state.pair_start[pair]),
                int(state.pair_end[pair]),
                int(arrays.pair_calendar[pair]),
                float(state.machine_load[arrays.pair_machine[pair]]),
            )
            kept.setdefault(pair if arrays.has_special_work[0] else kind, pair)
    return list(kept.values())


def test_independent_work_waits_for_its_turn() -> None:
    """Two pairs of machines with nothing in common: only the work for the pair that completes first is offered."""
    jobs = tuple(
        Job(id=name, operations=(Operation(id=name, alternatives=options),))
        for name, options in (
            ("left", _on(0, 1, seconds=5)),
            ("also left", _on(1, seconds=9)),
            ("right", _on(2, 3, seconds=7)),
        )
    )
    machines = tuple(Machine(id=index, name=f"M{index}") for index in range(4))
    arrays = compile_problem(Problem(jobs=jobs, machines=machines))
    state, found = new_state(arrays), new_candidates(arrays)
    find_candidates(arrays, state, found)
    offered = {int(arrays.pair_operation[pair]) for pair in found.pair[: found.filled[0]]}
    assert offered == {0, 1}


def test_of_equal_machines_one_is_offered() -> None:
    """Three idle machines of one kind are one choice until one of them has work."""
    jobs = tuple(
        Job(id=name, operations=(Operation(id=name, alternatives=_on(0, 1, 2, seconds=5)),)) for name in ("A", "B")
    )
    machines = tuple(Machine(id=index, name=f"M{index}") for index in range(3))
    arrays = compile_problem(Problem(jobs=jobs, machines=machines))
    state, found = new_state(arrays), new_candidates(arrays)
    find_candidates(arrays, state, found)
    assert sorted(found.pair[: found.filled[0]].tolist()) == [0, 3]


def _on(*machines: int, seconds: int) -> tuple[Alternative, ...]:
    return tuple(Alternative(machine=machine, processing_seconds=seconds) for machine in machines)


def test_limit_bounds_the_choice() -> None:
    """A plant with more pairs than the limit offers exactly the limit, the best ranks first."""
    plant = Plant(operations=(400, 400), operations_per_job=(1, 1), machines=(20, 20), type_share=1.0)
    arrays = compile_problem(random_problem(np.random.default_rng(0), plant))
    state, small, large = new_state(arrays), new_candidates(arrays, 16), new_candidates(arrays, 20_000)
    find_candidates(arrays, state, small)
    find_candidates(arrays, state, large)
    assert small.filled[0] == 16 < large.filled[0]
    assert small.pair.tolist() == large.pair[:16].tolist()
