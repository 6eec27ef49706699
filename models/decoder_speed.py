"""How many plans a second can be timed along their order."""

from __future__ import annotations

import time

from env.compilation import compiled
from env.dispatching_rules import Rule, follow_rule, mean_times
from env.problem import Problem
from env.problem_arrays import compile_problem
from env.simulation import new_state
from models.disjunctive_graph import Graph, measure_heads, new_graph, take_plan

REPEATS = 2_000


def decodes_per_second(problem: Problem, seconds: float) -> float:
    """Plans of `problem` timed a second on one core: all starts and the makespan, along an order that is known.

    Tabu search keeps such an order, in which nothing comes before what it waits for. This is the whole walk;
    after a move the search walks only from where something changed, and repairs order and tails besides.
    The problem must be one that a disjunctive graph describes.
    """
    arrays = compile_problem(problem)
    state = new_state(arrays)
    follow_rule(arrays, state, int(Rule.MWKR), mean_times(arrays))
    graph = new_graph(arrays)
    take_plan(graph, state)
    decode(graph, 1)
    count, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        decode(graph, REPEATS)
        count += REPEATS
    return count / spent


@compiled
def decode(graph: Graph, times: int) -> int:
    """The makespan, measured so many times."""
    makespan = 0
    for _ in range(times):
        makespan = measure_heads(graph, 0)
    return makespan
