"""What all models of the wire share: strictness, scalar types, and exact conversion of hours to seconds."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StringConstraints
from pydantic_core import PydanticCustomError

SECONDS_PER_HOUR = 3600
_WHOLE = Decimal(1)
_SECOND = timedelta(seconds=1)
MAX_ID = 2**63 - 1
MAX_HOURS = 10_000.0
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?", re.ASCII | re.DOTALL)


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


class WireModel(BaseModel):
    """Part of a body that clients send."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())


class AnswerModel(BaseModel):
    """Part of a body that clients receive."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value


def _written_as_date(value: object) -> object:
    # Without this a number would be read as seconds since 1970.
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise PydanticCustomError("datetime_text", "must be an ISO 8601 date and time")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("printable_text", "must consist of printable characters")
    return value


def written_as(pattern: str, meaning: str) -> BeforeValidator:
    """Refuses text that does not match `pattern` by saying what was meant: planners do not read patterns."""

    def matching(value: object) -> object:
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise PydanticCustomError("worded_text", "must be {meaning}", {"meaning": meaning})
        return value

    return BeforeValidator(matching)


# Bounds stand before the validator: pydantic does not find its way from behind it into the JSON schema.
INTEGRAL = BeforeValidator(_integral)
Integer = Annotated[StrictInt, INTEGRAL]
Identity = Annotated[StrictInt, Field(ge=0, le=MAX_ID), INTEGRAL]
Number = Annotated[float, Field(strict=True)]
Boolean = Annotated[bool, Field(strict=True)]
Hours = Annotated[Number, Field(ge=0, le=MAX_HOURS)]
ProcessingHours = Annotated[Number, Field(gt=0, le=MAX_HOURS)]
Instant = Annotated[datetime, BeforeValidator(_written_as_date, json_schema_input_type=datetime)]
Text = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=128),
    AfterValidator(_printable),
]
FreeText = Annotated[str, StringConstraints(strict=True, max_length=1000)]


def unknown_fields(model: WireModel) -> Iterator[tuple[str, str]]:
    """(general path, exact path) of every field that no model knows: ("jobs[].colour", "jobs[3].colour")."""
    yield from ((name, name) for name in model.model_extra or ())
    for name in _fields_with_models(type(model)):
        value = getattr(model, name)
        if isinstance(value, WireModel):
            yield from ((f"{name}.{general}", f"{name}.{exact}") for general, exact in unknown_fields(value))
        else:
            for index, item in enumerate(value or ()):
                for general, exact in unknown_fields(item):
                    yield f"{name}[].{general}", f"{name}[{index}].{exact}"


@cache
def _fields_with_models(model: type[WireModel]) -> tuple[str, ...]:
    return tuple(name for name, field in model.model_fields.items() if _mentions_model(field.annotation))


def _mentions_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, WireModel):
        return True
    return any(_mentions_model(part) for part in typing.get_args(annotation))
