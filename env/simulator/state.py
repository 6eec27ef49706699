"""Where an episode stands, and what waits for each machine.

Whatever waits for a machine is placed anew when the machine gets work, so only so much of it is listed at a time. When
more than `MAX_LISTED` pairs wait for a machine, a quarter as many stay in its list: those that could begin at once by
rank, and then those that are ready first. The others stand back in its backlog, closed, and follow as listed ones
leave. A pair that holds several machines counts for that one of them which most pairs need, and is listed with all.
"""

from __future__ import annotations

from typing import NamedTuple

from env.simulator.arrays import TARDINESS_WEIGHT, Floats, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.calendar_fit import calendar_span, special_span
from env.simulator.compilation import compiled, compiled_lean

BLOCK_BITS = 4
BLOCK = 1 << BLOCK_BITS
"""Entries of a block; few, since a whole block is read when its minimum rises."""
DISPATCHED, MAKESPAN_BOUND = 0, 1  # entries of State.totals
NOBODY = -1
IN_BACKLOG = -2
"""What stands for the place before of a pair that is not listed."""
MAX_LISTED = 256
"""Pairs that are listed for a machine before any stands back; as many again, where pinned work waits for them."""
SHORT = 4
"""By what a list is divided when more wait: its length is what each decision costs."""
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
    machine_listed: Integers  # [machine] how many are, without urgent ones
    machine_urgent: Integers  # [machine] how many of these are
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
    """Whether a pair of `operation` can be listed for a machine, and nobody in its backlog comes first."""
    limit, first = state.list_limit[0], arrays.backlog_first
    if first[machine + 1] - first[machine] <= limit:
        return True
    if arrays.operation_urgent[operation]:
        return state.machine_urgent[machine] < limit  # type: ignore[no-any-return]
    return state.machine_listed[machine] < limit and not has_backlog(state, machine)


@compiled_lean
def has_backlog(state: State, machine: int) -> bool:
    """Whether any pair stands back at a machine."""
    return state.backlog_ready[machine] + state.backlog_later[machine] > 0  # type: ignore[no-any-return]


@compiled_lean
def makes_room(arrays: ProblemArrays, state: State, machine: int, job: int) -> bool:
    """Whether one that is listed for a machine, and ready later than `job`, has gone into the backlog instead of it."""
    ready = max(state.job_ready[job], state.machine_ready[machine])
    if state.machine_latest[machine] <= ready:
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
    if arrays.operation_urgent[operation]:
        state.machine_urgent[bottleneck] += 1
    else:
        state.machine_listed[bottleneck] += 1
    state.machine_latest[bottleneck] = max(state.machine_latest[bottleneck], state.job_ready[job])
    place_pair(arrays, state, operation, pair, state.job_ready[job])


@compiled_lean
def unlist_pair(arrays: ProblemArrays, state: State, pair: int) -> None:
    """Take a pair off the lists of its machines."""
    if arrays.operation_urgent[arrays.pair_operation[pair]]:
        state.machine_urgent[arrays.pair_bottleneck[pair]] -= 1
    else:
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
    """Bring a machine's list to its short length while it has a backlog."""
    short = state.list_limit[0] // SHORT
    if has_backlog(state, machine) and state.machine_listed[machine] > short:
        shorten(arrays, state, machine)
    while has_backlog(state, machine):
        pair = first_of_backlog(arrays, state, machine)
        operation = arrays.pair_operation[pair]
        job = arrays.operation_job[operation]
        is_waiting = state.job_next[job] == operation
        is_urgent = arrays.operation_urgent[operation]
        if is_waiting and is_urgent and state.machine_urgent[machine] >= state.list_limit[0]:
            break
        if is_waiting and not is_urgent and state.machine_listed[machine] >= short:
            break
        leave_backlog(arrays, state, machine)
        if is_waiting:
            list_pair(arrays, state, operation, pair)
            start = min(state.job_start[job], state.pair_start[pair])
            set_earliest(state, job, start, min(state.job_end[job], state.pair_end[pair]))


@compiled_lean
def shorten(arrays: ProblemArrays, state: State, machine: int) -> None:
    """Have all that is listed for a machine stand back, unless it is urgent, for the best to be found among all."""
    place = state.machine_waiting[machine]
    while place != NOBODY:
        following, pair = state.waiting_after[place], arrays.held_pair[place]
        operation = arrays.pair_operation[pair]
        if arrays.pair_bottleneck[pair] == machine and not arrays.operation_urgent[operation]:
            unlist_pair(arrays, state, pair)
            stand_back(arrays, state, machine, pair)
            earliest(arrays, state, arrays.operation_job[operation])
        place = following
    state.machine_latest[machine] = 0


@compiled_lean
def first_of_backlog(arrays: ProblemArrays, state: State, machine: int) -> int:
    """What comes first in a machine's backlog: of what is ready by now the best by rank, else what is ready first."""
    backlog, key, ready, later = state.backlog, state.backlog_key, state.backlog_ready, state.backlog_later
    first, last = arrays.backlog_first[machine], arrays.backlog_first[machine + 1] - 1
    while later[machine] > 0 and key[backlog[last]] <= state.machine_ready[machine]:
        pair = pop(backlog, key, last, -1, later[machine])
        later[machine] -= 1
        key[pair] = backlog_rank(arrays, pair)
        push(backlog, key, first, 1, ready[machine], pair)
        ready[machine] += 1
    return backlog[first] if ready[machine] > 0 else backlog[last]  # type: ignore[no-any-return]


@compiled_lean
def leave_backlog(arrays: ProblemArrays, state: State, machine: int) -> None:
    """Take what comes first off a machine's backlog."""
    backlog, key, ready, later = state.backlog, state.backlog_key, state.backlog_ready, state.backlog_later
    if ready[machine] > 0:
        pop(backlog, key, arrays.backlog_first[machine], 1, ready[machine])
        ready[machine] -= 1
    else:
        pop(backlog, key, arrays.backlog_first[machine + 1] - 1, -1, later[machine])
        later[machine] -= 1


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
def share_work(arrays: ProblemArrays, work: Floats, operation: int, sign: float) -> None:
    """Add (or take away) an operation's work to that of each machine, shape [machine], spread over its pairs."""
    first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
    for pair in range(first, last):
        share = sign * (arrays.pair_setup[pair] + arrays.pair_processing[pair]) / (last - first)
        for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
            work[arrays.held_machine[held]] += share


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


@compiled_lean
def push(heap: Integers, key: Floats, root: int, step: int, count: int, entry: int) -> None:
    """Add an entry to the `count` of a heap whose least by `key`, shape [entry], is heap[root].

    The others are heap[root + step], heap[root + 2 * step] and so on.
    """
    position = count
    while position > 0:
        parent = (position - 1) // 2
        above = heap[root + step * parent]
        if key[above] <= key[entry]:
            break
        heap[root + step * position] = above
        position = parent
    heap[root + step * position] = entry


@compiled_lean
def pop(heap: Integers, key: Floats, root: int, step: int, count: int) -> int:
    """Take the least of `count` entries off such a heap, and give it."""
    least, entry = heap[root], heap[root + step * (count - 1)]
    position = 0
    while 2 * position + 1 < count - 1:
        child = 2 * position + 1
        if child + 1 < count - 1 and key[heap[root + step * (child + 1)]] < key[heap[root + step * child]]:
            child += 1
        below = heap[root + step * child]
        if key[entry] <= key[below]:
            break
        heap[root + step * position] = below
        position = child
    heap[root + step * position] = entry
    return least  # type: ignore[no-any-return]
