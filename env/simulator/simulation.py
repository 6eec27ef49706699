"""The player: what happens when an operation is dispatched."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.objective import MISSED_SECONDS
from env.simulator.arrays import LATE_SECONDS, MISSED, NO_WORK, Floats, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.calendar_fit import calendar_span, special_span
from env.simulator.compilation import compiled, compiled_lean

BLOCK_BITS = 4
BLOCK = 1 << BLOCK_BITS
"""Entries of a block; few, since a whole block is read when its minimum rises."""
DISPATCHED, MAKESPAN_BOUND = 0, 1  # entries of State.totals
NOBODY = -1
CLOSED = 2 * NEVER
"""Later than anything that can begin, even than work that fits into no opening."""


def block_count(entries: int) -> int:
    """How many blocks so many entries fill, the last one perhaps in part."""
    return -(-entries // BLOCK)


@compiled_lean
def change_entry(values: Integers, minima: Integers, entry: int, value: int) -> None:
    """Change `values[entry]`, shape [entry], and keep its block's entry of `minima`, shape [block], exact."""
    block = entry >> BLOCK_BITS
    before = values[entry]
    values[entry] = value
    first, last = entries_of(block, len(values))
    minima[block] = least_after_change(values, first, last, minima[block], before, value)


@compiled_lean
def least_after_change(values: Integers, first: int, last: int, least: int, before: int, now: int) -> int:
    """The least of values[first:last], which was `least` until one of them went from `before` to `now`."""
    if now <= least:
        return now
    if before > least:
        return least
    found = now
    for entry in range(first, last):
        if values[entry] == least:
            return least
        found = min(found, values[entry])
    return found


@compiled_lean
def entries_of(block: int, entries: int) -> tuple[int, int]:
    """The first entry of a block, and the first one behind it, of so many entries in all."""
    return block << BLOCK_BITS, min((block + 1) << BLOCK_BITS, entries)


class State(NamedTuple):
    """Mutable arrays of one episode; `bound` is what each job cannot beat any more."""

    machine_ready: Integers  # [machine] end of its last work
    machine_load: Floats  # [machine] expected seconds of undispatched work: each operation spread over its pairs
    machine_queue: Floats  # [machine] the part of it that is next in its job
    job_next: Integers  # [job] its next operation, or that of the following job when it is complete
    job_start: Integers  # [job] earliest begin of its next operation over its pairs, CLOSED when it is complete
    job_end: Integers  # [job] earliest end of its next operation over its pairs, CLOSED when it is complete
    job_ready: Integers  # [job] end of its last work
    job_bound: Integers  # [job] earliest possible completion
    job_tardiness_bound: Floats  # [job] least possible weighted tardiness, as the objective counts it
    job_missed_bound: Floats  # [job] least possible seconds of missed deadlines, likewise
    block_start: Integers  # [block] least of `job_start` in each block of jobs, see `change_entry`
    block_end: Integers  # [block] likewise
    machine_group: Integers  # [machine] group of its last dispatched work, NO_GROUP if none, NO_WORK without work
    machine_waiting: Integers  # [machine] first in the list of those next operations that may run on it
    waiting_before: Integers  # [held] the place before in such a list, which has one for each machine of a pair
    waiting_after: Integers  # [held]
    pair_start: Integers  # [pair] up to date while its operation is the next one of its job
    pair_end: Integers  # [pair]
    pair_work: Integers  # [pair] setup and processing
    chosen_pair: Integers  # [operation] NOBODY until dispatched
    start: Integers  # [operation]
    end: Integers  # [operation]
    sequence: Integers  # [operation] how many were dispatched before it
    totals: Integers  # [2] operations dispatched, lower bound of the makespan
    tardiness_bound: Floats  # [1] lower bound of the weighted tardiness sum
    missed_bound: Floats  # [1] lower bound of the seconds of missed deadlines
    job_count: Integers  # [1] open jobs


def new_state(arrays: ProblemArrays) -> State:
    """State before the first dispatch."""
    jobs, operations = len(arrays.job_first) - 1, len(arrays.operation_job)
    machines, pairs = len(arrays.machine_busy), len(arrays.pair_machine)
    state = State(
        machine_ready=np.zeros(machines, dtype=np.int64),
        machine_load=np.zeros(machines),
        machine_queue=np.zeros(machines),
        job_next=np.zeros(jobs, dtype=np.int64),
        job_start=np.zeros(jobs, dtype=np.int64),
        job_end=np.zeros(jobs, dtype=np.int64),
        job_ready=np.zeros(jobs, dtype=np.int64),
        job_bound=np.zeros(jobs, dtype=np.int64),
        job_tardiness_bound=np.zeros(jobs),
        job_missed_bound=np.zeros(jobs),
        block_start=np.zeros(block_count(jobs), dtype=np.int64),
        block_end=np.zeros(block_count(jobs), dtype=np.int64),
        machine_group=np.zeros(machines, dtype=np.int64),
        machine_waiting=np.zeros(machines, dtype=np.int64),
        waiting_before=np.zeros(len(arrays.held_machine), dtype=np.int64),
        waiting_after=np.zeros(len(arrays.held_machine), dtype=np.int64),
        pair_start=np.zeros(pairs, dtype=np.int64),
        pair_end=np.zeros(pairs, dtype=np.int64),
        pair_work=np.zeros(pairs, dtype=np.int64),
        chosen_pair=np.zeros(operations, dtype=np.int64),
        start=np.zeros(operations, dtype=np.int64),
        end=np.zeros(operations, dtype=np.int64),
        sequence=np.zeros(operations, dtype=np.int64),
        totals=np.zeros(2, dtype=np.int64),
        tardiness_bound=np.zeros(1),
        missed_bound=np.zeros(1),
        job_count=np.zeros(1, dtype=np.int64),
    )
    reset(arrays, state)
    return state


@compiled
def reset(arrays: ProblemArrays, state: State) -> None:
    """Bring `state` back to before the first dispatch."""
    state.machine_group[:] = NO_WORK
    state.machine_waiting[:] = NOBODY
    state.pair_work[:] = arrays.pair_setup + arrays.pair_processing
    state.chosen_pair[:] = NOBODY
    state.start[:] = 0
    state.end[:] = 0
    state.totals[:] = 0
    state.tardiness_bound[0] = 0.0
    state.missed_bound[0] = 0.0
    state.job_tardiness_bound[:] = 0.0
    state.job_missed_bound[:] = 0.0
    state.machine_load[:] = 0.0
    state.machine_queue[:] = 0.0
    await_earlier_load(arrays, state.machine_ready)
    for operation in range(len(state.start)):
        share_work(arrays, state.machine_load, operation, 1.0)
    state.job_start[:] = state.block_start[:] = CLOSED
    state.job_end[:] = state.block_end[:] = CLOSED
    jobs = len(state.job_next)
    state.job_count[0] = jobs
    for job in range(jobs):
        state.job_next[job] = arrays.job_first[job]
        state.job_ready[job] = arrays.operation_release[arrays.job_first[job]]
    for job in range(jobs):
        finish_pinned(arrays, state, job)
        update_bounds(arrays, state, job)
        start_waiting(arrays, state, job)


@compiled_lean
def await_earlier_load(arrays: ProblemArrays, machine_ready: Integers) -> None:
    """Fill `machine_ready`, shape [machine], with the end of what each machine has to do before it takes new work."""
    for machine in range(len(machine_ready)):
        machine_ready[machine] = 0
        if arrays.machine_busy[machine] > 0:
            calendar, busy = arrays.machine_calendar[machine], arrays.machine_busy[machine]
            _, machine_ready[machine] = calendar_span(arrays, calendar, 0, busy, True)


@compiled_lean
def next_instant(arrays: ProblemArrays, state: State) -> tuple[int, bool]:
    """The earliest instant at which any job can go on, and whether work that a pin waits for can begin then."""
    clock = CLOSED
    for block in range(len(state.block_start)):
        clock = min(clock, state.block_start[block])
    urgent = False
    if arrays.has_special_work[0]:
        for block in range(len(state.block_start)):
            if state.block_start[block] == clock:
                first, last = entries_of(block, len(state.job_start))
                for job in range(first, last):
                    urgent = urgent or (state.job_start[job] == clock and arrays.operation_urgent[state.job_next[job]])
    return clock, urgent


@compiled_lean
def start_waiting(arrays: ProblemArrays, state: State, job: int) -> None:
    """Place the job's next operation on all of its pairs, and list it with their machines; nothing if there is none."""
    operation = state.job_next[job]
    if operation >= arrays.job_first[job + 1]:
        set_earliest(state, job, CLOSED, CLOSED)
        return
    share_work(arrays, state.machine_queue, operation, 1.0)
    held_first, held_machine = arrays.held_first, arrays.held_machine
    before, after, waiting = state.waiting_before, state.waiting_after, state.machine_waiting
    first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
    for place in range(held_first[first], held_first[last]):
        machine = held_machine[place]
        following = waiting[machine]
        before[place], after[place] = NOBODY, following
        waiting[machine] = place
        if following != NOBODY:
            before[following] = place
    for pair in range(first, last):
        place_pair(arrays, state, operation, pair, state.job_ready[job])
    earliest(arrays, state, job)


@compiled_lean
def stop_waiting(arrays: ProblemArrays, state: State, operation: int) -> None:
    """Take an operation off the lists of its machines."""
    share_work(arrays, state.machine_queue, operation, -1.0)
    first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
    for place in range(arrays.held_first[first], arrays.held_first[last]):
        previous, following = state.waiting_before[place], state.waiting_after[place]
        if previous == NOBODY:
            state.machine_waiting[arrays.held_machine[place]] = following
        else:
            state.waiting_after[previous] = following
        if following != NOBODY:
            state.waiting_before[following] = previous


@compiled_lean
def place_waiting(arrays: ProblemArrays, state: State, machine: int) -> None:
    """Place anew whatever waits for a machine that has got work."""
    place = state.machine_waiting[machine]
    while place != NOBODY:
        pair = arrays.held_pair[place]
        operation = arrays.pair_operation[pair]
        job = arrays.operation_job[operation]
        start, end = state.pair_start[pair], state.pair_end[pair]
        place_pair(arrays, state, operation, pair, state.job_ready[job])
        first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
        start = least_after_change(state.pair_start, first, last, state.job_start[job], start, state.pair_start[pair])
        end = least_after_change(state.pair_end, first, last, state.job_end[job], end, state.pair_end[pair])
        set_earliest(state, job, start, end)
        place = state.waiting_after[place]


@compiled_lean
def earliest(arrays: ProblemArrays, state: State, job: int) -> None:
    """Earliest begin and end of a job's next operation over its pairs."""
    operation = state.job_next[job]
    pair_start, pair_end = state.pair_start, state.pair_end
    start, end = CLOSED, CLOSED
    for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
        start, end = min(start, pair_start[pair]), min(end, pair_end[pair])
    set_earliest(state, job, start, end)


@compiled_lean
def set_earliest(state: State, job: int, start: int, end: int) -> None:
    """Write down earliest begin and end, for the job and for its block."""
    change_entry(state.job_start, state.block_start, job, start)
    change_entry(state.job_end, state.block_end, job, end)


@compiled_lean
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


@compiled_lean
def dispatch(arrays: ProblemArrays, state: State, pair: int, operation: int) -> None:
    """Append `operation`, the next one of its job, to the machines of `pair`."""
    job = arrays.operation_job[operation]
    end = state.pair_end[pair]
    stop_waiting(arrays, state, operation)
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        machine = arrays.held_machine[held]
        state.machine_ready[machine] = end
        state.machine_group[machine] = arrays.operation_group[operation]
    finish(arrays, state, job, pair, state.pair_start[pair], end)
    if arrays.has_special_work[0]:
        finish_pinned(arrays, state, job)
    update_bounds(arrays, state, job)
    start_waiting(arrays, state, job)
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        place_waiting(arrays, state, arrays.held_machine[held])


@compiled_lean
def finish(arrays: ProblemArrays, state: State, job: int, pair: int, start: int, end: int) -> None:
    """Book the job's next operation and move the job on."""
    operation = state.job_next[job]
    state.chosen_pair[operation] = pair
    state.start[operation] = start
    state.end[operation] = end
    state.sequence[operation] = state.totals[DISPATCHED]
    state.totals[DISPATCHED] += 1
    share_work(arrays, state.machine_load, operation, -1.0)
    state.job_next[job] = operation + 1
    state.job_ready[job] = max(state.job_ready[job], end)
    if operation + 1 < arrays.job_first[job + 1]:
        state.job_ready[job] = max(state.job_ready[job], arrays.operation_release[operation + 1])
    else:
        state.job_count[0] -= 1


@compiled_lean
def finish_pinned(arrays: ProblemArrays, state: State, job: int) -> None:
    """Book the pinned operations that are next in a job: they begin where they are pinned, whatever came before."""
    while state.job_next[job] < arrays.job_first[job + 1] and arrays.operation_pinned[state.job_next[job]]:
        operation = state.job_next[job]
        pair = arrays.pin_pair[operation]
        finish(arrays, state, job, pair, arrays.pin_start[operation], arrays.pin_end[operation])


@compiled_lean
def share_work(arrays: ProblemArrays, work: Floats, operation: int, sign: float) -> None:
    """Add (or take away) an operation's work to that of each machine, shape [machine], spread over its pairs."""
    first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
    for pair in range(first, last):
        share = sign * (arrays.pair_setup[pair] + arrays.pair_processing[pair]) / (last - first)
        for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
            work[arrays.held_machine[held]] += share


@compiled_lean
def update_bounds(arrays: ProblemArrays, state: State, job: int) -> None:
    """Lower bounds of a job that goes on as fast as its machines ever could, from where it stands."""
    clock, begun = state.job_ready[job], state.job_next[job]
    ended, release, shortest = state.end, arrays.operation_release, arrays.operation_shortest
    pinned, pin_end = arrays.operation_pinned, arrays.pin_end
    has_due, due, weight = arrays.operation_has_due, arrays.operation_due, arrays.operation_weight
    late_seconds = arrays.objective[LATE_SECONDS]
    deadline, counts_deadlines = arrays.operation_deadline, arrays.objective[MISSED] > 0.0
    tardiness, missed = 0.0, 0.0
    for operation in range(arrays.job_first[job], arrays.job_first[job + 1]):
        if operation < begun:
            completion = ended[operation]
        elif pinned[operation]:
            clock = max(clock, pin_end[operation])
            completion = clock
        else:
            clock = max(clock, release[operation]) + shortest[operation]
            completion = clock
        if has_due[operation]:
            tardiness += weight[operation] * lateness(completion, due[operation], late_seconds)
        if counts_deadlines:
            missed += lateness(completion, deadline[operation], MISSED_SECONDS)
    state.job_bound[job] = clock
    state.totals[MAKESPAN_BOUND] = max(state.totals[MAKESPAN_BOUND], clock)
    state.tardiness_bound[0] += tardiness - state.job_tardiness_bound[job]
    state.job_tardiness_bound[job] = tardiness
    state.missed_bound[0] += missed - state.job_missed_bound[job]
    state.job_missed_bound[job] = missed


@compiled
def bound_anew(arrays: ProblemArrays, state: State) -> None:
    """Find the bounds of a state that was played by other arrays of the same plant, in place."""
    state.tardiness_bound[0] = state.missed_bound[0] = 0.0
    state.job_tardiness_bound[:] = 0.0
    state.job_missed_bound[:] = 0.0
    for job in range(len(state.job_next)):
        update_bounds(arrays, state, job)


@compiled_lean
def lateness(end: int, due: int, late_seconds: float) -> float:
    """What the objective counts past a due date or deadline: how late, and `late_seconds` for being late at all."""
    return float(end - due) + late_seconds if end > due else 0.0


@compiled_lean
def is_complete(state: State) -> bool:
    """Whether every operation has been dispatched."""
    return state.job_count[0] == 0  # type: ignore[no-any-return]


@compiled_lean
def operation_of(arrays: ProblemArrays, pair: int) -> int:
    """The operation that a pair belongs to."""
    return arrays.pair_operation[pair]  # type: ignore[no-any-return]
