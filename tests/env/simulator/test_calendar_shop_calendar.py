from __future__ import annotations

from datetime import UTC, date, datetime, time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.errors import HorizonExceeded
from env.problem import SATURDAY, Closure, WeeklyBreak, WorkingHours
from env.simulator.calendar import SECONDS_PER_DAY, horizon_for, open_time, openings
from tests.problems import HOURS, is_closed

HOUR, MINUTE = 3600, 60
MONDAY_MORNING = datetime(2026, 1, 5, 6, 30, tzinfo=UTC)


def test_continuous_operation_is_one_opening() -> None:
    """Without working hours and closures the whole horizon is one opening."""
    assert openings(None, (), 100).tolist() == [[0, 100]]


def test_closures_cut_openings() -> None:
    """Overlapping and touching closures leave only what none of them covers."""
    closures = (
        Closure(start_seconds=10, end_seconds=20),
        Closure(start_seconds=15, end_seconds=30),
        Closure(start_seconds=30, end_seconds=40),
        Closure(start_seconds=-5, end_seconds=2),
    )
    assert openings(None, closures, 60).tolist() == [[2, 10], [40, 60]]


def test_default_monday_has_six_openings() -> None:
    """From 06:30 the default plant opens around tea, lunch, tea, dinner and supper, until 01:00."""
    table = openings(WorkingHours(origin=MONDAY_MORNING), (), SECONDS_PER_DAY)
    hours = (table / HOUR + 6.5).tolist()
    assert hours == [[6.5, 9.75], [10, 12.75], [13.5, 15.25], [15.5, 18], [19, 23], [23.5, 25]]


def test_spring_night_loses_its_skipped_hour() -> None:
    """In Berlin 02:00 becomes 03:00 on 29 March 2026: a break from 01:00 to 06:30 lasts four and a half hours."""
    hours = WorkingHours(
        origin=datetime(2026, 3, 28, 23, 0, tzinfo=UTC),
        zone="Europe/Berlin",
        breaks=(WeeklyBreak(name="off", start=time(1), end=time(6, 30)),),
    )
    assert openings(hours, (), 12 * HOUR).tolist() == [[0, HOUR], [HOUR + 4 * HOUR + 30 * MINUTE, 12 * HOUR]]


def test_autumn_night_closes_both_passes() -> None:
    """In New York 02:00 becomes 01:00 on 1 November 2026: a break from 01:15 to 01:45 happens twice."""
    hours = WorkingHours(
        origin=datetime(2026, 11, 1, 4, 0, tzinfo=UTC),
        zone="America/New_York",
        breaks=(WeeklyBreak(name="check", start=time(1, 15), end=time(1, 45)),),
    )
    quarter = 15 * MINUTE
    assert openings(hours, (), 4 * HOUR).tolist() == [
        [0, HOUR + quarter],
        [HOUR + 3 * quarter, 2 * HOUR + quarter],
        [2 * HOUR + 3 * quarter, 4 * HOUR],
    ]


def test_holiday_closes_its_date() -> None:
    """A holiday is closed from midnight to midnight by the wall clock."""
    hours = WorkingHours(origin=datetime(2026, 1, 4, 12, tzinfo=UTC), breaks=(), holidays=frozenset({date(2026, 1, 5)}))
    assert openings(hours, (), 3 * SECONDS_PER_DAY).tolist() == [[0, 12 * HOUR], [36 * HOUR, 72 * HOUR]]


def test_whole_day_break_reaches_midnight() -> None:
    """A break from 00:00 to 00:00 closes exactly that day."""
    hours = WorkingHours(
        origin=datetime(2026, 1, 9, 0, tzinfo=UTC),
        breaks=(WeeklyBreak(name="Saturday", start=time(0), end=time(0), weekdays=frozenset({SATURDAY})),),
    )
    assert openings(hours, (), 3 * SECONDS_PER_DAY).tolist() == [[0, 24 * HOUR], [48 * HOUR, 72 * HOUR]]


def test_plant_that_never_opens_exceeds_the_horizon() -> None:
    """A plant closed around the clock can hold no work, and says so."""
    hours = WorkingHours(origin=MONDAY_MORNING, breaks=(WeeklyBreak(name="always", start=time(0), end=time(0)),))
    with pytest.raises(HorizonExceeded, match=r"must hold 1\.0 h of work within 200 years"):
        horizon_for(hours, 0, HOUR)


@given(st.sampled_from([hours for hours in HOURS if hours is not None]), st.integers(0, 10 * SECONDS_PER_DAY - 1))
@settings(max_examples=300)
def test_openings_hold_exactly_the_open_seconds(hours: WorkingHours, second: int) -> None:
    """A second lies in an opening if and only if its wall-clock time lies in no break and on no holiday."""
    table = openings(hours, (), 10 * SECONDS_PER_DAY)
    inside = bool(np.any((table[:, 0] <= second) & (second < table[:, 1])))
    assert inside != is_closed(hours, second)


@given(st.sampled_from(HOURS), st.integers(0, 10**6), st.integers(1, 10**6))
@settings(max_examples=50)
def test_horizon_holds_what_was_asked(hours: WorkingHours | None, after: int, work: int) -> None:
    """The horizon has at least the wanted open time after the wanted instant."""
    if hours is not None:
        horizon = horizon_for(hours, after, work)
        assert open_time(openings(hours, (), horizon), after, horizon) >= work
