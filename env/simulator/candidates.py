"""Which dispatches may be chosen: the same choices in training and in serving.

The choices at each decision are the *conflict set* of Giffler and Thompson (1960), which leads to active
schedules, and one of those is optimal for the makespan: every (next operation of a job, machine) pair
that can begin before the first of them would be complete. A machine may thus wait for work that comes
soon, and work may wait for a machine that is busy, but only for one that completes it earlier than all
at which it could begin sooner. Of this set only what bears on the first completion is offered: its rivals
for machines, their rivals, and so on; of equal machines that are free at once only one. The rest is as
good a choice afterwards, and a decision between rivals is easier to learn and to make than one among
everything that goes on in the plant. Work that pinned work waits for goes before any other. Best
composite rank first, at most `limit` of them. Where more than `simulation.MAX_LISTED` pairs wait for a
machine, all of this is about those that are listed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.simulator.arrays import TARDINESS_WEIGHT, Booleans, Floats, Integers, ProblemArrays
from env.simulator.compilation import compiled_lean
from env.simulator.simulation import next_instant
from env.simulator.state import CLOSED, NOBODY, State, entries_of

CANDIDATE_LIMIT = 128
"""Most candidates offered at a decision, in training and in serving."""
FEW = 32
"""Candidates that are sorted sooner by insertion than as a heap."""


class Candidates(NamedTuple):
    """What is offered at one decision; the first `filled[0]` entries are valid."""

    pair: Integers  # [limit]
    rank: Floats  # [limit] composite rank, lower is better
    filled: Integers  # [1]
    clock: Integers  # [1] earliest possible beginning
    jobs: Integers  # [job] room to collect rivals
    is_rival: Booleans  # [job] room to mark them, False between decisions
    is_contested: Booleans  # [machine] room to mark what they compete for, likewise


def new_candidates(arrays: ProblemArrays, limit: int = CANDIDATE_LIMIT) -> Candidates:
    """Room for what a decision of a problem offers."""
    return Candidates(
        pair=np.zeros(limit, dtype=np.int64),
        rank=np.zeros(limit),
        filled=np.zeros(1, dtype=np.int64),
        clock=np.zeros(1, dtype=np.int64),
        jobs=np.zeros(len(arrays.job_first) - 1, dtype=np.int64),
        is_rival=np.zeros(len(arrays.job_first) - 1, dtype=np.bool_),
        is_contested=np.zeros(len(arrays.machine_busy), dtype=np.bool_),
    )


@compiled_lean
def find_candidates(arrays: ProblemArrays, state: State, found: Candidates) -> None:
    """Fill `found` with what competes with the first completion, best rank first; ties go to the lower pair."""
    clock, urgent_only = next_instant(arrays, state)
    first_job = first_to_complete(arrays, state, urgent_only)
    latest = max(state.job_end[first_job], state.job_start[first_job] + 1)
    filled = 0
    for index in range(collect_rivals(arrays, state, found, first_job, latest, urgent_only)):
        filled = keep_conflicts(arrays, state, found, filled, found.jobs[index], latest)
    sort(found.pair, found.rank, filled)
    found.clock[0] = clock
    found.filled[0] = filled


@compiled_lean
def collect_rivals(
    arrays: ProblemArrays, state: State, found: Candidates, first_job: int, latest: int, urgent_only: bool
) -> int:
    """Collect the jobs whose choices bear on `first_job`'s in `found.jobs`, itself first; gives how many there are.

    Two next operations are rivals when both can begin on one machine before `latest`, and so are the
    rivals of rivals: what is chosen among others changes nothing for these, and can be chosen later.
    """
    jobs, is_rival, is_contested = found.jobs, found.is_rival, found.is_contested
    pair_first, pair_start = arrays.pair_first, state.pair_start
    held_first, held_machine = arrays.held_first, arrays.held_machine
    jobs[0] = first_job
    is_rival[first_job] = True
    most = count_startable(arrays, state, latest, urgent_only)
    asked, count = 0, 1
    while asked < count < most:
        operation = state.job_next[jobs[asked]]
        asked += 1
        for pair in range(pair_first[operation], pair_first[operation + 1]):
            if pair_start[pair] < latest and count < most:
                for held in range(held_first[pair], held_first[pair + 1]):
                    if not is_contested[held_machine[held]]:
                        is_contested[held_machine[held]] = True
                        count = add_rivals(arrays, state, found, count, held_machine[held], latest, urgent_only)
    for index in range(count):
        is_rival[jobs[index]] = False
    is_contested[:] = False
    return count


@compiled_lean
def count_startable(arrays: ProblemArrays, state: State, latest: int, urgent_only: bool) -> int:
    """How many jobs could begin before `latest`: once all of them are rivals, nobody need be asked any more."""
    count = 0
    for block in range(len(state.block_start)):
        if state.block_start[block] < latest:
            first, last = entries_of(block, len(state.job_start))
            for job in range(first, last):
                if state.job_start[job] < latest and (not urgent_only or arrays.operation_urgent[state.job_next[job]]):
                    count += 1
    return count


@compiled_lean
def add_rivals(
    arrays: ProblemArrays,
    state: State,
    found: Candidates,
    count: int,
    machine: int,
    latest: int,
    urgent_only: bool,
) -> int:
    """Add those who can begin on a machine before `latest` to the `count` in `found.jobs`; gives the new count."""
    place = state.machine_waiting[machine]
    while place != NOBODY:
        pair = arrays.held_pair[place]
        operation = arrays.pair_operation[pair]
        job = arrays.operation_job[operation]
        is_new = state.pair_start[pair] < latest and not found.is_rival[job]
        if is_new and (not urgent_only or arrays.operation_urgent[operation]):
            found.jobs[count] = job
            found.is_rival[job] = True
            count += 1
        place = state.waiting_after[place]
    return count


@compiled_lean
def keep_conflicts(arrays: ProblemArrays, state: State, found: Candidates, filled: int, job: int, latest: int) -> int:
    """Add those of a job's pairs that begin first, and those that would complete it sooner; gives the new count."""
    pair_start, pair_end, pair_work = state.pair_start, state.pair_end, state.pair_work
    start, operation = state.job_start[job], state.job_next[job]
    if filled == len(found.pair) and least_rank(arrays, operation, state.job_end[job]) > found.rank[0]:
        return filled
    first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
    end_at_once = CLOSED
    for pair in range(first, last):
        if pair_start[pair] == start:
            end_at_once = min(end_at_once, pair_end[pair])
    for pair in range(first, last):
        is_sooner = pair_start[pair] < latest and pair_end[pair] < end_at_once
        if (pair_start[pair] == start or is_sooner) and not has_twin(arrays, state, first, pair):
            pair_rank = rank(arrays, operation, pair_end[pair], pair_work[pair])
            filled = keep(found.pair, found.rank, filled, pair, pair_rank)
    return filled


@compiled_lean
def has_twin(arrays: ProblemArrays, state: State, first: int, pair: int) -> bool:
    """Whether a lower pair of the same operation, the first of which is `first`, stands for this one as well.

    Two machines with the same calendar and the same load, on which it would begin and end alike, count as one kind.
    """
    if arrays.has_special_work[0]:
        return False
    machine = arrays.pair_machine[pair]
    for other in range(first, pair):
        if (
            state.pair_start[other] == state.pair_start[pair]
            and state.pair_end[other] == state.pair_end[pair]
            and arrays.pair_calendar[other] == arrays.pair_calendar[pair]
            and state.machine_load[arrays.pair_machine[other]] == state.machine_load[machine]
        ):
            return True
    return False


@compiled_lean
def first_to_complete(arrays: ProblemArrays, state: State, urgent_only: bool) -> int:
    """The job whose next operation can be complete before that of any other; the lowest of several."""
    first_job, horizon = NOBODY, CLOSED
    for block in range(len(state.block_end)):
        if state.block_end[block] < horizon:
            first, last = entries_of(block, len(state.job_end))
            for job in range(first, last):
                end = state.job_end[job]
                if end < horizon and (not urgent_only or arrays.operation_urgent[state.job_next[job]]):
                    first_job, horizon = job, end
    return first_job


@compiled_lean
def rank(arrays: ProblemArrays, operation: int, end: int, work: int) -> float:
    """Composite rank of a pair of `operation` that ends at `end` after `work`, lower is better, in seconds.

    Earliest completion, plus the excess over the fastest machine, minus half the remaining work of
    the job; where tardiness counts, a quarter of it plus half the slack to the due date by weight.
    """
    excess = work - arrays.operation_shortest[operation]
    remaining = arrays.operation_remaining[operation]
    if arrays.objective[TARDINESS_WEIGHT] > 0.0 and arrays.operation_has_due[operation]:
        slack = max(0.0, float(arrays.operation_due[operation] - end))
        return end + excess + 0.5 * slack / arrays.operation_weight[operation] - 0.25 * remaining  # type: ignore[no-any-return]
    return end + excess - 0.5 * remaining  # type: ignore[no-any-return]


@compiled_lean
def least_rank(arrays: ProblemArrays, operation: int, end: int) -> float:
    """No pair of `operation` that ends at `end` or later has a lower `rank`."""
    return end - 0.5 * arrays.operation_remaining[operation]  # type: ignore[no-any-return]


@compiled_lean
def keep(pairs: Integers, ranks: Floats, count: int, pair: int, pair_rank: float) -> int:
    """Add a pair to those that are kept, pushing out the worst by (rank, pair) when they are full; gives the new count.

    Full, they are a max-heap.
    """
    if count == len(pairs):
        if is_worse(ranks[0], pairs[0], pair_rank, pair):
            sift_down(pairs, ranks, count, 0, pair, pair_rank)
        return count
    pairs[count], ranks[count] = pair, pair_rank
    if count + 1 == len(pairs):
        make_heap(pairs, ranks, count + 1)
    return count + 1


@compiled_lean
def is_worse(rank_a: float, pair_a: int, rank_b: float, pair_b: int) -> bool:
    """Whether entry a comes after entry b."""
    return rank_a > rank_b or (rank_a == rank_b and pair_a > pair_b)


@compiled_lean
def make_heap(pairs: Integers, ranks: Floats, count: int) -> None:
    """Make a max-heap of the first `count` entries."""
    for position in range(count // 2 - 1, -1, -1):
        sift_down(pairs, ranks, count, position, pairs[position], ranks[position])


@compiled_lean
def sift_down(pairs: Integers, ranks: Floats, count: int, position: int, pair: int, pair_rank: float) -> None:
    """Put a pair in the place of the entry at `position` in the heap of the first `count`."""
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
def sort(pairs: Integers, ranks: Floats, count: int) -> None:
    """Bring the first `count` entries into ascending order: few of them one by one, more as a heap."""
    if count > FEW:
        make_heap(pairs, ranks, count)
        for last in range(count - 1, 0, -1):
            pair, pair_rank = pairs[last], ranks[last]
            pairs[last], ranks[last] = pairs[0], ranks[0]
            sift_down(pairs, ranks, last, 0, pair, pair_rank)
        return
    for index in range(1, count):
        pair, pair_rank = pairs[index], ranks[index]
        place = index
        while place > 0 and is_worse(ranks[place - 1], pairs[place - 1], pair_rank, pair):
            pairs[place], ranks[place] = pairs[place - 1], ranks[place - 1]
            place -= 1
        pairs[place], ranks[place] = pair, pair_rank
