"""The plant of a request: its machines, when they are closed, and its working hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

from deployments.contracts.amounts import (
    first_second_from,
    in_zone,
    last_second_until,
    seconds_after,
    seconds_of,
)
from deployments.contracts.public_holidays import UnknownCountry, public_holidays
from deployments.contracts.request import MachineRequest, ScheduleRequest
from env.problem import DEFAULT_BREAKS, Closure, Machine, WeeklyBreak, WorkingHours

Reason = tuple[str, str]


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


def _holidays(request: ScheduleRequest, start: datetime) -> frozenset[date]:
    """Listed days and those of the country. Raises `UnknownCountry`, also when holidays are not respected."""
    if request.calendar is None:
        return frozenset()
    listed = frozenset(request.calendar.holidays)
    if request.calendar.country is not None:
        listed |= public_holidays(request.calendar.country, start.year)
    return listed if request.respect_holidays else frozenset()
