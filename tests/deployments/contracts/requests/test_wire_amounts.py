"""Hours and seconds: exact, and rounded as documented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.contracts.requests.wire import (
    first_second_from,
    hours_of,
    in_zone,
    instant,
    last_second_until,
    seconds_after,
    seconds_of,
    up_to_second,
)

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("hours", "seconds"),
    [(0.3, 1080), (2.5, 9000), (0.0, 0), (1e-9, 0), (0.0001388888, 0), (0.00013889, 1), (10_000.0, 36_000_000)],
)
def test_seconds_of_known_hours(hours: float, seconds: int) -> None:
    """0.3 h is 1080 s exactly; less than half a second is none."""
    assert seconds_of(hours) == seconds


@pytest.mark.parametrize(("hours", "seconds"), [(0.000625, 2), (0.00125, 5), (0.001875, 7)])
def test_seconds_of_rounds_half_up(hours: float, seconds: int) -> None:
    """2.25 s becomes 2 s, 4.5 s becomes 5 s and 6.75 s becomes 7 s."""
    assert seconds_of(hours) == seconds


@given(st.integers(0, 36_000_000))
def test_seconds_survive_the_way_over_hours(seconds: int) -> None:
    """Hours of an answer lead back to the very second."""
    assert seconds_of(hours_of(seconds)) == seconds


def test_start_is_rounded_up_to_a_whole_second() -> None:
    """A fraction of a second moves to the next second, a whole second stays."""
    whole = datetime(2025, 7, 22, 14, tzinfo=UTC)
    assert up_to_second(whole) == whole
    assert up_to_second(whole + timedelta(microseconds=1)) == whole + timedelta(seconds=1)


def test_release_is_rounded_up_and_due_date_down() -> None:
    """Material that comes within a second is there at its end; work must be done at its beginning."""
    start = datetime(2025, 7, 22, 14, tzinfo=UTC)
    moment = start + timedelta(seconds=9, milliseconds=500)
    assert (first_second_from(start, moment), last_second_until(start, moment)) == (10, 9)
    before = start - timedelta(milliseconds=500)
    assert (first_second_from(start, before), last_second_until(start, before)) == (0, -1)


def test_naive_datetime_is_the_plants_clock() -> None:
    """A datetime without zone is wall-clock time of the plant; one with a zone keeps it."""
    naive = datetime(2025, 7, 22, 14)  # noqa: DTZ001
    assert in_zone(naive, BERLIN) == datetime(2025, 7, 22, 12, tzinfo=UTC)
    aware = datetime(2025, 7, 22, 14, tzinfo=UTC)
    assert in_zone(aware, BERLIN) is aware


def test_seconds_run_on_when_the_clocks_change() -> None:
    """From noon to noon over the night that loses an hour are 23 hours, and back again by the wall clock."""
    start = datetime(2025, 3, 29, 12, tzinfo=BERLIN)
    assert seconds_after(start, datetime(2025, 3, 30, 12, tzinfo=BERLIN)) == 23 * 3600
    assert instant(start, 23 * 3600, BERLIN).isoformat() == "2025-03-30T12:00:00+02:00"


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
@pytest.mark.parametrize("zone", ["Asia/Kuala_Lumpur", "America/New_York", "UTC"])
def test_seconds_to_the_ends_of_the_calendar_do_not_overflow(moment: str, zone: str) -> None:
    """Placeholders such as 0001-01-01 and 9999-12-31 are far away, not an error."""
    start = datetime(2025, 7, 22, 14, tzinfo=UTC)
    assert abs(seconds_after(start, in_zone(datetime.fromisoformat(moment), ZoneInfo(zone)))) > 6e10
