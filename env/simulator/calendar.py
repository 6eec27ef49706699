"""Working hours as openings: sorted intervals of open time, and one table of them that the compiled core searches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, datetime, time
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from env.errors import HorizonExceeded
from env.problem import Closure, Problem, WeeklyBreak, WorkingHours

Intervals = NDArray[np.int64]  # shape [count, 2]: start inclusive, end exclusive, seconds
SECONDS_PER_DAY = 86_400
MAX_HORIZON_DAYS = 200 * 366
_EPOCH = date(1970, 1, 1)
NEVER = 2**60
MAX_UNSPLITTABLE_WEEKS = 52
Closures = tuple[Closure, ...]


def openings(hours: WorkingHours | None, closures: tuple[Closure, ...], horizon_seconds: int) -> Intervals:
    """Open intervals of a machine within [0, horizon), shape [count, 2], sorted and not touching."""
    closed = [np.array([[c.start_seconds, c.end_seconds] for c in closures], dtype=np.int64).reshape(-1, 2)]
    if hours is not None:
        closed.append(_closed_hours(hours, horizon_seconds))
    return _complement(np.concatenate(closed), horizon_seconds)


def horizon_for(hours: WorkingHours | None, after_seconds: int, open_seconds: int) -> int:
    """A horizon that holds at least `open_seconds` of open time after `after_seconds`.

    Raises `HorizonExceeded` when that takes longer than two hundred years, as it does in a plant
    that never opens.
    """
    days = after_seconds // SECONDS_PER_DAY + open_seconds // SECONDS_PER_DAY + 8
    while True:
        days = min(2 * days, MAX_HORIZON_DAYS)
        horizon = days * SECONDS_PER_DAY
        if open_time(openings(hours, (), horizon), after_seconds, horizon) >= open_seconds:
            return horizon
        if days == MAX_HORIZON_DAYS:
            raise HorizonExceeded(
                f"the working hours must hold {open_seconds / 3600:.1f} h of work within 200 years, but do not"
            )


def open_time(intervals: Intervals, start_seconds: int, end_seconds: int) -> int:
    """Open seconds within [start, end)."""
    return int(np.diff(np.clip(intervals, start_seconds, max(start_seconds, end_seconds))).sum())


@lru_cache(maxsize=8)
def _closed_hours(hours: WorkingHours, horizon_seconds: int) -> Intervals:
    """Closed intervals, unsorted. Between two changes of the clock local time is UTC plus a constant.

    Kept, because the search for a horizon and each machine with closures of its own ask for the same ones.
    """
    zone, origin = ZoneInfo(hours.zone), int(hours.origin.timestamp())
    changes = _offset_changes(zone, origin, horizon_seconds)
    pieces = [np.empty((0, 2), dtype=np.int64)]
    for start, end in zip(changes, [*changes[1:], horizon_seconds], strict=True):
        local_origin = origin + _offset_seconds(zone, origin + start)
        local = _closed_wall_time(hours, local_origin + start, local_origin + end)
        pieces.append(np.clip(local - local_origin, start, end))
    return np.concatenate(pieces)


def _closed_wall_time(hours: WorkingHours, start: int, end: int) -> Intervals:
    """Closed intervals that touch [start, end), in seconds of the wall clock since 1970."""
    days = np.arange(start // SECONDS_PER_DAY - 1, end // SECONDS_PER_DAY + 1, dtype=np.int64)
    weekdays = (days + _EPOCH.weekday()) % 7
    closed = [_break_intervals(pause, days, weekdays) for pause in hours.breaks]
    holidays = np.array([(day - _EPOCH).days for day in hours.holidays], dtype=np.int64)
    off = days[np.isin(days, holidays)] * SECONDS_PER_DAY
    return np.concatenate([*closed, np.stack([off, off + SECONDS_PER_DAY], axis=1)])


def _break_intervals(pause: WeeklyBreak, days: Intervals, weekdays: Intervals) -> Intervals:
    start = _seconds_of_day(pause.start)
    end = _seconds_of_day(pause.end)
    if end <= start:
        end += SECONDS_PER_DAY
    midnight = days[np.isin(weekdays, list(pause.weekdays))] * SECONDS_PER_DAY
    return np.stack([midnight + start, midnight + end], axis=1)


def _seconds_of_day(clock: time) -> int:
    return clock.hour * 3600 + clock.minute * 60 + clock.second


def _offset_changes(zone: ZoneInfo, origin: int, horizon_seconds: int) -> list[int]:
    """Seconds after `origin` at which the zone's offset changes, 0 first; exact to the second."""
    changes = [0]
    old = _offset_seconds(zone, origin)
    for day in range(0, horizon_seconds, SECONDS_PER_DAY):
        new = _offset_seconds(zone, origin + day + SECONDS_PER_DAY)
        if new != old:
            span = range(day, day + SECONDS_PER_DAY + 1)
            changed = bisect_right(span, False, key=lambda s: _offset_seconds(zone, origin + s) != old)
            changes.append(span[changed])
            old = new
    return [change for change in changes if change < horizon_seconds]


def _offset_seconds(zone: ZoneInfo, instant: int) -> int:
    """What the zone's clock is ahead of UTC, at seconds since 1970."""
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _complement(closed: Intervals, horizon_seconds: int) -> Intervals:
    start, end = np.clip(closed, 0, horizon_seconds).T
    start, end = start[end > start], end[end > start]
    order = np.argsort(start, kind="stable")
    covered_until = np.concatenate([[0], np.maximum.accumulate(end[order])]).astype(np.int64)
    next_closed = np.concatenate([start[order], [horizon_seconds]]).astype(np.int64)
    return np.stack([covered_until, next_closed], axis=1)[next_closed > covered_until]


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


def calendar_tables(
    problem: Problem,
    pair_machine: NDArray[np.int64],
    together: Mapping[int, tuple[int, ...]],
    work_seconds: int,
) -> CalendarTables:
    """Tables that hold `work_seconds` of work in a row, or two hundred years.

    `together` has all machines of each pair that holds several.

    Raises `HorizonExceeded` when these do not hold what one of the machines has to do.
    """
    horizon = _horizon(problem, work_seconds)
    of_machine = [machine.closures for machine in problem.machines]
    of_several = {pair: _together(of_machine, machines) for pair, machines in together.items()}
    kinds = {closures: index for index, closures in enumerate(dict.fromkeys([*of_machine, *of_several.values()]))}
    tables = [openings(problem.hours, closures, horizon) for closures in kinds]
    if problem.hours is None:
        tables = [_open_for_ever(table) for table in tables]
    before = [np.concatenate([[0], np.cumsum(np.diff(table))[:-1]]) for table in tables if len(table)]
    starts, ends = np.concatenate(tables).T
    machine_calendar = np.array([kinds[closures] for closures in of_machine], dtype=np.int64)
    pair_calendar = machine_calendar[pair_machine]
    for pair, closures in of_several.items():
        pair_calendar[pair] = kinds[closures]
    return CalendarTables(
        machine_calendar=machine_calendar,
        pair_calendar=pair_calendar,
        calendar_first=np.cumsum([0, *map(len, tables)]).astype(np.int64),
        opening_start=np.ascontiguousarray(starts),
        opening_end=np.ascontiguousarray(ends),
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
    """Enough for all work in a row after whatever comes last, plus a week for each unsplittable piece; at most the
    longest horizon, as long as that holds what must be done on one machine: the others work beside it."""
    releases = map(attrgetter("release_seconds"), problem.operations)
    closed_until = [closure.end_seconds for machine in problem.machines for closure in machine.closures]
    pins = filter(None, map(attrgetter("pin"), problem.operations))
    pinned_until = [pin.end_seconds or pin.start_seconds for pin in pins]
    unsplittable = list(map(attrgetter("interruptible"), problem.operations)).count(False)
    busy = max(machine.busy_seconds for machine in problem.machines)
    after: int = max(0, *releases, *closed_until, *pinned_until)
    after += min(unsplittable, MAX_UNSPLITTABLE_WEEKS) * 7 * SECONDS_PER_DAY
    if problem.hours is None:
        return after + work_seconds + busy + 1
    try:
        return horizon_for(problem.hours, after, work_seconds + busy)
    except HorizonExceeded:
        horizon_for(problem.hours, 0, _least_work_of_busiest(problem))
        return MAX_HORIZON_DAYS * SECONDS_PER_DAY


def _least_work_of_busiest(problem: Problem) -> int:
    """Seconds that some machine works in any schedule: work that shares its machines is spread over them at best."""
    shared: dict[tuple[int, ...], int] = {}
    for operation in problem.operations:
        machines = tuple(sorted(alternative.machine for alternative in operation.alternatives))
        least = min(alternative.processing_seconds for alternative in operation.alternatives)
        shared[machines] = shared.get(machines, 0) + least
    return max(-(-seconds // len(machines)) for machines, seconds in shared.items())


def _open_for_ever(table: Intervals) -> Intervals:
    _, ends = table.T
    ends[-1] = NEVER
    return table
