"""State -> one row of numbers per candidate: the only encoding, for training and serving alike.

Rows are residual and clock-relative: finished work is gone, times are counted from the earliest
possible beginning and divided by the mean shortest duration of the problem, so that a plant in
seconds and a benchmark in abstract units look alike. The choice of features follows what the
literature on learned dispatching found to matter: pair features (Wang et al. 2023, DANIEL) and
residual states (Ho et al. 2023), with calendars, setups and due dates added.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from env.calendar_tables import NEVER
from env.candidates import Candidates
from env.compilation import compiled
from env.problem_arrays import Integers, ProblemArrays
from env.simulation import DISPATCHED, MAKESPAN_BOUND, State

OBSERVATION_VERSION = 2
"""Raised whenever the meaning of a row changes; weights of another version are refused."""

FEATURE_NAMES = (
    "duration",
    "begins after the clock",
    "ends after the clock",
    "idle gap on the machine",
    "wait of the job",
    "remaining work, logarithm",
    "remaining work per time left",
    "remaining operations",
    "criticality",
    "excess over the fastest machine",
    "excess over the earliest completion",
    "share of eligible machines",
    "single machine",
    "machine load per mean load",
    "machine finish per time left",
    "rivals for the machine",
    "composite rank",
    "wait before the next operation",
    "load of the next machines",
    "has due date",
    "slack to the due dates ahead, logarithm",
    "lateness ahead, logarithm",
    "weight",
    "important",
    "setup share",
    "pauses",
    "objective counts makespan",
    "objective counts tardiness",
    "progress",
    "candidates, logarithm",
    "open jobs per machine, logarithm",
    "bound per ideal load",
    "remaining work below the candidates' most",
    "ends after the candidates' earliest",
    "remaining work by machine pressure",
    "highest pressure ahead",
    "work before the highest pressure",
    "duration, logarithm",
    "setup",
    "begins at the clock",
    "slack beyond the candidates' least",
    "earlier starters of the machine",
)
FEATURE_COUNT = len(FEATURE_NAMES)
FEATURE_LIMIT = 10.0

Rows = NDArray[np.float32]


@compiled
def encode(arrays: ProblemArrays, state: State, found: Candidates, rivals: Integers, rows: Rows) -> None:
    """Fill rows[:found.filled] with features, shape [limit, FEATURE_COUNT]; rows beyond stay as they are.

    `rivals`, shape [2 * machine], is room to count in.
    """
    count = found.filled[0]
    clock = found.clock[0]
    scale = arrays.time_scale[0]
    bound = state.totals[MAKESPAN_BOUND]
    time_left = max(float(bound - clock), scale)
    machines = len(state.machine_ready)
    mean_load = state.machine_load.sum() / machines + 1e-9
    density = np.log1p(state.job_count[0] / machines)
    relative_bound = time_left / max(mean_finish(state, clock), scale)
    count_rivals(arrays, state, found, rivals)
    most_remaining, first_end, least_slack = extremes(arrays, state, found)
    progress = state.totals[DISPATCHED] / len(state.start)
    log_count = np.log(count)
    for index in range(count):
        row = rows[index]
        pair = found.pair[index]
        machine, operation = arrays.pair_machine[pair], arrays.pair_operation[pair]
        job = arrays.operation_job[operation]
        first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
        start, end = state.pair_start[pair], state.pair_end[pair]
        duration = state.pair_work[pair]
        setup = duration - arrays.pair_processing[pair]
        remaining = arrays.operation_remaining[operation] - arrays.operation_shortest[operation]
        finish = max(0, state.machine_ready[machine] - clock) + state.machine_load[machine]
        row[0] = duration / scale
        row[1] = (start - clock) / scale
        row[2] = (end - clock) / scale
        row[3] = (start - state.machine_ready[machine]) / scale
        row[4] = (start - state.job_ready[job]) / scale
        row[5] = np.log1p(remaining / scale)
        row[6] = remaining / time_left
        row[7] = (arrays.job_first[job + 1] - operation - 1) / 10.0
        row[8] = (end + remaining - bound) / time_left
        row[9] = duration / arrays.operation_shortest[operation] - 1.0
        row[10] = (end - state.job_end[job]) / scale
        row[11] = (last - first) / machines
        row[12] = 1.0 if last - first == 1 else 0.0
        row[13] = state.machine_load[machine] / mean_load
        row[14] = finish / time_left
        row[15] = rivals[machine] / count
        row[16] = (found.rank[index] - found.rank[0]) / scale
        encode_next(arrays, state, operation, job, end, scale, mean_load, row)
        encode_due(arrays, operation, end, scale, row)
        row[24] = setup / duration
        row[25] = (end - start - duration) / scale
        row[26] = min(1.0, arrays.objective[0])
        row[27] = 1.0 if arrays.objective[1] > 0.0 else 0.0
        row[28] = progress
        row[29] = log_count
        row[30] = density
        row[31] = relative_bound
        row[32] = (arrays.operation_remaining[operation] - most_remaining) / time_left
        row[33] = (end - first_end) / scale
        row[34] = arrays.operation_pressed[operation] / time_left
        row[35] = arrays.operation_peak[operation]
        row[36] = arrays.operation_until_peak[operation] / time_left
        row[37] = np.log(duration / scale)
        row[38] = setup / scale
        row[39] = 1.0 if start == clock else 0.0
        row[40] = 0.0
        if arrays.operation_is_urged[operation]:
            row[40] = (arrays.operation_latest[operation] - end - least_slack) / time_left
        row[41] = 1.0 if rivals[machines + machine] < start else 0.0
        for feature in range(FEATURE_COUNT):
            row[feature] = min(max(row[feature], -FEATURE_LIMIT), FEATURE_LIMIT)


@compiled
def count_rivals(arrays: ProblemArrays, state: State, found: Candidates, rivals: Integers) -> None:
    """How many candidates each machine has, then when the first of them would begin; shape [2 * machine]."""
    machines = len(state.machine_ready)
    rivals[:machines] = 0
    for index in range(found.filled[0]):
        pair = found.pair[index]
        machine = arrays.pair_machine[pair]
        start = state.pair_start[pair]
        first = start if rivals[machine] == 0 else min(rivals[machines + machine], start)
        rivals[machine] += 1
        rivals[machines + machine] = first


@compiled
def extremes(arrays: ProblemArrays, state: State, found: Candidates) -> tuple[int, int, int]:
    """Most remaining work, earliest completion and least slack among the candidates."""
    most_remaining, first_end, least_slack = 0, NEVER, NEVER
    for index in range(found.filled[0]):
        pair = found.pair[index]
        operation = arrays.pair_operation[pair]
        most_remaining = max(most_remaining, arrays.operation_remaining[operation])
        first_end = min(first_end, state.pair_end[pair])
        if arrays.operation_is_urged[operation]:
            least_slack = min(least_slack, arrays.operation_latest[operation] - state.pair_end[pair])
    return most_remaining, first_end, least_slack


@compiled
def encode_next(
    arrays: ProblemArrays, state: State, operation: int, job: int, end: int, scale: float, mean_load: float, row: Rows
) -> None:
    """What the job would meet after this operation."""
    row[17] = 0.0
    row[18] = 0.0
    following = operation + 1
    if following >= arrays.job_first[job + 1]:
        return
    wait = np.inf
    load = np.inf
    for pair in range(arrays.pair_first[following], arrays.pair_first[following + 1]):
        machine = arrays.pair_machine[pair]
        wait = min(wait, float(state.machine_ready[machine] - end))
        load = min(load, state.machine_load[machine])
    row[17] = wait / scale
    row[18] = load / mean_load


@compiled
def encode_due(arrays: ProblemArrays, operation: int, end: int, scale: float, row: Rows) -> None:
    """Due dates from here to the end of the job, and weight."""
    row[19] = 0.0
    row[20] = 0.0
    row[21] = 0.0
    if arrays.operation_is_urged[operation]:
        slack = (arrays.operation_latest[operation] - end) / scale
        row[19] = 1.0
        row[20] = np.log1p(max(0.0, slack))
        row[21] = np.log1p(max(0.0, -slack))
    row[22] = np.log(arrays.operation_weight[operation])
    row[23] = 1.0 if arrays.operation_important[operation] else 0.0


@compiled
def mean_finish(state: State, clock: int) -> float:
    """Mean over machines of when they would finish their expected work, from the clock on."""
    total = 0.0
    for machine in range(len(state.machine_ready)):
        total += max(0, state.machine_ready[machine] - clock) + state.machine_load[machine]
    return total / len(state.machine_ready)
