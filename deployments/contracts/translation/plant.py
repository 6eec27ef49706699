"""The plant of a request: its machines, changeovers and holidays, and when it works."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from deployments.contracts.requests.schedule_request import MachineRequest, ScheduleRequest
from deployments.contracts.requests.wire import first_second_from, in_zone, last_second_until, seconds_after, seconds_of
from env.judge.verdict import quantity
from env.problem import DEFAULT_BREAKS, Changeover, Closure, Machine, WeeklyBreak, WorkingHours

YEARS_AHEAD = 10
Reason = tuple[str, str]


class UnknownCountry(ValueError):
    """Nobody has told us the public holidays of that country."""


@lru_cache(maxsize=64)
def public_holidays(country: str, first_year: int) -> frozenset[date]:
    """Days off of the whole country from the year before `first_year` to `YEARS_AHEAD` years after it.

    `country` is an ISO 3166 code of two letters. Days that are observed instead of a holiday on a
    weekend count too, days of single regions do not. Raises `UnknownCountry`.
    """
    # Few requests name a country, and every router would have to wait for the holidays of all of them.
    import holidays

    try:
        return frozenset(holidays.country_holidays(country, years=range(first_year - 1, first_year + YEARS_AHEAD + 1)))
    except NotImplementedError:
        raise UnknownCountry(f"must be a country whose public holidays are known, was {country}") from None


def changeovers(request: ScheduleRequest) -> tuple[Changeover, ...]:
    """The setup matrix in the words of the domain."""
    return tuple(
        Changeover(before=entry.from_, after=entry.to, setup_seconds=seconds_of(entry.hours))
        for entry in request.setup_matrix or ()
    )


def setup_reasons(request: ScheduleRequest) -> Iterator[Reason]:
    """(field, message) of each group that no job has, where it is named first, and of each pair that repeats."""
    groups = {job.setup_group for job in request.jobs}
    unknown: set[str] = set()
    first: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(request.setup_matrix or ()):
        for field, group in (("from", entry.from_), ("to", entry.to)):
            if group not in groups and group not in unknown:
                unknown.add(group)
                yield f"setup_matrix[{index}].{field}", f"must be the setup_group of a job, was {group!r}"
        pair = (entry.from_, entry.to)
        if pair in first:
            message = f"must be unique, {entry.from_!r} to {entry.to!r} is also setup_matrix[{first[pair]}]"
            yield f"setup_matrix[{index}]", message
        first.setdefault(pair, index)


def setup_warnings(request: ScheduleRequest) -> tuple[str, ...]:
    """One sentence when jobs have a setup group that changes nothing, because no changeover names it."""
    listed = {group for entry in request.setup_matrix or () for group in (entry.from_, entry.to)}
    silent = [job for job in request.jobs if job.setup_group is not None and job.setup_group not in listed]
    if not silent:
        return ()
    count = quantity(len(silent), "job")
    example = f"{silent[0].job_id} ({silent[0].setup_group})"
    return (
        f"setup_group of {count} is not in setup_matrix: changing over to them takes setup_time; first is {example}",
    )


def machine_of(machine: MachineRequest, request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> Machine:
    """One machine in the words of the domain."""
    calendars = request.calendar.machines if request.calendar else ()
    return Machine(
        id=machine.machine_id,
        name=machine.machine_name,
        busy_seconds=seconds_of(machine.current_load),
        closures=tuple(
            Closure(
                start_seconds=last_second_until(start, in_zone(closure.from_, zone)),
                end_seconds=first_second_from(start, in_zone(closure.to, zone)),
                reason=closure.reason,
            )
            for calendar in calendars
            if calendar.machine_id == machine.machine_id
            for closure in calendar.unavailable
        ),
    )


def hours_of_plant(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> WorkingHours | None:
    """None when neither breaks nor holidays apply: the plant works around the clock."""
    calendar = request.calendar
    breaks: tuple[WeeklyBreak, ...] = DEFAULT_BREAKS
    if calendar is not None and calendar.breaks is not None:
        breaks = tuple(rest.to_domain() for rest in calendar.breaks)
    if not request.respect_break_times:
        breaks = ()
    holidays = _holidays(request, start)
    if not breaks and not holidays:
        return None
    return WorkingHours(origin=start, zone=zone.key, breaks=breaks, holidays=holidays)


def calendar_reasons(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> Iterator[Reason]:
    """(field, message) of closures that make no sense, and of a country nobody knows."""
    try:
        _holidays(request, start)
    except UnknownCountry as error:
        yield "calendar.country", str(error)
    known = {machine.machine_id for machine in request.machines or ()}
    for index, machine in enumerate(request.calendar.machines if request.calendar else ()):
        path = f"calendar.machines[{index}]"
        if machine.machine_id not in known:
            yield f"{path}.machine_id", f"must be one of machines, was {machine.machine_id}"
        for number, closure in enumerate(machine.unavailable):
            if seconds_after(in_zone(closure.from_, zone), in_zone(closure.to, zone)) <= 0:
                yield f"{path}.unavailable[{number}].to", f"must be after from, was {closure.to.isoformat()}"


def holiday_warnings(request: ScheduleRequest, start: datetime, last: date) -> tuple[str, ...]:
    """One sentence when the plan touches years for which nobody has told us the holidays of the plant's country.

    `last` is the day on which it ends.
    """
    country = None if request.calendar is None else request.calendar.country
    if country is None or not request.respect_holidays:
        return ()
    known = {day.year for day in public_holidays(country, start.year)}
    lacking = [year for year in range(start.year, last.year + 1) if year not in known]
    if not lacking:
        return ()
    years = str(lacking[0]) if len(lacking) == 1 else f"{lacking[0]} to {lacking[-1]}"
    return (f"calendar.country: no public holidays of {country} are known for {years}: none of them closes the plant",)


def _holidays(request: ScheduleRequest, start: datetime) -> frozenset[date]:
    """Listed days and those of the country. Raises `UnknownCountry`, also when holidays are not respected."""
    if request.calendar is None:
        return frozenset()
    listed = frozenset(request.calendar.holidays)
    if request.calendar.country is not None:
        listed |= public_holidays(request.calendar.country, start.year)
    return listed if request.respect_holidays else frozenset()
