"""Tabu search on the disjunctive graph: shorter and shorter makespans until it is told to stop.

Moves change a critical path only, since nothing else can shorten it. On its own machine an operation
moves within its block (neighbourhood N6 of Balas and Vazacopoulos 1998 with the inner insertions of
Zhang et al. 2007); to another machine it moves between the operations that bound it there (Mastrolilli
and Gambardella 2000). Moves are ranked by an estimate of the longest path through what they touch, and
only the one taken is measured. What a move undid stays forbidden for a while, unless it would give the
best makespan yet. A search that stalls goes on from a shaken copy of the best plan.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.simulator.arrays import Integers
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.state import NOBODY
from models.search.annealing import first_random_state, random_below
from models.search.graph import CYCLE, Graph, Links, Records, link_plan, measure_heads, measure_tails, restore_order

RIGHT, LEFT, ELSEWHERE = range(3)
ITERATION, IMPROVED_AT, BEST_SINCE_SHAKE, BEST, RANDOM, SHAKES = range(6)
KIND, OPERATION, WHERE, PAIR, ESTIMATE, TIES, FORBIDDEN_SEEN = range(7)
FORBIDDEN_BITS = 14
FORBIDDEN_SLOTS = 1 << FORBIDDEN_BITS
MAX_SEGMENT = 64
MIN_TENURE = 8
MIN_PATIENT_MOVES, PATIENT_MOVES_PER_OPERATION = 1_000, 4
MIN_SHAKES, MORE_SHAKES = 2, 8
FAR = 2**62


class Tabu(NamedTuple):
    """Everything that a search remembers between two calls."""

    graph: Graph
    totals: Integers  # [6] iteration, that of the last gain since a shake, best since then, best, random state, shakes
    forbidden: Integers  # [slot] iteration until which a hashed attribute stays forbidden
    best_chosen: Links  # [operation]
    best_order: Links  # [operation]
    path: Links  # [operation] room for a critical path
    heads: Integers  # [segment] room for an estimate
    move: Integers  # [7] the move: kind, operation, where, pair; its estimate, ties, forbidden moves seen


def new_tabu(graph: Graph, makespan: int, seed: int) -> Tabu:
    """A search that begins at the plan in `graph`."""
    totals = np.zeros(6, dtype=np.int64)
    totals[BEST] = totals[BEST_SINCE_SHAKE] = makespan
    totals[RANDOM] = first_random_state(seed)
    return Tabu(
        graph=graph,
        totals=totals,
        forbidden=np.zeros(FORBIDDEN_SLOTS, dtype=np.int64),
        best_chosen=graph.nodes["chosen"].copy(),
        best_order=graph.order.copy(),
        path=np.zeros(len(graph.order), dtype=np.int32),
        heads=np.zeros(MAX_SEGMENT + 1, dtype=np.int64),
        move=np.zeros(7, dtype=np.int64),
    )


@compiled
def improve(search: Tabu, moves: int, bound: int) -> None:
    """Make at most so many moves; stops at a makespan that equals the lower `bound`."""
    graph, totals = search.graph, search.totals
    makespan = graph.longest[-1]
    patience = MIN_PATIENT_MOVES + PATIENT_MOVES_PER_OPERATION * len(graph.order)
    for _ in range(moves):
        if totals[BEST] <= bound:
            return
        totals[ITERATION] += 1
        length = critical_path(search, makespan)
        is_stuck = totals[ITERATION] - totals[IMPROVED_AT] > patience
        if is_stuck or not choose_move(search, length):
            makespan = shake(search)
            totals[IMPROVED_AT], totals[BEST_SINCE_SHAKE] = totals[ITERATION], makespan
            continue
        forbid_undoing(search)
        makespan = make_move(search)
        if makespan < totals[BEST_SINCE_SHAKE]:
            totals[BEST_SINCE_SHAKE], totals[IMPROVED_AT] = makespan, totals[ITERATION]
        if makespan < totals[BEST]:
            totals[BEST] = makespan
            remember(search)


@compiled_lean
def remember(search: Tabu) -> None:
    """Keep the plan in the graph as the best one."""
    graph = search.graph
    for place in range(len(graph.order)):
        search.best_order[place] = graph.order[place]
    for operation in range(len(graph.nodes)):
        search.best_chosen[operation] = graph.nodes[operation].chosen


@compiled_lean
def critical_path(search: Tabu, makespan: int) -> int:
    """Fill `path` with one critical path, last operation first; gives its length. Ties are broken at random."""
    nodes, path, totals = search.graph.nodes, search.path, search.totals
    current, ties = NOBODY, 0
    for operation in range(len(nodes)):
        if nodes[operation].head + nodes[operation].duration == makespan:
            ties += 1
            if ties == 1 or random_below(totals, RANDOM, ties) == 0:
                current = operation
    length = 0
    while current != NOBODY:
        path[length] = current
        length += 1
        node = nodes[current]
        on_machine, in_job = NOBODY, NOBODY
        if node.before >= 0 and nodes[node.before].head + nodes[node.before].duration == node.head:
            on_machine = node.before
        if not node.is_first and nodes[current - 1].head + nodes[current - 1].duration == node.head:
            in_job = current - 1
        if on_machine >= 0 and in_job >= 0:
            current = on_machine if random_below(totals, RANDOM, 2) == 0 else in_job
        else:
            current = on_machine if on_machine >= 0 else in_job
    return length


@compiled_lean
def job_end(nodes: Records, operation: int) -> int:
    """When its job and its release let an operation begin."""
    node = nodes[operation]
    if node.is_first:
        return node.release  # type: ignore[no-any-return]
    previous = nodes[operation - 1]
    return max(node.release, previous.head + previous.duration)  # type: ignore[no-any-return]


@compiled_lean
def job_tail(nodes: Records, operation: int) -> int:
    """Longest path from the end of an operation through its job."""
    if nodes[operation].is_last:
        return 0
    following = nodes[operation + 1]
    return following.duration + following.tail  # type: ignore[no-any-return]


@compiled_lean
def choose_move(search: Tabu, length: int) -> bool:
    """Put the best move that is allowed into `move`, any move if all are forbidden; False if there is none."""
    nodes, path, move = search.graph.nodes, search.path, search.move
    move[KIND], move[ESTIMATE], move[TIES], move[FORBIDDEN_SEEN] = NOBODY, FAR, 0, 0
    last = 0
    while last < length:
        first = last
        while first + 1 < length and nodes[path[first]].before == path[first + 1]:
            first += 1
        # The block runs from path[first], its earliest, to path[last], its latest operation.
        if first > last:
            offer_block(search, path[first], path[last], first == length - 1, last == 0)
        for place in range(last, first + 1):
            offer_elsewhere(search, path[place])
        last = first + 1
    return move[KIND] >= 0  # type: ignore[no-any-return]


@compiled_lean
def offer_block(search: Tabu, first: int, last: int, is_start: bool, is_end: bool) -> None:
    """All insertions of a block's operations behind its last and before its first, and of those two inside.

    Nothing is gained behind the last block of the path, nor before the first one.
    """
    nodes = search.graph.nodes
    operation = first
    while operation != last:
        if not is_end or operation == first:
            offer_right(search, operation, last)
        if operation != first and not is_end:
            offer_right(search, first, operation)
        operation = nodes[operation].after
    operation = last
    while operation != first:
        if not is_start or operation == last:
            offer_left(search, operation, first)
        if operation != last and not is_start:
            offer_left(search, last, operation)
        operation = nodes[operation].before


@compiled_lean
def offer_right(search: Tabu, operation: int, target: int) -> None:
    """Estimate moving `operation` to just behind `target`, later on its machine, and keep it if it is the best."""
    graph, heads = search.graph, search.heads
    nodes = graph.nodes
    node, last = nodes[operation], nodes[target]
    own_rest = job_tail(nodes, operation)
    if own_rest >= last.duration + last.tail:
        return  # the job's next operation might precede the target
    ready = graph.machine_ready[node.machine]
    if node.before >= 0:
        ready = nodes[node.before].head + nodes[node.before].duration
    is_forbidden = False
    count = 0
    current = node.after
    while True:
        if count >= MAX_SEGMENT:
            return
        heads[count] = max(ready, job_end(nodes, current))
        ready = heads[count] + nodes[current].duration
        count += 1
        is_forbidden = is_forbidden or is_held(search.forbidden, search.totals[ITERATION], current, operation)
        if current == target:
            break
        current = nodes[current].after
    rest = own_rest
    if last.after >= 0:
        rest = max(rest, nodes[last.after].duration + nodes[last.after].tail)
    rest += node.duration
    estimate = max(ready, job_end(nodes, operation)) + rest
    current = target
    for place in range(count - 1, -1, -1):
        rest = max(rest, job_tail(nodes, current)) + nodes[current].duration
        estimate = max(estimate, heads[place] + rest)
        current = nodes[current].before
    keep_best(search, estimate, is_forbidden, RIGHT, operation, target, node.chosen)


@compiled_lean
def offer_left(search: Tabu, operation: int, target: int) -> None:
    """Estimate moving `operation` to just before `target`, earlier on its machine, and keep it if it is the best."""
    graph, heads = search.graph, search.heads
    nodes = graph.nodes
    node, first = nodes[operation], nodes[target]
    own_ready = job_end(nodes, operation)
    if own_ready >= first.head + first.duration:
        return  # the target might precede the job's previous operation
    begun = max(own_ready, graph.machine_ready[node.machine])
    if first.before >= 0:
        begun = max(own_ready, nodes[first.before].head + nodes[first.before].duration)
    ready = begun + node.duration
    is_forbidden = False
    count = 0
    current = target
    while current != operation:
        if count >= MAX_SEGMENT:
            return
        heads[count] = max(ready, job_end(nodes, current))
        ready = heads[count] + nodes[current].duration
        count += 1
        is_forbidden = is_forbidden or is_held(search.forbidden, search.totals[ITERATION], operation, current)
        current = nodes[current].after
    rest = 0
    if node.after >= 0:
        rest = nodes[node.after].duration + nodes[node.after].tail
    estimate = 0
    current = node.before
    for place in range(count - 1, -1, -1):
        rest = max(rest, job_tail(nodes, current)) + nodes[current].duration
        estimate = max(estimate, heads[place] + rest)
        current = nodes[current].before
    estimate = max(estimate, begun + node.duration + max(rest, job_tail(nodes, operation)))
    keep_best(search, estimate, is_forbidden, LEFT, operation, target, node.chosen)


@compiled_lean
def offer_elsewhere(search: Tabu, operation: int) -> None:
    """Estimate moving `operation` to each other machine, where it fits best there."""
    nodes, pairs = search.graph.nodes, search.graph.pairs
    node = nodes[operation]
    if node.last_pair - node.first_pair == 1:
        return
    ready, rest = job_end(nodes, operation), job_tail(nodes, operation)
    for pair in range(node.first_pair, node.last_pair):
        machine = pairs[pair].machine
        if machine == node.machine:
            continue
        is_forbidden = is_held(search.forbidden, search.totals[ITERATION], operation, len(nodes) + machine)
        if ready + pairs[pair].duration + rest > search.move[ESTIMATE] and not is_forbidden:
            continue
        where, estimate = best_place(search.graph, machine, pairs[pair].duration, ready, rest)
        keep_best(search, estimate, is_forbidden, ELSEWHERE, operation, where, pair)


@compiled_lean
def best_place(graph: Graph, machine: int, duration: int, ready: int, rest: int) -> tuple[int, int]:
    """Behind whom on a machine (NOBODY: before all) new work fits best, and the longest path through it there.

    `ready` and `rest` are the longest paths to and from it through its job. Whoever ends by `ready` goes
    before it, since waiting for them costs nothing; it may go behind others as long as they cannot
    follow it in turn.
    """
    nodes = graph.nodes
    previous, place = NOBODY, graph.machine_first[machine]
    while place >= 0 and nodes[place].head + nodes[place].duration <= ready:
        previous, place = place, nodes[place].after
    where, least = NOBODY, FAR
    begun = max(ready, graph.machine_ready[machine])
    while True:
        if previous >= 0:
            begun = max(ready, nodes[previous].head + nodes[previous].duration)
        longest = rest
        if place >= 0:
            longest = max(longest, nodes[place].duration + nodes[place].tail)
        if begun + duration + longest < least:
            where, least = previous, begun + duration + longest
        if place < 0 or nodes[place].duration + nodes[place].tail <= rest:
            return where, least
        previous, place = place, nodes[place].after


@compiled_lean
def keep_best(
    search: Tabu, estimate: int, is_forbidden: bool, kind: int, operation: int, where: int, pair: int
) -> None:
    """Keep a move that is the best so far; a forbidden one only for a new record, or if there is no other."""
    move, totals = search.move, search.totals
    if is_forbidden and estimate >= totals[BEST]:
        move[FORBIDDEN_SEEN] += 1
        if move[ESTIMATE] < FAR or random_below(totals, RANDOM, move[FORBIDDEN_SEEN]) != 0:
            return
    elif estimate < move[ESTIMATE]:
        move[ESTIMATE], move[TIES] = estimate, 1
    elif estimate == move[ESTIMATE]:
        move[TIES] += 1
        if random_below(totals, RANDOM, move[TIES]) != 0:
            return
    else:
        return
    move[KIND], move[OPERATION], move[WHERE], move[PAIR] = kind, operation, where, pair


@compiled_lean
def slot_of(first: int, second: int) -> int:
    """Where the attribute "`first` before `second`", or "`first` on machine `second`", is remembered."""
    mixed = (np.uint64(first) * np.uint64(0x9E3779B97F4A7C15)) ^ (np.uint64(second) * np.uint64(0xC2B2AE3D27D4EB4F))
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.int64(mixed >> np.uint64(64 - FORBIDDEN_BITS))  # type: ignore[return-value]


@compiled_lean
def is_held(forbidden: Integers, iteration: int, first: int, second: int) -> bool:
    """Whether an attribute is still forbidden."""
    return forbidden[slot_of(first, second)] > iteration  # type: ignore[no-any-return]


@compiled_lean
def forbid_undoing(search: Tabu) -> None:
    """Forbid what would undo the move, for a time that depends on the size and on chance."""
    graph, move, totals = search.graph, search.move, search.totals
    operation = move[OPERATION]
    node = graph.nodes[operation]
    least = MIN_TENURE + len(graph.order) // len(graph.machine_first) ** 2
    until = totals[ITERATION] + least + random_below(totals, RANDOM, least)
    if move[KIND] == RIGHT:
        search.forbidden[slot_of(operation, node.after)] = until
    elif move[KIND] == LEFT:
        search.forbidden[slot_of(node.before, operation)] = until
    else:
        search.forbidden[slot_of(operation, len(graph.order) + node.machine)] = until


@compiled
def make_move(search: Tabu) -> int:
    """Carry out the move in `move`; gives the makespan."""
    graph, move = search.graph, search.move
    operation, where = move[OPERATION], move[WHERE]
    node = graph.nodes[operation]
    unlink(graph, operation)
    if move[KIND] == LEFT:
        where = graph.nodes[where].before
    node.chosen = move[PAIR]
    node.machine = graph.pairs[move[PAIR]].machine
    node.duration = graph.pairs[move[PAIR]].duration
    link_behind(graph, operation, where)
    first, last = restore_order(graph, operation)
    # The conditions against cycles leave only those of work that takes no time; nothing is lost.
    if (first, last) == CYCLE:
        return link_plan(graph, search.best_chosen, search.best_order)
    measure_tails(graph, last)
    return measure_heads(graph, first)


@compiled_lean
def unlink(graph: Graph, operation: int) -> None:
    """Take an operation off its machine."""
    node = graph.nodes[operation]
    if node.before >= 0:
        graph.nodes[node.before].after = node.after
    else:
        graph.machine_first[node.machine] = node.after
    if node.after >= 0:
        graph.nodes[node.after].before = node.before


@compiled_lean
def link_behind(graph: Graph, operation: int, where: int) -> None:
    """Put an operation behind another on its machine, NOBODY: before all."""
    node = graph.nodes[operation]
    node.before = where
    if where >= 0:
        node.after = graph.nodes[where].after
        graph.nodes[where].after = operation
    else:
        node.after = graph.machine_first[node.machine]
        graph.machine_first[node.machine] = operation
    if node.after >= 0:
        graph.nodes[node.after].before = operation


@compiled
def shake(search: Tabu) -> int:
    """Go back to the best plan and make some random moves of its critical paths; gives the makespan."""
    graph, totals, move = search.graph, search.totals, search.move
    makespan = link_plan(graph, search.best_chosen, search.best_order)
    totals[SHAKES] += 1
    for _ in range(MIN_SHAKES + random_below(totals, RANDOM, MORE_SHAKES)):
        operation = search.path[random_below(totals, RANDOM, critical_path(search, makespan))]
        neighbour = graph.nodes[operation].after
        move[KIND], move[ESTIMATE], move[TIES], move[FORBIDDEN_SEEN] = NOBODY, FAR, 0, 0
        if random_below(totals, RANDOM, 2) == 0 or neighbour < 0:
            offer_elsewhere(search, operation)
        if move[KIND] < 0 and neighbour >= 0:
            offer_right(search, operation, neighbour)
        if move[KIND] < 0:
            continue
        makespan = make_move(search)
    return makespan
