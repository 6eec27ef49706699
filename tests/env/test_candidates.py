from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from env.candidates import find_candidates, keep, new_candidates, sort_down
from env.generator import Plant, random_problem
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
    """Exactly the pairs that begin at the earliest possible instant are candidates."""
    arrays = compile_problem(random_problem(np.random.default_rng(seed), Plant(operations=(10, 60))))
    state, found = new_state(arrays), new_candidates(10_000)
    find_candidates(arrays, state, found)
    first = [
        pair for job in arrays.job_first[:-1] for pair in range(arrays.pair_first[job], arrays.pair_first[job + 1])
    ]
    starts = state.pair_start[first]
    assert found.clock[0] == starts.min()
    expected = {pair for pair, start in zip(first, starts.tolist(), strict=True) if start == starts.min()}
    assert set(found.pair[: found.filled[0]].tolist()) == expected


def test_limit_bounds_the_choice() -> None:
    """A plant with more pairs than the limit offers exactly the limit, the best ranks first."""
    plant = Plant(operations=(400, 400), operations_per_job=(1, 1), machines=(20, 20), type_share=1.0)
    arrays = compile_problem(random_problem(np.random.default_rng(0), plant))
    state, small, large = new_state(arrays), new_candidates(16), new_candidates(20_000)
    find_candidates(arrays, state, small)
    find_candidates(arrays, state, large)
    assert small.filled[0] == 16 < large.filled[0]
    assert small.pair.tolist() == large.pair[:16].tolist()
