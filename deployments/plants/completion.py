"""What the database knows of a plant, and requests that leave it to the database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from shlex import quote
from typing import Any

from pydantic import Field, ValidationError

from deployments.contracts.parsing import (
    BOOLEAN_WORDS,
    Path,
    allowance_warnings,
    dotted,
    invalid_request,
    read_leniently,
)
from deployments.contracts.requests.schedule_request import CalendarRequest, JobRequest, MachineRequest, ScheduleRequest
from deployments.contracts.requests.wire import WireModel
from env.errors import InvalidProblem

NUMBERS = frozenset(
    {
        "machine_id",
        "machine_type",
        "current_load",
        "sequence",
        "processing_time",
        "priority",
        "setup_time",
        "weight",
    }
)
_BOOLEANS = frozenset({"is_important", "interruptible"})
_LISTS = frozenset({"machine_types", "requires_all_machines", "days", "holidays"})
_DOCUMENTS = frozenset({"machine_options", "pinned", "breaks"})
_SEPARATORS = re.compile(r"[\s,;|]+")
Cells = Mapping[str, Any]


def wire_document(cells: Mapping[str, object]) -> dict[str, Any]:
    """The JSON object of one line; a cell that is null or blank is an absent field."""
    return {name: _value(name, cell) for name, cell in cells.items() if not _is_blank(cell)}


def _is_blank(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _value(name: str, cell: object) -> Any:
    if isinstance(cell, bytes):
        # A BIT column of MariaDB, else text of a binary collation.
        cell = int.from_bytes(cell) if name in _BOOLEANS else cell.decode(errors="replace")
    if name in NUMBERS:
        return _number(cell)
    if name in _BOOLEANS:
        return BOOLEAN_WORDS.get(str(cell).strip().lower(), cell)
    if name in _LISTS:
        return _list(cell)
    if name in _DOCUMENTS:
        return _parsed(str(cell))
    return cell.isoformat() if isinstance(cell, datetime | date) else str(cell).strip()


def _number(cell: object) -> object:
    if isinstance(cell, Decimal):
        return float(cell)
    parsed = _parsed(cell) if isinstance(cell, str) else cell
    return parsed if isinstance(parsed, int | float) and not isinstance(parsed, bool) else cell


def _list(cell: object) -> object:
    text = str(cell).strip()
    if text.startswith("["):
        return _parsed(text)
    return [_number(part) for part in _SEPARATORS.split(text) if part]


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class PlantData(WireModel):
    """Machines and pending jobs of one plant by their ids; `calendar` is None when it has the default one.

    `warnings` are sentences about rows that are not written by the letter.
    """

    machines: list[MachineRequest] = Field(default_factory=list)
    jobs: list[JobRequest] = Field(default_factory=list)
    calendar: CalendarRequest | None = None
    warnings: tuple[str, ...] = ()


def plant_data(
    *, machines: Iterable[Cells], jobs: Iterable[Cells], calendar: Cells | None, closures: Iterable[Cells]
) -> PlantData:
    """The rows of one plant as models of the wire.

    Raises `InvalidRequest` with paths such as "jobs[3].priority" when rows do not follow the schema,
    which rows that were imported do, and those of somebody's own view may not.
    """
    document = {
        "machines": sorted(map(wire_document, machines), key=lambda machine: str(machine.get("machine_id")).zfill(20)),
        "jobs": sorted(map(wire_document, jobs), key=lambda job: str(job.get("job_id"))),
        "calendar": _calendar(calendar, closures),
    }
    try:
        read = read_leniently(PlantData, document)
    except ValidationError as error:
        raise invalid_request(error, PlantData, lambda path: _whose(document, path)) from None
    warnings = allowance_warnings(read.allowances, in_words=lambda path: dotted(path) + _whose(document, path))
    return read.model.model_copy(update={"warnings": warnings})


def completed(request: ScheduleRequest, plant: PlantData, plant_id: str) -> ScheduleRequest:
    """The request with everything that it left to the database, the calendar included.

    Closures of machines that are not in the request do not concern it. Raises `InvalidProblem` when
    the plant has no machines or no pending jobs, where they are needed.
    """
    reasons = list(_missing(request, plant, plant_id))
    if reasons:
        raise InvalidProblem(reasons)
    changes: dict[str, object] = {}
    if request.machines is None:
        changes["machines"] = plant.machines
    if not request.jobs:
        changes["jobs"] = plant.jobs
    if request.calendar is None and plant.calendar is not None:
        changes["calendar"] = plant.calendar if request.machines is None else _calendar_for(request, plant.calendar)
    return request.model_copy(update=changes)


def _missing(request: ScheduleRequest, plant: PlantData, plant_id: str) -> Iterator[tuple[str, str]]:
    if request.machines is None and not plant.machines:
        message = f"must be given, because the database has none of plant {plant_id!r}, was absent"
        yield "machines", f"{message}: {_remedies('machines', plant_id)}"
    if not request.jobs and not plant.jobs:
        message = f"must not be empty, because the database has no pending jobs of plant {plant_id!r}, was empty"
        yield "jobs", f"{message}: {_remedies('jobs', plant_id)}"


def _remedies(kind: str, plant_id: str) -> str:
    return f"send {kind} with the request, or store them by gantry db import {kind} FILE --plant {quote(plant_id)}"


def _calendar_for(request: ScheduleRequest, calendar: CalendarRequest) -> CalendarRequest:
    present = {machine.machine_id for machine in request.machines or ()}
    return calendar.model_copy(
        update={"machines": [machine for machine in calendar.machines if machine.machine_id in present]}
    )


def _calendar(calendar: Cells | None, closures: Iterable[Cells]) -> dict[str, Any] | None:
    by_machine: dict[Any, list[dict[str, Any]]] = {}
    for cells in closures:
        closure = wire_document(cells)
        by_machine.setdefault(closure.pop("machine_id", None), []).append(
            {"from": closure.pop("closed_from", None), "to": closure.pop("closed_to", None), **closure}
        )
    if calendar is None and not by_machine:
        return None
    machines = [{"machine_id": name, "unavailable": found} for name, found in by_machine.items()]
    return {**wire_document(calendar or {}), "machines": machines}


def _whose(document: dict[str, Any], path: Path) -> str:
    """The id beside a place, because nobody can count the rows of a view."""
    if path[0] not in ("machines", "jobs") or len(path) < 2 or not isinstance(path[1], int):
        return ""
    name = f"{str(path[0]).removesuffix('s')}_id"
    return f" ({name} {document[str(path[0])][path[1]].get(name)} in the database)"
