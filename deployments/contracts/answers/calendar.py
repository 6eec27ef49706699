"""What an answer says of the calendar that it assumed: the week in words and as data, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field

from deployments.contracts.requests.schedule_request import Day, ScheduleRequest
from deployments.contracts.requests.wire import AnswerModel, instant
from env.judge.bound import MakespanBound
from env.judge.case import case_of
from env.problem import SECONDS_PER_HOUR, Machine, Problem, WeeklyBreak, WorkingHours
from env.schedule import Schedule

_MINUTES_A_DAY = 24 * 60
_MINUTES_A_WEEK = 7 * _MINUTES_A_DAY
_DAYS = tuple(Day)
Source = Literal["request", "plant", "default", "none"]
Span = tuple[int, int]
FAR_DAYS = 30
FAR_TIMES = 10
SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR


class BreakAnswer(AnswerModel):
    """Closed hours that begin on each of `days`. An `end` not after `start` lies on the next day."""

    name: str
    start: str
    end: str
    days: list[str]


class CalendarAnswer(AnswerModel):
    """When the plant works, beside the closures of single machines."""

    source: Source = Field(
        description="whose week it is: of the request, of the plant's data, the default one; none: around the clock"
    )
    week: str = Field(description="the open hours of each day by the plant's clock")
    breaks: list[BreakAnswer]
    holidays: list[date] = Field(description="days off from schedule_start to the end of the schedule")


class PauseAnswer(AnswerModel):
    """A time in which a job that has begun waits because its machine is closed."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: datetime = Field(serialization_alias="from")
    to: datetime


def calendar_answer(
    asked: ScheduleRequest, whole: ScheduleRequest, hours: WorkingHours | None, last: date
) -> CalendarAnswer:
    """The calendar behind a schedule that ends on `last`; `asked` is the request before plant data completed it."""
    breaks = () if hours is None else hours.breaks
    holidays = () if hours is None else hours.holidays
    first = min(last, date.min if hours is None else hours.origin.date())
    return CalendarAnswer(
        source=_source(asked, whole),
        week=week_in_words(breaks),
        breaks=[_break_answer(each) for each in breaks],
        holidays=sorted(day for day in holidays if first <= day <= last),
    )


def far_future_warnings(problem: Problem, schedule: Schedule, start: datetime, zone: ZoneInfo) -> tuple[str, ...]:
    """One sentence when closed time, and not the work, puts the end of the plan far away; it names what is closed most.

    That is when it ends more than `FAR_DAYS` after `schedule_start`, and `FAR_TIMES` as late as the work might around
    the clock: by far more than any week of one shift explains.
    """
    end = schedule.makespan_seconds
    if end <= FAR_DAYS * SECONDS_PER_DAY:
        return ()
    open_plant = replace(
        problem, hours=None, machines=tuple(replace(machine, closures=()) for machine in problem.machines)
    )
    work = MakespanBound(case_of(open_plant, Schedule(assignments=()))).seconds
    if end <= FAR_TIMES * work:
        return ()
    used = {assignment.machine_id for assignment in schedule.assignments}
    machines = [machine for machine in problem.machines if machine.id in used]
    causes = [*_closures_until(end, machines, start, zone), *_closed_by_the_week(problem.hours, end)]
    _, cause = max(causes, default=(0, "its machines are closed"))
    day = instant(start, end, zone).date()
    return (
        f"the plan ends on {day}, {end // SECONDS_PER_DAY:,} days after schedule_start, although it could end after "
        f"{work / SECONDS_PER_HOUR:,.1f} h if nothing were ever closed: {cause}",
    )


def _closures_until(
    end: int, machines: Iterable[Machine], start: datetime, zone: ZoneInfo
) -> Iterator[tuple[int, str]]:
    """Seconds before `end` that each closure takes, and its words."""
    for machine in machines:
        for closure in machine.closures:
            first, last = (
                instant(start, second, zone).isoformat() for second in (closure.start_seconds, closure.end_seconds)
            )
            reason = f" ({closure.reason})" if closure.reason else ""
            words = f"machine {machine.id} is closed from {first} to {last}{reason}"
            yield min(end, closure.end_seconds) - max(0, closure.start_seconds), words


def _closed_by_the_week(hours: WorkingHours | None, end: int) -> Iterator[tuple[int, str]]:
    """Seconds before `end` that holidays and each break take, and their words."""
    if hours is None:
        return
    last = hours.origin + timedelta(seconds=end)
    days_off = sum(hours.origin.date() <= day <= last.date() for day in hours.holidays)
    yield days_off * SECONDS_PER_DAY, f"{days_off:,} holidays lie before its end"
    for rest in hours.breaks:
        weekly = 60 * sum(until - since for since, until in _closed_minutes(rest))
        words = f"the break {rest.name!r} closes {weekly / SECONDS_PER_HOUR:,.1f} h of each week"
        yield weekly * end // (7 * SECONDS_PER_DAY), words


def week_in_words(breaks: Iterable[WeeklyBreak]) -> str:
    """Such as "Mon-Fri 08:00-12:00, 13:00-17:00; Sat-Sun closed"."""
    closed = sorted(span for rest in breaks for span in _closed_minutes(rest))
    days = [(name.value.capitalize(), _open_spans(closed, index * _MINUTES_A_DAY)) for index, name in enumerate(_DAYS)]
    parts = []
    for spans, group in groupby(days, key=lambda day: day[1]):
        names = [name for name, _ in group]
        words = names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"
        parts.append(f"{words} {', '.join(spans) or 'closed'}")
    return "; ".join(parts)


def _source(asked: ScheduleRequest, whole: ScheduleRequest) -> Source:
    if not whole.respect_break_times:
        return "none"
    if asked.calendar is not None and asked.calendar.breaks is not None:
        return "request"
    return "plant" if whole.calendar is not None and whole.calendar.breaks is not None else "default"


def _break_answer(rest: WeeklyBreak) -> BreakAnswer:
    days = [day.value for index, day in enumerate(_DAYS) if index in rest.weekdays]
    return BreakAnswer(name=rest.name, start=f"{rest.start:%H:%M}", end=f"{rest.end:%H:%M}", days=days)


def _closed_minutes(rest: WeeklyBreak) -> Iterator[Span]:
    """Minutes of the week [from, to) in which a break closes the plant, cut where the week begins again."""
    start, end = _minute(rest.start), _minute(rest.end)
    length = (end - start) if end > start else end + _MINUTES_A_DAY - start
    for day in rest.weekdays:
        first = day * _MINUTES_A_DAY + start
        last = first + length
        yield first, min(last, _MINUTES_A_WEEK)
        if last > _MINUTES_A_WEEK:
            yield 0, last - _MINUTES_A_WEEK


def _open_spans(closed: list[Span], first: int) -> tuple[str, ...]:
    """What is open of the day that begins with the minute `first` of the week; `closed` by their starts."""
    spans, at, last = [], first, first + _MINUTES_A_DAY
    for start, end in [*closed, (last, last)]:
        if at < min(start, last):
            spans.append(f"{_clock(at - first)}-{_clock(min(start, last) - first)}")
        at = max(at, end)
    return tuple(spans)


def _minute(moment: time) -> int:
    return moment.hour * 60 + moment.minute


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
