"""Open time of machines, for proofs about a request before anyone schedules it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from deployments.contracts.requests.wire import instant
from env.errors import HorizonExceeded
from env.problem import Closure, Operation, Problem, WorkingHours
from env.simulator.calendar import horizon_for, openings

MAX_SECONDS = 50 * 365 * 24 * 3600
_LOOKAHEAD_SECONDS = 400 * 24 * 3600
_WEEKDAY_SECONDS = 6 * 24 * 3600


class OpenHours:
    """Openings [start, end) between `first` <= 0 and `last`, in seconds from `schedule_start`."""

    def __init__(self, hours: WorkingHours | None, closures: tuple[Closure, ...], first: int, last: int) -> None:
        known = openings(_moved(hours, first), tuple(_later(each, -first) for each in closures), last - first) + first
        self.last = last
        starts, ends = known.T
        self._starts: list[int] = starts.tolist()
        self._ends: list[int] = ends.tolist()
        self._worked: list[int] = np.cumsum(ends - starts).tolist()

    @cached_property
    def longest(self) -> tuple[int, int] | None:
        """The longest opening, the earliest of equals; None when there is none."""
        return max(zip(self._starts, self._ends, strict=True), key=lambda span: span[1] - span[0], default=None)

    def worked(self, start: int, end: int) -> int:
        """Open seconds within [start, end)."""
        return max(0, self._until(end) - self._until(start))

    def _until(self, second: int) -> int:
        """Open seconds from `first` to `second`."""
        index = bisect_right(self._ends, second)
        before = self._worked[index - 1] if index else 0
        return before + (max(0, second - self._starts[index]) if index < len(self._starts) else 0)

    def next_open(self, second: int) -> int | None:
        """The first open second that is not before `second`, None when there is none up to `last`."""
        index = bisect_right(self._ends, second)
        return None if index == len(self._ends) else max(second, self._starts[index])

    def finish(self, start: int, work: int, *, interruptible: bool = True) -> int | None:
        """When `work` open seconds have passed at the earliest after `start`, None when that is beyond `last`."""
        begin = self.next_open(start)
        if begin is None:
            return None
        index = bisect_right(self._ends, begin)
        if not interruptible:
            return self._finish_in_one(index, begin, work)
        target = self._worked[index] - (self._ends[index] - begin) + work
        last = bisect_left(self._worked, target)
        return None if last == len(self._worked) else self._ends[last] - (self._worked[last] - target)

    def pauses(self, start: int, end: int) -> list[tuple[int, int]]:
        """What is closed of [`start`, `end`), as (from, to), in order."""
        first = bisect_right(self._ends, start)
        if first < len(self._ends) and self._starts[first] <= start and end <= self._ends[first]:
            return []
        last = bisect_left(self._starts, end)
        edges = [start, *(edge for at in range(first, last) for edge in (self._starts[at], self._ends[at])), end]
        closed = zip(edges[::2], edges[1::2], strict=True)
        return [(max(start, left), min(end, right)) for left, right in closed if max(start, left) < min(end, right)]

    def _finish_in_one(self, index: int, begin: int, work: int) -> int | None:
        for opening in range(index, len(self._starts)):
            end = max(begin, self._starts[opening]) + work
            if end <= self._ends[opening]:
                return end
        return None


class PlantHours:
    """The open time of each machine of a problem, expanded when it is first asked for.

    It is known from the first second that a pin or `first` names, and beyond `last`: by default as far as a proof may
    have to look; within `span` alone, first and last second, where that is given.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        start: datetime,
        zone: ZoneInfo,
        first: int = 0,
        last: int = 0,
        span: tuple[int, int] | None = None,
    ) -> None:
        self._problem = problem
        self._given_span = span
        self._start = start
        self._zone = zone
        self._bounds = (first, last)
        self._known: dict[tuple[Closure, ...], OpenHours] = {}

    def of(self, machines: tuple[int, ...] = ()) -> OpenHours:
        """When all of `machines` (indices) are open together; the plant itself without any.

        Where a closure of years leaves nothing open as far as is asked about, what lies behind it is known instead.
        """
        closures = tuple(closure for machine in machines for closure in self._problem.machines[machine].closures)
        if closures not in self._known:
            first, last = self._span
            known = OpenHours(self._problem.hours, closures, first, last)
            behind = max((closure.end_seconds for closure in closures), default=last)
            if last < behind <= MAX_SECONDS and known.next_open(first) is None:
                known = OpenHours(self._problem.hours, closures, first, behind + _LOOKAHEAD_SECONDS)
            self._known[closures] = known
        return self._known[closures]

    def free_from(self, machines: tuple[int, ...]) -> int:
        """The second from which all of `machines` have done their current load, the last known one when it is later."""
        return max(self._free_from(machine) for machine in machines)

    def moment(self, second: int) -> str:
        """`second` as an instant by the plant's clock."""
        return instant(self._start, second, self._zone).isoformat()

    def weekday_moment(self, second: int) -> str:
        """`second` as a weekday and a time by the plant's clock, with its date where the weekday does not tell it."""
        moment = instant(self._start, second, self._zone)
        clock = f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
        near = abs(second) < _WEEKDAY_SECONDS
        return f"{moment:%a} {clock}" if near else f"{moment:%a %Y-%m-%d} {clock}"

    def _free_from(self, machine: int) -> int:
        busy = self._problem.machines[machine].busy_seconds
        if not busy:
            return 0
        hours = self.of((machine,))
        end = hours.finish(0, busy)
        return hours.last if end is None else end

    @cached_property
    def _span(self) -> tuple[int, int]:
        """From the first running work to where any one job could end, and a year and a month more."""
        if self._given_span is not None:
            return self._given_span
        operations = self._problem.operations
        pins = [each.pin.start_seconds for each in operations if each.pin is not None and each.pin.end_seconds is None]
        releases = [min(operation.release_seconds, MAX_SECONDS) for operation in operations]
        closures = [closure.end_seconds for machine in self._problem.machines for closure in machine.closures]
        reopened = max((end for end in closures if end <= MAX_SECONDS), default=0)
        first, last = self._bounds
        latest = max((0, last, reopened, *pins, *releases))
        work = max(sum(map(_longest, job.operations)) for job in self._problem.jobs)
        work += max(machine.busy_seconds for machine in self._problem.machines)
        last = latest + min(work, MAX_SECONDS)
        with suppress(HorizonExceeded):
            last = max(last, horizon_for(self._problem.hours, latest, min(work, MAX_SECONDS)))
        return min((0, first, *pins)), last + _LOOKAHEAD_SECONDS


def _longest(operation: Operation) -> int:
    return max(alternative.duration_seconds for alternative in operation.alternatives)


def _moved(hours: WorkingHours | None, seconds: int) -> WorkingHours | None:
    return None if hours is None else replace(hours, origin=hours.origin + timedelta(seconds=seconds))


def _later(closure: Closure, seconds: int) -> Closure:
    return replace(closure, start_seconds=closure.start_seconds + seconds, end_seconds=closure.end_seconds + seconds)
