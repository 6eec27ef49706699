"""When machines are open by the definition of working hours, asked about every minute, one instant at a time.

Shares no code with the calendars of the simulator and of the judge.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from env.problem import Problem, WeeklyBreak, WorkingHours

MINUTE, HOUR, DAY = 60, 3600, 86_400
HORIZON_DAYS = 12


def is_closed(hours: WorkingHours, second: int) -> bool:
    """The definition of working hours, applied to one instant."""
    local = (hours.origin + timedelta(seconds=second)).astimezone(ZoneInfo(hours.zone)).replace(tzinfo=None)
    return local.date() in hours.holidays or any(_lies_in(rule, local) for rule in hours.breaks)


def _lies_in(rule: WeeklyBreak, local: datetime) -> bool:
    over_midnight = rule.end <= rule.start
    today, yesterday = local.weekday() in rule.weekdays, (local.weekday() - 1) % 7 in rule.weekdays
    if over_midnight:
        return (today and local.time() >= rule.start) or (yesterday and local.time() < rule.end)
    return today and rule.start <= local.time() < rule.end


@lru_cache(maxsize=32)
def _plant_open(hours: WorkingHours | None, days_before: int) -> np.ndarray:
    """Mask of open seconds, shape [horizon]; origin and breaks of `hours` must lie on whole minutes."""
    first, last = -days_before * DAY // MINUTE, HORIZON_DAYS * DAY // MINUTE
    if hours is None:
        return np.ones((last - first) * MINUTE, dtype=bool)
    return np.repeat([not is_closed(hours, minute * MINUTE) for minute in range(first, last)], MINUTE)


def open_mask(problem: Problem, *machines: int, days_before: int = 0) -> np.ndarray:
    """Seconds in which all of the machines (indices) are open, from so many days before second 0, shape [horizon]."""
    mask, shift = _plant_open(problem.hours, days_before).copy(), days_before * DAY
    for machine in machines:
        for closure in problem.machines[machine].closures:
            mask[max(0, closure.start_seconds + shift) : max(0, closure.end_seconds + shift)] = False
    return mask


def worked_seconds(problem: Problem, machines: tuple[int, ...], start: int, end: int) -> int:
    """Open time of all the machines together within [start, end), which may lie before second 0."""
    days = -min(0, start) // DAY + (1 if start < 0 else 0)
    return int(open_mask(problem, *machines, days_before=days)[start + days * DAY : end + days * DAY].sum())
