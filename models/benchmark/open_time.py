"""Time in which a plant is open, as one axis without pauses: what makes interruptible work rigid for a solver.

Where all machines share one calendar, work that pauses over breaks is work without a pause on this
axis. What a due date asks is then told by steps: each break that an end lies behind makes it later by
the length of the break.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from env.problem import Problem
from env.simulator.calendar import Intervals, openings


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStep:
    """Work that ends after `open_second` ends later by `closed_seconds` than the open time says."""

    open_second: int
    closed_seconds: int


class OpenTimeAxis:
    """Openings of one calendar, shape [opening, 2], sorted."""

    def __init__(self, intervals: Intervals) -> None:
        self.starts, self.ends = intervals.T
        self.before = np.concatenate([[0], np.cumsum(self.ends - self.starts)[:-1]])

    @property
    def break_count(self) -> int:
        """Breaks before and between the openings."""
        return len(self.starts)

    def open_seconds(self, instant: int) -> int:
        """Open seconds in [0, instant)."""
        opening = int(np.searchsorted(self.starts, instant, side="right")) - 1
        if opening < 0:
            return 0
        return int(self.before[opening] + min(instant, int(self.ends[opening])) - self.starts[opening])

    def steps_after(self, instant: int) -> list[OpenStep]:
        """The closed time after `instant`, break by break."""
        closed_from = np.concatenate([[0], self.ends[:-1]])
        late = np.flatnonzero((self.starts > instant) & (self.starts > closed_from))
        return [
            OpenStep(open_second=int(self.before[k]), closed_seconds=int(self.starts[k] - max(instant, closed_from[k])))
            for k in late
        ]


def shared_axis(problem: Problem, until_seconds: int) -> OpenTimeAxis | None:
    """The axis of a plant whose machines share one calendar with breaks, up to an instant.

    None where nothing ever closes or machines close at different times.
    """
    closures = {machine.closures for machine in problem.machines}
    if len(closures) > 1 or (problem.hours is None and closures == {()}):
        return None
    return OpenTimeAxis(openings(problem.hours, closures.pop(), until_seconds))
