"""What an answer says of the calendar it assumed."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.answers.calendar import (
    CalendarAnswer,
    Source,
    calendar_answer,
    far_future_warnings,
    week_in_words,
)
from deployments.contracts.requests.schedule_request import BreakRequest, ScheduleRequest
from deployments.contracts.translation.plant import hours_of_plant
from env.problem import DEFAULT_BREAKS
from env.simulator.rules import Rule, dispatch
from tests.deployments.contracts.problems import question_of
from tests.deployments.fakes import PlannedProposer, body, job, scheduling_over
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


def _far(**changes: Any) -> tuple[str, ...]:
    """What is said of the rule's plan for a request."""
    question = question_of(**({"jobs": [job(processing_time=2.5)], "respect_break_times": True} | changes))
    plan = dispatch(question.problem, Rule.PLANNER)
    return far_future_warnings(question.problem, plan, question.start, question.zone)


def _away(until: str, **changes: Any) -> dict[str, Any]:
    closure = {"from": "2025-07-22T08:00:00", "to": until, "reason": "overhaul"}
    return {"calendar": {"machines": [{"machine_id": 42, "unavailable": [closure]}]}} | changes


def test_closure_that_leaves_the_plan_in_the_far_future_is_named() -> None:
    """A closure that somebody meant to end in 2025 and not in 2035; one of two weeks is nothing to speak of."""
    (warning,) = _far(**_away("2035-07-23T08:00:00"))
    assert warning == (
        "the plan ends on 2035-07-23, 3,652 days after schedule_start, although it could end after 2.8 h if nothing "
        "were ever closed: machine 42 is closed from 2025-07-22T08:00:00+08:00 to 2035-07-23T08:00:00+08:00 (overhaul)"
    )
    assert _far(**_away("2025-08-05T08:00:00")) == ()


def test_week_that_is_hardly_ever_open_is_named() -> None:
    """Two minutes a day for 2.8 h of work; and a year of holidays."""
    hardly = {"name": "night", "start": "08:02", "end": "08:00"}
    (warning,) = _far(calendar={"breaks": [hardly]})
    assert warning.endswith("the break 'night' closes 167.8 h of each week")
    days = [(date(2025, 7, 22) + timedelta(days=day)).isoformat() for day in range(200)]
    (warning,) = _far(calendar={"breaks": [], "holidays": days})
    assert warning.endswith("200 holidays lie before its end")


def test_plan_that_is_long_because_of_its_work_is_nothing_strange() -> None:
    """A month of work by the default week, by one shift, or that waits for its material takes its time."""
    jobs = [job(f"J{index}", processing_time=40) for index in range(30)]
    shift = [{"name": "night", "start": "16:00", "end": "08:00"}, {"start": "00:00", "end": "24:00", "days": ["sun"]}]
    assert _far(jobs=jobs) == ()
    assert _far(jobs=jobs, calendar={"breaks": shift}) == ()
    assert _far(jobs=[job(release_at="2027-01-01T08:00:00")]) == ()


async def test_answer_warns_of_far_future_and_of_years_without_holidays() -> None:
    """Both stand among the warnings of the answer, whoever serves."""
    changes = _away("2035-07-23T08:00:00", jobs=[job()])
    changes["calendar"]["country"] = "UA"
    raw = json.dumps(body(**changes)).encode()
    answered = await scheduling_over(ppo=PlannedProposer(lambda problem: dispatch(problem, Rule.PLANNER))).schedule(
        request(**changes), client="default", raw_body=raw
    )
    gap, far = answered.answer.warnings[-2:]
    assert gap == "calendar.country: no public holidays of UA are known for 2025 to 2035: none of them closes the plant"
    assert far.startswith("the plan ends on 2035-07-23")
