"""What all models of the wire share: strictness, scalar types, and exact conversion of hours to seconds."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from itertools import repeat
from typing import Annotated, Any, ClassVar, LiteralString, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

SECONDS_PER_HOUR = 3600
_WHOLE = Decimal(1)
_SECOND = timedelta(seconds=1)
_NOTHING = timedelta()
_REPEATED_SECONDS = 2 * SECONDS_PER_HOUR
_DAY = timedelta(days=1)
_LAST_SECOND = time(23, 59, 59)
_DATE_LENGTH = len("2025-07-22")
_DATE_WORDS: LiteralString = (
    "must be an ISO 8601 date and time such as 2026-12-13T14:00:00, or a date such as 2026-12-13"
)
MAX_ID = 2**63 - 1
MAX_HOURS = 10_000.0
# Lower-case t and z are left to whoever is lenient: RFC 3339 allows them, and asks not to send them.
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ][^tz]*)?", re.ASCII)


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
    """The first whole second that is not before `moment`, in its zone."""
    if not moment.microsecond:
        return moment
    # By way of UTC: arithmetic on the wall clock forgets which of two equal hours of autumn it was.
    return (moment.astimezone(UTC).replace(microsecond=0) + _SECOND).astimezone(moment.tzinfo)


def nearest_to(now: datetime, moment: datetime, zone: ZoneInfo) -> datetime:
    """`in_zone`, but a wall-clock time that is shown twice in autumn is the second one if only that is near `now`."""
    first = in_zone(moment, zone)
    if moment.tzinfo is not None:
        return first
    second = first.replace(fold=1)
    passed, left = seconds_after(first, now), seconds_after(now, second)
    return second if abs(left) <= passed <= _REPEATED_SECONDS else first


def seconds_after(start: datetime, moment: datetime) -> float:
    """Seconds from one instant to another, negative when `moment` is earlier; a naive one is taken as UTC."""
    if (start.tzinfo is None) != (moment.tzinfo is None):
        start, moment = (each if each.tzinfo is not None else each.replace(tzinfo=UTC) for each in (start, moment))
    # Not by way of UTC: clients send 0001-01-01 and 9999-12-31, which leave the calendar on the way.
    apart = moment - start
    if start.tzinfo is moment.tzinfo:
        # Then Python subtracts the clocks on the wall.
        apart += (start.utcoffset() or _NOTHING) - (moment.utcoffset() or _NOTHING)
    return apart / _SECOND


def first_second_from(start: datetime, moment: datetime) -> int:
    """The first whole second after `start` that is not before `moment`."""
    return math.ceil(seconds_after(start, moment))


def last_second_until(start: datetime, moment: datetime) -> int:
    """The last whole second after `start` that is not after `moment`."""
    return math.floor(seconds_after(start, moment))


def instant(start: datetime, seconds: int, zone: ZoneInfo) -> datetime:
    """`seconds` after `start` by the clock on the wall in `zone`."""
    return (start.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(zone)


def instants(start: datetime, seconds: Iterable[int], zone: ZoneInfo) -> dict[int, datetime]:
    """`instant` of each of many."""
    origin = start.astimezone(UTC)
    return {second: (origin + timedelta(seconds=second)).astimezone(zone) for second in seconds}


class WireModel(BaseModel):
    """Part of a body that clients send.

    `not_supported_yet` are fields of the contract that nothing reads so far: whoever sends one must not believe
    that it counts. `misnomers` are what other systems call a field, by field, in small letters with nothing between.
    """

    not_supported_yet: ClassVar[frozenset[str]] = frozenset()
    misnomers: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())


class AnswerModel(BaseModel):
    """Part of a body that clients receive."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value


def _written_as_date(value: object) -> object:
    # Without this a number would be read as seconds since 1970.
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise PydanticCustomError("datetime_text", _DATE_WORDS)
    return value


def _whole_day(value: object) -> object:
    # What is no date is left to whoever reads instants, to be refused there.
    if not isinstance(value, str) or len(value) != _DATE_LENGTH:
        return value
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return value
    # After the last day that Python knows there is none whose midnight could end it.
    return datetime.combine(day, _LAST_SECOND) if day == date.max else datetime.combine(day + _DAY, time.min)


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
InstantOrDay = Annotated[
    datetime,
    BeforeValidator(_whole_day, json_schema_input_type=datetime | date),
    BeforeValidator(_written_as_date, json_schema_input_type=datetime | date),
]
"""An instant by which something has to be done; a date without a time is the end of that day."""
Text = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=128),
    AfterValidator(_printable),
]
FreeText = Annotated[str, StringConstraints(strict=True, max_length=1000)]


class UnknownField(NamedTuple):
    """A field that no model knows: ("jobs[].colour", "jobs[3].colour", "colour", "blue", JobRequest)."""

    general: str
    exact: str
    name: str
    value: object
    model: type[WireModel]

    @property
    def is_awaited(self) -> bool:
        """Whether it asks for what the contract promises and nothing does so far; null and [] ask for nothing."""
        return self.name in self.model.not_supported_yet and self.value is not None and self.value != []


def unknown_fields(model: WireModel) -> Iterator[UnknownField]:
    """Every field of `model` and of the models in it that no model knows."""
    for name, value in (model.model_extra or {}).items():
        yield UnknownField(name, name, name, value, type(model))
    for name in _fields_with_models(type(model)):
        value = getattr(model, name)
        if isinstance(value, WireModel):
            yield from _below(name, name, value)
        else:
            for index, item in enumerate(value or ()):
                # There may be thousands, and most have neither.
                if item.model_extra or _has_models(item):
                    yield from _below(f"{name}[]", f"{name}[{index}]", item)


def forget_unknown_fields(model: WireModel) -> None:
    """What no model knows is not kept for as long as a request takes."""
    if model.model_extra:
        model.model_extra.clear()
    for name in _fields_with_models(type(model)):
        value = getattr(model, name)
        for each in (value,) if isinstance(value, WireModel) else value or ():
            if each.model_extra or _has_models(each):
                forget_unknown_fields(each)


def field_names(model: type[BaseModel]) -> tuple[str, ...]:
    """What the fields of `model` are called on the wire."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def also_called(name: str, model: type[WireModel]) -> str | None:
    """The field of `model` that other systems call `name`; None where nobody is known to."""
    plain = "".join(filter(str.isalnum, name)).lower()
    return next((field for field, names in model.misnomers.items() if plain in names.split()), None)


def has_default(model: type[BaseModel], path: tuple[int | str, ...]) -> bool:
    """Whether the field at `path`, such as ("jobs", 3, "setup_time"), may be absent from a `model`."""
    *outer, name = path
    inner: type[BaseModel] | None = model
    for part in outer:
        if isinstance(part, str) and inner is not None:
            inner = model_in(_field(inner, part))
    field = None if inner is None or isinstance(name, int) else _field(inner, name)
    return field is not None and not field.is_required()


def inclusive_bounds(model: type[BaseModel], path: tuple[int | str, ...]) -> tuple[float | None, float | None]:
    """The lowest and the highest value that the field at `path` of a `model` may have; None where there is no such."""
    inner: type[BaseModel] | None = model
    field = None
    for name in (part for part in path if isinstance(part, str)):
        field = None if inner is None else _field(inner, name)
        inner = model_in(field)
    if field is None:
        return None, None
    found = list(_metadata(field.annotation, field.metadata))
    lowest = (each.ge for each in found if hasattr(each, "ge"))
    highest = (each.le for each in found if hasattr(each, "le"))
    return next(lowest, None), next(highest, None)


def _metadata(annotation: Any, own: Iterable[Any] = ()) -> Iterator[Any]:
    """Whatever is annotated, in unions and lists too."""
    for each in (*own, *getattr(annotation, "__metadata__", ())):
        yield from each.metadata if isinstance(each, FieldInfo) else (each,)
    for part in typing.get_args(annotation):
        yield from _metadata(part)


def model_of_field(model: type[BaseModel], name: str) -> type[WireModel] | None:
    """The model that the values of the field `name` of `model` are, or are lists of; None where there is none."""
    return model_in(_field(model, name))


def model_in(field: FieldInfo | None) -> type[WireModel] | None:
    """The model that the values of a field are, or are lists of; None when they are plain."""
    return None if field is None else _model_in(field.annotation)


def _below(general: str, exact: str, model: WireModel) -> Iterator[UnknownField]:
    for found in unknown_fields(model):
        yield found._replace(general=f"{general}.{found.general}", exact=f"{exact}.{found.exact}")


def _has_models(model: WireModel) -> bool:
    """Whether there is any model in `model`."""
    return any(map(getattr, repeat(model), _fields_with_models(type(model))))


@cache
def _fields_with_models(model: type[WireModel]) -> tuple[str, ...]:
    return tuple(name for name, field in model.model_fields.items() if model_in(field) is not None)


@cache
def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    return next((field for key, field in model.model_fields.items() if (field.alias or key) == name), None)


def _model_in(annotation: Any) -> type[WireModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, WireModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part)) is not None), None)
