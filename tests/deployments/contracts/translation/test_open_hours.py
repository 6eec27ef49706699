"""Open time for proofs: known answers by hand, and the simulator's calendar as the law."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.contracts.translation.open_hours import OpenHours
from env.problem import Closure, WeeklyBreak, WorkingHours
from env.simulator.calendar import open_time, openings

HOUR, DAY = 3600, 86_400
BERLIN = ZoneInfo("Europe/Berlin")
# Open from 06:00 to 12:00 and from 13:00 to 22:00; second 0 is Monday, 08:00.
HOURS = WorkingHours(
    origin=datetime(2026, 3, 16, 8, tzinfo=BERLIN),
    zone="Europe/Berlin",
    breaks=(
        WeeklyBreak(name="noon", start=time(12), end=time(13)),
        WeeklyBreak(name="night", start=time(22), end=time(6)),
    ),
)


@pytest.fixture(scope="module")
def plant() -> OpenHours:
    return OpenHours(HOURS, (), -2 * DAY, 5 * DAY)


@pytest.mark.parametrize(
    ("start", "work", "end"),
    [
        (0, 4 * HOUR, 4 * HOUR),
        (0, 4 * HOUR + 1, 5 * HOUR + 1),
        (4 * HOUR, 1, 5 * HOUR + 1),
        (0, 15 * HOUR, 24 * HOUR),
        (-2 * HOUR, 6 * HOUR, 4 * HOUR),
        (-12 * HOUR, 3 * HOUR, -HOUR),
    ],
)
def test_work_pauses_over_breaks(plant: OpenHours, start: int, work: int, end: int) -> None:
    """Noon costs an hour, the night eight, and work may have begun before second 0."""
    assert plant.finish(start, work) == end


def test_work_without_pause_waits_for_an_opening_that_holds_it(plant: OpenHours) -> None:
    """Five hours do not fit before noon, so they begin at 13:00; ten fit nowhere."""
    assert plant.finish(0, 4 * HOUR, interruptible=False) == 4 * HOUR
    assert plant.finish(0, 5 * HOUR, interruptible=False) == 10 * HOUR
    assert plant.finish(0, 10 * HOUR, interruptible=False) is None


def test_longest_opening_is_the_first_of_equals(plant: OpenHours) -> None:
    """The afternoon has nine hours; the one of the day before yesterday comes first."""
    assert plant.longest == (-2 * DAY + 5 * HOUR, -2 * DAY + 14 * HOUR)


def test_nothing_ends_beyond_the_known_calendar(plant: OpenHours) -> None:
    """What lies beyond the last known second is unknown, not impossible."""
    assert plant.finish(0, 1000 * HOUR) is None
    assert plant.next_open(6 * DAY) is None


def test_machine_that_never_opens_has_no_opening() -> None:
    """A closure over everything leaves nothing."""
    closed = OpenHours(None, (Closure(start_seconds=-DAY, end_seconds=9 * DAY),), 0, 5 * DAY)
    assert (closed.longest, closed.next_open(0), closed.finish(0, 1)) == (None, None, None)


@settings(max_examples=50)
@given(start=st.integers(0, 3 * DAY), work=st.integers(1, 20 * HOUR), closed=st.integers(0, 2 * DAY))
def test_end_of_work_holds_exactly_its_open_time(start: int, work: int, closed: int) -> None:
    """Between a start and the end of work the simulator's calendar counts that work, and its last second is open."""
    closures = (Closure(start_seconds=closed, end_seconds=closed + 5 * HOUR),)
    end = OpenHours(HOURS, closures, -DAY, 9 * DAY).finish(start, work)
    known = openings(HOURS, closures, 9 * DAY)
    assert end is not None
    assert open_time(known, start, end) == work
    assert open_time(known, start, end - 1) == work - 1
