"""The openings of all machines of a problem, as one table that the compiled core searches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from env.problem import Alternative, Closure, Problem
from env.shop_calendar import SECONDS_PER_DAY, Intervals, horizon_for, open_time, openings

NEVER = 2**60
MOST_UNSPLITTABLE_WEEKS = 52

Closures = tuple[Closure, ...]


class CalendarTables(NamedTuple):
    """Openings of every calendar, one after the other; machines with the same closures share one."""

    machine_calendar: NDArray[np.int64]  # [machine]
    pair_calendar: NDArray[np.int64]  # [pair] when all of its machines are open
    calendar_first: NDArray[np.int64]  # [calendar + 1] first opening of each calendar
    opening_start: NDArray[np.int64]  # [opening]
    opening_end: NDArray[np.int64]  # [opening]
    opening_before: NDArray[np.int64]  # [opening] open seconds of its calendar before it

    def end_of_work(self, calendar: int, start: int, work: int) -> int:
        """Second at which `work` begun at `start` ends, pauses included; NEVER if the calendar does not hold it."""
        part = slice(self.calendar_first[calendar], self.calendar_first[calendar + 1])
        starts, ends = self.opening_start[part], self.opening_end[part]
        left = np.cumsum(np.maximum(0, ends - np.maximum(starts, start)))
        place = int(np.searchsorted(left, work))
        return NEVER if place == len(left) else int(ends[place] - (left[place] - work))


def calendar_tables(problem: Problem, alternatives: list[Alternative], work_seconds: int) -> CalendarTables:
    """Tables that hold `work_seconds` of work in a row. Raises `HorizonExceeded` when no calendar could."""
    horizon = _horizon(problem, work_seconds)
    of_machine = [machine.closures for machine in problem.machines]
    of_several = {
        pair: _together(of_machine, alternative.machines)
        for pair, alternative in enumerate(alternatives)
        if alternative.also_holds
    }
    kinds = {closures: index for index, closures in enumerate(dict.fromkeys([*of_machine, *of_several.values()]))}
    tables = [openings(problem.hours, closures, horizon) for closures in kinds]
    if problem.hours is None:
        tables = [_open_for_ever(table) for table in tables]
    before = [np.concatenate([[0], np.cumsum(table[:, 1] - table[:, 0])[:-1]]) for table in tables if len(table)]
    table = np.concatenate(tables)
    machine_calendar = np.array([kinds[closures] for closures in of_machine], dtype=np.int64)
    pair_calendar = machine_calendar[[alternative.machine for alternative in alternatives]]
    for pair, closures in of_several.items():
        pair_calendar[pair] = kinds[closures]
    return CalendarTables(
        machine_calendar=machine_calendar,
        pair_calendar=pair_calendar,
        calendar_first=np.cumsum([0, *map(len, tables)]).astype(np.int64),
        opening_start=np.ascontiguousarray(table[:, 0]),
        opening_end=np.ascontiguousarray(table[:, 1]),
        opening_before=np.concatenate([np.empty(0, dtype=np.int64), *before]).astype(np.int64),
    )


def open_seconds(problem: Problem, until_seconds: int) -> int:
    """Open time of all machines together in [0, until)."""
    tables: dict[Closures, int] = {}
    for machine in problem.machines:
        if machine.closures not in tables:
            intervals = openings(problem.hours, machine.closures, max(1, until_seconds))
            tables[machine.closures] = open_time(intervals, 0, until_seconds)
    return sum(tables[machine.closures] for machine in problem.machines)


def _together(of_machine: list[Closures], machines: tuple[int, ...]) -> Closures:
    """Closures of machines that work only together."""
    return tuple(dict.fromkeys(closure for machine in machines for closure in of_machine[machine]))


def _horizon(problem: Problem, work_seconds: int) -> int:
    """Enough for all work in a row after whatever comes last, plus a week for each unsplittable piece."""
    releases = [operation.release_seconds for operation in problem.operations]
    closed_until = [closure.end_seconds for machine in problem.machines for closure in machine.closures]
    pins = [operation.pin for operation in problem.operations if operation.pin is not None]
    pinned_until = [pin.end_seconds or pin.start_seconds for pin in pins]
    unsplittable = sum(not operation.interruptible for operation in problem.operations)
    busy = max(machine.busy_seconds for machine in problem.machines)
    after = max(0, *releases, *closed_until, *pinned_until)
    after += min(unsplittable, MOST_UNSPLITTABLE_WEEKS) * 7 * SECONDS_PER_DAY
    if problem.hours is None:
        return after + work_seconds + busy + 1
    return horizon_for(problem.hours, after, work_seconds + busy)


def _open_for_ever(table: Intervals) -> Intervals:
    table[-1, 1] = NEVER
    return table
