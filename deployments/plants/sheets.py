"""Rows of CSV and XLSX files as JSON objects in the words of the wire, each with the place where it is found."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile

from deployments.errors import ServiceError, did_you_mean
from deployments.plants.completion import NUMBERS, wire_document

if TYPE_CHECKING:
    from openpyxl import Workbook

Reason = tuple[str, str]
MAX_QUOTE_LENGTH = 60
MAX_XLSX_BYTES = 256 * 2**20
"""Of the parts of a workbook once they are unpacked: twenty thousand jobs are some forty."""
MAX_SHOWN_PLACES = 2
MAX_OTHER_VALUES = 2
_DATES = frozenset({"lcd_date", "release_at", "deadline_at", "date", "from", "to"})
_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_TOO_MANY_CELLS = "must have as many cells as the header, had more: put cells with separators in quotes"
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)
_DAY_FIRST = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
_HINTS = (
    (re.compile(r', was "[+-]?\d+,\d+"$', re.ASCII), "a decimal comma needs --decimal-comma"),
    (re.compile(rf', was "{_DAY_FIRST.pattern}"$', re.ASCII), "a day before its month needs --day-first"),
)
_PARTS = re.compile(r"(?P<head>.*?)(?P<detail>, (?:was|had|[^;]+ is also) .*?)?(?P<hint>; .*)?", re.DOTALL)


class InvalidPlantFile(ServiceError):
    """Nothing was imported; `reasons` holds a (place, message) pair for each thing that is wrong."""

    def __init__(self, name: str, reasons: tuple[Reason, ...]) -> None:
        super().__init__(name, reasons)
        self.name = name
        self.reasons = reasons

    def __str__(self) -> str:
        places = len({place for place, _ in self.reasons})
        return f"{self.name} must be right in each line, {places:,} {'is' if places == 1 else 'are'} not: see above"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a CSV file, one row of a sheet or one element of a JSON list: `place` is how its author finds it.

    `faults` say why it cannot even be read as a line; empty when it can.
    """

    place: str
    document: Any
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How cells are written where it is not as in JSON: 2,5 for 2.5, and 25.07.2026 for 2026-07-25."""

    decimal_comma: bool = False
    day_first: bool = False


def is_table(path: Path) -> bool:
    """Whether a file is CSV or XLSX, and not JSON. Raises `InvalidPlantFile` for an old Excel file."""
    return path.suffix.lower() == ".csv" or _is_xlsx(path)


def table_entries(path: Path, name: str, columns: Sequence[str], spelling: Spelling) -> Iterator[Entry]:
    """Rows of a table whose header names some of `columns`; of a workbook the sheet `name`, else the first one.

    Raises `InvalidPlantFile`.
    """
    rows = _sheet_rows(path, name) if _is_xlsx(path) else _csv_rows(path)
    _, header = next(rows, ("", []))
    names = ["" if cell is None else str(cell).strip() for cell in header]
    while names and not names[-1]:
        names.pop()
    _require_header(path, "row 1" if _is_xlsx(path) else "line 1", names, columns)
    for place, cells in rows:
        if not all(map(_is_blank, cells)):
            yield _entry(place, names, cells, spelling)


def refuse(path: Path, reasons: Iterable[Reason]) -> None:
    """Raises `InvalidPlantFile` when there are any reasons."""
    found = tuple(reasons)
    if found:
        raise InvalidPlantFile(path.name, found)


def text_of(path: Path) -> str:
    """The text of a file, without its byte order mark. Raises `InvalidPlantFile`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidPlantFile(path.name, (("file", f"must be UTF-8: {error.reason} at byte {error.start}"),)) from None


def with_hint(message: str) -> str:
    """The message, and the option by which the value in it could be read."""
    hints = [hint for pattern, hint in _HINTS if pattern.search(message)]
    return "; ".join([message, *hints])


def folded(reasons: Iterable[Reason]) -> Iterator[str]:
    """One sentence for each kind of fault: "lines 3, 7 and 12 more: priority must be a whole number, was "high"."."""
    groups: dict[tuple[str, str, str], list[Reason]] = {}
    for place, message in reasons:
        parts = _PARTS.fullmatch(message)
        assert parts is not None, "every part may be empty"
        head = re.sub(r"\[\d+\]", "[]", parts["head"])
        groups.setdefault((place.partition(" ")[0], head, parts["hint"] or ""), []).append((place, message))
    for (unit, _, hint), members in groups.items():
        places = list(dict.fromkeys(place.partition(" ")[2] for place, _ in members))
        yield f"{_places(unit, places)}: {_message([message for _, message in members], hint)}"


def _places(unit: str, places: list[str]) -> str:
    if len(places) == 1:
        return f"{unit} {places[0]}".strip()
    shown, units = places[:MAX_SHOWN_PLACES], "entries" if unit == "entry" else f"{unit}s"
    if len(places) == len(shown):
        return f"{units} {' and '.join(shown)}"
    return f"{units} {', '.join(shown)} and {len(places) - len(shown):,} more"


def _message(messages: list[str], hint: str) -> str:
    """The first one, with a few of the values that were found where others had others."""
    first, *others = [message.removesuffix(hint) for message in messages]
    value = first.partition(", was ")[2]
    values = list(dict.fromkeys(message.partition(", was ")[2] for message in others if message != first))
    if not all(values):
        return f"{first}, …{hint}"
    further = [each for each in values if each != value]
    more = len(further) - MAX_OTHER_VALUES
    return ", ".join([first, *further[:MAX_OTHER_VALUES]]) + (f" and {more:,} others" if more > 0 else "") + hint


def _is_xlsx(path: Path) -> bool:
    with path.open("rb") as file:
        begin = file.read(len(_ZIP))
    if begin == _OLD_EXCEL:
        refuse(path, [("file", "must be CSV, XLSX or JSON, was an old Excel file: save it as .xlsx")])
    return begin == _ZIP


def _csv_rows(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Cells by commas or semicolons."""
    text = text_of(path)
    first_line = text.partition("\n")[0]
    delimiter = ";" if first_line.count(";") > first_line.count(",") else ","
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield f"line {reader.line_num}", cells
    except csv.Error as error:
        raise InvalidPlantFile(path.name, ((f"line {reader.line_num}", f"must be CSV: {error}"),)) from None


def _sheet_rows(path: Path, name: str) -> Iterator[tuple[str, list[Any]]]:
    with _as_xlsx(path):
        book = _workbook(path)
    sheets = {sheet.title.strip().lower(): sheet for sheet in reversed(book.worksheets)}
    if not sheets:
        refuse(path, [("file", "must have a sheet with cells, had none")])
    rows = enumerate((sheets.get(name) or book.worksheets[0]).iter_rows(), start=1)
    while True:
        with _as_xlsx(path):
            number, cells = next(rows, (0, ()))
        if not number:
            return
        yield f"row {number}", [_value(cell) for cell in cells]


@contextmanager
def _as_xlsx(path: Path) -> Iterator[None]:
    """Around whatever reads a workbook: what cannot be read is told, what has no bearing on its cells is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (BadZipFile, ParseError, LookupError, ValueError, TypeError, OSError) as error:
            raise InvalidPlantFile(path.name, (("file", f"must be XLSX: {error}"),)) from None


def _workbook(path: Path) -> Workbook:
    # Imported here, because who has CSV files does not need it.
    from openpyxl import load_workbook

    with ZipFile(path) as parts:
        size = sum(part.file_size for part in parts.infolist())
    if size > MAX_XLSX_BYTES:
        refuse(path, [("file", f"must have at most {MAX_XLSX_BYTES:,} bytes when it is unpacked, had {size:,}")])
    return load_workbook(io.BytesIO(path.read_bytes()), read_only=True, data_only=True)


@dataclass(frozen=True, slots=True)
class _CellError:
    """What a formula has for a value when it has none, such as #N/A."""

    text: str


def _value(cell: Any) -> Any:
    """A cell as it was meant: spreadsheets have one type for dates with and without a time, and one for numbers."""
    value = cell.value
    if cell.data_type == "e":
        return _CellError(str(value))
    if isinstance(value, datetime):
        is_day = value.time() == time() and "h" not in str(cell.number_format).lower()
        return value.date() if is_day else value
    if isinstance(value, time):
        return value.isoformat("minutes" if not value.second else "seconds")
    if isinstance(value, timedelta):
        minutes = round(value.total_seconds() / 60)
        return f"{minutes // 60:02}:{minutes % 60:02}"
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _require_header(path: Path, place: str, header: Sequence[str], columns: Sequence[str]) -> None:
    known = f"must be one of {', '.join(columns)}"
    unknown = [
        (place, f"column {known}, was {name[:MAX_QUOTE_LENGTH]!r}{did_you_mean(name[:MAX_QUOTE_LENGTH], columns)}")
        for name in header
        if name not in columns
    ]
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    refuse(path, unknown + [(place, f"column {name} must be there once, was repeated") for name in twice])
    if not header:
        refuse(path, [(place, f"must be a header: each column {known}, was empty")])


def _entry(place: str, names: Sequence[str], cells: Sequence[Any], spelling: Spelling) -> Entry:
    if not all(map(_is_blank, cells[len(names) :])):
        return Entry(place=place, document={}, faults=(_TOO_MANY_CELLS,))
    found: dict[str, Any] = {}
    faults: list[str] = []
    for name, cell in zip(names, cells, strict=False):
        if isinstance(cell, _CellError):
            faults.append(f"{name} must be a value, was the error {cell.text}")
            continue
        found[name] = _meant(name, cell, spelling)
        if found[name] is None and cell is not None:
            faults.append(f"{name} must be a number such as 2,5 because of --decimal-comma, was {cell!r}")
    return Entry(place=place, document=wire_document(found), faults=tuple(faults))


def _meant(name: str, cell: Any, spelling: Spelling) -> Any:
    """The cell as JSON spells it; None for a number whose point may as well divide thousands."""
    if not isinstance(cell, str) or _is_blank(cell):
        return cell
    if spelling.decimal_comma and name in NUMBERS:
        return cell.strip().replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.strip()) else None
    if spelling.day_first and name in _DATES:
        return _year_first(cell.strip())
    return cell


def _year_first(text: str) -> str:
    """ISO 8601 of a date that begins with its day; anything else as it is, for the schema to judge."""
    parts = _DAY_FIRST.fullmatch(text)
    if parts is None:
        return text
    day, _, month, year, hour, minute, second = parts.groups()
    written = f"{year}-{month:0>2}-{day:0>2}"
    return written if hour is None else f"{written}T{hour:0>2}:{minute}:{second or '00'}"


def _is_blank(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())
