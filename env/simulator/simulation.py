"""The player: what happens when an operation is dispatched, and the same work played backwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.objective import MISSED_SECONDS
from env.simulator.arrays import LATE_SECONDS, MISSED, NO_WORK, TARDINESS_WEIGHT, Integers, ProblemArrays, work_ahead
from env.simulator.calendar import NEVER
from env.simulator.calendar_fit import calendar_span
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.state import (
    CLOSED,
    DISPATCHED,
    MAKESPAN_BOUND,
    MAX_LISTED,
    NOBODY,
    State,
    block_count,
    entries_of,
    look_beyond,
    look_further,
    place_pair,
    place_waiting,
    share_work,
    start_waiting,
    stop_waiting,
)


class ReversedPlant(NamedTuple):
    """A plant backwards, for a player that plans from the end, and which operation of the plant each of its own is.

    The last operations come first, due dates become releases and the release of a job work that is left, so that who
    plays the reverse decides first what a player forwards decides last (Li and Willis 1992). Later releases, breaks and
    what machines have to do before are left out, and only the makespan counts: a reverse is good for the order in which
    to dispatch the plant itself, which then keeps all of its constraints.
    """

    arrays: ProblemArrays
    operation: Integers  # [operation]


def is_reversible(arrays: ProblemArrays) -> bool:
    """Whether a reverse says enough of the plant: setups by sequence, pins and work on several machines have none."""
    return not arrays.has_special_work[0]


def reversed_plant(arrays: ProblemArrays, horizon: int) -> ReversedPlant:
    """The reverse of a plant that has one, seen from the second `horizon`: what is due earlier begins later in it."""
    operations, pairs = len(arrays.operation_job), len(arrays.pair_machine)
    operation = arrays.job_first[:-1][arrays.operation_job] + arrays.job_first[1:][arrays.operation_job]
    operation -= 1 + np.arange(operations)
    choices = np.diff(arrays.pair_first)[operation]
    pair_first = np.concatenate([[0], np.cumsum(choices)])
    pair = np.arange(pairs) + np.repeat(arrays.pair_first[operation] - pair_first[:-1], choices)
    shortest, pressure = arrays.operation_shortest[operation], arrays.operation_pressure[operation]
    nothing, no = np.zeros(operations, dtype=np.int64), np.zeros(operations, dtype=np.bool_)
    is_awaited = arrays.operation_has_due & (arrays.objective[TARDINESS_WEIGHT] > 0.0)
    release = np.where(is_awaited, np.maximum(0, horizon - arrays.operation_due), 0)[operation]
    ahead = work_ahead(shortest, pressure, arrays.job_first)
    ahead["operation_remaining"] += arrays.operation_release[arrays.job_first[:-1]][arrays.operation_job]
    return ReversedPlant(
        arrays=arrays._replace(
            operation_release=release,
            operation_has_due=no,
            operation_due=nothing,
            operation_weight=arrays.operation_weight[operation],
            operation_important=arrays.operation_important[operation],
            operation_priority=arrays.operation_priority[operation],
            operation_interruptible=~no,
            operation_latest=np.full(operations, NEVER, dtype=np.int64),
            operation_is_urged=no,
            operation_shortest=shortest,
            operation_pressure=pressure,
            **ahead,
            pair_first=pair_first,
            pair_operation=np.repeat(np.arange(operations), choices),
            pair_machine=arrays.pair_machine[pair],
            pair_setup=arrays.pair_setup[pair],
            pair_processing=arrays.pair_processing[pair],
            pair_bottleneck=arrays.pair_machine[pair],
            pair_calendar=np.zeros(pairs, dtype=np.int64),
            held_machine=arrays.pair_machine[pair],
            machine_busy=np.zeros(len(arrays.machine_busy), dtype=np.int64),
            machine_calendar=np.zeros(len(arrays.machine_busy), dtype=np.int64),
            calendar_first=np.array([0, 1]),
            opening_start=np.array([0]),
            opening_end=np.array([NEVER]),
            opening_before=np.array([0]),
            operation_deadline=np.full(operations, NEVER, dtype=np.int64),
            objective=np.array([1.0, 0.0, 0.0, 0.0, 0.0]),
        ),
        operation=operation,
    )


def order_of(reverse: ReversedPlant, state: State) -> Integers:
    """The operations of the plant, shape [operation], in the order that a complete state of its reverse gives."""
    order: Integers = reverse.operation[np.lexsort((reverse.operation, -state.end))]
    return order


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
        machine_urgent=np.zeros(machines, dtype=np.int64),
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
    state.machine_listed[:] = state.machine_urgent[:] = state.machine_latest[:] = 0
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
