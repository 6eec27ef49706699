"""Which dispatches may be chosen: the same choices in training and in serving.

The choices at each decision are the *conflict set* of Giffler and Thompson (1960), which leads to active
schedules, and one of those is optimal for the makespan: every (next operation of a job, machine) pair
that can begin before the first of them would be complete. A machine may thus wait for work that comes
soon, and work may wait for a machine that is busy, but only for one that completes it earlier than all
at which it could begin sooner. Work that pinned work waits for goes before any other. Best composite
rank first, at most `limit` of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.compilation import compiled_lean
from env.problem_arrays import Booleans, Floats, Integers, ProblemArrays
from env.simulation import CLOSED, State, next_instant

CANDIDATE_LIMIT = 128
"""Most candidates offered at a decision, in training and in serving."""


class Candidates(NamedTuple):
    """The conflict set of one decision; the first `filled[0]` entries are valid."""

    pair: Integers  # [limit]
    rank: Floats  # [limit] composite rank, lower is better
    filled: Integers  # [1]
    clock: Integers  # [1] earliest possible beginning


def new_candidates(limit: int = CANDIDATE_LIMIT) -> Candidates:
    """Room for one conflict set."""
    return Candidates(
        pair=np.zeros(limit, dtype=np.int64),
        rank=np.zeros(limit),
        filled=np.zeros(1, dtype=np.int64),
        clock=np.zeros(1, dtype=np.int64),
    )


@compiled_lean
def find_candidates(arrays: ProblemArrays, state: State, found: Candidates) -> None:
    """Fill `found` with the conflict set, best rank first; ties go to the lower pair."""
    clock, urgent_only = next_instant(arrays, state)
    job_start, job_end, job_next = state.job_start, state.job_end, state.job_next
    urgent = arrays.operation_urgent
    horizon = first_completion(job_end, job_next, urgent, urgent_only)
    counts_due = arrays.objective[1] > 0.0
    pairs, ranks = found.pair, found.rank
    pair_first, pair_start, pair_end = arrays.pair_first, state.pair_start, state.pair_end
    pair_work, shortest = state.pair_work, arrays.operation_shortest
    remaining, weight = arrays.operation_remaining, arrays.operation_weight
    has_due, due = arrays.operation_has_due, arrays.operation_due
    count = 0
    for job in range(len(job_start)):
        start = job_start[job]
        operation = job_next[job]
        if (start >= horizon and start > clock) or (urgent_only and not urgent[operation]):
            continue
        first, last = pair_first[operation], pair_first[operation + 1]
        latest = max(horizon, clock + 1)
        end_at_once = CLOSED
        for pair in range(first, last):
            if pair_start[pair] == start:
                end_at_once = min(end_at_once, pair_end[pair])
        for pair in range(first, last):
            begins, ends = pair_start[pair], pair_end[pair]
            if begins == start or (begins < latest and ends < end_at_once):
                pair_rank = rank(
                    ends,
                    pair_work[pair] - shortest[operation],
                    remaining[operation],
                    counts_due and has_due[operation],
                    due[operation],
                    weight[operation],
                )
                count = keep(pairs, ranks, count, pair, pair_rank)
    sort_down(pairs, ranks, count)
    found.clock[0] = clock
    found.filled[0] = count


@compiled_lean
def first_completion(job_end: Integers, job_next: Integers, urgent: Booleans, urgent_only: bool) -> int:
    """The earliest instant at which anything that may be dispatched now would be complete."""
    horizon = CLOSED
    for job in range(len(job_end)):
        if job_end[job] < horizon and (not urgent_only or urgent[job_next[job]]):
            horizon = job_end[job]
    return horizon


@compiled_lean
def rank(end: int, excess: int, remaining: int, counts_due: bool, due: int, weight: float) -> float:
    """Composite rank of a pair, lower is better, in seconds.

    Earliest completion, plus the excess over the fastest machine, minus half the remaining work of
    the job; where tardiness counts, a quarter of it plus half the slack to the due date by weight.
    """
    if counts_due:
        return end + excess + 0.5 * max(0.0, float(due - end)) / weight - 0.25 * remaining
    return end + excess - 0.5 * remaining


@compiled_lean
def keep(pairs: Integers, ranks: Floats, count: int, pair: int, pair_rank: float) -> int:
    """Add a pair to a bounded max-heap by (rank, pair), pushing out its worst when it is full; gives the new count."""
    if count == len(pairs):
        if is_worse(ranks[0], pairs[0], pair_rank, pair):
            sift_down(pairs, ranks, count, pair, pair_rank)
        return count
    position = count
    while position > 0:
        parent = (position - 1) // 2
        if not is_worse(pair_rank, pair, ranks[parent], pairs[parent]):
            break
        pairs[position], ranks[position] = pairs[parent], ranks[parent]
        position = parent
    pairs[position], ranks[position] = pair, pair_rank
    return count + 1


@compiled_lean
def is_worse(rank_a: float, pair_a: int, rank_b: float, pair_b: int) -> bool:
    """Whether entry a comes after entry b."""
    return rank_a > rank_b or (rank_a == rank_b and pair_a > pair_b)


@compiled_lean
def sift_down(pairs: Integers, ranks: Floats, count: int, pair: int, pair_rank: float) -> None:
    """Put a pair in the place of the heap's root among the first `count` entries."""
    position = 0
    while 2 * position + 1 < count:
        child = 2 * position + 1
        if child + 1 < count and is_worse(ranks[child + 1], pairs[child + 1], ranks[child], pairs[child]):
            child += 1
        if not is_worse(ranks[child], pairs[child], pair_rank, pair):
            break
        pairs[position], ranks[position] = pairs[child], ranks[child]
        position = child
    pairs[position], ranks[position] = pair, pair_rank


@compiled_lean
def sort_down(pairs: Integers, ranks: Floats, count: int) -> None:
    """Turn the heap of the first `count` entries into ascending order."""
    for last in range(count - 1, 0, -1):
        pair, pair_rank = pairs[last], ranks[last]
        pairs[last], ranks[last] = pairs[0], ranks[0]
        sift_down(pairs, ranks, last, pair, pair_rank)
