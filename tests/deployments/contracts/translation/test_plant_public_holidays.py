"""Public holidays by country, and what they do to a plant."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from deployments.contracts.translation.plant import YEARS_AHEAD, UnknownCountry, holiday_warnings, public_holidays
from tests.deployments.contracts.problems import question_of, reasons_of
from tests.deployments.fakes import request_of


def test_country_has_its_national_day() -> None:
    """31 August 2025 is Malaysia's national day, a Sunday, so that the Monday is off too."""
    days = public_holidays("MY", 2025)
    assert {date(2025, 8, 31), date(2025, 9, 1)} <= days
    assert date(2025, 9, 2) not in days


def test_holidays_reach_as_far_as_promised() -> None:
    """From the year before the start to ten years after it."""
    years = {day.year for day in public_holidays("DE", 2025)}
    assert years == set(range(2024, 2025 + YEARS_AHEAD + 1))


def test_unknown_country_is_an_error() -> None:
    """Nobody guesses the holidays of a country that does not exist."""
    with pytest.raises(UnknownCountry, match="must be a country whose public holidays are known, was XX"):
        public_holidays("XX", 2025)


def test_country_closes_the_plant_beside_listed_days() -> None:
    """Both kinds count, and neither does when holidays are not respected."""
    calendar = {"country": "MY", "holidays": ["2025-07-23"]}
    hours = question_of(calendar=calendar).problem.hours
    assert hours is not None
    assert {date(2025, 7, 23), date(2025, 8, 31)} <= hours.holidays
    assert question_of(calendar=calendar, respect_holidays=False).problem.hours is None


def test_unknown_country_is_refused_in_a_request() -> None:
    """The reason names the field and the value."""
    message = "must be a country whose public holidays are known, was XX"
    assert reasons_of(calendar={"country": "XX"}) == [("calendar.country", message)]


def test_year_without_holiday_data_is_said() -> None:
    """Of Ukraine no days are known since 2022, of Malaysia those of the ten years ahead; ignored ones are no matter."""
    start = datetime(2025, 7, 22, tzinfo=UTC)

    def warnings(country: str, last: date, **changes: bool) -> tuple[str, ...]:
        return holiday_warnings(request_of(calendar={"country": country}, **changes), start, last)

    lacking = "none of them closes the plant"
    assert warnings("MY", date(2035, 12, 31)) == ()
    known = "calendar.country: no public holidays of MY are known for"
    assert warnings("MY", date(2036, 1, 1)) == (f"{known} 2036: {lacking}",)
    assert warnings("MY", date(2038, 1, 1)) == (f"{known} 2036 to 2038: {lacking}",)
    unknown = f"calendar.country: no public holidays of UA are known for 2025: {lacking}"
    assert warnings("UA", date(2025, 8, 1)) == (unknown,)
    assert warnings("UA", date(2025, 8, 1), respect_holidays=False) == ()
    assert holiday_warnings(request_of(), start, date(2050, 1, 1)) == ()
