"""Bytes of a body -> a model of the wire, or everything that is wrong with them.

Sizes are checked before the schema, so that a body of a million empty jobs costs one message, not a million.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from deployments.contracts.answers.validation import ValidateRequest
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.errors import InvalidRequest, MalformedBody

MAX_REASONS = 100
MAX_QUOTE_LENGTH = 80
BODY = "body"
# "Input should be …", "String should have …": the field is named beside the message already.
_SUBJECT = re.compile(r"^\w+ should")

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """How much one request may ask for."""

    jobs: int
    machines: int


def read_schedule_request(raw: bytes, limits: RequestLimits) -> ScheduleRequest:
    """The body of `POST /schedule`. Raises `MalformedBody` or `InvalidRequest`."""
    document = _document(raw)
    _refuse(_oversized(document, limits))
    return _validated(ScheduleRequest, document)


def read_validate_request(raw: bytes, limits: RequestLimits) -> ValidateRequest:
    """The body of `POST /v1/validate`. Raises `MalformedBody` or `InvalidRequest`."""
    document = _document(raw)
    rows = _too_long(document, "scheduled_jobs", 2 * limits.jobs)
    inner = (("request." + field, message) for field, message in _oversized(document.get("request"), limits))
    _refuse((*rows, *inner))
    return _validated(ValidateRequest, document)


def read_document(raw: bytes, model: type[Model]) -> Model:
    """Any other body, a `model` of bounded size. Raises `MalformedBody` or `InvalidRequest`."""
    return _validated(model, _document(raw))


def dotted(path: tuple[int | str, ...]) -> str:
    """("jobs", 3, "machine_types") -> "jobs[3].machine_types"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or BODY


def fault_message(fault: ErrorDetails) -> str:
    """What was required and what was found, without the field."""
    if fault["type"] == "missing":
        return "must be given, was absent"
    requirement = _SUBJECT.sub("must", fault["msg"])
    return f"{requirement}, was {_described(fault['input'])}"


def _document(raw: bytes) -> dict[str, object]:
    try:
        document = from_json(raw)
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


def _validated(model: type[Model], document: object) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        reasons = tuple((dotted(fault["loc"]), fault_message(fault)) for fault in faults[:MAX_REASONS])
        raise InvalidRequest(reasons, omitted=max(0, len(faults) - MAX_REASONS)) from None


def _refuse(reasons: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> None:
    found = tuple(reasons)
    if found:
        raise InvalidRequest(found)


def _described(value: object) -> str:
    """The value when it is short, else what kind of thing it is."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object"
    return json.dumps(value, ensure_ascii=False, default=str)[:MAX_QUOTE_LENGTH]
