"""Kindness to the clients that exist: what is not written by the letter and can mean only one thing is taken as that.

A document is read by the letter first. Only one that fails is mended, fault by fault, and read again: whoever writes
well pays nothing for it, and nobody is told less than what was changed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from deployments.contracts.requests.wire import MAX_ID, has_default

MIN_PRIORITY, MAX_PRIORITY = 1, 3
BOOLEAN_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# A number as text may have to be taken as a priority outside its range next.
_MAX_PASSES = 3
_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{0,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_LOWER_CASE_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ][\d:.]+([Zz]|[+-][\d:]+)?", re.ASCII)
_TEXT_IDS = frozenset({"job_id", "family_id"})
_ABSENT = object()

Path = tuple[int | str, ...]
Place = TypeVar("Place")
Model = TypeVar("Model", bound=BaseModel)


class Allowance(Enum):
    """A kind of kindness, by what is said of it."""

    NUMBER = "numbers that were sent as text were taken as numbers"
    BOOLEAN = "true and false that were sent as text or as 0 and 1 were taken as such"
    NULL = "fields that were null were taken at their defaults"
    NO_MACHINES = "machines was an empty list and taken as absent: they are the plant's machines from the database"
    PRIORITY = f"priority outside {MIN_PRIORITY} to {MAX_PRIORITY} was taken as the nearest"
    TEXT_ID = "job_id and family_id that were sent as numbers were taken as text"
    LOWER_CASE = "t and z of dates that were sent in lower case were taken as T and Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leniently(Generic[Model]):
    """A model, and each place where it was not written by the letter."""

    model: Model
    allowances: Sequence[tuple[Allowance, Path]] = field(default=())


def read_leniently(model: type[Model], document: Any) -> Leniently[Model]:
    """`document` as a `model`; it is changed where it had to be mended.

    Raises pydantic's `ValidationError` with what is left when all that can be mended is.
    """
    allowances: list[tuple[Allowance, Path]] = []
    for _ in range(_MAX_PASSES):
        try:
            return Leniently(model=model.model_validate(document), allowances=allowances)
        except ValidationError as error:
            mended = _mend(model, document, error.errors(include_url=False, include_context=False))
            if not mended:
                raise
            allowances += mended
    return Leniently(model=model.model_validate(document), allowances=allowances)


def allowance_warnings(
    allowances: Iterable[tuple[Allowance, Place]], in_words: Callable[[Place], str] = str
) -> tuple[str, ...]:
    """One sentence for each kind, however often it occurs, with the place of the first."""
    counts: Counter[Allowance] = Counter()
    first: dict[Allowance, Place] = {}
    for allowance, place in allowances:
        counts[allowance] += 1
        first.setdefault(allowance, place)
    return tuple(
        f"{allowance.value} ({f'{count:,} times, first ' if count > 1 else ''}at {in_words(first[allowance])})"
        for allowance, count in counts.items()
    )


def _mend(model: type[BaseModel], document: Any, faults: Sequence[ErrorDetails]) -> list[tuple[Allowance, Path]]:
    """Changes what can mean only one thing, and says which places that were."""
    mended = []
    for fault in faults:
        found = _meaning(model, fault) if fault["loc"] else None
        if found is not None:
            allowance, value = found
            _replace(document, fault["loc"], value)
            mended.append((allowance, fault["loc"]))
    return mended


def _replace(document: Any, path: Path, value: object) -> None:
    for part in path[:-1]:
        document = document[part]
    if value is _ABSENT:
        document.pop(path[-1], None)
    else:
        document[path[-1]] = value


def _meaning(model: type[BaseModel], fault: ErrorDetails) -> tuple[Allowance, object] | None:
    """The kindness and the value that was meant, None when nobody can tell."""
    value, path, kind = fault["input"], fault["loc"], fault["type"]
    if value is None:
        return (Allowance.NULL, _ABSENT) if kind != "missing" and has_default(model, path) else None
    if kind in {"int_type", "float_type"}:
        return _number(value)
    if kind == "bool_type":
        return _boolean(value)
    if kind in {"less_than_equal", "greater_than_equal"} and path[-1] == "priority":
        return Allowance.PRIORITY, MIN_PRIORITY if value < MIN_PRIORITY else MAX_PRIORITY
    if kind == "string_type" and path[-1] in _TEXT_IDS:
        return _text_id(value)
    if kind == "datetime_text":
        return _instant(value)
    return (Allowance.NO_MACHINES, _ABSENT) if kind == "too_short" and path[-1] == "machines" else None


def _number(value: object) -> tuple[Allowance, object] | None:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return None
    number = float(value)
    return (Allowance.NUMBER, _exact(value, number)) if math.isfinite(number) else None


def _exact(text: str, number: float) -> int | float:
    """Ids have more digits than a float keeps."""
    return int(text) if text.strip().lstrip("+-").isdigit() else number


def _boolean(value: object) -> tuple[Allowance, object] | None:
    if isinstance(value, str):
        meant = BOOLEAN_WORDS.get(value.strip().lower())
    else:
        meant = bool(value) if isinstance(value, int | float) and value in (0, 1) else None
    return None if meant is None else (Allowance.BOOLEAN, meant)


def _text_id(value: object) -> tuple[Allowance, object] | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # JSON does not tell 7.0 from 7, and a machine number that was rounded on the way is no id any more.
    if not is_number or not float(value).is_integer() or abs(value) > MAX_ID:  # type: ignore[arg-type]
        return None
    return Allowance.TEXT_ID, str(int(value))  # type: ignore[call-overload]


def _instant(value: object) -> tuple[Allowance, object] | None:
    if not isinstance(value, str) or not _LOWER_CASE_INSTANT.fullmatch(value):
        return None
    return Allowance.LOWER_CASE, value.upper()
