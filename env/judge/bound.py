"""How short a plan could be at best: a lower bound of the makespan, by the judge's own calendar.

Two relaxations of the question, and the longer of them: each job alone on an empty plant, and each group of machines
with the work that only they can do, as if it could be cut up at will, after the earliest head and before the shortest
tail of that work (Carlier, The one-machine sequencing problem, EJOR 1982).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from env.judge.calendar import OpenTime
from env.judge.case import Case
from env.problem import Alternative, Operation, Problem

MAX_CALENDARS = 64
"""So many machine calendars are told apart when a job is alone on the plant; further ones count as the plant's."""
MAX_GROUPS = 64
"""So many groups of machines are looked at, those with the most work for each machine."""


@dataclass(slots=True)
class _Work:
    """What operations ask of a group of machines: `seconds` of them together, from `head`, with `tail` after it."""

    seconds: int
    head: int
    tail: int

    def add(self, seconds: int, head: int, tail: int) -> None:
        self.seconds += seconds
        self.head = min(self.head, head)
        self.tail = min(self.tail, tail)


class _Choice(NamedTuple):
    """What operations with the same alternatives have in common.

    `group` are all machines that they may hold, as a set of bits; `held` is how many they hold at least.
    """

    group: int
    held: int
    shortest_processing: int
    shortest_duration: int


class _Place(NamedTuple):
    """Where a job that is alone finds a machine: when it is open, and from when the first of them is free."""

    opened: OpenTime
    free_from: int


class MakespanBound:
    """The bound for one case; the groups of machines are found once, for as many kinds of durations as are asked.

    The calendar is known until the case's schedule ends, and counts as open after that: an incomplete schedule has a
    lower bound that may be lower still.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._problem: Problem = case.problem
        self._plant = case.hours.plant.flat()
        self._calendars: dict[object, OpenTime] = {(): self._plant}
        self._members: dict[int, frozenset[int]] = {}
        self._groups: dict[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]], tuple[int, int]] = {}
        self._places: dict[int, tuple[_Place, ...]] = {}
        # Operations that agree share one tuple of alternatives, which may be long.
        shared = {id(operation.alternatives): operation.alternatives for operation in case.problem.operations}
        choice_of = {identity: self._choice(alternatives) for identity, alternatives in shared.items()}
        self._choices = {each.id: choice_of[id(each.alternatives)] for each in case.problem.operations}

    @cached_property
    def seconds(self) -> int:
        """No plan for the problem has a shorter makespan; 0 when all work ended before the schedule begins."""
        if not self._problem.changeovers:
            return self.seconds_with({name: choice.shortest_duration for name, choice in self._choices.items()})
        return self.seconds_with({operation.id: self._shortest(operation) for operation in self._problem.operations})

    def seconds_with(self, durations: Mapping[str, int]) -> int:
        """The same when each operation takes the working seconds in `durations` on whatever machine does it."""
        last, works = 0, dict[int, _Work]()
        for job in self._problem.jobs:
            tail = sum(durations[operation.id] for operation in job.operations if not _is_settled(operation))
            ready = 0
            for operation in job.operations:
                choice = self._choices[operation.id]
                if _is_settled(operation):
                    head, ready = ready, max(ready, self._settled_end(operation))
                    seconds, rest = self._settled_work(operation), 0
                else:
                    tail -= durations[operation.id]
                    head = max(ready, operation.release_seconds, operation.pin.start_seconds if operation.pin else 0)
                    ready = max(head, self._end(choice.group, head, durations[operation.id]))
                    seconds, rest = choice.held * durations[operation.id], tail
                if seconds and choice.group in works:
                    works[choice.group].add(seconds, head, rest)
                elif seconds:
                    works[choice.group] = _Work(seconds, head, rest)
            last = max(last, ready)
        return self._loads(works, last)

    def machines_of(self, operation: Operation) -> frozenset[int]:
        """Indices of all machines that some alternative of it holds."""
        return self._members[self._choices[operation.id].group]

    def _choice(self, alternatives: tuple[Alternative, ...]) -> _Choice:
        machines = tuple([each.machine for each in alternatives])
        also_held = tuple([each.also_holds for each in alternatives])
        known = self._groups.get((machines, also_held))
        if known is None:
            members = frozenset(chain(machines, *also_held))
            group = sum([1 << machine for machine in members])
            known = self._groups[machines, also_held] = group, 1 + min(map(len, also_held))
            self._members[group] = members
        return _Choice(
            *known,
            min([each.processing_seconds for each in alternatives]),
            min([each.processing_seconds + each.setup_seconds for each in alternatives]),
        )

    def _shortest(self, operation: Operation) -> int:
        """Working seconds at least where there are changeovers: one may be listed that takes no time."""
        choice = self._choices[operation.id]
        may_change_over = operation.setup_group is not None and operation.pin is None
        return choice.shortest_processing if may_change_over else choice.shortest_duration

    def _settled_end(self, operation: Operation) -> int:
        assert operation.pin is not None
        assert operation.pin.end_seconds is not None
        return operation.pin.end_seconds

    def _settled_work(self, operation: Operation) -> int:
        """Open time that settled work takes from the machines that it holds, beside their earlier load."""
        assert operation.pin is not None
        start, end = max(0, operation.pin.start_seconds), self._settled_end(operation)
        seconds = 0
        for index in operation.alternatives[0].machines:
            opened, busy = self._case.hours.of_each[index], self._problem.machines[index].busy_seconds
            seconds += max(0, opened.between(0, end) - max(busy, opened.between(0, start)))
        return seconds

    def _end(self, group: int, start: int, duration: int) -> int:
        """When work of the group that may begin at `start` is done, on the machine where that is earliest."""
        if group not in self._places:
            self._places[group] = self._places_of(self._members[group])
        return min([_after(opened, max(start, free_from), duration) for opened, free_from in self._places[group]])

    def _places_of(self, machines: Iterable[int]) -> tuple[_Place, ...]:
        """One for each calendar, with the first of its machines that is free."""
        free: dict[OpenTime, int] = {}
        for index in machines:
            machine = self._problem.machines[index]
            opened = self._calendars.get(machine.closures)
            if opened is None and len(self._calendars) < MAX_CALENDARS:
                opened = self._calendars[machine.closures] = self._case.hours.of_each[index].flat()
            opened = opened or self._plant
            from_second = _after(opened, 0, machine.busy_seconds) if machine.busy_seconds else 0
            free[opened] = min(free.get(opened, from_second), from_second)
        return tuple([_Place(opened, free_from) for opened, free_from in free.items()])

    def _loads(self, works: Mapping[int, _Work], last: int) -> int:
        """`last`, or the end of the group of machines that has too much to do until then."""
        everything = 0
        for group in works:
            everything |= group
        busiest = sorted(works, key=lambda group: works[group].seconds / group.bit_count(), reverse=True)
        for group in dict.fromkeys((everything, *busiest[:MAX_GROUPS])):
            inside = [work for other, work in works.items() if other | group == group]
            if inside:
                seconds = sum([work.seconds for work in inside])
                head, tail = min([work.head for work in inside]), min([work.tail for work in inside])
                last = max(last, self._load(group, _Work(seconds, head, tail), last))
        return last

    def _load(self, group: int, work: _Work, last: int) -> int:
        """When the group is done with the work and with what follows it; any second up to `last` if before."""
        kinds: dict[tuple[object, int], tuple[OpenTime, int, int]] = {}
        for index in range(group.bit_length()):
            if group >> index & 1:
                machine = self._problem.machines[index]
                kind = machine.closures, machine.busy_seconds
                opened, spare, count = kinds.get(kind) or self._spare(index, work.head)
                kinds[kind] = opened, spare, count + 1

        def done(until: int) -> int:
            return sum([count * max(0, _until(opened, until) - spare) for opened, spare, count in kinds.values()])

        def with_tail(until: int) -> int:
            return _after(self._plant, until, work.tail) if work.tail else until

        before = _after(self._plant, last, -work.tail)
        if done(max(before, work.head)) >= work.seconds:
            return last
        low = high = max(before, work.head)
        while done(high) < work.seconds:
            high += high - low + work.seconds
        return with_tail(low + bisect_left(range(low, high), work.seconds, key=done))

    def _spare(self, index: int, head: int) -> tuple[OpenTime, int, int]:
        """When a machine is open, its total of open seconds at which work from `head` on can begin, and 0 so far."""
        opened = self._case.hours.of_each[index]
        return opened, max(_until(opened, 0) + self._problem.machines[index].busy_seconds, _until(opened, head)), 0


# Around the clock the calendar need not be asked, and many plants work like that.
def _until(opened: OpenTime, second: int) -> int:
    return second if opened.is_always_open else opened.until(second)


def _after(opened: OpenTime, second: int, open_seconds: int) -> int:
    return second + open_seconds if opened.is_always_open else opened.after(second, open_seconds)


def _is_settled(operation: Operation) -> bool:
    return operation.pin is not None and operation.pin.end_seconds is not None
