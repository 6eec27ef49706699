"""Plant data from CSV, XLSX and JSON files: models of the wire, or everything that is wrong, line by line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from deployments.contracts.parsing import (
    Allowance,
    allowance_warnings,
    dotted,
    fault_message,
    read_leniently,
    unknown_field_message,
)
from deployments.contracts.requests.schedule_request import (
    CalendarRequest,
    JobRequest,
    MachineRequest,
    ScheduleRequest,
    cause_of_repeated_job,
    cause_of_repeated_machine,
    cause_of_repeated_sequence,
)
from deployments.contracts.requests.wire import WireModel, field_names, unknown_fields
from deployments.contracts.translation.plant import calendar_reasons
from deployments.errors import did_you_mean
from deployments.plants.sheets import (
    Entry,
    InvalidPlantFile,
    Spelling,
    is_table,
    refuse,
    table_entries,
    text_of,
    with_hint,
)

Model = TypeVar("Model", bound=WireModel)
Reasons = list[tuple[str, str]]
AS_IN_JSON = Spelling()
COLUMNS = ("kind", "name", "start", "end", "days", "date", "country", "machine_id", "from", "to", "reason")
# What a line says is the only member of its list, which its author need not know.
_OWN_PLACE = re.compile(r"^((breaks|holidays|machines|unavailable)(\[0\])\.?)*")
_Line = dict[str, Any]
_KINDS: dict[str, Callable[[_Line], dict[str, Any]]] = {
    "break": lambda line: {"breaks": [_only(line, "name", "start", "end", "days")]},
    "holiday": lambda line: {"holidays": [line.get("date")]},
    "country": lambda line: {"country": line.get("country")},
    "unavailable": lambda line: {
        "machines": [{**_only(line, "machine_id"), "unavailable": [_only(line, "from", "to", "reason")]}]
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(Generic[Model]):
    """A model and where it was read, and what of it is not written by the letter."""

    place: str
    model: Model
    allowances: tuple[tuple[Allowance, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantFile(Generic[Model]):
    """What a file says; `warnings` are sentences about what in it is not written by the letter."""

    models: list[Model]
    warnings: tuple[str, ...]


def read_machines(path: Path, limit: int, spelling: Spelling = AS_IN_JSON) -> PlantFile[MachineRequest]:
    """At most `limit` machines, from CSV, XLSX or JSON. Raises `InvalidPlantFile`."""
    entries = _entries(path, "machines", MachineRequest, spelling)
    return _file(_checked(path, MachineRequest, entries, limit, _repeated_machines))


def read_jobs(path: Path, limit: int, spelling: Spelling = AS_IN_JSON) -> PlantFile[JobRequest]:
    """At most `limit` pending jobs, from CSV, XLSX or JSON. Raises `InvalidPlantFile`."""
    return _file(_checked(path, JobRequest, _entries(path, "jobs", JobRequest, spelling), limit, _job_reasons))


def json_document(path: Path, key: str) -> Any:
    """A JSON file, or what it has under `key` when it is an object with such a member, as a request body is."""
    try:
        document = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise InvalidPlantFile(path.name, (("file", f"must be JSON: {error}"),)) from None
    return document[key] if isinstance(document, dict) and key in document else document


def checked(model: type[Model], place: str, document: object) -> tuple[Placed[Model] | None, Reasons]:
    """`document` as a `model`, or None and (path, message) of all that is wrong, unknown fields included."""
    try:
        read = read_leniently(model, document)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        return None, [(dotted(fault["loc"]), fault_message(fault, model)) for fault in faults]
    unknown = [(found.exact, unknown_field_message(found)) for found in unknown_fields(read.model)]
    allowances = tuple((allowance, f"{place}, {dotted(path)}") for allowance, path in read.allowances)
    return (None, unknown) if unknown else (Placed(place=place, model=read.model, allowances=allowances), [])


def _entries(path: Path, key: str, model: type[WireModel], spelling: Spelling) -> Iterable[Entry]:
    if is_table(path):
        return table_entries(path, key, field_names(model), spelling)
    document = json_document(path, key)
    if not isinstance(document, list):
        raise InvalidPlantFile(path.name, (("file", f"must be a list of {key}, or an object with one"),))
    return [Entry(place=f"entry {number}", document=each) for number, each in enumerate(document, start=1)]


def _checked(
    path: Path,
    model: type[Model],
    entries: Iterable[Entry],
    limit: int,
    further: Callable[[list[Placed[Model]]], Iterator[tuple[str, str]]],
) -> list[Placed[Model]]:
    reasons: Reasons = []
    placed: list[Placed[Model]] = []
    hint = with_hint if is_table(path) else str
    for number, entry in enumerate(entries, start=1):
        if number > limit:
            refuse(path, [(entry.place, f"must be among the first {limit:,}, which is the limit, was after them")])
        if entry.faults:
            reasons += [(entry.place, fault) for fault in entry.faults]
            continue
        found, faults = checked(model, entry.place, entry.document)
        reasons += [(entry.place, hint(f"{field} {message}")) for field, message in faults]
        if found is not None:
            placed.append(found)
    refuse(path, [*reasons, *further(placed)])
    return placed


def _file(placed: list[Placed[Model]]) -> PlantFile[Model]:
    warnings = allowance_warnings(allowance for each in placed for allowance in each.allowances)
    return PlantFile(models=[each.model for each in placed], warnings=warnings)


def _repeated_machines(machines: list[Placed[MachineRequest]]) -> Iterator[tuple[str, str]]:
    yield from _repeated(machines, "machine_id", lambda machine: machine.machine_id, cause_of_repeated_machine)


def _job_reasons(jobs: list[Placed[JobRequest]]) -> Iterator[tuple[str, str]]:
    yield from _repeated(jobs, "job_id", lambda job: job.job_id, cause_of_repeated_job)
    in_families = [each for each in jobs if each.model.family_id is not None]
    place = "family_id and sequence"
    yield from _repeated(in_families, place, lambda job: (job.family_id, job.sequence), cause_of_repeated_sequence)
    for each in jobs:
        job = each.model
        times = [option.processing_time for option in job.machine_options or ()] or [None]
        if job.processing_time is None and None in times:
            yield each.place, "processing_time must be given unless each of machine_options has its own, was absent"
        if not (job.machine_types or job.machine_options or job.requires_all_machines):
            yield each.place, "machine_types must be given unless there are machine_options, was absent"


def _repeated(
    placed: list[Placed[Model]], name: str, key: Callable[[Model], Hashable], cause: Callable[[Model, Model], str]
) -> Iterator[tuple[str, str]]:
    first: dict[Hashable, Placed[Model]] = {}
    for each in placed:
        value = key(each.model)
        earlier = first.setdefault(value, each)
        if earlier is not each:
            message = f"{name} must be unique, {_words(value)} is also in {earlier.place}"
            yield each.place, f"{message}; {cause(earlier.model, each.model)}"


def _words(value: Hashable) -> str:
    return " and ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_calendar(
    path: Path, *, zone: ZoneInfo, now: datetime, spelling: Spelling = AS_IN_JSON
) -> PlantFile[CalendarRequest]:
    """The calendar, by the clocks of `zone`. A table without breaks leaves the default weekly calendar.

    Raises `InvalidPlantFile`.
    """
    if not is_table(path):
        found, faults = _checked_calendar("calendar", json_document(path, "calendar"), zone, now)
        refuse(path, [("calendar", f"{field} {message}") for field, message in faults])
        assert found is not None, "what has no faults is a calendar"
        return _file([found])
    reasons: Reasons = []
    allowances: list[tuple[Allowance, str]] = []
    calendar: dict[str, Any] = {}
    for entry in table_entries(path, "calendar", COLUMNS, spelling):
        document = _document_of(entry.document)
        found, faults = _checked_calendar(entry.place, document, zone, now)
        reasons += _line_reasons(entry, document, faults)
        allowances += () if found is None else found.allowances
        if "country" in document and "country" in calendar:
            reasons.append((entry.place, "country must be given once, was given again"))
        for name, value in document.items():
            calendar[name] = calendar.get(name, []) + value if isinstance(value, list) else value
    refuse(path, reasons)
    whole = CalendarRequest.model_validate(calendar)
    return PlantFile(models=[whole], warnings=allowance_warnings(allowances))


def _document_of(line: _Line) -> dict[str, Any]:
    kind = _KINDS.get(line.get("kind", ""))
    return {} if kind is None else kind(line)


def _line_reasons(entry: Entry, document: dict[str, Any], faults: Reasons) -> Iterator[tuple[str, str]]:
    if entry.faults:
        yield from ((entry.place, fault) for fault in entry.faults)
        return
    if not document:
        kind = entry.document.get("kind", "")
        yield entry.place, f"kind must be one of {', '.join(_KINDS)}, was {kind!r}{did_you_mean(kind, _KINDS)}"
    for field, message in faults:
        yield entry.place, with_hint(f"{_OWN_PLACE.sub('', field) or 'date'} {message}")


def _checked_calendar(
    place: str, document: object, zone: ZoneInfo, now: datetime
) -> tuple[Placed[CalendarRequest] | None, Reasons]:
    placed, faults = checked(CalendarRequest, place, document)
    if placed is None:
        return None, faults
    calendar = placed.model
    # Which machines there are is another file's business.
    machines = [{"machine_id": machine.machine_id} for machine in calendar.machines] or None
    request = ScheduleRequest.model_validate({"jobs": [], "machines": machines, "calendar": calendar})
    return placed, [
        (field.removeprefix("calendar."), message) for field, message in calendar_reasons(request, now, zone)
    ]


def _only(line: _Line, *names: str) -> dict[str, Any]:
    return {name: line[name] for name in names if name in line}
