"""A schedule shifted right and left again: what it leaves idle on the way is closed.

Double justification (Valls, Ballestin and Quintanilla 2005): beginning at the end, every operation is put
off as long as its due date or deadline, its job and its machines allow, on whichever of its machines that is longest;
then everything is dispatched anew in the order in which it would begin, so that what could wait no longer
goes first. The first half only makes an order, in elapsed time; the second is the simulator's and keeps
every constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from env.simulator.arrays import MISSED, TARDINESS_WEIGHT, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.episode import objective_bound
from env.simulator.simulation import book, new_state
from env.simulator.state import NOBODY, State, place_pair

MAX_ROUNDS = 20
"""Two or three bring nearly all."""


def can_be_justified(arrays: ProblemArrays) -> bool:
    """Whether everything may be dispatched in a new order: pinned work stays where it is."""
    return not arrays.operation_pinned.any()


class Justification(NamedTuple):
    """A complete state of a plant and what justifying it once gives, each with its objective in seconds."""

    value: float
    state: State
    next_value: float
    following: State

    @property
    def least(self) -> float:
        """The objective of the better one."""
        return min(self.value, self.next_value)


def justification(arrays: ProblemArrays, state: State) -> Justification:
    """A complete state justified once, where that is possible."""
    if not can_be_justified(arrays):
        return unchanged(arrays, state)
    last_first = np.ascontiguousarray(np.lexsort((state.start, state.end))[::-1])
    latest, following = np.empty(len(state.start), dtype=np.int64), new_state(arrays)
    value, next_value = justify(arrays, state, last_first, new_blocks(arrays), latest, following)
    return Justification(value, state, next_value, following)


def unchanged(arrays: ProblemArrays, state: State) -> Justification:
    """A complete state that is to stay as it is."""
    value = objective_bound(arrays, state)
    return Justification(value, state, value, state)


def justified(arrays: ProblemArrays, plays: Sequence[Justification]) -> State:
    """The best by the objective of complete states and of their justifications, of equal ones the first.

    If a justification is the best of them, then it is justified for as long as it gets better.
    """
    value, best = min(((play.value, play.state) for play in plays), key=itemgetter(0))
    next_value, following = min(((play.next_value, play.following) for play in plays), key=itemgetter(0))
    for _ in range(MAX_ROUNDS):
        if next_value >= value:
            break
        value, best, next_value, following = justification(arrays, following)
    return best


class Blocks(NamedTuple):
    """What each machine is busy with, as blocks without a pause; a list for each machine, its last block first."""

    first: Integers  # [machine] its last block, NOBODY without one
    begin: Integers  # [block]
    end: Integers  # [block]
    before: Integers  # [block] the block before it on its machine, NOBODY for the first
    used: Integers  # [1] blocks in all


def new_blocks(arrays: ProblemArrays) -> Blocks:
    """Machines that have nothing to do yet."""
    most = len(arrays.held_machine)
    return Blocks(
        first=np.full(len(arrays.machine_busy), NOBODY, dtype=np.int64),
        begin=np.zeros(most, dtype=np.int64),
        end=np.zeros(most, dtype=np.int64),
        before=np.zeros(most, dtype=np.int64),
        used=np.zeros(1, dtype=np.int64),
    )


@compiled
def justify(
    arrays: ProblemArrays, state: State, last_first: Integers, blocks: Blocks, latest: Integers, following: State
) -> tuple[float, float]:
    """Justify a complete `state` into `following`, a new one; gives the objectives of both, in seconds."""
    put_off(arrays, state, last_first, blocks, latest)
    dispatch_in(arrays, following, np.argsort(latest, kind="mergesort"))
    return objective_bound(arrays, state), objective_bound(arrays, following)


@compiled
def put_off(arrays: ProblemArrays, state: State, order: Integers, blocks: Blocks, latest: Integers) -> None:
    """Fill `latest`, shape [operation], with when each operation would begin if it were put off as long as possible.

    `order` has all operations of the complete `state`, last end first. Work may go between what was put off before;
    where setups depend on the sequence, only before what was put off on that machine.
    """
    makespan = state.end.max()
    keeps_sequence = len(arrays.changeover) > 0
    counts_tardiness = arrays.objective[TARDINESS_WEIGHT] > 0.0
    counts_deadlines = arrays.objective[MISSED] > 0.0
    for operation in order:
        end = makespan
        if counts_tardiness and arrays.operation_has_due[operation]:
            # What is late already must not become later.
            end = min(makespan, max(arrays.operation_due[operation], state.end[operation]))
        if counts_deadlines:
            end = min(end, max(arrays.operation_deadline[operation], state.end[operation]))
        if operation + 1 < arrays.job_first[arrays.operation_job[operation] + 1]:
            end = min(end, latest[operation + 1])
        chosen, begin = NOBODY, 0
        for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
            start = latest_begin(arrays, blocks, pair, end, state.pair_work[pair])
            if chosen == NOBODY or start > begin:
                chosen, begin = pair, start
        latest[operation] = begin
        for held in range(arrays.held_first[chosen], arrays.held_first[chosen + 1]):
            end = NEVER if keeps_sequence else begin + state.pair_work[chosen]
            occupy(blocks, arrays.held_machine[held], begin, end)


@compiled_lean
def latest_begin(arrays: ProblemArrays, blocks: Blocks, pair: int, end: int, work: int) -> int:
    """The latest begin of `work` that ends by `end`, at which all machines of a pair are free."""
    first, last = arrays.held_first[pair], arrays.held_first[pair + 1]
    begin = end - work
    agreed, held = 0, first
    while agreed < last - first:
        found = latest_begin_on(blocks, arrays.held_machine[held], begin + work, work)
        agreed = agreed + 1 if found == begin else 1
        begin = found
        held = held + 1 if held + 1 < last else first
    return begin


@compiled_lean
def latest_begin_on(blocks: Blocks, machine: int, end: int, work: int) -> int:
    """The same on one machine."""
    block = blocks.first[machine]
    while block != NOBODY and end - work < blocks.end[block]:
        end = min(end, blocks.begin[block])
        block = blocks.before[block]
    return end - work


@compiled_lean
def occupy(blocks: Blocks, machine: int, begin: int, end: int) -> None:
    """Make a machine busy where it is free: a block that begins at `end` grows, else there is a new one.

    What is busy until NEVER stays one block.
    """
    later, block = NOBODY, blocks.first[machine]
    while block != NOBODY and blocks.begin[block] >= end:
        later, block = block, blocks.before[block]
    if later != NOBODY and blocks.begin[later] == end:
        blocks.begin[later] = begin
        return
    if block != NOBODY and blocks.end[block] == NEVER:
        blocks.begin[block] = begin
        return
    new = blocks.used[0]
    blocks.used[0] = new + 1
    blocks.begin[new], blocks.end[new], blocks.before[new] = begin, end, block
    if later == NOBODY:
        blocks.first[machine] = new
    else:
        blocks.before[later] = new


@compiled
def dispatch_in(arrays: ProblemArrays, state: State, order: Integers) -> None:
    """Dispatch everything in this order, on the machine where it ends first, of several where it begins last."""
    for operation in order:
        first, ready = arrays.pair_first[operation], state.job_ready[arrays.operation_job[operation]]
        chosen = first
        for pair in range(first, arrays.pair_first[operation + 1]):
            place_pair(arrays, state, operation, pair, ready)
            start, end = state.pair_start[pair], state.pair_end[pair]
            if end < state.pair_end[chosen] or (end == state.pair_end[chosen] and start > state.pair_start[chosen]):
                chosen = pair
        book(arrays, state, chosen, operation)
