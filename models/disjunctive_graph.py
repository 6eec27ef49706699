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

from env.compilation import compiled
from env.problem_arrays import Integers, ProblemArrays
from env.simulation import State

Links = NDArray[np.int32]
Records = NDArray[Any]
NOBODY = -1


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
        ("waiting", np.int32),  # room to count open predecessors
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
    machine_ready: Integers  # [machine] open seconds before its first work
    order: Links  # [operation] topological


def has_graph(arrays: ProblemArrays) -> bool:
    """Whether a graph tells the whole truth about the problem.

    It does when the makespan alone counts, all machines keep the same hours, work may pause, and nothing
    is pinned, held together or set up by sequence.
    """
    return bool(
        not arrays.has_special_work[0]
        and arrays.objective[1] == 0.0
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
        machine_ready=arrays.machine_busy.copy(),
        order=np.zeros(operations, dtype=np.int32),
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
    order = np.argsort(state.start, kind="stable").astype(np.int32)
    return link_plan(graph, state.chosen_pair.astype(np.int32), order)


@compiled
def link_plan(graph: Graph, chosen: Links, sequence: Links) -> int:
    """Link the operations of every machine in the order of `sequence`, shape [operation]; gives the makespan."""
    graph.machine_first[:] = NOBODY
    last = np.full(len(graph.machine_first), NOBODY, dtype=np.int32)
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


@compiled
def measure(graph: Graph) -> int:
    """Topological order, heads and tails of all operations; gives the makespan, -1 when there is a cycle."""
    makespan = measure_heads(graph)
    if makespan >= 0:
        measure_tails(graph)
    return makespan


@compiled
def measure_heads(graph: Graph) -> int:
    """Order and heads by counting open predecessors (Kahn 1962); gives the makespan, -1 when there is a cycle."""
    nodes, order, machine_ready = graph.nodes, graph.order, graph.machine_ready
    operations = len(order)
    found = 0
    for operation in range(operations):
        node = nodes[operation]
        node.head = node.release
        node.waiting = 0 if node.is_first else 1
        if node.before >= 0:
            node.waiting += 1
        else:
            node.head = max(node.release, machine_ready[node.machine])
        if node.waiting == 0:
            order[found] = operation
            found += 1
    makespan = 0
    place = 0
    while place < found:
        operation = order[place]
        place += 1
        node = nodes[operation]
        end = node.head + node.duration
        makespan = max(makespan, end)
        if node.after >= 0:
            follower = nodes[node.after]
            follower.head = max(follower.head, end)
            follower.waiting -= 1
            if follower.waiting == 0:
                order[found] = node.after
                found += 1
        if not node.is_last:
            follower = nodes[operation + 1]
            follower.head = max(follower.head, end)
            follower.waiting -= 1
            if follower.waiting == 0:
                order[found] = operation + 1
                found += 1
    return makespan if found == operations else -1


@compiled
def measure_tails(graph: Graph) -> None:
    """Tails, in the reverse of the order."""
    nodes, order = graph.nodes, graph.order
    for place in range(len(order) - 1, -1, -1):
        operation = order[place]
        node = nodes[operation]
        longest = 0
        if node.after >= 0:
            follower = nodes[node.after]
            longest = follower.duration + follower.tail
        if not node.is_last:
            follower = nodes[operation + 1]
            longest = max(longest, follower.duration + follower.tail)
        node.tail = longest
