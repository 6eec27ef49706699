from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from env.candidates import find_candidates, keep, new_candidates, sort_down
from env.generator import Plant, random_problem
from env.problem import Alternative, Job, Machine, Operation, Problem
from env.problem_arrays import compile_problem
from env.simulation import new_state


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 12))
@settings(max_examples=200)
def test_bounded_heap_keeps_the_best_in_order(ranks: list[int], limit: int) -> None:
    """Whatever the order of arrival, the lowest (rank, pair) remain, ascending."""
    found, count = new_candidates(limit), 0
    for pair, rank in enumerate(ranks):
        count = keep(found.pair, found.rank, count, pair, float(rank))
    sort_down(found.pair, found.rank, count)
    expected = sorted((rank, pair) for pair, rank in enumerate(ranks))[:limit]
    assert list(zip(found.rank[:count].tolist(), found.pair[:count].tolist(), strict=True)) == expected


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_candidates_begin_at_the_clock(seed: int) -> None:
    """Whatever begins at the earliest possible instant is a candidate, and what begins later ends sooner by waiting."""
    arrays = compile_problem(random_problem(np.random.default_rng(seed), Plant(operations=(10, 60))))
    state, found = new_state(arrays), new_candidates(10_000)
    find_candidates(arrays, state, found)
    first = [
        pair for job in arrays.job_first[:-1] for pair in range(arrays.pair_first[job], arrays.pair_first[job + 1])
    ]
    starts = state.pair_start[first]
    assert found.clock[0] == starts.min()
    offered = set(found.pair[: found.filled[0]].tolist())
    for step in arrays.job_first[:-1].tolist():
        pairs = range(arrays.pair_first[step], arrays.pair_first[step + 1])
        at_once = [state.pair_end[pair] for pair in pairs if state.pair_start[pair] == starts.min()]
        for pair in pairs:
            begins_now = state.pair_start[pair] == starts.min()
            worth_waiting = bool(at_once) and state.pair_end[pair] < min(at_once)
            assert (pair in offered) == (begins_now or worth_waiting)


def test_waiting_for_a_faster_machine_is_a_choice() -> None:
    """The slow machine is free and takes 10 s; the fast one is busy for 3 s and takes 2 s: both are offered."""
    pairs = (Alternative(machine=0, processing_seconds=10), Alternative(machine=1, processing_seconds=2))
    job = Job(id="A", operations=(Operation(id="A", alternatives=pairs),))
    machines = (Machine(id=0), Machine(id=1, busy_seconds=3), Machine(id=2))
    arrays = compile_problem(Problem(machines=machines, jobs=(job,)))
    state, found = new_state(arrays), new_candidates()
    find_candidates(arrays, state, found)
    assert found.pair[: found.filled[0]].tolist() == [1, 0]


def test_limit_bounds_the_choice() -> None:
    """A plant with more pairs than the limit offers exactly the limit, the best ranks first."""
    plant = Plant(operations=(400, 400), operations_per_job=(1, 1), machines=(20, 20), type_share=1.0)
    arrays = compile_problem(random_problem(np.random.default_rng(0), plant))
    state, small, large = new_state(arrays), new_candidates(16), new_candidates(20_000)
    find_candidates(arrays, state, small)
    find_candidates(arrays, state, large)
    assert small.filled[0] == 16 < large.filled[0]
    assert small.pair.tolist() == large.pair[:16].tolist()
