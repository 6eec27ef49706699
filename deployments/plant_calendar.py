"""A plant's calendar from a CSV or JSON file, or everything that is wrong with it, line by line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from deployments.contracts.calendar import CalendarRequest
from deployments.contracts.plant import calendar_reasons
from deployments.contracts.request import ScheduleRequest
from deployments.plant_data import Entry, Reasons, checked, csv_entries, json_document, refuse

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


def read_calendar(path: Path, *, zone: ZoneInfo, now: datetime) -> CalendarRequest:
    """The calendar, by the clocks of `zone`. A CSV file without breaks leaves the default weekly calendar.

    Raises `InvalidPlantFile`.
    """
    if path.suffix.lower() != ".csv":
        found, faults = _checked(json_document(path, "calendar"), zone, now)
        refuse(path, [("calendar", f"{field} {message}") for field, message in faults])
        assert found is not None, "what has no faults is a calendar"
        return found
    reasons: Reasons = []
    calendar: dict[str, Any] = {}
    for entry in csv_entries(path, COLUMNS):
        document = _document_of(entry.document)
        reasons += _line_reasons(entry, document, zone, now)
        if "country" in document and "country" in calendar:
            reasons.append((entry.place, "country must be given once, was given again"))
        for name, value in document.items():
            calendar[name] = calendar.get(name, []) + value if isinstance(value, list) else value
    refuse(path, reasons)
    return CalendarRequest.model_validate(calendar)


def _document_of(line: _Line) -> dict[str, Any]:
    kind = _KINDS.get(line.get("kind", ""))
    return {} if kind is None else kind(line)


def _line_reasons(entry: Entry, document: dict[str, Any], zone: ZoneInfo, now: datetime) -> Iterator[tuple[str, str]]:
    if entry.fault is not None:
        yield entry.place, entry.fault
    elif not document:
        yield entry.place, f"kind must be one of {', '.join(_KINDS)}, was {entry.document.get('kind', '')!r}"
    for field, message in _checked(document, zone, now)[1]:
        yield entry.place, f"{_OWN_PLACE.sub('', field) or 'date'} {message}"


def _checked(document: object, zone: ZoneInfo, now: datetime) -> tuple[CalendarRequest | None, Reasons]:
    calendar, faults = checked(CalendarRequest, document)
    if calendar is None:
        return None, faults
    # Which machines there are is another file's business.
    machines = [{"machine_id": machine.machine_id} for machine in calendar.machines]
    request = ScheduleRequest.model_validate({"jobs": [], "machines": machines, "calendar": calendar})
    return calendar, [
        (field.removeprefix("calendar."), message) for field, message in calendar_reasons(request, now, zone)
    ]


def _only(line: _Line, *names: str) -> dict[str, Any]:
    return {name: line[name] for name in names if name in line}
