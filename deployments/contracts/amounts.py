"""Hours of the wire and seconds of the domain, converted exactly."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

SECONDS_PER_HOUR = 3600
_WHOLE = Decimal(1)
_SECOND = timedelta(seconds=1)


@lru_cache(maxsize=4096)
def seconds_of(hours: float) -> int:
    """Whole seconds, half rounded up. The decimal that was written counts, so 0.3 h is exactly 1080 s."""
    return int((Decimal(repr(hours)) * SECONDS_PER_HOUR).quantize(_WHOLE, rounding=ROUND_HALF_UP))


def hours_of(seconds: float) -> float:
    """The nearest float; not rounded further."""
    return seconds / SECONDS_PER_HOUR


def in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    """The instant that was meant: a naive datetime is wall-clock time in `zone`."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def up_to_second(moment: datetime) -> datetime:
    """The first whole second that is not before `moment`."""
    return moment if not moment.microsecond else moment.replace(microsecond=0) + _SECOND


def seconds_after(start: datetime, moment: datetime) -> float:
    """Seconds from one instant to another, negative when `moment` is earlier."""
    # Not by way of UTC: clients send 0001-01-01 and 9999-12-31, which leave the calendar on the way.
    offsets = (start.utcoffset() or timedelta()) - (moment.utcoffset() or timedelta())
    return (moment.replace(tzinfo=None) - start.replace(tzinfo=None) + offsets) / _SECOND


def first_second_from(start: datetime, moment: datetime) -> int:
    """The first whole second after `start` that is not before `moment`."""
    return math.ceil(seconds_after(start, moment))


def last_second_until(start: datetime, moment: datetime) -> int:
    """The last whole second after `start` that is not after `moment`."""
    return math.floor(seconds_after(start, moment))


def instant(start: datetime, seconds: int, zone: ZoneInfo) -> datetime:
    """`seconds` after `start` by the clock on the wall in `zone`."""
    return (start.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(zone)
