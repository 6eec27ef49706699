"""Schedules that are valid by construction, told from the definitions and not from the simulator or the judge."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

import numpy as np

from env.problem import Alternative, Operation, Pin, Problem
from env.schedule import Assignment, Schedule
from tests.open_time import open_mask


def schedule_of(*rows: tuple[str, int, int, int]) -> Schedule:
    """Rows of operation id, machine id, start and end in seconds."""
    return Schedule(
        assignments=tuple(
            Assignment(operation_id=operation_id, machine_id=machine_id, start_seconds=start, end_seconds=end)
            for operation_id, machine_id, start, end in rows
        )
    )


def valid_schedule(problem: Problem, choose: Callable[[int], int], longest_delay_seconds: int = 0) -> Schedule:
    """A valid schedule: pins first, then operations in a chosen order, each at the first opening after a chosen delay.

    `choose(count)` picks a number below `count`. Of a job only the first operations may be pinned. Raises
    `IndexError` when the horizon is too short.
    """
    floor = _Floor(problem)
    waiting = []
    for job in problem.jobs:
        ready, pinned = 0, [operation for operation in job.operations if operation.pin is not None]
        assert pinned == list(job.operations[: len(pinned)])
        for operation in pinned:
            ready = max(ready, floor.pin(operation))
        if pinned != list(job.operations):
            waiting.append((list(job.operations[len(pinned) :]), ready))
    while waiting:
        operations, ready = waiting.pop(choose(len(waiting)))
        current = operations.pop(0)
        chosen = current.alternatives[choose(len(current.alternatives))]
        ready = max(ready, floor.free_from(chosen), current.release_seconds)
        end = floor.place(current, chosen, ready + choose(longest_delay_seconds + 1))
        if operations:
            waiting.append((operations, end))
    return schedule_of(*floor.rows)


def pinned_in_place(problem: Problem, schedule: Schedule, operation_ids: Collection[str]) -> Problem:
    """The problem with some operations pinned where a valid schedule has them."""

    def pinned(operation: Operation) -> Operation:
        if operation.id not in operation_ids or operation.pin is not None:
            return operation
        row = schedule.by_operation[operation.id]
        return replace(_as_taken(problem, row, operation), pin=Pin(start_seconds=row.start_seconds))

    jobs = tuple(replace(job, operations=tuple(map(pinned, job.operations))) for job in problem.jobs)
    return replace(problem, jobs=jobs)


def continued(problem: Problem, schedule: Schedule, at_seconds: int) -> tuple[Problem, Schedule]:
    """What is left of a valid schedule and its problem at a whole minute: what started earlier has begun.

    Nothing may have begun in the problem itself.
    """
    rows = schedule.by_operation

    def left(operation: Operation) -> Operation:
        row, due, deadline = rows[operation.id], operation.due_seconds, operation.deadline_seconds
        later = replace(
            operation,
            release_seconds=max(0, operation.release_seconds - at_seconds),
            due_seconds=None if due is None else due - at_seconds,
            deadline_seconds=None if deadline is None else deadline - at_seconds,
            pin=operation.pin and Pin(start_seconds=max(0, operation.pin.start_seconds - at_seconds)),
        )
        if row.start_seconds >= at_seconds:
            return later
        pin = Pin(start_seconds=row.start_seconds - at_seconds, end_seconds=row.end_seconds - at_seconds)
        return replace(later, alternatives=_as_taken(problem, row, operation).alternatives, pin=pin)

    jobs = tuple(replace(job, operations=tuple(map(left, job.operations))) for job in problem.jobs)
    machines = tuple(
        replace(
            machine,
            busy_seconds=max(0, machine.busy_seconds - int(open_mask(problem, index)[:at_seconds].sum())),
            closures=tuple(
                replace(each, start_seconds=each.start_seconds - at_seconds, end_seconds=each.end_seconds - at_seconds)
                for each in machine.closures
            ),
        )
        for index, machine in enumerate(problem.machines)
    )
    hours = problem.hours and replace(problem.hours, origin=problem.hours.origin + timedelta(seconds=at_seconds))
    moved = tuple(
        replace(row, start_seconds=row.start_seconds - at_seconds, end_seconds=row.end_seconds - at_seconds)
        for row in schedule.assignments
    )
    return replace(problem, jobs=jobs, machines=machines, hours=hours), Schedule(assignments=moved)


def _as_taken(problem: Problem, row: Assignment, operation: Operation) -> Operation:
    """The operation on its machine alone, with the setup that it took: pinned work takes its own."""
    chosen = chosen_alternative(problem, operation, row)
    worked = int(open_mask(problem, *chosen.machines)[row.start_seconds : row.end_seconds].sum())
    return replace(operation, alternatives=(replace(chosen, setup_seconds=worked - chosen.processing_seconds),))


def chosen_alternative(problem: Problem, operation: Operation, row: Assignment) -> Alternative:
    """The alternative that the row chose."""
    (chosen,) = (each for each in operation.alternatives if problem.machines[each.machine].id == row.machine_id)
    return chosen


class _Floor:
    """The machines with what was put on them."""

    def __init__(self, problem: Problem) -> None:
        self.rows: list[tuple[str, int, int, int]] = []
        self._problem = problem
        self._held: list[list[tuple[int, int, str | None]]] = [[] for _ in problem.machines]
        self._open_at: dict[tuple[int, ...], np.ndarray] = {}
        self._free_at = [
            int(self._opened(index)[machine.busy_seconds - 1]) + 1 if machine.busy_seconds else 0
            for index, machine in enumerate(problem.machines)
        ]

    def free_from(self, chosen: Alternative) -> int:
        """When everything that was placed before has left the machines; pins do not count."""
        return max(self._free_at[machine] for machine in chosen.machines)

    def pin(self, operation: Operation) -> int:
        """Puts pinned work where it must be, and answers its end."""
        assert operation.pin is not None
        (chosen,) = operation.alternatives
        start, end = operation.pin.start_seconds, operation.pin.end_seconds
        if end is None:
            _, end = _first_fit(self._opened(*chosen.machines), start, chosen.duration_seconds, True)
        self._hold(operation, chosen, start, end)
        return end

    def place(self, operation: Operation, chosen: Alternative, earliest: int) -> int:
        """Puts work at the first place after `earliest` that no pin takes, and answers its end."""
        opened = self._opened(*chosen.machines)
        while True:
            duration = self._setup(operation, chosen, earliest) + chosen.processing_seconds
            start, end = _first_fit(opened, earliest, duration, operation.interruptible)
            # Also a pin between `earliest` and the start, because the setup would depend on it.
            in_the_way = [
                until
                for machine in chosen.machines
                for begin, until, _ in self._held[machine]
                if begin < end and until > earliest
            ]
            if not in_the_way:
                break
            earliest = max(in_the_way)
        self._hold(operation, chosen, start, end)
        for machine in chosen.machines:
            self._free_at[machine] = end
        return end

    def _opened(self, *machines: int) -> np.ndarray:
        if machines not in self._open_at:
            self._open_at[machines] = np.flatnonzero(open_mask(self._problem, *machines))
        return self._open_at[machines]

    def _hold(self, operation: Operation, chosen: Alternative, start: int, end: int) -> None:
        self.rows.append((operation.id, self._problem.machines[chosen.machine].id, start, end))
        for machine in chosen.machines:
            self._held[machine].append((start, end, operation.setup_group))

    def _setup(self, operation: Operation, chosen: Alternative, at: int) -> int:
        return max(self._setup_on(machine, operation, chosen, at) for machine in chosen.machines)

    def _setup_on(self, machine: int, operation: Operation, chosen: Alternative, at: int) -> int:
        ended = [(end, group) for _, end, group in self._held[machine] if end <= at]
        # Of those that end together the last one, because work that takes no time may come behind other work.
        before = max(reversed(ended), key=lambda each: each[0])[1] if ended else None
        if not self._problem.changeovers or before is None or operation.setup_group is None:
            return chosen.setup_seconds
        for where in (machine, None):
            for change in self._problem.changeovers:
                if (change.machine, change.before, change.after) == (where, before, operation.setup_group):
                    return change.setup_seconds
        return 0 if before == operation.setup_group else chosen.setup_seconds


def _first_fit(open_at: np.ndarray, earliest: int, duration: int, interruptible: bool) -> tuple[int, int]:
    first = int(np.searchsorted(open_at, earliest))
    if duration == 0:
        return int(open_at[first]), int(open_at[first])
    if not interruptible:
        unbroken = open_at[duration - 1 :] - open_at[: open_at.size - duration + 1] == duration - 1
        first += int(np.flatnonzero(unbroken[first:])[0])
    return int(open_at[first]), int(open_at[first + duration - 1]) + 1
