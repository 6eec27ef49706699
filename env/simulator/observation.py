"""State -> one row of numbers per candidate: the only encoding, for training and serving alike.

Rows are residual and clock-relative: finished work is gone, times are counted from the earliest
possible beginning and divided by the mean shortest duration of the problem, so that a plant in
seconds and a benchmark in abstract units look alike. The choice of features follows what the
literature on learned dispatching found to matter: pair features (Wang et al. 2023, DANIEL) and
residual states (Ho et al. 2023), with calendars, setups and due dates added.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from env.simulator.arrays import MAKESPAN_WEIGHT, TARDINESS_WEIGHT, Floats, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.candidates import Candidates
from env.simulator.compilation import compiled_lean
from env.simulator.state import DISPATCHED, MAKESPAN_BOUND, State

OBSERVATION_VERSION = 3
"""Raised whenever the meaning of a row changes; weights of another version are refused."""


class Feature(IntEnum):
    """The columns of a row, each by the name that published policies know it by; their weights depend on the order."""

    text: str

    def __new__(cls, text: str) -> Self:
        column = int.__new__(cls, len(cls.__members__))
        column._value_, column.text = int(column), text
        return column

    DURATION = "duration"
    BEGINS_AFTER_CLOCK = "begins after the clock"
    ENDS_AFTER_CLOCK = "ends after the clock"
    IDLE_GAP = "idle gap on the machine"
    JOB_WAIT = "wait of the job"
    LOG_REMAINING_WORK = "remaining work, logarithm"
    REMAINING_WORK = "remaining work per time left"
    REMAINING_OPERATIONS = "remaining operations"
    CRITICALITY = "criticality"
    EXCESS_OVER_FASTEST = "excess over the fastest machine"
    EXCESS_OVER_EARLIEST = "excess over the earliest completion"
    ELIGIBLE_SHARE = "share of eligible machines"
    SINGLE_MACHINE = "single machine"
    MACHINE_LOAD = "machine load per mean load"
    MACHINE_FINISH = "machine finish per time left"
    MACHINE_RIVALS = "rivals for the machine"
    COMPOSITE_RANK = "composite rank"
    NEXT_WAIT = "wait before the next operation"
    NEXT_LOAD = "load of the next machines"
    HAS_DUE_DATE = "has due date"
    LOG_SLACK = "slack to the due dates ahead, logarithm"
    LOG_LATENESS = "lateness ahead, logarithm"
    LOG_WEIGHT = "weight"
    IMPORTANT = "important"
    SETUP_SHARE = "setup share"
    PAUSES = "pauses"
    COUNTS_MAKESPAN = "objective counts makespan"
    COUNTS_TARDINESS = "objective counts tardiness"
    PROGRESS = "progress"
    LOG_CANDIDATES = "candidates, logarithm"
    LOG_OPEN_JOBS = "open jobs per machine, logarithm"
    RELATIVE_BOUND = "bound per ideal load"
    WORK_BELOW_MOST = "remaining work below the candidates' most"
    ENDS_AFTER_EARLIEST = "ends after the candidates' earliest"
    PRESSED_WORK = "remaining work by machine pressure"
    PEAK_PRESSURE = "highest pressure ahead"
    WORK_UNTIL_PEAK = "work before the highest pressure"
    LOG_DURATION = "duration, logarithm"
    SETUP = "setup"
    AT_CLOCK = "begins at the clock"
    SLACK_BEYOND_LEAST = "slack beyond the candidates' least"
    EARLIER_STARTERS = "earlier starters of the machine"
    QUEUE = "queue of the machine"
    NEXT_QUEUE = "queue of the next machines"
    NEXT_DURATION = "duration of the next operation"
    RIVALS_CRITICALITY = "criticality of the rivals kept waiting"
    RIVALS_LATENESS = "lateness of the rivals kept waiting"


FEATURE_NAMES = tuple(feature.text for feature in Feature)
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
    # Multiplied by rather than divided by: each row has dozens of such numbers.
    per_left, per_load = 1.0 / time_left, 1.0 / mean_load
    encode_pairs(arrays, state, found, tallies, per_left, per_load, rows)
    encode_work_ahead(arrays, state, found, per_left, per_load, rows)
    encode_kept_waiting(arrays, state, found, tallies, per_left, rows)
    encode_due_dates(arrays, state, found, per_left, rows)
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
    per_left: float,
    per_load: float,
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
    per_scale = 1.0 / arrays.time_scale[0]
    machines = len(machine_ready)
    density = np.log1p(state.job_count[0] / machines)
    relative_bound = 1.0 / (per_left * max(mean_finish(machine_ready, machine_load, clock), arrays.time_scale[0]))
    count_rivals(pairs, count, pair_machine, pair_start, tallies)
    progress = state.totals[DISPATCHED] / len(operation_job)
    log_count = np.log(count)
    counts_makespan = min(1.0, arrays.objective[MAKESPAN_WEIGHT])
    counts_tardiness = 1.0 if arrays.objective[TARDINESS_WEIGHT] > 0.0 else 0.0
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
        divisor = max(duration, 1)  # of work that takes no time
        finish = max(0, machine_ready[machine] - clock) + machine_load[machine]
        rows[index, Feature.DURATION] = duration * per_scale
        rows[index, Feature.BEGINS_AFTER_CLOCK] = (start - clock) * per_scale
        rows[index, Feature.ENDS_AFTER_CLOCK] = (end - clock) * per_scale
        rows[index, Feature.IDLE_GAP] = (start - machine_ready[machine]) * per_scale
        rows[index, Feature.JOB_WAIT] = (start - job_ready[job]) * per_scale
        rows[index, Feature.EXCESS_OVER_FASTEST] = duration / max(shortest[operation], 1) - 1.0
        rows[index, Feature.EXCESS_OVER_EARLIEST] = (end - job_end[job]) * per_scale
        rows[index, Feature.ELIGIBLE_SHARE] = choices / machines
        rows[index, Feature.SINGLE_MACHINE] = 1.0 if choices == 1 else 0.0
        rows[index, Feature.MACHINE_LOAD] = machine_load[machine] * per_load
        rows[index, Feature.MACHINE_FINISH] = finish * per_left
        rows[index, Feature.MACHINE_RIVALS] = tallies[RIVALS, machine] / count
        rows[index, Feature.COMPOSITE_RANK] = (ranks[index] - ranks[0]) * per_scale
        rows[index, Feature.SETUP_SHARE] = setup / divisor
        rows[index, Feature.PAUSES] = (end - start - duration) * per_scale
        rows[index, Feature.COUNTS_MAKESPAN] = counts_makespan
        rows[index, Feature.COUNTS_TARDINESS] = counts_tardiness
        rows[index, Feature.PROGRESS] = progress
        rows[index, Feature.LOG_CANDIDATES] = log_count
        rows[index, Feature.LOG_OPEN_JOBS] = density
        rows[index, Feature.RELATIVE_BOUND] = relative_bound
        rows[index, Feature.ENDS_AFTER_EARLIEST] = (end - first_end) * per_scale
        rows[index, Feature.LOG_DURATION] = np.log(divisor * per_scale)
        rows[index, Feature.SETUP] = setup * per_scale
        rows[index, Feature.AT_CLOCK] = 1.0 if start == clock else 0.0
        rows[index, Feature.EARLIER_STARTERS] = 1.0 if tallies[EARLIEST, machine] < start else 0.0
        rows[index, Feature.QUEUE] = log1p_above(state.machine_queue[machine] - duration / choices, per_scale)


@compiled_lean
def count_rivals(pairs: Integers, count: int, pair_machine: Integers, pair_start: Integers, tallies: Integers) -> None:
    """How many candidates each machine has, and when the first of them would begin."""
    for index in range(count):
        tallies[RIVALS, pair_machine[pairs[index]]] = 0
    for index in range(count):
        machine, start = pair_machine[pairs[index]], pair_start[pairs[index]]
        earliest = start if tallies[RIVALS, machine] == 0 else min(tallies[EARLIEST, machine], start)
        tallies[EARLIEST, machine] = earliest
        tallies[RIVALS, machine] += 1


@compiled_lean
def encode_work_ahead(
    arrays: ProblemArrays, state: State, found: Candidates, per_left: float, per_load: float, rows: Rows
) -> None:
    """What the job of each pair has before it afterwards."""
    pairs, count = found.pair, found.filled[0]
    pair_operation, pair_machine, pair_first = arrays.pair_operation, arrays.pair_machine, arrays.pair_first
    operation_job, job_first = arrays.operation_job, arrays.job_first
    work_left, shortest = arrays.operation_remaining, arrays.operation_shortest
    pressed, peak, until_peak = arrays.operation_pressed, arrays.operation_peak, arrays.operation_until_peak
    pair_end, machine_ready, machine_load = state.pair_end, state.machine_ready, state.machine_load
    machine_queue = state.machine_queue
    per_scale = 1.0 / arrays.time_scale[0]
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
        rows[index, Feature.LOG_REMAINING_WORK] = np.log1p(remaining * per_scale)
        rows[index, Feature.REMAINING_WORK] = remaining * per_left
        rows[index, Feature.REMAINING_OPERATIONS] = (after_last - following) / 10.0
        rows[index, Feature.CRITICALITY] = (end + remaining - bound) * per_left
        rows[index, Feature.NEXT_WAIT] = 0.0
        rows[index, Feature.NEXT_LOAD] = 0.0
        rows[index, Feature.NEXT_QUEUE] = 0.0
        rows[index, Feature.NEXT_DURATION] = 0.0
        rows[index, Feature.WORK_BELOW_MOST] = (work_left[operation] - most_left) * per_left
        rows[index, Feature.PRESSED_WORK] = pressed[operation] * per_left
        rows[index, Feature.PEAK_PRESSURE] = peak[operation]
        rows[index, Feature.WORK_UNTIL_PEAK] = until_peak[operation] * per_left
        if following < after_last:
            wait, load, queue = np.inf, np.inf, np.inf
            for other in range(pair_first[following], pair_first[following + 1]):
                machine = pair_machine[other]
                wait = min(wait, float(machine_ready[machine] - end))
                load = min(load, machine_load[machine])
                queue = min(queue, machine_ready[machine] + machine_queue[machine] - end)
            rows[index, Feature.NEXT_WAIT] = wait * per_scale
            rows[index, Feature.NEXT_LOAD] = load * per_load
            rows[index, Feature.NEXT_QUEUE] = np.sign(queue) * np.log1p(abs(queue) * per_scale)
            rows[index, Feature.NEXT_DURATION] = shortest[following] * per_scale


@compiled_lean
def encode_kept_waiting(
    arrays: ProblemArrays, state: State, found: Candidates, tallies: Integers, per_left: float, rows: Rows
) -> None:
    """What each pair would do to the most critical and to the most urgent of the others for its machine.

    They could begin when it ends: how far that would lift the bound of the makespan, and how late they would be.
    """
    pairs, count = found.pair, found.filled[0]
    pair_operation, pair_machine, pair_end = arrays.pair_operation, arrays.pair_machine, state.pair_end
    work_left, latest, is_urged = arrays.operation_remaining, arrays.operation_latest, arrays.operation_is_urged
    shortest = arrays.operation_shortest
    bound, per_scale = state.totals[MAKESPAN_BOUND], 1.0 / arrays.time_scale[0]
    for index in range(count):
        machine = pair_machine[pairs[index]]
        tallies[MAX_LEFT, machine] = tallies[SECOND_LEFT, machine] = 0
        tallies[MIN_BEGIN, machine] = tallies[SECOND_BEGIN, machine] = NEVER
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
        rows[index, Feature.RIVALS_CRITICALITY] = (end + most - bound) * per_left
        begin = tallies[MIN_BEGIN, machine]
        if is_urged[operation] and begin == latest[operation] - shortest[operation]:
            begin = tallies[SECOND_BEGIN, machine]
        rows[index, Feature.RIVALS_LATENESS] = log1p_above(end - begin, per_scale)


@compiled_lean
def encode_due_dates(arrays: ProblemArrays, state: State, found: Candidates, per_left: float, rows: Rows) -> None:
    """Due dates from each pair to the end of its job, and weight."""
    pairs, count = found.pair, found.filled[0]
    pair_operation, pair_end = arrays.pair_operation, state.pair_end
    is_urged, latest = arrays.operation_is_urged, arrays.operation_latest
    weight, important = arrays.operation_weight, arrays.operation_important
    per_scale = 1.0 / arrays.time_scale[0]
    least_slack = NEVER
    for index in range(count):
        operation = pair_operation[pairs[index]]
        if is_urged[operation]:
            least_slack = min(least_slack, latest[operation] - pair_end[pairs[index]])
    for index in range(count):
        operation = pair_operation[pairs[index]]
        rows[index, Feature.HAS_DUE_DATE] = 0.0
        rows[index, Feature.LOG_SLACK] = 0.0
        rows[index, Feature.LOG_LATENESS] = 0.0
        rows[index, Feature.SLACK_BEYOND_LEAST] = 0.0
        rows[index, Feature.LOG_WEIGHT] = 0.0 if weight[operation] == 1.0 else np.log(weight[operation])
        rows[index, Feature.IMPORTANT] = 1.0 if important[operation] else 0.0
        if is_urged[operation]:
            slack = latest[operation] - pair_end[pairs[index]]
            rows[index, Feature.HAS_DUE_DATE] = 1.0
            rows[index, Feature.LOG_SLACK] = log1p_above(slack, per_scale)
            rows[index, Feature.LOG_LATENESS] = log1p_above(-slack, per_scale)
            rows[index, Feature.SLACK_BEYOND_LEAST] = (slack - least_slack) * per_left


@compiled_lean
def log1p_above(value: float, scale: float) -> float:
    """log(1 + value * scale), 0 for what is not above 0: of what is asked for most is not."""
    return np.log1p(value * scale) if value > 0 else 0.0


@compiled_lean
def mean_finish(machine_ready: Integers, machine_load: Floats, clock: int) -> float:
    """Mean over machines of when they would finish their expected work, from the clock on."""
    total = 0.0
    for machine in range(len(machine_ready)):
        total += max(0, machine_ready[machine] - clock) + machine_load[machine]
    return total / len(machine_ready)
