"""What an answer says of the calendar it assumed."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.answers.calendar import CalendarAnswer, Source, calendar_answer, week_in_words
from deployments.contracts.requests.schedule_request import BreakRequest, ScheduleRequest
from deployments.contracts.translation.plant import hours_of_plant
from env.problem import DEFAULT_BREAKS
from tests.deployments.fakes import request_of as request

ROOT = Path(__file__).resolve().parents[4]
ZONE = ZoneInfo("Asia/Kuala_Lumpur")
START = datetime(2026, 11, 27, 8, tzinfo=ZONE)
LUNCH = {"start": "12:00", "end": "13:00"}


def _answer(
    asked: ScheduleRequest, whole: ScheduleRequest | None = None, last: date = date(2026, 12, 31)
) -> CalendarAnswer:
    complete = whole or asked
    return calendar_answer(asked, complete, hours_of_plant(complete, START, ZONE), last)


def test_default_week_reads_as_planners_speak_of_it() -> None:
    """Equal days are named together; a day that never opens is closed."""
    weekday = "00:00-01:00, 06:30-09:45, 10:00-12:45, 13:30-15:15, 15:30-18:00, 19:00-23:00, 23:30-24:00"
    saturday = "00:00-01:00, 06:30-09:45, 10:00-12:45"
    assert week_in_words(DEFAULT_BREAKS) == f"Mon-Fri {weekday}; Sat {saturday}; Sun closed"


def test_public_page_shows_the_default_week() -> None:
    """What is assumed where nobody says anything can be looked up."""
    page = (ROOT / "docs" / "API_QUICK_REFERENCE.md").read_text(encoding="utf-8")
    assert week_in_words(DEFAULT_BREAKS) in " ".join(page.split())


def test_break_over_midnight_closes_the_beginning_of_the_next_day() -> None:
    """That of Sunday reaches into Monday, where the week begins again."""
    night = BreakRequest(start="22:00", end="06:00", days=["sun"]).to_domain()
    assert week_in_words([night]) == "Mon 06:00-24:00; Tue-Sat 00:00-24:00; Sun 00:00-22:00"


@pytest.mark.parametrize(
    ("asked", "whole", "source"),
    [
        ({"calendar": {"breaks": [LUNCH]}}, None, "request"),
        ({}, {"calendar": {"breaks": [LUNCH]}}, "plant"),
        ({"calendar": {"holidays": ["2026-12-25"]}}, None, "default"),
        ({}, None, "default"),
        ({"calendar": {"breaks": [LUNCH]}, "respect_break_times": False}, None, "none"),
    ],
)
def test_source_is_whose_week_it_is(asked: dict[str, object], whole: dict[str, object] | None, source: Source) -> None:
    """A calendar that says nothing of the week leaves it to whoever is asked next."""
    week = {"respect_break_times": True}
    found = _answer(request(**week | asked), None if whole is None else request(**week | whole))
    assert found.source == source


def test_holidays_are_those_of_the_schedule() -> None:
    """A country has ten years of them, and a planner wants to see the few that matter."""
    holidays = {"respect_break_times": True, "calendar": {"holidays": ["2026-11-26", "2026-12-25", "2027-01-01"]}}
    assert _answer(request(**holidays)).holidays == [date(2026, 12, 25)]
