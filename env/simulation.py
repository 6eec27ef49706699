"""The player: what happens when an operation is dispatched.

This is the only dispatch semantics; rules, training, search and serving all run it. A dispatch
appends: the operation begins at the earliest open second at which its job and its machines are all
free (`placing`). Pinned work is never chosen; it is booked as soon as its job comes to it. What may be
dispatched next is in `candidates`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.calendar_tables import NEVER
from env.compilation import compiled, compiled_inline
from env.placing import calendar_span, special_span
from env.problem_arrays import Floats, Integers, ProblemArrays
from env.special_work import NO_GROUP

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
    machine_group: Integers  # [machine] setup group of its last work, -1 if none
    machine_version: Integers  # [machine] how much work was dispatched to it
    pair_version: Integers  # [pair] the machine's version that the next three were computed for, -1 if none
    pair_start: Integers  # [pair]
    pair_end: Integers  # [pair]
    pair_work: Integers  # [pair] setup and processing
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
        machine_group=np.zeros(machines, dtype=np.int64),
        machine_version=np.zeros(machines, dtype=np.int64),
        pair_version=np.zeros(pairs, dtype=np.int64),
        pair_start=np.zeros(pairs, dtype=np.int64),
        pair_end=np.zeros(pairs, dtype=np.int64),
        pair_work=np.zeros(pairs, dtype=np.int64),
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
    state.machine_group[:] = NO_GROUP
    state.machine_version[:] = 0
    state.pair_version[:] = -1
    state.pair_work[:] = arrays.pair_setup + arrays.pair_processing
    state.chosen_pair[:] = -1
    state.start[:] = 0
    state.end[:] = 0
    state.totals[:] = 0
    state.tardiness_bound[0] = 0.0
    state.machine_load[:] = 0.0
    for machine in range(len(state.machine_ready)):
        state.machine_ready[machine] = 0
        if arrays.machine_busy[machine] > 0:
            calendar, busy = arrays.machine_calendar[machine], arrays.machine_busy[machine]
            state.machine_ready[machine] = calendar_span(arrays, calendar, 0, busy, True)[1]
    for operation in range(len(state.start)):
        share_load(arrays, state, operation, 1.0)
    jobs = len(state.job_next)
    state.job_count[0] = jobs
    for job in range(jobs):
        state.open_jobs[job] = job
        state.job_next[job] = arrays.job_first[job]
        state.job_ready[job] = arrays.operation_release[arrays.job_first[job]]
    for job in range(jobs):
        finish_pinned(arrays, state, job)
        update_bounds(arrays, state, job)


@compiled_inline
def place_next(arrays: ProblemArrays, state: State, job: int) -> None:
    """Bring pair_start, pair_end and pair_work of all pairs of the job's next operation up to date."""
    operation = state.job_next[job]
    for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
        version = state.machine_version[arrays.pair_machine[pair]]
        if state.pair_version[pair] != version or arrays.held_first[pair + 1] - arrays.held_first[pair] > 1:
            state.pair_version[pair] = version
            place_pair(arrays, state, operation, pair, state.job_ready[job])


@compiled_inline
def next_instant(arrays: ProblemArrays, state: State) -> tuple[int, bool]:
    """The earliest instant at which any job can go on, and whether work that a pin waits for can begin then."""
    clock = NEVER
    for index in range(state.job_count[0]):
        job = state.open_jobs[index]
        place_next(arrays, state, job)
        operation = state.job_next[job]
        for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
            clock = min(clock, state.pair_start[pair])
    urgent = False
    if arrays.has_special_work[0]:
        for index in range(state.job_count[0]):
            operation = state.job_next[state.open_jobs[index]]
            if arrays.operation_urgent[operation]:
                for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
                    urgent = urgent or state.pair_start[pair] == clock
    return clock, urgent


@compiled
def place_pair(arrays: ProblemArrays, state: State, operation: int, pair: int, job_ready: int) -> None:
    """Compute begin, end and work of one pair as the plant stands now."""
    if not arrays.has_special_work[0]:
        state.pair_start[pair], state.pair_end[pair] = calendar_span(
            arrays,
            arrays.pair_calendar[pair],
            max(job_ready, state.machine_ready[arrays.pair_machine[pair]]),
            state.pair_work[pair],
            arrays.operation_interruptible[operation],
        )
        return
    ready = job_ready
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        ready = max(ready, state.machine_ready[arrays.held_machine[held]])
    state.pair_start[pair], state.pair_end[pair], state.pair_work[pair] = special_span(
        arrays, state.machine_ready, state.machine_group, operation, pair, ready
    )


@compiled
def dispatch(arrays: ProblemArrays, state: State, pair: int, operation: int) -> None:
    """Append `operation`, the next one of its job, to the machines of `pair`."""
    job = arrays.operation_job[operation]
    place_pair(arrays, state, operation, pair, state.job_ready[job])
    end = state.pair_end[pair]
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        machine = arrays.held_machine[held]
        state.machine_ready[machine] = end
        state.machine_group[machine] = arrays.operation_group[operation]
        state.machine_version[machine] += 1
    finish(arrays, state, job, pair, state.pair_start[pair], end)
    finish_pinned(arrays, state, job)
    update_bounds(arrays, state, job)


@compiled
def finish(arrays: ProblemArrays, state: State, job: int, pair: int, start: int, end: int) -> None:
    """Book the job's next operation and move the job on."""
    operation = state.job_next[job]
    state.chosen_pair[operation] = pair
    state.start[operation] = start
    state.end[operation] = end
    state.totals[DISPATCHED] += 1
    share_load(arrays, state, operation, -1.0)
    state.job_next[job] = operation + 1
    state.job_ready[job] = max(state.job_ready[job], end)
    if operation + 1 < arrays.job_first[job + 1]:
        state.job_ready[job] = max(state.job_ready[job], arrays.operation_release[operation + 1])
    else:
        close_job(state, job)


@compiled
def finish_pinned(arrays: ProblemArrays, state: State, job: int) -> None:
    """Book the pinned operations that are next in a job: they begin where they are pinned, whatever came before."""
    while state.job_next[job] < arrays.job_first[job + 1] and arrays.operation_pinned[state.job_next[job]]:
        operation = state.job_next[job]
        pair = arrays.pair_first[operation]
        finish(arrays, state, job, pair, arrays.pin_start[operation], arrays.pin_end[operation])


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
        load = sign * (arrays.pair_setup[pair] + arrays.pair_processing[pair]) / (last - first)
        for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
            state.machine_load[arrays.held_machine[held]] += load


@compiled
def update_bounds(arrays: ProblemArrays, state: State, job: int) -> None:
    """Lower bounds of a job that goes on as fast as its machines ever could, from where it stands."""
    clock = state.job_ready[job]
    tardiness = 0.0
    for operation in range(arrays.job_first[job], arrays.job_first[job + 1]):
        if operation < state.job_next[job]:
            completion = state.end[operation]
        elif arrays.operation_pinned[operation]:
            clock = max(clock, arrays.pin_end[operation])
            completion = clock
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
