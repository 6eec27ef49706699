"""When work could end at the earliest, if nothing else were planned: a bound that no schedule can beat."""

from __future__ import annotations

from collections.abc import Iterator

from deployments.contracts.open_hours import PlantHours
from env.problem import Alternative, Operation, Problem

MOST_OPTIONS = 8
Option = tuple[tuple[int, ...], int, int]
"""Machines whose openings count (none: those of the plant), second from which they are free, seconds of work."""


class EarliestEnds:
    """Lower bounds of the end of each operation. Exact up to `MOST_OPTIONS` different machines, looser beyond."""

    def __init__(self, problem: Problem, plant: PlantHours) -> None:
        self._problem = problem
        self._plant = plant
        self._setups_into: dict[str, int] = {}
        for change in problem.changeovers:
            known = self._setups_into.get(change.after, change.setup_seconds)
            self._setups_into[change.after] = min(known, change.setup_seconds)
        self._repeats = {change.after for change in problem.changeovers if change.before == change.after}
        # Jobs that agree share one tuple of alternatives, and then these.
        self._known: dict[tuple[int, str | None], tuple[Option, ...]] = {}

    def of(self, operation: Operation, ready: int) -> int | None:
        """The earliest end when work may start at `ready`, None when that is beyond the known calendar."""
        key = (id(operation.alternatives), operation.setup_group)
        if key not in self._known:
            self._known[key] = self._bounded(set(self._options(operation)))
        ends = [
            self._plant.of(machines).finish(max(ready, free), work, interruptible=operation.interruptible)
            for machines, free, work in self._known[key]
        ]
        return min((end for end in ends if end is not None), default=None)

    def shortest(self, operation: Operation, choice: Alternative) -> int:
        """Seconds of work; a setup matrix may shorten its setup, down to nothing between equal groups not listed."""
        setup, group = choice.setup_seconds, operation.setup_group
        if self._problem.changeovers and group is not None:
            after_same = setup if group in self._repeats else 0
            setup = min(setup, after_same, self._setups_into.get(group, setup))
        return choice.processing_seconds + setup

    def _options(self, operation: Operation) -> Iterator[Option]:
        for choice in operation.alternatives:
            has_own_calendar = any(self._problem.machines[machine].closures for machine in choice.machines)
            machines = choice.machines if has_own_calendar else ()
            yield machines, self._plant.free_from(choice.machines), self.shortest(operation, choice)

    def _bounded(self, options: set[Option]) -> tuple[Option, ...]:
        if len(options) <= MOST_OPTIONS:
            return tuple(sorted(options))
        # No machine is open while the plant is closed, so its openings are a bound for all of them.
        return (((), min(free for _, free, _ in options), min(work for _, _, work in options)),)
