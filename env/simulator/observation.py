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

from env.simulator.arrays import Floats, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.candidates import Candidates
from env.simulator.compilation import compiled_lean
from env.simulator.simulation import DISPATCHED, MAKESPAN_BOUND, State

OBSERVATION_VERSION = 3
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
    "queue of the machine",
    "queue of the next machines",
    "duration of the next operation",
    "criticality of the rivals kept waiting",
    "lateness of the rivals kept waiting",
)
FEATURE_COUNT = len(FEATURE_NAMES)
FEATURE_LIMIT = 10.0
TALLIES = 6
"""Numbers for each machine that a decision is encoded with."""

RIVALS, EARLIEST, MAX_LEFT, SECOND_LEFT, MIN_BEGIN, SECOND_BEGIN = range(TALLIES)

Rows = NDArray[np.float32]


@compiled_lean
def encode(arrays: ProblemArrays, state: State, found: Candidates, tallies: Integers, rows: Rows) -> None:
    """Fill rows[:found.filled] with features, shape [limit, FEATURE_COUNT]; rows beyond stay as they are.

    `tallies`, shape [TALLIES, machine], is room to count in.
    """
    time_left = max(float(state.totals[MAKESPAN_BOUND] - found.clock[0]), arrays.time_scale[0])
    mean_load = state.machine_load.sum() / len(state.machine_ready) + 1e-9
    encode_pairs(arrays, state, found, tallies, time_left, mean_load, rows)
    encode_work_ahead(arrays, state, found, time_left, mean_load, rows)
    encode_kept_waiting(arrays, state, found, tallies, time_left, rows)
    encode_due_dates(arrays, state, found, time_left, rows)
    clip(rows[: found.filled[0]])


@compiled_lean
def clip(rows: Rows) -> None:
    """Bring every number into [-FEATURE_LIMIT, FEATURE_LIMIT], in place."""
    limit = np.float32(FEATURE_LIMIT)
    for row in range(rows.shape[0]):
        for feature in range(rows.shape[1]):
            rows[row, feature] = min(max(rows[row, feature], -limit), limit)


@compiled_lean
def encode_pairs(
    arrays: ProblemArrays,
    state: State,
    found: Candidates,
    tallies: Integers,
    time_left: float,
    mean_load: float,
    rows: Rows,
) -> None:
    """When each pair would begin and end, what else its machine has, and the plant as a whole."""
    pairs, ranks, count, clock = found.pair, found.rank, found.filled[0], found.clock[0]
    pair_machine, pair_operation, pair_first = arrays.pair_machine, arrays.pair_operation, arrays.pair_first
    pair_start, pair_end = state.pair_start, state.pair_end
    pair_work, processing = state.pair_work, arrays.pair_processing
    operation_job, shortest = arrays.operation_job, arrays.operation_shortest
    machine_ready, machine_load = state.machine_ready, state.machine_load
    job_ready, job_end = state.job_ready, state.job_end
    scale = arrays.time_scale[0]
    machines = len(machine_ready)
    density = np.log1p(state.job_count[0] / machines)
    relative_bound = time_left / max(mean_finish(machine_ready, machine_load, clock), scale)
    count_rivals(pairs, count, pair_machine, pair_start, tallies)
    progress = state.totals[DISPATCHED] / len(operation_job)
    log_count = np.log(count)
    counts_makespan, counts_tardiness = min(1.0, arrays.objective[0]), 1.0 if arrays.objective[1] > 0.0 else 0.0
    first_end = NEVER
    for index in range(count):
        first_end = min(first_end, pair_end[pairs[index]])
    for index in range(count):
        pair = pairs[index]
        machine, operation = pair_machine[pair], pair_operation[pair]
        job = operation_job[operation]
        choices = pair_first[operation + 1] - pair_first[operation]
        start, end, duration = pair_start[pair], pair_end[pair], pair_work[pair]
        setup = duration - processing[pair]
        finish = max(0, machine_ready[machine] - clock) + machine_load[machine]
        rows[index, 0] = duration / scale
        rows[index, 1] = (start - clock) / scale
        rows[index, 2] = (end - clock) / scale
        rows[index, 3] = (start - machine_ready[machine]) / scale
        rows[index, 4] = (start - job_ready[job]) / scale
        rows[index, 9] = duration / shortest[operation] - 1.0
        rows[index, 10] = (end - job_end[job]) / scale
        rows[index, 11] = choices / machines
        rows[index, 12] = 1.0 if choices == 1 else 0.0
        rows[index, 13] = machine_load[machine] / mean_load
        rows[index, 14] = finish / time_left
        rows[index, 15] = tallies[RIVALS, machine] / count
        rows[index, 16] = (ranks[index] - ranks[0]) / scale
        rows[index, 24] = setup / duration
        rows[index, 25] = (end - start - duration) / scale
        rows[index, 26] = counts_makespan
        rows[index, 27] = counts_tardiness
        rows[index, 28] = progress
        rows[index, 29] = log_count
        rows[index, 30] = density
        rows[index, 31] = relative_bound
        rows[index, 33] = (end - first_end) / scale
        rows[index, 37] = np.log(duration / scale)
        rows[index, 38] = setup / scale
        rows[index, 39] = 1.0 if start == clock else 0.0
        rows[index, 41] = 1.0 if tallies[EARLIEST, machine] < start else 0.0
        rows[index, 42] = np.log1p(max(0.0, state.machine_queue[machine] - duration / choices) / scale)


@compiled_lean
def count_rivals(pairs: Integers, count: int, pair_machine: Integers, pair_start: Integers, tallies: Integers) -> None:
    """How many candidates each machine has, and when the first of them would begin."""
    tallies[RIVALS, :] = 0
    for index in range(count):
        machine, start = pair_machine[pairs[index]], pair_start[pairs[index]]
        earliest = start if tallies[RIVALS, machine] == 0 else min(tallies[EARLIEST, machine], start)
        tallies[EARLIEST, machine] = earliest
        tallies[RIVALS, machine] += 1


@compiled_lean
def encode_work_ahead(
    arrays: ProblemArrays, state: State, found: Candidates, time_left: float, mean_load: float, rows: Rows
) -> None:
    """What the job of each pair has before it afterwards."""
    pairs, count = found.pair, found.filled[0]
    pair_operation, pair_machine, pair_first = arrays.pair_operation, arrays.pair_machine, arrays.pair_first
    operation_job, job_first = arrays.operation_job, arrays.job_first
    work_left, shortest = arrays.operation_remaining, arrays.operation_shortest
    pressed, peak, until_peak = arrays.operation_pressed, arrays.operation_peak, arrays.operation_until_peak
    pair_end, machine_ready, machine_load = state.pair_end, state.machine_ready, state.machine_load
    machine_queue = state.machine_queue
    scale = arrays.time_scale[0]
    bound = state.totals[MAKESPAN_BOUND]
    most_left = 0
    for index in range(count):
        most_left = max(most_left, work_left[pair_operation[pairs[index]]])
    for index in range(count):
        pair = pairs[index]
        operation = pair_operation[pair]
        end = pair_end[pair]
        remaining = work_left[operation] - shortest[operation]
        following, after_last = operation + 1, job_first[operation_job[operation] + 1]
        rows[index, 5] = np.log1p(remaining / scale)
        rows[index, 6] = remaining / time_left
        rows[index, 7] = (after_last - following) / 10.0
        rows[index, 8] = (end + remaining - bound) / time_left
        rows[index, 17] = 0.0
        rows[index, 18] = 0.0
        rows[index, 43] = 0.0
        rows[index, 44] = 0.0
        rows[index, 32] = (work_left[operation] - most_left) / time_left
        rows[index, 34] = pressed[operation] / time_left
        rows[index, 35] = peak[operation]
        rows[index, 36] = until_peak[operation] / time_left
        if following < after_last:
            wait, load, queue = np.inf, np.inf, np.inf
            for other in range(pair_first[following], pair_first[following + 1]):
                machine = pair_machine[other]
                wait = min(wait, float(machine_ready[machine] - end))
                load = min(load, machine_load[machine])
                queue = min(queue, machine_ready[machine] + machine_queue[machine] - end)
            rows[index, 17] = wait / scale
            rows[index, 18] = load / mean_load
            rows[index, 43] = np.sign(queue) * np.log1p(abs(queue) / scale)
            rows[index, 44] = shortest[following] / scale


@compiled_lean
def encode_kept_waiting(
    arrays: ProblemArrays, state: State, found: Candidates, tallies: Integers, time_left: float, rows: Rows
) -> None:
    """What each pair would do to the most critical and to the most urgent of the others for its machine.

    They could begin when it ends: how far that would lift the bound of the makespan, and how late they would be.
    """
    pairs, count = found.pair, found.filled[0]
    pair_operation, pair_machine, pair_end = arrays.pair_operation, arrays.pair_machine, state.pair_end
    work_left, latest, is_urged = arrays.operation_remaining, arrays.operation_latest, arrays.operation_is_urged
    shortest = arrays.operation_shortest
    bound, scale = state.totals[MAKESPAN_BOUND], arrays.time_scale[0]
    tallies[MAX_LEFT, :] = 0
    tallies[SECOND_LEFT, :] = 0
    tallies[MIN_BEGIN, :] = NEVER
    tallies[SECOND_BEGIN, :] = NEVER
    for index in range(count):
        operation, machine = pair_operation[pairs[index]], pair_machine[pairs[index]]
        left = work_left[operation]
        if left > tallies[MAX_LEFT, machine]:
            tallies[SECOND_LEFT, machine], tallies[MAX_LEFT, machine] = tallies[MAX_LEFT, machine], left
        elif left > tallies[SECOND_LEFT, machine]:
            tallies[SECOND_LEFT, machine] = left
        if is_urged[operation]:
            begin = latest[operation] - shortest[operation]
            if begin < tallies[MIN_BEGIN, machine]:
                tallies[SECOND_BEGIN, machine], tallies[MIN_BEGIN, machine] = tallies[MIN_BEGIN, machine], begin
            elif begin < tallies[SECOND_BEGIN, machine]:
                tallies[SECOND_BEGIN, machine] = begin
    for index in range(count):
        operation, machine, end = pair_operation[pairs[index]], pair_machine[pairs[index]], pair_end[pairs[index]]
        most = tallies[MAX_LEFT, machine]
        if most == work_left[operation]:
            most = tallies[SECOND_LEFT, machine]
        rows[index, 45] = (end + most - bound) / time_left
        begin = tallies[MIN_BEGIN, machine]
        if is_urged[operation] and begin == latest[operation] - shortest[operation]:
            begin = tallies[SECOND_BEGIN, machine]
        rows[index, 46] = np.log1p(max(0, end - begin) / scale)


@compiled_lean
def encode_due_dates(arrays: ProblemArrays, state: State, found: Candidates, time_left: float, rows: Rows) -> None:
    """Due dates from each pair to the end of its job, and weight."""
    pairs, count = found.pair, found.filled[0]
    pair_operation, pair_end = arrays.pair_operation, state.pair_end
    is_urged, latest = arrays.operation_is_urged, arrays.operation_latest
    weight, important = arrays.operation_weight, arrays.operation_important
    scale = arrays.time_scale[0]
    least_slack = NEVER
    for index in range(count):
        operation = pair_operation[pairs[index]]
        if is_urged[operation]:
            least_slack = min(least_slack, latest[operation] - pair_end[pairs[index]])
    for index in range(count):
        operation = pair_operation[pairs[index]]
        rows[index, 19] = 0.0
        rows[index, 20] = 0.0
        rows[index, 21] = 0.0
        rows[index, 40] = 0.0
        rows[index, 22] = np.log(weight[operation])
        rows[index, 23] = 1.0 if important[operation] else 0.0
        if is_urged[operation]:
            slack = latest[operation] - pair_end[pairs[index]]
            rows[index, 19] = 1.0
            rows[index, 20] = np.log1p(max(0.0, slack / scale))
            rows[index, 21] = np.log1p(max(0.0, -slack / scale))
            rows[index, 40] = (slack - least_slack) / time_left


@compiled_lean
def mean_finish(machine_ready: Integers, machine_load: Floats, clock: int) -> float:
    """Mean over machines of when they would finish their expected work, from the clock on."""
    total = 0.0
    for machine in range(len(machine_ready)):
        total += max(0, machine_ready[machine] - clock) + machine_load[machine]
    return total / len(machine_ready)
