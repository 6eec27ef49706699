"""Bytes of a body -> a model of the wire, or everything that is wrong with them.

Sizes are checked before the schema, so that a body of a million empty jobs costs one message, not a million. What is
understood although it is not written by the letter, and what nobody knows, are warnings; a strict reader refuses both.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from deployments.contracts.answers.validation import ValidateRequest
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import (
    MAX_ID,
    UnknownField,
    WireModel,
    also_called,
    field_names,
    forget_unknown_fields,
    has_default,
    inclusive_bounds,
    model_of_field,
    unknown_fields,
)
from deployments.errors import InvalidRequest, MalformedBody, did_you_mean, nearly_spelt, requirement_of
from env.errors import InvalidProblem
from env.judge.verdict import quantity

MAX_REASONS = 100
MAX_WARNINGS = 50
MAX_QUOTE_LENGTH = 80
MAX_TOLD_BOUND = 10_000
"""The upper bound of a number is told beside the lower one up to here: beyond, nobody asks for it."""
MAX_UNKNOWN_BESIDE = 20
"""Unknown fields of one object that are looked at for what was meant where something is missing."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
JOBS_SETTING, MACHINES_SETTING = "GANTRY_MAX_JOBS", "GANTRY_MAX_MACHINES"
NOT_SUPPORTED_YET = "is not supported yet"
NO_DUE_DATES = " Where no job has an lcd_date, nothing is due, and the default objective is makespan"
BODY = "body"
_PART = re.compile(r"([^.\[\]]+)|\[(\d{1,9})\]")
_QUOTED = re.compile(r"'([^']+)'")

MIN_PRIORITY, MAX_PRIORITY = 1, 3
BOOLEAN_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# A number as text may have to be taken as a priority outside its range next.
_MAX_PASSES = 3
_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{0,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_LOWER_CASE_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ][\d:.]+([Zz]|[+-][\d:]+)?", re.ASCII)
_TEXT_IDS = frozenset({"job_id", "family_id"})
_ABSENT = object()
# What Python holds for each of these: an object with its keys, a list, half a short text, a number and its place.
# By the resident memory of lists of nothing else, read by pydantic's parser.
_BYTES_OF = {b"{": 200, b"[": 92, b'"': 25, b",": 44}
_WEIGHTLESS = bytes(set(range(256)) - set(b"".join(_BYTES_OF)))

Path = tuple[int | str, ...]
Place = TypeVar("Place")
Model = TypeVar("Model", bound=WireModel)
AnyModel = TypeVar("AnyModel", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """How much one request may ask for."""

    jobs: int
    machines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Generic[Model]):
    """A body that was understood; `warnings` are sentences about what is not written by the letter, or not known."""

    body: Model
    warnings: tuple[str, ...] = ()


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
class Leniently(Generic[AnyModel]):
    """A model, and each place where it was not written by the letter."""

    model: AnyModel
    allowances: Sequence[tuple[Allowance, Path]] = field(default=())


def read_leniently(model: type[AnyModel], document: Any) -> Leniently[AnyModel]:
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


def memory_bytes(json_part: bytes) -> int:
    """How much memory a part of a body takes at most, itself and what it is read into; known before it is read."""
    marks = json_part.translate(None, _WEIGHTLESS)
    return len(json_part) + sum(count * marks.count(mark) for mark, count in _BYTES_OF.items())


def read_schedule_request(raw: bytes, limits: RequestLimits, *, is_strict: bool = False) -> Received[ScheduleRequest]:
    """The body of `POST /schedule`. Raises `MalformedBody` or `InvalidRequest`."""
    document = _document(raw)
    _refuse(_oversized(document, limits))
    return _received(ScheduleRequest, document, is_strict)


def read_validate_request(raw: bytes, limits: RequestLimits, *, is_strict: bool = False) -> Received[ValidateRequest]:
    """The body of `POST /v1/validate`. Raises `MalformedBody` or `InvalidRequest`."""
    document = _document(raw)
    rows = _too_long(document, "scheduled_jobs", 2 * limits.jobs, f"twice {JOBS_SETTING}")
    inner = (("request." + field, message) for field, message in _oversized(document.get("request"), limits))
    _refuse((*rows, *inner))
    return _received(ValidateRequest, document, is_strict)


def receive(raw: bytes, model: type[Model], *, is_strict: bool = False) -> Received[Model]:
    """Any other body of a planner, a `model` of bounded size. Raises `MalformedBody` or `InvalidRequest`."""
    return _received(model, _document(raw), is_strict)


def read_document(raw: bytes, model: type[Model]) -> Model:
    """The body of an operator, a `model` of bounded size, by the letter. Raises `MalformedBody` or `InvalidRequest`."""
    return _validated(model, _document(raw), is_strict=True).model


def dotted(path: Path) -> str:
    """("jobs", 3, "machine_types") -> "jobs[3].machine_types"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or BODY


def fault_message(fault: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """What was required and what was found, without the field; of a `model` that is known with both bounds."""
    if fault["type"] == "missing":
        return "must be given, was absent"
    requirement = requirement_of(fault["type"], fault["msg"], fault.get("ctx", {}))
    if model is not None and fault["type"] in {"less_than_equal", "greater_than_equal"}:
        lowest, highest = inclusive_bounds(model, fault["loc"])
        if lowest is not None and highest is not None and highest <= MAX_TOLD_BOUND:
            requirement = f"must be from {lowest:g} to {highest:g}"
    guess = did_you_mean(str(fault["input"]), _QUOTED.findall(requirement)) if fault["type"] == "enum" else ""
    return f"{requirement}, was {_described(fault['input'])}{guess}"


def invalid_request(
    error: ValidationError, model: type[BaseModel], whose: Callable[[Path], str] = lambda _: ""
) -> InvalidRequest:
    """What is wrong with a document of a `model`; `whose` adds to each fault what its path alone does not tell."""
    faults = error.errors(include_url=False)
    told = faults[:MAX_REASONS]
    reasons = tuple((dotted(each["loc"]), fault_message(each, model) + whose(each["loc"])) for each in told)
    return InvalidRequest(reasons, omitted=max(0, len(faults) - MAX_REASONS))


def with_misspellings(problem: InvalidProblem, raw: bytes, model: type[WireModel], *outer: str) -> InvalidProblem:
    """`problem` of a body, whose reasons are about what is at `outer` in it, and name misspelt fields beside each.

    Whether a machine can do a job is told by both, so a type that no machine has may be misspelt there.
    """
    document: Any = _document(raw)
    for part in outer:
        document = document.get(part) if isinstance(document, dict) else None
    machines = document.get("machines") if isinstance(document, dict) else None
    count = min(len(machines), MAX_REASONS) if isinstance(machines, list) else 0
    of_machine = (_misspelt_beside(f"machines[{index}].machine_type", document, model) for index in range(count))
    elsewhere = next(filter(None, of_machine), "")
    # No more of them are told.
    named = _misspellings_named(problem.reasons[:MAX_REASONS], document, model)
    found = ((field, message + (elsewhere if field.endswith(".machine_types") else "")) for field, message in named)
    return InvalidProblem((*found, *problem.reasons[MAX_REASONS:]))


def _misspellings_named(
    reasons: Iterable[tuple[str, str]], document: object, model: type[WireModel]
) -> tuple[tuple[str, str], ...]:
    return tuple((field, message + _misspelt_beside(field, document, model)) for field, message in reasons)


def _misspelt_beside(field: str, document: Any, model: type[WireModel]) -> str:
    """ "; jobs[0] has 'procesing_time': did you mean 'processing_time'?" of jobs[0].machine_types."""
    inner: type[WireModel] | None = model
    *outer, _ = _PART.findall(field) or [(BODY, "")]
    for name, index in outer:
        if index:
            has_item = isinstance(document, list) and int(index) < len(document)
            document = document[int(index)] if has_item else None
        else:
            document = document.get(name) if isinstance(document, dict) else None
            inner = None if inner is None else model_of_field(inner, name)
    if not isinstance(document, dict) or inner is None:
        return ""
    known = field_names(inner)
    unknown = [key[:MAX_QUOTE_LENGTH] for key in document if key not in known][:MAX_UNKNOWN_BESIDE]
    where = field[: field.rindex(".")] if "." in field else f"the {BODY}"
    guesses = ((key, _guess(key, inner)) for key in unknown)
    return "".join(
        f"; {where} has '{_shortened(key)}': did you mean '{guess}'?"
        for key, guess in guesses
        if guess is not None and guess not in document
    )


@lru_cache(maxsize=4096)
def _guess(name: str, model: type[WireModel]) -> str | None:
    """The field that was meant, by its spelling or by what the trade calls it. Each job of a list has the same."""
    return nearly_spelt(name, field_names(model)) or also_called(name, model)


def unknown_field_message(found: UnknownField) -> str:
    """What is wrong with a field that no model knows, without the field."""
    if found.is_awaited:
        return NOT_SUPPORTED_YET
    return f"must be a known field, was not{_meant(found)}"


def unknown_field_warnings(unknown: Iterable[UnknownField]) -> tuple[str, ...]:
    """One sentence for each unknown field, however many jobs carry it."""
    counts: Counter[str] = Counter()
    first: dict[str, UnknownField] = {}
    for found in unknown:
        counts[found.general] += 1
        first.setdefault(found.general, found)
    sentences = [_ignored(first[general], count) for general, count in counts.most_common(MAX_WARNINGS)]
    omitted = len(counts) - len(sentences)
    return (*sentences, *([f"{omitted:,} further unknown fields were ignored"] if omitted else []))


def _ignored(found: UnknownField, count: int) -> str:
    times = f" ({count:,} times, first at {_shortened(found.exact)})" if count > 1 else ""
    return f"unknown field {_shortened(found.general)} was ignored{times}{_meant(found)}"


def _meant(found: UnknownField) -> str:
    guess = _guess(found.name[:MAX_QUOTE_LENGTH], found.model)
    if guess is None:
        return ""
    return f"; did you mean {guess}?" + (NO_DUE_DATES if guess == "lcd_date" else "")


def _shortened(name: str) -> str:
    return json.dumps(name[:MAX_QUOTE_LENGTH], ensure_ascii=False)[1:-1]


def _document(raw: bytes) -> dict[str, object]:
    if not raw.removeprefix(BYTE_ORDER_MARK).strip():
        raise MalformedBody("the body must be JSON, was empty")
    try:
        document = from_json(raw.removeprefix(BYTE_ORDER_MARK))
    except ValueError as error:
        raise MalformedBody(f"the body must be JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(((BODY, f"must be an object, was {_described(document)}"),))
    return document


def _oversized(document: object, limits: RequestLimits) -> Iterator[tuple[str, str]]:
    if isinstance(document, dict):
        yield from _too_long(document, "jobs", limits.jobs, JOBS_SETTING)
        yield from _too_long(document, "machines", limits.machines, MACHINES_SETTING)


def _too_long(document: dict[str, object], field: str, limit: int, setting: str) -> Iterator[tuple[str, str]]:
    items = document.get(field)
    if isinstance(items, list) and len(items) > limit:
        yield field, f"must have at most {limit:,} entries ({setting}), had {len(items):,}"


def _received(model: type[Model], document: object, is_strict: bool) -> Received[Model]:
    read = _validated(model, document, is_strict=is_strict)
    unknown = list(unknown_fields(read.model))
    _refuse((found.exact, unknown_field_message(found)) for found in unknown if is_strict or found.is_awaited)
    allowed = allowance_warnings(read.allowances, in_words=dotted)
    warnings = (*allowed, *unknown_field_warnings(unknown))
    if unknown:
        forget_unknown_fields(read.model)
    return Received(body=read.model, warnings=warnings)


def _validated(model: type[Model], document: object, *, is_strict: bool) -> Leniently[Model]:
    try:
        return Leniently(model=model.model_validate(document)) if is_strict else read_leniently(model, document)
    except ValidationError as error:
        refusal = invalid_request(error, model)
        reasons = _misspellings_named(refusal.reasons, document, model)
        raise InvalidRequest(reasons, omitted=refusal.omitted) from None


def _refuse(reasons: Iterable[tuple[str, str]]) -> None:
    found = tuple(reasons)
    if found:
        raise InvalidRequest(found[:MAX_REASONS], omitted=max(0, len(found) - MAX_REASONS))


def _described(value: object) -> str:
    """The value when it is short, else what kind of thing it is."""
    if isinstance(value, list):
        return f"a list of {quantity(len(value), 'entry', 'entries')}" if value else "an empty list"
    if isinstance(value, dict):
        return "an object"
    return json.dumps(value, ensure_ascii=False, default=str)[:MAX_QUOTE_LENGTH]
