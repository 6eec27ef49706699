"""Dispatching rules: the baselines, the fallback and the first teacher.

All rules are non-delay: at each decision only pairs that can begin at the earliest possible instant
compete, so no machine waits while it could work. The rule orders them by its key; ties go to the
earlier completion, then to the lower pair.

| rule | key, lowest first |
|---|---|
| fifo | when the job became ready |
| edd | due date |
| spt | duration on that machine |
| mwkr | minus the remaining work of the job |
| atcs | minus the apparent tardiness cost with setups (Lee, Bhaskaran and Pinedo 1997, k1 = 2, k2 = 0.5) |
| composite | completion + excess over the fastest machine - half the remaining work |
| planner | important first, then earliest due date, then priority: what planners do by hand |
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from env.errors import HorizonExceeded
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import Floats, ProblemArrays, compile_problem, schedule_of, with_urgent_due_dates
from env.simulator.calendar import NEVER
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.reservation import played
from env.simulator.simulation import dispatch as dispatch_pair
from env.simulator.simulation import is_complete, next_instant
from env.simulator.state import NOBODY, State, entries_of, list_all

ATCS_DUE_SCALE = 2.0
ATCS_SETUP_SCALE = 0.5
DURATION, SETUP = range(2)  # entries of `mean_times`


class Rule(IntEnum):
    """The rules by the number that the compiled core knows them by."""

    FIFO = 0
    EDD = 1
    SPT = 2
    MWKR = 3
    ATCS = 4
    COMPOSITE = 5
    PLANNER = 6


def dispatch(problem: Problem, rule: Rule) -> Schedule:
    """The schedule that `rule` makes, deadlines being due dates to it.

    Raises `HorizonExceeded` when the calendar cannot hold it.
    """
    means = mean_times(arrays := with_urgent_due_dates(compile_problem(problem)))
    return finished_schedule(problem, played(arrays, lambda plant, state: follow_rule(plant, state, int(rule), means)))


def finished_schedule(problem: Problem, state: State) -> Schedule:
    """Schedule of a complete episode. Raises `HorizonExceeded` when work fell off the calendar."""
    if state.end.max() >= NEVER:
        late = problem.operations[int(state.end.argmax())]
        raise HorizonExceeded(f"operation {late.id!r} must fit into the openings of its machines, but fits into none")
    return schedule_of(problem, state.chosen_pair, state.start, state.end, state.sequence)


def mean_times(arrays: ProblemArrays) -> Floats:
    """Mean duration and mean setup over all pairs, each at least 1, shape [2]: the scales of ATCS."""
    durations = arrays.pair_setup + arrays.pair_processing
    return np.array([max(1.0, durations.mean()), max(1.0, arrays.pair_setup.mean())])


@compiled
def follow_rule(arrays: ProblemArrays, state: State, rule: int, means: Floats) -> None:
    """Dispatch everything by one rule, in place. A rule knows all that waits, however much that is."""
    list_all(arrays, state)
    while not is_complete(state):
        pair, operation = best_pair(arrays, state, rule, means)
        dispatch_pair(arrays, state, pair, operation)


@compiled_lean
def best_pair(arrays: ProblemArrays, state: State, rule: int, means: Floats) -> tuple[int, int]:
    """The pair that the rule puts first among those that can begin earliest, and its operation."""
    clock, urgent_only = next_instant(arrays, state)
    best, best_operation = NOBODY, NOBODY
    best_key = (np.inf, np.inf, np.inf, 0)
    for block in range(len(state.block_start)):
        if state.block_start[block] != clock:
            continue
        first_job, last_job = entries_of(block, len(state.job_start))
        for job in range(first_job, last_job):
            operation = state.job_next[job]
            if state.job_start[job] != clock or (urgent_only and not arrays.operation_urgent[operation]):
                continue
            for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
                if state.pair_start[pair] == clock:
                    first, second, third = rule_key(arrays, state, rule, means, job, operation, pair, clock)
                    key = (first, second, third, state.pair_end[pair])
                    if best == NOBODY or key < best_key:
                        best, best_operation, best_key = pair, operation, key
    return best, best_operation


@compiled_lean
def rule_key(
    arrays: ProblemArrays, state: State, rule: int, means: Floats, job: int, operation: int, pair: int, clock: int
) -> tuple[float, float, float]:
    """The rule's key of one pair, compared entry by entry."""
    due = float(arrays.operation_due[operation]) if arrays.operation_has_due[operation] else np.inf
    if rule == Rule.FIFO:
        return float(state.job_ready[job]), 0.0, 0.0
    if rule == Rule.EDD:
        return due, 0.0, 0.0
    if rule == Rule.SPT:
        return float(state.pair_work[pair]), 0.0, 0.0
    if rule == Rule.MWKR:
        return -float(arrays.operation_remaining[operation]), 0.0, 0.0
    if rule == Rule.ATCS:
        return -apparent_tardiness_cost(arrays, state, means, operation, pair, clock), 0.0, 0.0
    if rule == Rule.COMPOSITE:
        excess = state.pair_work[pair] - arrays.operation_shortest[operation]
        return state.pair_end[pair] + excess - 0.5 * arrays.operation_remaining[operation], 0.0, 0.0
    unimportant = 0.0 if arrays.operation_important[operation] else 1.0
    return unimportant, due, float(arrays.operation_priority[operation])


@compiled_lean
def apparent_tardiness_cost(
    arrays: ProblemArrays, state: State, means: Floats, operation: int, pair: int, clock: int
) -> float:
    """ATCS index of a pair: weight over duration, discounted by slack and by setup."""
    duration = float(state.pair_work[pair])
    setup = state.pair_work[pair] - arrays.pair_processing[pair]
    slack = 0.0
    if arrays.operation_has_due[operation]:
        after = arrays.operation_remaining[operation] - arrays.operation_shortest[operation]
        slack = max(0.0, arrays.operation_due[operation] - after - duration - clock)
    urgency = np.exp(-slack / (ATCS_DUE_SCALE * means[DURATION]))
    urgency *= np.exp(-setup / (ATCS_SETUP_SCALE * means[SETUP]))
    return arrays.operation_weight[operation] / max(duration, 1.0) * urgency  # type: ignore[no-any-return]
