"""The same work backwards in time, for a player that plans from the end.

The last operations come first, due dates become releases and the release of a job work that is left, so
that who plays the reverse decides first what a player forwards decides last (Li and Willis 1992). Later
releases, breaks and what machines have to do before are left out, and only the makespan counts: a reverse
is good for the order in which to dispatch the plant itself, which then keeps all of its constraints.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.simulator.arrays import TARDINESS_WEIGHT, Integers, ProblemArrays, work_ahead
from env.simulator.calendar import NEVER
from env.simulator.state import State


class ReversedPlant(NamedTuple):
    """A plant backwards, and which operation of the plant itself each of its own is."""

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
