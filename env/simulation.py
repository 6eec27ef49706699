"""The player: what happens when an operation is dispatched.

This is the only dispatch semantics; rules, training, search and serving all run it. A dispatch
appends: the operation begins at the earliest open second at which its job and its machine are both
free. What may be dispatched next is in `candidates`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.compilation import compiled, compiled_inline
from env.problem_arrays import NEVER, Floats, Integers, ProblemArrays

DISPATCHED, MAKESPAN_BOUND = 0, 1  # entries of State.totals


class State(NamedTuple):
    """Mutable arrays of one episode; `bound` is what each job cannot beat any more."""

    machine_ready: Integers  # [machine] end of its last work
    machine_load: Floats  # [machine] expected seconds of undispatched work: each operation spread over its pairs
    job_next: Integers  # [job] its next operation, or that of the following job when it is complete
    job_ready: Integers  # [job] end of its last work
    job_bound: Integers  # [job] earliest possible completion
    job_tardiness_bound: Floats  # [job] least possible weighted tardiness
    open_jobs: Integers  # [job] jobs with work left come first
    pair_ready: Integers  # [pair] the ready time that pair_start and pair_end were computed for, -1 if none
    pair_start: Integers  # [pair]
    pair_end: Integers  # [pair]
    chosen_pair: Integers  # [operation] -1 until dispatched
    start: Integers  # [operation]
    end: Integers  # [operation]
    totals: Integers  # [2] operations dispatched, lower bound of the makespan
    tardiness_bound: Floats  # [1] lower bound of the weighted tardiness sum
    job_count: Integers  # [1] open jobs


def new_state(arrays: ProblemArrays) -> State:
    """State before the first dispatch."""
    jobs, operations = len(arrays.job_first) - 1, len(arrays.operation_job)
    machines, pairs = len(arrays.machine_busy), len(arrays.pair_machine)
    state = State(
        machine_ready=np.zeros(machines, dtype=np.int64),
        machine_load=np.zeros(machines),
        job_next=np.zeros(jobs, dtype=np.int64),
        job_ready=np.zeros(jobs, dtype=np.int64),
        job_bound=np.zeros(jobs, dtype=np.int64),
        job_tardiness_bound=np.zeros(jobs),
        open_jobs=np.zeros(jobs, dtype=np.int64),
        pair_ready=np.zeros(pairs, dtype=np.int64),
        pair_start=np.zeros(pairs, dtype=np.int64),
        pair_end=np.zeros(pairs, dtype=np.int64),
        chosen_pair=np.zeros(operations, dtype=np.int64),
        start=np.zeros(operations, dtype=np.int64),
        end=np.zeros(operations, dtype=np.int64),
        totals=np.zeros(2, dtype=np.int64),
        tardiness_bound=np.zeros(1),
        job_count=np.zeros(1, dtype=np.int64),
    )
    reset(arrays, state)
    return state


@compiled
def reset(arrays: ProblemArrays, state: State) -> None:
    """Bring `state` back to before the first dispatch."""
    state.pair_ready[:] = -1
    state.chosen_pair[:] = -1
    state.start[:] = 0
    state.end[:] = 0
    state.totals[:] = 0
    state.tardiness_bound[0] = 0.0
    state.machine_load[:] = 0.0
    for machine in range(len(state.machine_ready)):
        state.machine_ready[machine] = 0
        if arrays.machine_busy[machine] > 0:
            calendar = arrays.machine_calendar[machine]
            state.machine_ready[machine] = span(
                arrays.opening_start,
                arrays.opening_end,
                arrays.opening_before,
                arrays.calendar_first[calendar],
                arrays.calendar_first[calendar + 1],
                0,
                arrays.machine_busy[machine],
                True,
            )[1]
    for operation in range(len(state.start)):
        share_load(arrays, state, operation, 1.0)
    jobs = len(state.job_next)
    state.job_count[0] = jobs
    for job in range(jobs):
        state.open_jobs[job] = job
        state.job_next[job] = arrays.job_first[job]
        state.job_ready[job] = arrays.operation_release[arrays.job_first[job]]
        update_bounds(arrays, state, job)


@compiled
def span(
    starts: Integers,
    ends: Integers,
    before: Integers,
    first: int,
    last: int,
    ready: int,
    work: int,
    interruptible: bool,
) -> tuple[int, int]:
    """Start and end of `work` open seconds, begun as early as possible at or after `ready`.

    `starts`, `ends` and `before` are the openings of all calendars, shape [opening]; first to last
    (exclusive) are those of the machine. (NEVER, NEVER) when they do not hold the work.
    """
    opening = first_ending_after(ends, first, last, ready)
    if not interruptible:
        while opening < last and ends[opening] - max(ready, starts[opening]) < work:
            opening += 1
    if opening >= last:
        return NEVER, NEVER
    start = max(ready, starts[opening])
    if ends[opening] - start >= work:
        return start, start + work
    done = before[opening] + (start - starts[opening]) + work
    opening += 1
    while opening < last and before[opening] + (ends[opening] - starts[opening]) < done:
        opening += 1
    if opening >= last:
        return NEVER, NEVER
    return start, starts[opening] + done - before[opening]


@compiled
def first_ending_after(ends: Integers, low: int, high: int, instant: int) -> int:
    """Index in [low, high] of the first opening that ends after `instant`."""
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > instant:
            high = middle
        else:
            low = middle + 1
    return low


@compiled_inline
def place_next(arrays: ProblemArrays, state: State, job: int) -> None:
    """Bring pair_start and pair_end of all pairs of the job's next operation up to date."""
    operation = state.job_next[job]
    job_ready = state.job_ready[job]
    for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
        ready = max(job_ready, state.machine_ready[arrays.pair_machine[pair]])
        if state.pair_ready[pair] != ready:
            state.pair_ready[pair] = ready
            calendar = arrays.machine_calendar[arrays.pair_machine[pair]]
            state.pair_start[pair], state.pair_end[pair] = span(
                arrays.opening_start,
                arrays.opening_end,
                arrays.opening_before,
                arrays.calendar_first[calendar],
                arrays.calendar_first[calendar + 1],
                ready,
                arrays.pair_duration[pair],
                arrays.operation_interruptible[operation],
            )


@compiled
def dispatch(arrays: ProblemArrays, state: State, pair: int, operation: int) -> None:
    """Append `operation`, the next one of its job, to the machine of `pair`."""
    job = arrays.operation_job[operation]
    machine = arrays.pair_machine[pair]
    place_next(arrays, state, job)
    end = state.pair_end[pair]
    state.chosen_pair[operation] = pair
    state.start[operation] = state.pair_start[pair]
    state.end[operation] = end
    state.machine_ready[machine] = end
    state.totals[DISPATCHED] += 1
    share_load(arrays, state, operation, -1.0)
    state.job_next[job] = operation + 1
    state.job_ready[job] = end
    if operation + 1 < arrays.job_first[job + 1]:
        state.job_ready[job] = max(end, arrays.operation_release[operation + 1])
    else:
        close_job(state, job)
    update_bounds(arrays, state, job)


@compiled
def close_job(state: State, job: int) -> None:
    """Take a completed job out of the open ones, keeping the order of the others."""
    count = state.job_count[0]
    position = 0
    while state.open_jobs[position] != job:
        position += 1
    for index in range(position, count - 1):
        state.open_jobs[index] = state.open_jobs[index + 1]
    state.job_count[0] = count - 1


@compiled
def share_load(arrays: ProblemArrays, state: State, operation: int, sign: float) -> None:
    """Add (or take away) an operation's expected work on its machines."""
    first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
    for pair in range(first, last):
        state.machine_load[arrays.pair_machine[pair]] += sign * arrays.pair_duration[pair] / (last - first)


@compiled
def update_bounds(arrays: ProblemArrays, state: State, job: int) -> None:
    """Lower bounds of a job that goes on as fast as its machines ever could, from where it stands."""
    clock = state.job_ready[job]
    tardiness = 0.0
    for operation in range(arrays.job_first[job], arrays.job_first[job + 1]):
        if operation < state.job_next[job]:
            completion = state.end[operation]
        else:
            clock = max(clock, arrays.operation_release[operation]) + arrays.operation_shortest[operation]
            completion = clock
        if arrays.operation_has_due[operation]:
            late = completion - arrays.operation_due[operation]
            tardiness += arrays.operation_weight[operation] * max(0, late)
    state.job_bound[job] = clock
    state.totals[MAKESPAN_BOUND] = max(state.totals[MAKESPAN_BOUND], clock)
    state.tardiness_bound[0] += tardiness - state.job_tardiness_bound[job]
    state.job_tardiness_bound[job] = tardiness


@compiled
def is_complete(state: State) -> bool:
    """Whether every operation has been dispatched."""
    return state.job_count[0] == 0  # type: ignore[no-any-return]


@compiled
def operation_of(arrays: ProblemArrays, pair: int) -> int:
    """The operation that a pair belongs to."""
    return np.searchsorted(arrays.pair_first, pair, side="right") - 1  # type: ignore[return-value]
