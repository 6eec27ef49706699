"""The player: what happens when an operation is dispatched.

Whatever waits for a machine is placed anew when the machine gets work, so only so much of it is listed at a time: at
most `MAX_LISTED` pairs for each machine, those that could begin at once by rank and then those that are ready first.
The others wait in the machine's backlog, closed, until a listed one leaves. A pair that holds several machines counts
for that one of them which most pairs need, and stands in the lists of all. A plant without a longer queue has none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.objective import MISSED_SECONDS
from env.simulator.arrays import LATE_SECONDS, MISSED, NO_WORK, TARDINESS_WEIGHT, Floats, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.calendar_fit import await_earlier_load, calendar_span, special_span
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.minima import block_count, change_entry, least_after_change, pop, push

DISPATCHED, MAKESPAN_BOUND = 0, 1  # entries of State.totals
NOBODY = -1
IN_BACKLOG = -2
"""What stands for the place before of a pair that is not listed."""
MAX_LISTED = 256
"""Pairs that are listed for a machine at a time; as many again, where pinned work waits for them."""
ALL_LISTED = 2**60
URGENT = -1e18
"""The rank in a backlog of work that pinned work waits for."""
CLOSED = 2 * NEVER
"""Later than anything that can begin, even than work that fits into no opening."""


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
    waiting_before: Integers  # [held] the place before in such a list, which has one for each machine of a pair;
    # IN_BACKLOG where it is not listed
    waiting_after: Integers  # [held]
    list_limit: Integers  # [1] most pairs that are listed for a machine
    machine_listed: Integers  # [machine] how many are
    machine_latest: Integers  # [machine] none of them is ready later
    backlog: Integers  # [pair] those that are not: two heaps for each machine, one of what could begin as soon as it is
    # free and one of what comes later, which grow from both ends of its part; [0] where all can be listed at once
    backlog_key: Floats  # [pair] the rank in the one and the seconds in the other; [0] likewise
    backlog_ready: Integers  # [machine] how many are in the first heap
    backlog_later: Integers  # [machine] and in the second
    pair_start: Integers  # [pair] up to date while its operation is the next one of its job, CLOSED in a backlog
    pair_end: Integers  # [pair] likewise
    pair_work: Integers  # [pair] setup and processing
    chosen_pair: Integers  # [operation] NOBODY until dispatched
    start: Integers  # [operation]
    end: Integers  # [operation]
    sequence: Integers  # [operation] how many were dispatched before it
    totals: Integers  # [2] operations dispatched, lower bound of the makespan
    tardiness_bound: Floats  # [1] lower bound of the weighted tardiness sum
    missed_bound: Floats  # [1] lower bound of the seconds of missed deadlines
    job_count: Integers  # [1] open jobs


def new_state(arrays: ProblemArrays, list_limit: int = MAX_LISTED) -> State:
    """State before the first dispatch."""
    jobs, operations = len(arrays.job_first) - 1, len(arrays.operation_job)
    machines, pairs = len(arrays.machine_busy), len(arrays.pair_machine)
    backlog = pairs if np.diff(arrays.backlog_first).max() > list_limit else 0
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
        list_limit=np.array([list_limit]),
        machine_listed=np.zeros(machines, dtype=np.int64),
        machine_latest=np.zeros(machines, dtype=np.int64),
        backlog=np.zeros(backlog, dtype=np.int64),
        backlog_key=np.zeros(backlog),
        backlog_ready=np.zeros(machines, dtype=np.int64),
        backlog_later=np.zeros(machines, dtype=np.int64),
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
    state.machine_listed[:] = state.machine_latest[:] = 0
    state.backlog_ready[:] = state.backlog_later[:] = 0
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
    for machine in range(len(state.machine_ready)):
        look_further(arrays, state, machine)


@compiled_lean
def start_waiting(arrays: ProblemArrays, state: State, job: int) -> None:
    """List the job's next operation with its machines, or put it into their backlogs; nothing if there is none."""
    operation = state.job_next[job]
    if operation >= arrays.job_first[job + 1]:
        set_earliest(state, job, CLOSED, CLOSED)
        return
    share_work(arrays, state.machine_queue, operation, 1.0)
    for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
        machine = arrays.pair_bottleneck[pair]
        if has_room(arrays, state, machine, operation) or makes_room(arrays, state, machine, job):
            list_pair(arrays, state, operation, pair)
        else:
            stand_back(arrays, state, machine, pair)
    earliest(arrays, state, job)


@compiled_lean
def has_room(arrays: ProblemArrays, state: State, machine: int, operation: int) -> bool:
    """Whether a pair of `operation` need not stand behind those that are in a machine's backlog."""
    limit, first = state.list_limit[0], arrays.backlog_first
    return first[machine + 1] - first[machine] <= limit or (  # type: ignore[no-any-return]
        arrays.operation_urgent[operation] and state.machine_listed[machine] < 2 * limit
    )


@compiled_lean
def makes_room(arrays: ProblemArrays, state: State, machine: int, job: int) -> bool:
    """Whether one that is listed for a machine, and ready later than `job`, has gone into the backlog instead of it."""
    ready = max(state.job_ready[job], state.machine_ready[machine])
    if state.machine_listed[machine] < state.list_limit[0] or state.machine_latest[machine] <= ready:
        return False
    latest, second, found = ready, ready, NOBODY
    place = state.machine_waiting[machine]
    while place != NOBODY:
        pair = arrays.held_pair[place]
        operation = arrays.pair_operation[pair]
        if arrays.pair_bottleneck[pair] == machine and not arrays.operation_urgent[operation]:
            other_ready = state.job_ready[arrays.operation_job[operation]]
            if other_ready > latest:
                latest, second, found = other_ready, latest, pair
            else:
                second = max(second, other_ready)
        place = state.waiting_after[place]
    state.machine_latest[machine] = second
    if found == NOBODY:
        return False
    unlist_pair(arrays, state, found)
    stand_back(arrays, state, machine, found)
    earliest(arrays, state, arrays.operation_job[arrays.pair_operation[found]])
    return True


@compiled_lean
def list_pair(arrays: ProblemArrays, state: State, operation: int, pair: int) -> None:
    """Place a pair of a next operation, and list it with all of its machines."""
    held_machine, before, after = arrays.held_machine, state.waiting_before, state.waiting_after
    job, bottleneck = arrays.operation_job[operation], arrays.pair_bottleneck[pair]
    for place in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        machine = held_machine[place]
        following = state.machine_waiting[machine]
        before[place], after[place] = NOBODY, following
        state.machine_waiting[machine] = place
        if following != NOBODY:
            before[following] = place
    state.machine_listed[bottleneck] += 1
    state.machine_latest[bottleneck] = max(state.machine_latest[bottleneck], state.job_ready[job])
    place_pair(arrays, state, operation, pair, state.job_ready[job])


@compiled_lean
def unlist_pair(arrays: ProblemArrays, state: State, pair: int) -> None:
    """Take a pair off the lists of its machines."""
    state.machine_listed[arrays.pair_bottleneck[pair]] -= 1
    for place in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        previous, following = state.waiting_before[place], state.waiting_after[place]
        if previous == NOBODY:
            state.machine_waiting[arrays.held_machine[place]] = following
        else:
            state.waiting_after[previous] = following
        if following != NOBODY:
            state.waiting_before[following] = previous


@compiled_lean
def stop_waiting(arrays: ProblemArrays, state: State, operation: int) -> None:
    """Take an operation off the lists of its machines; a backlog forgets it when its turn would come."""
    share_work(arrays, state.machine_queue, operation, -1.0)
    for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
        if state.waiting_before[arrays.held_first[pair]] != IN_BACKLOG:
            unlist_pair(arrays, state, pair)


@compiled_lean
def stand_back(arrays: ProblemArrays, state: State, machine: int, pair: int) -> None:
    """Put a pair that is not listed into the backlog of the machine for which it counts."""
    state.waiting_before[arrays.held_first[pair]] = IN_BACKLOG
    state.pair_start[pair] = state.pair_end[pair] = CLOSED
    job_ready = state.job_ready[arrays.operation_job[arrays.pair_operation[pair]]]
    if job_ready > state.machine_ready[machine]:
        state.backlog_key[pair] = job_ready
        last = arrays.backlog_first[machine + 1] - 1
        push(state.backlog, state.backlog_key, last, -1, state.backlog_later[machine], pair)
        state.backlog_later[machine] += 1
    else:
        state.backlog_key[pair] = backlog_rank(arrays, pair)
        first = arrays.backlog_first[machine]
        push(state.backlog, state.backlog_key, first, 1, state.backlog_ready[machine], pair)
        state.backlog_ready[machine] += 1


@compiled_lean
def look_further(arrays: ProblemArrays, state: State, machine: int) -> None:
    """List pairs of a machine's backlog for as long as there is room: what is ready by rank, then what is first."""
    backlog, key, ready, later = state.backlog, state.backlog_key, state.backlog_ready, state.backlog_later
    first, last = arrays.backlog_first[machine], arrays.backlog_first[machine + 1] - 1
    while ready[machine] + later[machine] > 0 and state.machine_listed[machine] < state.list_limit[0]:
        while later[machine] > 0 and key[backlog[last]] <= state.machine_ready[machine]:
            pair = pop(backlog, key, last, -1, later[machine])
            later[machine] -= 1
            key[pair] = backlog_rank(arrays, pair)
            push(backlog, key, first, 1, ready[machine], pair)
            ready[machine] += 1
        if ready[machine] > 0:
            pair = pop(backlog, key, first, 1, ready[machine])
            ready[machine] -= 1
        else:
            pair = pop(backlog, key, last, -1, later[machine])
            later[machine] -= 1
        operation = arrays.pair_operation[pair]
        job = arrays.operation_job[operation]
        if state.job_next[job] == operation:
            list_pair(arrays, state, operation, pair)
            start = min(state.job_start[job], state.pair_start[pair])
            set_earliest(state, job, start, min(state.job_end[job], state.pair_end[pair]))


@compiled_lean
def look_beyond(arrays: ProblemArrays, state: State, operation: int) -> None:
    """Look further for all machines of an operation."""
    if len(state.backlog) > 0:
        for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
            look_further(arrays, state, arrays.pair_bottleneck[pair])


@compiled
def list_all(arrays: ProblemArrays, state: State) -> None:
    """Have no backlogs from now on."""
    state.list_limit[0] = ALL_LISTED
    for machine in range(len(state.machine_ready)):
        look_further(arrays, state, machine)


@compiled_lean
def backlog_rank(arrays: ProblemArrays, pair: int) -> float:
    """The composite rank but for what all that begins on a machine have in common; urgent work before any other."""
    operation = arrays.pair_operation[pair]
    if arrays.operation_urgent[operation]:
        return URGENT
    work, remaining = arrays.pair_setup[pair] + arrays.pair_processing[pair], arrays.operation_remaining[operation]
    rank = 2.0 * work - arrays.operation_shortest[operation]
    if arrays.objective[TARDINESS_WEIGHT] > 0.0 and arrays.operation_has_due[operation]:
        slack = max(0, arrays.operation_due[operation])
        return rank + 0.5 * slack / arrays.operation_weight[operation] - 0.25 * remaining  # type: ignore[no-any-return]
    return rank - 0.5 * remaining  # type: ignore[no-any-return]


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
    if state.pair_end[pair] == CLOSED:
        place_pair(arrays, state, operation, pair, state.job_ready[job])
    stop_waiting(arrays, state, operation)
    book(arrays, state, pair, operation)
    start_waiting(arrays, state, job)
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        place_waiting(arrays, state, arrays.held_machine[held])
    look_beyond(arrays, state, operation)
    if state.job_next[job] < arrays.job_first[job + 1]:
        look_beyond(arrays, state, state.job_next[job])


@compiled_lean
def dispatch_next(arrays: ProblemArrays, state: State, pair: int, operation: int) -> None:
    """The same for who knows all that is dispatched until the end, without regard to what waits."""
    place_pair(arrays, state, operation, pair, state.job_ready[arrays.operation_job[operation]])
    book(arrays, state, pair, operation)


@compiled_lean
def book(arrays: ProblemArrays, state: State, pair: int, operation: int) -> None:
    """Book an operation on a pair that is placed, and the pinned ones behind it."""
    job, end = arrays.operation_job[operation], state.pair_end[pair]
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        machine = arrays.held_machine[held]
        state.machine_ready[machine] = end
        state.machine_group[machine] = arrays.operation_group[operation]
    finish(arrays, state, job, pair, state.pair_start[pair], end)
    if arrays.has_special_work[0]:
        finish_pinned(arrays, state, job)
    update_bounds(arrays, state, job)


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
