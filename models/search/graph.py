"""A schedule as a disjunctive graph: who precedes whom, and the longest paths to and from each operation.

The classic model of job shops (Roy and Sussmann 1964): an arc for each pair of neighbours in a job and
on a machine, weighted with durations. `head` is the longest path to the start of an operation, `tail`
the longest path from its end; the makespan is the longest path of all. It holds for plants in which a
duration does not depend on the neighbours and all machines keep the same hours: time is counted in
open seconds then, in which nothing ever pauses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from env.simulator.arrays import TARDINESS_WEIGHT, Booleans, Integers, ProblemArrays
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.state import NOBODY, State

Links = NDArray[np.int32]
Records = NDArray[Any]
CYCLE = (-1, -1)


NODE = np.dtype(
    [
        ("head", np.int64),
        ("tail", np.int64),
        ("duration", np.int64),  # of the chosen pair
        ("release", np.int64),  # open seconds
        ("chosen", np.int32),  # pair
        ("machine", np.int32),  # of the chosen pair
        ("before", np.int32),  # who precedes it on its machine
        ("after", np.int32),
        ("first_pair", np.int32),
        ("last_pair", np.int32),  # exclusive
        ("is_first", np.bool_),  # of its job
        ("is_last", np.bool_),
    ],
    align=True,
)
"""One operation; all that is known of it lies together, because it is used together."""
PAIR = np.dtype([("machine", np.int64), ("duration", np.int64)])


class Graph(NamedTuple):
    """One solution. Operations of a job are neighbours by number; links are NOBODY at the ends."""

    nodes: Records  # [operation] of NODE
    pairs: Records  # [pair] of PAIR
    machine_first: Links  # [machine] its first operation
    machine_last: Links  # [machine] room to link a plan
    machine_ready: Integers  # [machine] open seconds before its first work
    order: Links  # [place] topological
    place: Links  # [operation] its place in the order
    longest: Integers  # [place] makespan of the order up to there
    reached: Links  # [operation] room to restore the order
    is_reached: Booleans  # [operation] the same; False between two moves


def has_graph(arrays: ProblemArrays) -> bool:
    """Whether a graph tells the whole truth about the problem.

    It does, deadlines apart, when the makespan alone counts, all machines keep the same hours, work may pause,
    and nothing is pinned, held together or set up by sequence.
    """
    return bool(
        not arrays.has_special_work[0]
        and arrays.objective[TARDINESS_WEIGHT] == 0.0
        and len(np.unique(arrays.pair_calendar)) == 1
        and np.isin(arrays.machine_calendar, arrays.pair_calendar[:1]).all()
        and (arrays.operation_interruptible.all() or len(arrays.opening_start) == 1)
    )


def new_graph(arrays: ProblemArrays) -> Graph:
    """A graph for `arrays`, still without a solution."""
    operations, machines = len(arrays.operation_job), len(arrays.machine_busy)
    nodes = np.zeros(operations, dtype=NODE)
    nodes["is_first"][arrays.job_first[:-1]] = True
    nodes["is_last"][arrays.job_first[1:] - 1] = True
    nodes["release"] = _open_seconds_before(arrays, arrays.operation_release)
    nodes["first_pair"], nodes["last_pair"] = arrays.pair_first[:-1], arrays.pair_first[1:]
    pairs = np.zeros(len(arrays.pair_machine), dtype=PAIR)
    pairs["machine"] = arrays.pair_machine
    pairs["duration"] = arrays.pair_setup + arrays.pair_processing
    return Graph(
        nodes=nodes,
        pairs=pairs,
        machine_first=np.full(machines, NOBODY, dtype=np.int32),
        machine_last=np.full(machines, NOBODY, dtype=np.int32),
        machine_ready=arrays.machine_busy.copy(),
        order=np.zeros(operations, dtype=np.int32),
        place=np.zeros(operations, dtype=np.int32),
        longest=np.zeros(operations, dtype=np.int64),
        reached=np.zeros(operations, dtype=np.int32),
        is_reached=np.zeros(operations, dtype=np.bool_),
    )


def _open_seconds_before(arrays: ProblemArrays, instants: Integers) -> Integers:
    """Open seconds of the one calendar before each instant, same shape."""
    calendar = arrays.pair_calendar[0]
    part = slice(arrays.calendar_first[calendar], arrays.calendar_first[calendar + 1])
    starts, ends, before = arrays.opening_start[part], arrays.opening_end[part], arrays.opening_before[part]
    place = np.searchsorted(starts, instants, side="right") - 1
    inside = np.clip(instants - starts[place], 0, ends[place] - starts[place])
    found: Integers = np.where(place < 0, 0, before[place] + inside)
    return found


def take_plan(graph: Graph, state: State) -> int:
    """Take over the machines and sequences of a complete state; gives the makespan in open seconds."""
    # Work that takes no time goes before what begins when it does, perhaps on the same machine.
    order = np.lexsort((state.end > state.start, state.start)).astype(np.int32)
    return link_plan(graph, state.chosen_pair.astype(np.int32), order)


@compiled
def link_plan(graph: Graph, chosen: Links, sequence: Links) -> int:
    """Link the operations of every machine in the order of `sequence`, shape [operation]; gives the makespan.

    No operation may come before the one that precedes it in its job.
    """
    graph.order[:] = sequence
    for at in range(len(sequence)):
        graph.place[sequence[at]] = at
    graph.machine_first[:] = NOBODY
    last = graph.machine_last
    last[:] = NOBODY
    for operation in sequence:
        pair = chosen[operation]
        node, machine = graph.nodes[operation], graph.pairs[pair].machine
        node.chosen = pair
        node.machine = machine
        node.duration = graph.pairs[pair].duration
        node.before = last[machine]
        node.after = NOBODY
        if last[machine] == NOBODY:
            graph.machine_first[machine] = operation
        else:
            graph.nodes[last[machine]].after = operation
        last[machine] = operation
    return measure(graph)


@compiled_lean
def restore_order(graph: Graph, operation: int) -> tuple[int, int]:
    """Make the order topological again after one operation was linked elsewhere; CYCLE when that cannot be.

    Gives the first place whose head, and the last place whose tail may have changed. At most one arc runs
    backwards, and only what lies between its two ends can be in the wrong place: what its head reaches
    goes behind its tail, and all else stays in sequence (Pearce and Kelly 2006).
    """
    nodes, place = graph.nodes, graph.place
    node = nodes[operation]
    source, target = operation, operation
    if node.before >= 0 and place[node.before] > place[operation]:
        target = node.before
    elif node.after >= 0 and place[node.after] < place[operation]:
        source = node.after
    first, last = place[source], place[target]
    if first < last and not move_behind(graph, source, first, last):
        return CYCLE
    return first, last


@compiled_lean
def move_behind(graph: Graph, source: int, first: int, last: int) -> bool:
    """Move what `source` reaches at the places from first to last behind all else there; False if that is a cycle."""
    nodes, order, place, reached, is_reached = graph.nodes, graph.order, graph.place, graph.reached, graph.is_reached
    target = order[last]
    kept, count = first, 0
    for at in range(first, last + 1):
        operation = order[at]
        node = nodes[operation]
        if (
            operation == source
            or (node.before >= 0 and is_reached[node.before])
            or (not node.is_first and is_reached[operation - 1])
        ):
            is_reached[operation] = True
            reached[count] = operation
            count += 1
        else:
            order[kept], place[operation] = operation, kept
            kept += 1
    is_possible = not is_reached[target]
    for index in range(count):
        operation = reached[index]
        is_reached[operation] = False
        order[kept + index], place[operation] = operation, kept + index
    return is_possible


@compiled
def measure(graph: Graph) -> int:
    """Heads and tails of all operations; gives the makespan."""
    measure_tails(graph, len(graph.order) - 1)
    return measure_heads(graph, 0)


@compiled_lean
def measure_heads(graph: Graph, first: int) -> int:
    """Heads from a place in the order on, those before it being right; gives the makespan."""
    nodes, order, longest, machine_ready = graph.nodes, graph.order, graph.longest, graph.machine_ready
    makespan = longest[first - 1] if first > 0 else 0
    for at in range(first, len(order)):
        operation = order[at]
        node = nodes[operation]
        head = node.release
        if node.before >= 0:
            previous = nodes[node.before]
            head = max(head, previous.head + previous.duration)
        else:
            head = max(head, machine_ready[node.machine])
        if not node.is_first:
            previous = nodes[operation - 1]
            head = max(head, previous.head + previous.duration)
        node.head = head
        makespan = max(makespan, head + node.duration)
        longest[at] = makespan
    return makespan


@compiled_lean
def measure_tails(graph: Graph, last: int) -> None:
    """Tails from a place in the order back to its beginning, those behind it being right."""
    nodes, order = graph.nodes, graph.order
    for at in range(last, -1, -1):
        operation = order[at]
        node = nodes[operation]
        tail = 0
        if node.after >= 0:
            following = nodes[node.after]
            tail = following.duration + following.tail
        if not node.is_last:
            following = nodes[operation + 1]
            tail = max(tail, following.duration + following.tail)
        node.tail = tail
