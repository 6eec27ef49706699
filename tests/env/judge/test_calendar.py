"""The judge's calendar against hand-computed closed forms, then against the definition, instant by instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env.judge.calendar import OpenTime, open_times, reach_of
from env.problem import EVERY_DAY, SATURDAY, SUNDAY, Closure, Machine, WeeklyBreak, WorkingHours
from tests.problems import DAY, HOUR, MINUTE, SMALL_HOURS, is_closed

BERLIN_SPRING = datetime(2025, 3, 29, 23, 0, tzinfo=UTC)  # Sunday 2025-03-30 00:00 +01:00
BERLIN_AUTUMN = datetime(2025, 10, 25, 22, 0, tzinfo=UTC)  # Sunday 2025-10-26 00:00 +02:00
NEW_YORK_SPRING = datetime(2025, 3, 9, 5, 0, tzinfo=UTC)  # Sunday 2025-03-09 00:00 -05:00
NEW_YORK_AUTUMN = datetime(2025, 11, 2, 4, 0, tzinfo=UTC)  # Sunday 2025-11-02 00:00 -04:00
MONDAY_MIDNIGHT = datetime(2025, 7, 21, tzinfo=UTC)


def opened(hours: WorkingHours | None, *closures: Closure, last: int = 30 * DAY) -> OpenTime:
    """Open time of one machine from a day before `schedule_start`."""
    return open_times(hours, [Machine(id=1, closures=closures)], -DAY, last)[0]


def working(
    origin: datetime, *breaks: WeeklyBreak, zone: str = "UTC", holidays: frozenset[date] = frozenset()
) -> OpenTime:
    return opened(WorkingHours(origin=origin, zone=zone, breaks=breaks, holidays=holidays))


def closed(start: time, end: time, *weekdays: int) -> WeeklyBreak:
    return WeeklyBreak(name="closed", start=start, end=end, weekdays=frozenset(weekdays) or EVERY_DAY)


def test_plain_break_closes_its_first_second_and_not_its_end() -> None:
    """A break from 12:45 to 13:30 takes 45 minutes a day, first second included, last excluded."""
    calendar = working(MONDAY_MIDNIGHT, closed(time(12, 45), time(13, 30)))
    start, end = 12 * HOUR + 45 * MINUTE, 13 * HOUR + 30 * MINUTE
    assert calendar.between(0, DAY) == DAY - 45 * MINUTE
    assert [calendar.is_open(second) for second in (start - 1, start, end - 1, end)] == [True, False, False, True]


def test_break_over_midnight_closes_the_next_morning() -> None:
    """22:00 to 06:00 closes eight hours, and the first of them belong to the evening before second 0."""
    calendar = working(MONDAY_MIDNIGHT, closed(time(22, 0), time(6, 0)))
    assert calendar.between(0, 6 * HOUR) == 0
    assert calendar.between(0, DAY) == 16 * HOUR
    assert [calendar.is_open(second) for second in (6 * HOUR - 1, 6 * HOUR, 22 * HOUR - 1, 22 * HOUR)] == [
        False,
        True,
        True,
        False,
    ]


def test_break_over_midnight_on_one_weekday_ends_on_the_next() -> None:
    """Sunday 22:00 to 06:00 closes Monday's first six hours and no other morning."""
    calendar = working(MONDAY_MIDNIGHT, closed(time(22, 0), time(6, 0), SUNDAY))
    assert calendar.between(0, 6 * HOUR) == 0
    assert calendar.between(6 * HOUR, 6 * DAY + 22 * HOUR) == 6 * DAY + 16 * HOUR
    assert calendar.between(6 * DAY + 22 * HOUR, 7 * DAY + 6 * HOUR) == 0


def test_default_week_is_open_for_85_and_three_quarter_hours() -> None:
    """Monday to Friday are 24 h less the night (5.5), two teas (0.25 each), lunch (0.75), dinner (1) and supper (0.5):
    15.75 h. Saturday is open from 00:00 to 01:00 and from 06:30 to 12:45 less one tea: 7 h. Sunday is closed."""
    calendar = opened(WorkingHours(origin=MONDAY_MIDNIGHT))
    assert calendar.between(0, DAY) == 15 * HOUR + 45 * MINUTE
    assert calendar.between(5 * DAY, 6 * DAY) == 7 * HOUR
    assert calendar.between(6 * DAY, 7 * DAY) == 0
    assert calendar.between(0, 7 * DAY) == 85 * HOUR + 45 * MINUTE


def test_saturday_closes_at_13_and_sunday_does_not_open() -> None:
    """With the default breaks the week ends before lunch on Saturday at 12:45, and work resumes on Monday 00:00."""
    calendar = opened(WorkingHours(origin=MONDAY_MIDNIGHT))
    assert calendar.closed_from(5 * DAY + 12 * HOUR + 45 * MINUTE, 8 * DAY) == 11 * HOUR + 15 * MINUTE + DAY
    assert calendar.is_open(5 * DAY + 12 * HOUR + 45 * MINUTE - 1)
    assert calendar.is_open(7 * DAY)


def test_holiday_closes_the_whole_local_day() -> None:
    """A holiday lasts from midnight to midnight by the plant's clock, eight hours ahead of UTC."""
    calendar = working(MONDAY_MIDNIGHT, zone="Asia/Kuala_Lumpur", holidays=frozenset({date(2025, 7, 22)}))
    assert calendar.closed_from(16 * HOUR, 5 * DAY) == DAY
    assert calendar.between(0, 5 * DAY) == 4 * DAY


@pytest.mark.parametrize(("origin", "zone"), [(BERLIN_SPRING, "Europe/Berlin"), (NEW_YORK_SPRING, "America/New_York")])
def test_break_in_the_skipped_hour_does_not_happen(origin: datetime, zone: str) -> None:
    """In spring 02:00 to 03:00 is skipped, so a break there takes nothing from a day of 23 hours."""
    calendar = working(origin, SMALL_HOURS, zone=zone)
    assert calendar.between(0, 23 * HOUR) == 23 * HOUR
    assert calendar.between(23 * HOUR, 47 * HOUR) == 23 * HOUR


@pytest.mark.parametrize(
    ("origin", "zone", "repeated"),
    [
        (BERLIN_AUTUMN, "Europe/Berlin", SMALL_HOURS),
        (NEW_YORK_AUTUMN, "America/New_York", closed(time(1, 0), time(2, 0))),
    ],
)
def test_break_in_the_repeated_hour_happens_twice(origin: datetime, zone: str, repeated: WeeklyBreak) -> None:
    """In autumn an hour repeats, and a break that fills it lasts two hours of a day of 25."""
    calendar = working(origin, repeated, zone=zone)
    start = repeated.start.hour * HOUR
    assert calendar.closed_from(start, 25 * HOUR) == 2 * HOUR
    assert calendar.between(0, 25 * HOUR) == 23 * HOUR


def test_short_break_in_the_repeated_hour_closes_both_passes() -> None:
    """02:15 to 02:30 happens once by summer time and again an hour later by winter time."""
    calendar = working(BERLIN_AUTUMN, closed(time(2, 15), time(2, 30)), zone="Europe/Berlin")
    first = 2 * HOUR + 15 * MINUTE
    assert calendar.closed_from(first, DAY) == 15 * MINUTE
    assert calendar.between(first + 15 * MINUTE, first + HOUR) == 45 * MINUTE
    assert calendar.closed_from(first + HOUR, DAY) == 15 * MINUTE


def test_night_over_the_change_of_clocks_is_an_hour_shorter_or_longer() -> None:
    """22:00 to 06:00 lasts seven hours in the spring night and nine in the autumn night."""
    night = closed(time(22, 0), time(6, 0))
    spring = working(BERLIN_SPRING, night, zone="Europe/Berlin")
    autumn = working(BERLIN_AUTUMN, night, zone="Europe/Berlin")
    assert spring.closed_from(-2 * HOUR, DAY) == 7 * HOUR
    assert autumn.closed_from(-2 * HOUR, DAY) == 9 * HOUR


def test_break_that_begins_in_the_skipped_hour_starts_when_the_clocks_have_jumped() -> None:
    """02:30 to 04:00 is left with the hour from 03:00 to 04:00 in the spring night."""
    calendar = working(BERLIN_SPRING, closed(time(2, 30), time(4, 0)), zone="Europe/Berlin")
    assert calendar.is_open(2 * HOUR - 1)
    assert calendar.closed_from(2 * HOUR, DAY) == HOUR


def test_closure_counts_only_the_time_that_was_open_anyway() -> None:
    """A closure from 12:00 to 13:00 over lunch from 12:45 to 13:30 closes 90 minutes together."""
    hours = WorkingHours(origin=MONDAY_MIDNIGHT, breaks=(closed(time(12, 45), time(13, 30)),))
    calendar = opened(hours, Closure(start_seconds=12 * HOUR, end_seconds=13 * HOUR))
    assert calendar.closed_from(12 * HOUR, DAY) == 90 * MINUTE
    assert calendar.between(0, DAY) == DAY - 90 * MINUTE


def test_back_to_back_closures_are_one() -> None:
    """Closures that touch leave no open second between them; overlapping and nested ones count once."""
    spans = ((100, 200), (200, 300), (250, 400), (260, 270), (401, 402))
    calendar = opened(None, *(Closure(start_seconds=start, end_seconds=end) for start, end in spans))
    assert calendar.closed_from(100, 1000) == 300
    assert calendar.is_open(400)
    assert calendar.between(0, 1000) == 1000 - 301


def test_closed_ends_of_a_span_are_measured_up_to_the_span() -> None:
    """Nothing open in a span: all of it is closed, seen from either end; both ends open: zero."""
    calendar = opened(None, Closure(start_seconds=10, end_seconds=20))
    assert (calendar.closed_from(12, 15), calendar.closed_before(12, 15)) == (3, 3)
    assert (calendar.closed_from(5, 15), calendar.closed_before(5, 15)) == (0, 5)
    assert (calendar.closed_from(15, 25), calendar.closed_before(15, 25)) == (5, 0)


def test_continuous_operation_is_open_at_any_distance() -> None:
    """Without working hours each second is open, also those that no calendar has a date for."""
    calendar = opened(None)
    assert calendar.between(-(10**18), 10**18) == 2 * 10**18


def test_reach_ends_with_the_years_that_have_dates() -> None:
    """The calendar is known for 250 years either way, but not before the year 1 nor after 9999."""
    late = reach_of(WorkingHours(origin=datetime(9990, 1, 1, tzinfo=UTC)))
    early = reach_of(WorkingHours(origin=datetime(10, 1, 1, tzinfo=UTC)))
    assert 9 * 365 * DAY < late.last < 10 * 366 * DAY
    assert -9 * 366 * DAY < early.first < -8 * 365 * DAY
    reach = reach_of(WorkingHours(origin=MONDAY_MIDNIGHT))
    assert (reach.first, reach.last) == (-250 * 366 * DAY, 250 * 366 * DAY)
    assert [reach.holds(second) for second in (reach.first - 1, reach.first, reach.last, reach.last + 1)] == [
        False,
        True,
        True,
        False,
    ]


def test_two_hundred_years_of_default_weeks_add_up() -> None:
    """In a zone without changing clocks each of ten thousand weeks has the open time of the first."""
    calendar = opened(WorkingHours(origin=MONDAY_MIDNIGHT), last=10_000 * 7 * DAY)
    assert calendar.between(0, 10_000 * 7 * DAY) == 10_000 * (85 * HOUR + 45 * MINUTE)


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo")
TIMES = st.builds(time, st.integers(0, 23), st.integers(0, 59), st.sampled_from((0, 0, 1, 59)))
BREAKS = st.builds(
    WeeklyBreak,
    name=st.just("random"),
    start=TIMES,
    end=TIMES,
    weekdays=st.frozensets(st.integers(0, 6), min_size=1),
)
WORKING_HOURS = st.builds(
    WorkingHours,
    origin=st.integers(0, 400 * DAY).map(lambda second: datetime(2018, 1, 1, tzinfo=UTC) + timedelta(seconds=second)),
    zone=st.sampled_from(ZONES),
    breaks=st.lists(BREAKS, max_size=4).map(tuple),
    holidays=st.frozensets(st.dates(date(2018, 1, 1), date(2019, 4, 1)), max_size=5),
)


@given(hours=WORKING_HOURS, seconds=st.lists(st.integers(-DAY, 400 * DAY), min_size=1, max_size=20))
def test_calendar_agrees_with_the_definition_at_any_instant(hours: WorkingHours, seconds: list[int]) -> None:
    """A second is open exactly when its wall-clock time lies in no break and on no holiday."""
    calendar = opened(hours, last=max(seconds) + 1)
    assert [calendar.is_open(second) for second in seconds] == [not is_closed(hours, second) for second in seconds]


@given(hours=WORKING_HOURS, start=st.integers(0, 370 * DAY), length=st.integers(0, 900))
def test_open_time_is_the_count_of_open_seconds(hours: WorkingHours, start: int, length: int) -> None:
    """`between` counts what the definition calls open, second by second."""
    calendar = opened(hours, last=start + length)
    assert calendar.between(start, start + length) == sum(
        not is_closed(hours, second) for second in range(start, start + length)
    )


@given(hours=WORKING_HOURS, first=st.integers(-DAY, 0), last=st.integers(DAY, 40 * DAY))
def test_expansion_does_not_depend_on_how_far_it_reaches(hours: WorkingHours, first: int, last: int) -> None:
    """A short expansion and a long one agree on the time that both cover."""
    short = open_times(hours, [Machine(id=1)], first, last)[0]
    assert short.between(first, last) == opened(hours, last=60 * DAY).between(first, last)


def test_weekend_break_of_zero_length_closes_whole_days() -> None:
    """00:00 to 00:00 closes the whole day on which it begins."""
    calendar = working(MONDAY_MIDNIGHT, closed(time(0, 0), time(0, 0), SATURDAY))
    assert calendar.closed_from(5 * DAY, 10 * DAY) == DAY


CLOSED = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)).map(lambda item: (item[0], sum(item))), max_size=6)


@given(plant=CLOSED, machine=CLOSED, total=st.integers(1, 100))
def test_reached_is_the_inverse_of_until_and_openings_are_what_is_open(
    plant: list[tuple[int, int]], machine: list[tuple[int, int]], total: int
) -> None:
    """The second that is reached has exactly so many open ones before it, the last of them just before it."""
    layered = OpenTime(machine, base=OpenTime(plant))
    flat = layered.flat()
    assert [flat.is_open(second) for second in range(300)] == [layered.is_open(second) for second in range(300)]
    second = flat.reached(flat.until(0) + total)
    assert flat.between(0, second) == total
    assert flat.is_open(second - 1)
    covered = [each for start, end in flat.openings(10, 250) for each in range(start, end)]
    assert covered == [each for each in range(10, 250) if layered.is_open(each)]
