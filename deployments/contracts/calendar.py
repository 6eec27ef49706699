"""The calendar of a request: weekly breaks, holidays, and when single machines are unavailable."""

from __future__ import annotations

from datetime import date, time
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from deployments.contracts.wire import FreeText, Identity, Instant, WireModel, written_as
from env.problem import EVERY_DAY, WeeklyBreak

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
_CLOSING = f"({_CLOCK}|24:00)"
_COUNTRY = "[A-Z]{2}"
_A_TIME = "a time of day such as 09:45"
ClockTime = Annotated[str, StringConstraints(strict=True, pattern=f"^{_CLOCK}$"), written_as(_CLOCK, _A_TIME)]
ClosingTime = Annotated[str, StringConstraints(strict=True, pattern=f"^{_CLOSING}$"), written_as(_CLOSING, _A_TIME)]
Country = Annotated[
    str,
    StringConstraints(strict=True, pattern=f"^{_COUNTRY}$"),
    written_as(_COUNTRY, "an ISO 3166 code of two capital letters"),
]


class Day(StrEnum):
    """Days of the week, Monday first."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


_WEEKDAYS = {day: index for index, day in enumerate(Day)}


class BreakRequest(WireModel):
    """Closed hours on each of `days` by the plant's clock. An `end` not after `start` lies on the next day."""

    name: FreeText = ""
    start: ClockTime
    end: ClosingTime
    days: Annotated[list[Day], Field(min_length=1, max_length=7)] | None = Field(
        None, description="days on which the break begins; every day when absent"
    )

    def to_domain(self) -> WeeklyBreak:
        return WeeklyBreak(
            name=self.name,
            start=time.fromisoformat(self.start),
            end=time.fromisoformat("00:00" if self.end == "24:00" else self.end),
            weekdays=EVERY_DAY if self.days is None else frozenset(_WEEKDAYS[day] for day in self.days),
        )


class UnavailableRequest(WireModel):
    """One machine does not work from `from` (inclusive) to `to` (exclusive)."""

    from_: Instant = Field(alias="from")
    to: Instant
    reason: FreeText = ""


class MachineCalendarRequest(WireModel):
    """When one machine is unavailable beside the plant's calendar."""

    machine_id: Identity
    unavailable: list[UnavailableRequest] = Field(default_factory=list, max_length=10_000)


class CalendarRequest(WireModel):
    """The plant's calendar for this request; what is absent comes from the default calendar."""

    breaks: list[BreakRequest] | None = Field(
        None, max_length=1000, description="replaces the default weekly calendar, nights and weekends included"
    )
    holidays: list[date] = Field(default_factory=list, max_length=10_000)
    country: Country | None = Field(
        None, description="its public holidays close the plant too; ISO 3166 code of two letters"
    )
    machines: list[MachineCalendarRequest] = Field(default_factory=list, max_length=5_000)
