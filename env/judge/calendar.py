"""When machines are open, by the judge's own zone arithmetic: nothing here is shared with the simulator.

The judge asks one question only: how many open seconds lie before a given second? That function
never falls, so durations, closed starts and closed ends all follow from it by difference and bisection.
Spans of many works are looked up together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from env.problem import Machine, WorkingHours

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS_PER_DAY = 86_400
JUDGED_YEARS = 250
MAX_REACH_SECONDS = 2**61

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_EPOCH_WEEKDAY = _EPOCH.weekday()

Interval = tuple[int, int]


class OpenSpan(NamedTuple):
    """What is open of a span: how many seconds, whether its first is among them, and its last."""

    seconds: int
    opens: bool
    closes: bool


NOTHING_OPEN = OpenSpan(0, opens=False, closes=False)


class OpenTime:
    """Open seconds as a running total: all time less the closed intervals, or `base` less those intervals.

    Intervals are [start, end) in seconds from `schedule_start`, in any order; they may touch and overlap. With none
    of them `is_always_open`, and `until` says the second itself.
    """

    __slots__ = ("_base", "_base_at_end", "_ends", "_open_at_start", "_starts", "is_always_open")

    def __init__(self, closed: Iterable[Interval], base: OpenTime | None = None) -> None:
        merged = _merged(closed)
        self._base = base
        self.is_always_open: bool = not merged and (base is None or base.is_always_open)
        self._starts = [start for start, _ in merged]
        self._ends = [end for _, end in merged]
        self._base_at_end = [self._base_until(end) for _, end in merged]
        self._open_at_start: list[int] = []
        lost = 0
        for start, end in merged:
            before = self._base_until(start)
            self._open_at_start.append(before - lost)
            lost += self._base_until(end) - before

    def until(self, second: int) -> int:
        """Open seconds before `second`, counted from a fixed but arbitrary instant: only differences mean something."""
        base = second if self._base is None else self._base.until(second)
        index = bisect_right(self._starts, second) - 1
        if index < 0:
            return base
        passed = base - self._base_at_end[index]
        return self._open_at_start[index] + passed if passed > 0 else self._open_at_start[index]

    def between(self, start: int, end: int) -> int:
        """Open seconds within [start, end); negative when `end` is before `start`."""
        return self.until(end) - self.until(start)

    def of_spans(self, spans: Sequence[Interval]) -> list[OpenSpan]:
        """What is open of each [start, end), whose seconds must lie in a `Reach`."""
        if self.is_always_open:
            return [OpenSpan(end - start, opens=True, closes=True) for start, end in spans]
        # Here, for many a process knows the words of verdicts and judges nothing.
        import numpy as np

        starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
        first, second, last, beyond = self._until_each(np.stack((starts, starts + 1, ends - 1, ends)))
        open_at_start, open_at_end = (second - first == 1).tolist(), (beyond - last == 1).tolist()
        return list(map(OpenSpan, (beyond - first).tolist(), open_at_start, open_at_end))

    def is_open(self, second: int) -> bool:
        """Whether [second, second + 1) is open."""
        return self.between(second, second + 1) == 1

    def closed_from(self, start: int, end: int) -> int:
        """Closed seconds with which [start, end) begins: 0 when `start` is open, all of them when nothing is open."""
        return bisect_right(range(start, end + 1), self.until(start), key=self.until) - 1

    def closed_before(self, start: int, end: int) -> int:
        """Closed seconds with which [start, end) ends: 0 when its last second is open."""
        return end - start - bisect_left(range(start, end + 1), self.until(end), key=self.until)

    def flat(self) -> OpenTime:
        """The same open time without a base, as `reached` needs it."""
        return self if self._base is None else OpenTime(self._closed())

    def reached(self, open_seconds: int) -> int:
        """The first second that has `open_seconds` before it, counted as `until` counts: its inverse. Flat only."""
        assert self._base is None
        passed = bisect_left(self._open_at_start, open_seconds)
        return open_seconds + (self._ends[passed - 1] - self._open_at_start[passed - 1] if passed else 0)

    def after(self, second: int, open_seconds: int) -> int:
        """The first second that has `open_seconds` between it and `second`. Flat only."""
        return self.reached(self.until(second) + open_seconds)

    def openings(self, first: int, last: int) -> Iterator[Interval]:
        """Every unbroken stretch of open time within [first, last). Flat only."""
        assert self._base is None
        index, opens = bisect_right(self._ends, first), first
        while index < len(self._starts) and self._starts[index] < last:
            if opens < self._starts[index]:
                yield opens, self._starts[index]
            opens = self._ends[index]
            index += 1
        if opens < last:
            yield opens, last

    def _closed(self) -> list[Interval]:
        own = list(zip(self._starts, self._ends, strict=True))
        return own if self._base is None else [*self._base._closed(), *own]

    def _until_each(self, seconds: NDArray[np.int64]) -> NDArray[np.int64]:
        """`until` of each."""
        import numpy as np

        base = seconds if self._base is None else self._base._until_each(seconds)
        if not self._starts:
            return base
        index = np.searchsorted(self._starts, seconds, side="right") - 1
        passed = np.maximum(base - np.array(self._base_at_end)[index], 0)
        return np.where(index < 0, base, np.array(self._open_at_start)[index] + passed)

    def _base_until(self, second: int) -> int:
        return second if self._base is None else self._base.until(second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The seconds that can be judged, both ends included."""

    first: int
    last: int

    def holds(self, *seconds: int) -> bool:
        """Whether all of them lie in it."""
        return all(self.first <= second <= self.last for second in seconds)


def reach_of(hours: WorkingHours | None) -> Reach:
    """How far from second 0 the calendar can be known: 250 years, less where the years 1 to 9999 end sooner."""
    if hours is None:
        return Reach(first=-MAX_REACH_SECONDS, last=MAX_REACH_SECONDS)
    longest = JUDGED_YEARS * 366 * SECONDS_PER_DAY
    # Two days of margin keep every local time of a judged second inside the years of `datetime`.
    earliest = datetime.min.replace(tzinfo=UTC) + timedelta(days=2) - hours.origin
    latest = datetime.max.replace(tzinfo=UTC) - timedelta(days=2) - hours.origin
    return Reach(first=min(0, max(-longest, _seconds(earliest))), last=max(0, min(longest, _seconds(latest))))


class MachineHours:
    """When machines are open, each by itself (`of_each`) and several together; `plant` is without their closures.

    Right for every second of [first, last], which must lie in `reach_of(hours)`.
    """

    def __init__(self, hours: WorkingHours | None, machines: Sequence[Machine], first: int, last: int) -> None:
        self.plant = plant = plant_open_time(hours, first, last)
        self.of_each = [_open_together(plant, (each,)) if each.closures else plant for each in machines]
        self._machines = machines
        self._together: dict[tuple[int, ...], OpenTime] = {}

    def of(self, machines: tuple[int, ...]) -> OpenTime:
        """When all of the machines with these indices are open."""
        if len(machines) == 1:
            return self.of_each[machines[0]]
        if machines not in self._together:
            self._together[machines] = _open_together(self.plant, [self._machines[index] for index in machines])
        return self._together[machines]

    def of_spans(self, machines: Iterable[tuple[int, ...]], spans: Sequence[Interval]) -> list[OpenSpan]:
        """What the machines have open of each span: nothing where there are none."""
        spans_of: dict[OpenTime, list[int]] = {}
        for place, held in enumerate(machines):
            if held:
                spans_of.setdefault(self.of(held), []).append(place)
        found = [NOTHING_OPEN] * len(spans)
        for opened, places in spans_of.items():
            for place, span in zip(places, opened.of_spans([spans[place] for place in places]), strict=True):
                found[place] = span
        return found


def open_times(hours: WorkingHours | None, machines: Sequence[Machine], first: int, last: int) -> tuple[OpenTime, ...]:
    """Open time of each machine, right for every second of [first, last], which must lie in `reach_of(hours)`."""
    return tuple(MachineHours(hours, machines, first, last).of_each)


def plant_open_time(hours: WorkingHours | None, first: int, last: int) -> OpenTime:
    """Open time of the plant as a whole, right for every second of [first, last]."""
    return OpenTime(() if hours is None else closed_hours(hours, first, last))


def _open_together(plant: OpenTime, machines: Iterable[Machine]) -> OpenTime:
    """The time in which the plant and all of the machines are open."""
    closed = [(closure.start_seconds, closure.end_seconds) for machine in machines for closure in machine.closures]
    return OpenTime(closed, base=plant) if closed else plant


def closed_hours(hours: WorkingHours, first: int, last: int) -> list[Interval]:
    """Closed intervals of the plant within [first, last], in seconds from its origin; they may overlap."""
    origin = _seconds(hours.origin - _EPOCH)
    closed = []
    for start, end, offset in _constant_offsets(hours, first, last):
        shift = origin + offset
        for from_local, to_local in _closed_by_wall_clock(hours, start + shift, end + shift):
            closed.append((max(start, from_local - shift), min(end, to_local - shift)))
    return [(start, end) for start, end in closed if start < end]


def _constant_offsets(hours: WorkingHours, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Pieces (start, end, offset) of [first, last] in which local time is UTC plus one offset in seconds.

    Looks once a day and bisects to the second where two days differ; since 1970 the changes of any
    one zone lie at least six days apart.
    """
    zone = ZoneInfo(hours.zone)

    def offset_at(second: int) -> int:
        offset = (hours.origin + timedelta(seconds=second)).astimezone(zone).utcoffset()
        assert offset is not None
        return _seconds(offset)

    start, offset = first, offset_at(first)
    for day in range(first, last, SECONDS_PER_DAY):
        until = min(day + SECONDS_PER_DAY, last)
        if offset_at(until) == offset:
            continue
        known = offset
        change = day + bisect_left(range(day, until), True, key=lambda second: offset_at(second) != known)
        yield start, change, offset
        start, offset = change, offset_at(until)
    yield start, last, offset


def _closed_by_wall_clock(hours: WorkingHours, first: int, last: int) -> Iterator[Interval]:
    """Breaks and holidays that touch [first, last], in local seconds since 1970 on a clock without changes."""
    holidays = {holiday.toordinal() - _EPOCH_DAY for holiday in hours.holidays}
    spans = [(rule.weekdays, *_span_in_day(rule.start, rule.end)) for rule in hours.breaks]
    # A break over midnight reaches the first day from the day before it.
    for day in range(first // SECONDS_PER_DAY - 1, last // SECONDS_PER_DAY + 1):
        midnight = day * SECONDS_PER_DAY
        weekday = (day + _EPOCH_WEEKDAY) % 7
        if day in holidays:
            yield midnight, midnight + SECONDS_PER_DAY
        for weekdays, start, end in spans:
            if weekday in weekdays:
                yield midnight + start, midnight + end


def _span_in_day(start: time, end: time) -> Interval:
    """Seconds from midnight; whole seconds lie in the span exactly when their instant does."""
    first, last = (_seconds_rounded_up(moment) for moment in (start, end))
    return first, last if end > start else last + SECONDS_PER_DAY


def _seconds_rounded_up(moment: time) -> int:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + (moment.microsecond > 0)


def _seconds(duration: timedelta) -> int:
    return duration // timedelta(seconds=1)


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Sorted, with a closed interval's neighbours joined to it."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def local_moment(hours: WorkingHours, second: int) -> datetime:
    """Wall-clock time of the plant at `second`, which must lie in `reach_of(hours)`."""
    return (hours.origin + timedelta(seconds=second)).astimezone(ZoneInfo(hours.zone))
