"""Setups that depend on the sequence, and pinned work, as arrays of the compiled core."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from env.calendar_tables import CalendarTables
from env.problem import Operation, Problem

NO_GROUP = -1
OWN_SETUP = -1


class Setups(NamedTuple):
    """Groups by number and what changing between them takes."""

    operation_group: NDArray[np.int64]  # [operation] NO_GROUP where setups do not depend on the sequence
    changeover: NDArray[np.int64]  # [group, group] seconds, OWN_SETUP for an operation's own

    def bounds(self, own: NDArray[np.int64], pair_operation: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Shortest and longest setup of each pair over all that may precede it, both shape [pair]."""
        if not self.changeover.size:
            return own, own
        listed = self.changeover != OWN_SETUP
        least = np.where(listed, self.changeover, np.iinfo(np.int64).max).min(axis=0)
        most = np.where(listed, self.changeover, 0).max(axis=0)
        group = self.operation_group[pair_operation]
        depends = group != NO_GROUP
        shortest = np.where(depends, np.minimum(own, least[group]), own)
        return shortest, np.where(depends, np.maximum(own, most[group]), own)


class PinnedWork(NamedTuple):
    """What is pinned, by operation and by machine."""

    operation_pinned: NDArray[np.bool_]  # [operation]
    operation_urgent: NDArray[np.bool_]  # [operation] pinned work of its job waits for it
    pin_start: NDArray[np.int64]  # [operation] 0 where it is not pinned
    pin_end: NDArray[np.int64]  # [operation] 0 where it is not pinned
    pinned_first: NDArray[np.int64]  # [machine + 1] first pinned work of each machine
    pinned_start: NDArray[np.int64]  # [pinned] sorted by start
    pinned_end: NDArray[np.int64]  # [pinned]
    pinned_group: NDArray[np.int64]  # [pinned]


def setups(problem: Problem) -> Setups:
    """Groups and changeovers of a problem; without changeovers no operation has a group."""
    named = [operation.setup_group for operation in problem.operations]
    if not problem.changeovers:
        return Setups(np.full(len(named), NO_GROUP, dtype=np.int64), np.empty((0, 0), dtype=np.int64))
    listed = {name for change in problem.changeovers for name in (change.before, change.after)}
    number = {name: index for index, name in enumerate(sorted(listed | {name for name in named if name is not None}))}
    changeover = np.full((len(number), len(number)), OWN_SETUP, dtype=np.int64)
    np.fill_diagonal(changeover, 0)
    for change in problem.changeovers:
        changeover[number[change.before], number[change.after]] = change.setup_seconds
    group = [NO_GROUP if name is None else number[name] for name in named]
    return Setups(np.array(group, dtype=np.int64), changeover)


def pinned_work(problem: Problem, operation_group: NDArray[np.int64], calendars: CalendarTables) -> PinnedWork:
    """Pins with their ends; work without a given end takes its own setup and processing on the calendar."""
    operations = problem.operations
    spans = _spans(operations, calendars)
    by_machine: list[list[tuple[int, int, int]]] = [[] for _ in problem.machines]
    for operation, span, group in zip(operations, spans, operation_group.tolist(), strict=True):
        if span is not None:
            for machine in operation.alternatives[0].machines:
                by_machine[machine].append((*span, group))
    rows = np.array([row for work in by_machine for row in sorted(work)], dtype=np.int64).reshape(-1, 3)
    return PinnedWork(
        operation_pinned=np.array([span is not None for span in spans]),
        operation_urgent=np.array(_urgent(problem)),
        pin_start=np.array([0 if span is None else span[0] for span in spans], dtype=np.int64),
        pin_end=np.array([0 if span is None else span[1] for span in spans], dtype=np.int64),
        pinned_first=np.cumsum([0, *map(len, by_machine)]).astype(np.int64),
        pinned_start=rows[:, 0].copy(),
        pinned_end=rows[:, 1].copy(),
        pinned_group=rows[:, 2].copy(),
    )


def _spans(operations: tuple[Operation, ...], calendars: CalendarTables) -> list[tuple[int, int] | None]:
    spans: list[tuple[int, int] | None] = []
    pair = 0
    for operation in operations:
        if operation.pin is None:
            spans.append(None)
        else:
            start, end = operation.pin.start_seconds, operation.pin.end_seconds
            if end is None:
                work = operation.alternatives[0].duration_seconds
                end = calendars.end_of_work(int(calendars.pair_calendar[pair]), start, work)
            spans.append((start, end))
        pair += len(operation.alternatives)
    return spans


def _urgent(problem: Problem) -> list[bool]:
    """Whether any later operation of the same job is pinned."""
    urgent: list[bool] = []
    for job in problem.jobs:
        last_pin = max((step for step, operation in enumerate(job.operations) if operation.pin is not None), default=0)
        urgent += [step < last_pin for step in range(len(job.operations))]
    return urgent
