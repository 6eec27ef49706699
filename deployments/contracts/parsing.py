"""Bytes of a body -> a model of the wire, or everything that is wrong with them.

Sizes are checked before the schema, so that a body of a million empty jobs costs one message, not a million. What is
understood although it is not written by the letter, and what nobody knows, are warnings; a strict reader refuses both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from deployments.contracts.answers.validation import ValidateRequest
from deployments.contracts.leniency import Leniently, Path, allowance_warnings, read_leniently
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import UnknownField, WireModel, field_names, unknown_fields
from deployments.errors import InvalidRequest, MalformedBody, did_you_mean

MAX_REASONS = 100
MAX_WARNINGS = 50
MAX_QUOTE_LENGTH = 80
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NOT_SUPPORTED_YET = "is not supported yet"
BODY = "body"
# "Input should be …", "String should have …": the field is named beside the message already.
_SUBJECT = re.compile(r"^\w+ should")
_QUOTED = re.compile(r"'([^']+)'")

Model = TypeVar("Model", bound=WireModel)


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


def read_schedule_request(raw: bytes, limits: RequestLimits, *, is_strict: bool = False) -> Received[ScheduleRequest]:
    """The body of `POST /schedule`. Raises `MalformedBody` or `InvalidRequest`."""
    document = _document(raw)
    _refuse(_oversized(document, limits))
    return _received(ScheduleRequest, document, is_strict)


def read_validate_request(raw: bytes, limits: RequestLimits, *, is_strict: bool = False) -> Received[ValidateRequest]:
    """The body of `POST /v1/validate`. Raises `MalformedBody` or `InvalidRequest`."""
    document = _document(raw)
    rows = _too_long(document, "scheduled_jobs", 2 * limits.jobs)
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


def fault_message(fault: ErrorDetails) -> str:
    """What was required and what was found, without the field."""
    if fault["type"] == "missing":
        return "must be given, was absent"
    requirement = _SUBJECT.sub("must", fault["msg"])
    guess = did_you_mean(str(fault["input"]), _QUOTED.findall(requirement)) if fault["type"] == "enum" else ""
    return f"{requirement}, was {_described(fault['input'])}{guess}"


def invalid_request(error: ValidationError, whose: Callable[[Path], str] = lambda _: "") -> InvalidRequest:
    """What is wrong with a document; `whose` adds to each fault what its path alone does not tell."""
    faults = error.errors(include_url=False, include_context=False)
    reasons = tuple((dotted(each["loc"]), fault_message(each) + whose(each["loc"])) for each in faults[:MAX_REASONS])
    return InvalidRequest(reasons, omitted=max(0, len(faults) - MAX_REASONS))


def unknown_field_message(found: UnknownField) -> str:
    """What is wrong with a field that no model knows, without the field."""
    if found.is_awaited:
        return NOT_SUPPORTED_YET
    return f"must be a known field, was not{did_you_mean(found.name, field_names(found.model))}"


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
    guess = did_you_mean(found.name[:MAX_QUOTE_LENGTH], field_names(found.model))
    return f"unknown field {_shortened(found.general)} was ignored{times}{guess}"


def _shortened(name: str) -> str:
    return json.dumps(name[:MAX_QUOTE_LENGTH], ensure_ascii=False)[1:-1]


def _document(raw: bytes) -> dict[str, object]:
    try:
        document = from_json(raw.removeprefix(BYTE_ORDER_MARK))
    except ValueError as error:
        raise MalformedBody(f"the body must be JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(((BODY, f"must be an object, was {_described(document)}"),))
    return document


def _oversized(document: object, limits: RequestLimits) -> Iterator[tuple[str, str]]:
    if isinstance(document, dict):
        yield from _too_long(document, "jobs", limits.jobs)
        yield from _too_long(document, "machines", limits.machines)


def _too_long(document: dict[str, object], field: str, limit: int) -> Iterator[tuple[str, str]]:
    items = document.get(field)
    if isinstance(items, list) and len(items) > limit:
        yield field, f"must have at most {limit:,} entries, had {len(items):,}"


def _received(model: type[Model], document: object, is_strict: bool) -> Received[Model]:
    read = _validated(model, document, is_strict=is_strict)
    unknown = list(unknown_fields(read.model))
    _refuse((found.exact, unknown_field_message(found)) for found in unknown if is_strict or found.is_awaited)
    allowed = allowance_warnings(read.allowances, in_words=dotted)
    return Received(body=read.model, warnings=(*allowed, *unknown_field_warnings(unknown)))


def _validated(model: type[Model], document: object, *, is_strict: bool) -> Leniently[Model]:
    try:
        return Leniently(model=model.model_validate(document)) if is_strict else read_leniently(model, document)
    except ValidationError as error:
        raise invalid_request(error) from None


def _refuse(reasons: Iterable[tuple[str, str]]) -> None:
    found = tuple(reasons)
    if found:
        raise InvalidRequest(found[:MAX_REASONS], omitted=max(0, len(found) - MAX_REASONS))


def _described(value: object) -> str:
    """The value when it is short, else what kind of thing it is."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object"
    return json.dumps(value, ensure_ascii=False, default=str)[:MAX_QUOTE_LENGTH]
