"""A plan as files for the floor: CSV, XLSX, iCalendar, and dispatch lists by machine. Nothing in a name is ever run.

`PlanSheet` is what all of them, and the charts, are made of; times in it are seconds from `start`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from deployments.contracts.requests.schedule_request import JobRequest, ScheduleRequest
from deployments.contracts.requests.wire import SECONDS_PER_HOUR, hours_of, in_zone, instant, seconds_after
from deployments.contracts.translation.open_hours import MAX_SECONDS, PlantHours
from deployments.contracts.translation.problem import Question
from env.judge.verdict import amount
from env.problem import Problem
from env.schedule import Schedule, setup_seconds_of

Span = tuple[int, int]
BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes a CSV file for one in the code page of its machine."""
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Of a page without scripts."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Neither XML nor a cell of a workbook may hold these.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_FOLDED_BYTES = 74
_WIDTHS = {"job_id": 18, "family_id": 14, "machine_name": 18, "start": 17, "end": 17, "lcd_date": 17}
_DATE_FORMAT = "yyyy-mm-dd hh:mm"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One job on its machine, the one that does the work first in `machine_ids`; `due` is None without a due date."""

    job_id: str
    family_id: str | None = None
    sequence: int | None = None
    machine_ids: tuple[int, ...]
    machine_name: str
    start: int
    end: int
    setup: int
    pauses: tuple[Span, ...] = ()
    due: int | None = None
    priority: int | None = None
    is_important: bool = False

    @property
    def late_seconds(self) -> int:
        """How long after its due date it ends, 0 when it is on time."""
        return 0 if self.due is None else max(0, self.end - self.due)

    @property
    def working_seconds(self) -> int:
        """Its setup and its work, without pauses."""
        return self.end - self.start - sum(to - from_ for from_, to in self.pauses)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMachine:
    """A machine: when it is `closed`, and until when it has other work, 0 for none."""

    id: int
    name: str
    closed: tuple[Span, ...] = ()
    loaded_until: int = 0

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or f"machine {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSheet:
    """A plan as it is drawn and printed. `name` is good for a file; without dates seconds are the units of a file.

    `span` is from the first start to the last end, at least a second.
    """

    name: str
    title: str
    rows: tuple[PlannedRow, ...]
    machines: tuple[PlannedMachine, ...]
    start: datetime
    zone: ZoneInfo
    is_dated: bool = True
    notes: tuple[str, ...] = ()
    span: Span = field(init=False)

    def __post_init__(self) -> None:
        # Once: each bar is placed by it, and a plan may have twenty thousand.
        first = min((0, *(row.start for row in self.rows)))
        object.__setattr__(self, "span", (first, max((first + 1, *(row.end for row in self.rows)))))

    @property
    def late_count(self) -> int:
        """How many jobs end after their due dates."""
        return sum(row.late_seconds > 0 for row in self.rows)

    def moment(self, second: int) -> datetime:
        """The instant of a second by the plant's clock."""
        return instant(self.start, second, self.zone)

    def when(self, second: int) -> str:
        """The same for people; in a plan without dates the number."""
        return f"{self.moment(second):%a %d %b %H:%M}" if self.is_dated else f"{second:,}"

    def on_machines(self) -> Iterator[tuple[PlannedMachine, list[PlannedRow]]]:
        """Each machine with its work in the order of time; work that holds several is with each of them."""
        rows: dict[int, list[PlannedRow]] = {machine.id: [] for machine in self.machines}
        for row in self.rows:
            for machine_id in row.machine_ids:
                rows[machine_id].append(row)
        for machine in self.machines:
            yield machine, sorted(rows[machine.id], key=lambda row: (row.start, row.end))


class _Pause(BaseModel):
    from_: datetime = Field(alias="from")
    to: datetime


class _KeptRow(BaseModel):
    """A row of an answer, of this version or of one before."""

    job_id: str
    machine_id: int
    machine_name: str = ""
    machine_ids: list[int] | None = None
    start_time: float
    end_time: float
    setup_time_included: float = 0.0
    pauses: list[_Pause] | None = None


class KeptAnswer(BaseModel):
    """What of an answer a plan is drawn from."""

    scheduled_jobs: list[_KeptRow]


def sheet_of(
    answer: KeptAnswer,
    request: ScheduleRequest,
    question: Question | None,
    *,
    start: datetime,
    zone: ZoneInfo,
    name: str,
    title: str,
) -> PlanSheet:
    """The plan of an answer to `request`; without its `question` nothing is known of closed hours."""
    jobs = {job.job_id: job for job in request.jobs}
    rows = tuple(_planned(row, jobs.get(row.job_id), start, zone) for row in answer.scheduled_jobs)
    notes = () if question is not None else ("closed hours are not shown: the request cannot be read as it was made",)
    machines = _machines(rows, question, start, zone)
    return PlanSheet(name=name, title=title, rows=rows, machines=machines, start=start, zone=zone, notes=notes)


def bare_sheet(problem: Problem, schedule: Schedule, *, name: str, title: str) -> PlanSheet:
    """A schedule of a benchmark, which knows no dates."""
    setups = setup_seconds_of(problem, schedule)
    family_of = {operation.id: job.id for job in problem.jobs for operation in job.operations}
    names = {machine.id: machine.name for machine in problem.machines}
    rows = tuple(
        PlannedRow(
            job_id=each.operation_id,
            family_id=family_of[each.operation_id],
            machine_ids=(each.machine_id,),
            machine_name=names[each.machine_id],
            start=each.start_seconds,
            end=each.end_seconds,
            setup=setups[each.operation_id],
        )
        for each in schedule.assignments
    )
    machines = tuple(PlannedMachine(id=machine.id, name=machine.name) for machine in problem.machines)
    start, zone = datetime(1970, 1, 1, tzinfo=UTC), ZoneInfo("UTC")
    return PlanSheet(name=name, title=title, rows=rows, machines=machines, start=start, zone=zone, is_dated=False)


def _planned(row: _KeptRow, job: JobRequest | None, start: datetime, zone: ZoneInfo) -> PlannedRow:
    due = None if job is None or job.lcd_date is None else round(seconds_after(start, in_zone(job.lcd_date, zone)))
    return PlannedRow(
        job_id=row.job_id,
        family_id=None if job is None else job.family_id,
        sequence=None if job is None or job.family_id is None else job.sequence,
        machine_ids=tuple(row.machine_ids or [row.machine_id]),
        machine_name=row.machine_name,
        start=_second(row.start_time),
        end=_second(row.end_time),
        setup=_second(row.setup_time_included),
        pauses=tuple(
            (round(seconds_after(start, pause.from_)), round(seconds_after(start, pause.to)))
            for pause in row.pauses or ()
        ),
        due=due,
        priority=None if job is None else job.priority,
        is_important=job is not None and job.is_important,
    )


def _second(hours: float) -> int:
    return round(hours * SECONDS_PER_HOUR)


def _machines(
    rows: Sequence[PlannedRow], question: Question | None, start: datetime, zone: ZoneInfo
) -> tuple[PlannedMachine, ...]:
    """Those of the question; of an answer alone those that have work, by their numbers."""
    named = {
        machine_id: row.machine_name if machine_id == row.machine_ids[0] else ""
        for row in rows
        for machine_id in row.machine_ids
    }
    if question is None:
        return tuple(PlannedMachine(id=machine_id, name=name) for machine_id, name in sorted(named.items()))
    problem = question.problem
    first = min((0, *(row.start for row in rows)))
    last = min(MAX_SECONDS, max((1, *(row.end for row in rows))))
    plant = PlantHours(problem, start=start, zone=zone, span=(first, last))
    known = tuple(
        PlannedMachine(
            id=machine.id,
            name=machine.name,
            closed=tuple(plant.of((index,)).pauses(first, last)),
            loaded_until=min(last, plant.free_from((index,))),
        )
        for index, machine in enumerate(problem.machines)
    )
    # Work that is finished may have been done by a machine that the request has no more.
    gone = named.keys() - {machine.id for machine in known}
    return (*known, *(PlannedMachine(id=machine_id, name=named[machine_id]) for machine_id in sorted(gone)))


def writable(text: str) -> str:
    """The text without what XML and workbooks cannot hold."""
    return _UNWRITABLE.sub("\ufffd", text)


def _columns(sheet: PlanSheet, *, is_dispatch: bool) -> dict[str, Any]:
    """Column names, and how a (machine, number, row) fills each of them; text is text, hours are numbers."""

    def moment(second: int | None) -> Any:
        if second is None:
            return None
        if not sheet.is_dated:
            return second
        try:
            return sheet.moment(second)
        except OverflowError:
            # Clients send 9999-12-31 for no date at all.
            return None

    columns = {
        "machine_id": lambda machine, _number, _row: machine.id,
        "machine_name": lambda machine, _number, _row: machine.name,
        "number": lambda _machine, number, _row: number,
        "job_id": lambda _machine, _number, row: row.job_id,
        "family_id": lambda _machine, _number, row: row.family_id,
        "sequence": lambda _machine, _number, row: row.sequence,
        "start": lambda _machine, _number, row: moment(row.start),
        "end": lambda _machine, _number, row: moment(row.end),
        "setup_hours": lambda _machine, _number, row: hours_of(row.setup),
        "working_hours": lambda _machine, _number, row: hours_of(row.working_seconds),
        "lcd_date": lambda _machine, _number, row: moment(row.due),
        "late_hours": lambda _machine, _number, row: hours_of(row.late_seconds),
        "priority": lambda _machine, _number, row: row.priority,
        "is_important": lambda _machine, _number, row: row.is_important,
        "machine_ids": lambda _machine, _number, row: " ".join(map(str, row.machine_ids)),
    }
    if not is_dispatch:
        del columns["number"]
        order = ["job_id", "family_id", "sequence", *(name for name in columns)]
        columns = {name: columns[name] for name in dict.fromkeys(order)}
    return columns


def _table(sheet: PlanSheet, *, is_dispatch: bool, machine_id: int | None = None) -> Iterator[list[Any]]:
    """The header, then a row for each job; in a dispatch list for each machine and job, in the order of time."""
    columns = _columns(sheet, is_dispatch=is_dispatch)
    yield list(columns)
    fillers = list(columns.values())
    if not is_dispatch:
        machines = {machine.id: machine for machine in sheet.machines}
        for row in sheet.rows:
            yield [fill(machines[row.machine_ids[0]], 0, row) for fill in fillers]
        return
    for machine, rows in sheet.on_machines():
        if machine_id in (None, machine.id):
            for number, row in enumerate(rows, start=1):
                yield [fill(machine, number, row) for fill in fillers]


def plan_csv(sheet: PlanSheet, *, is_dispatch: bool = False, machine_id: int | None = None) -> bytes:
    """UTF-8 with a byte order mark. Text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    text.write(BYTE_ORDER_MARK)
    writer = csv.writer(text)
    for cells in _table(sheet, is_dispatch=is_dispatch, machine_id=machine_id):
        writer.writerow([_csv_cell(cell) for cell in cells])
    return text.getvalue().encode(errors="replace")


def _csv_cell(cell: Any) -> Any:
    if isinstance(cell, str):
        return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA_STARTS) else writable(cell)
    if isinstance(cell, datetime):
        return cell.isoformat()
    if isinstance(cell, bool):
        return str(cell).lower()
    return f"{cell:.10g}" if isinstance(cell, float) else cell


def plan_xlsx(sheet: PlanSheet) -> bytes:
    """A workbook with the sheets Plan, by job, and Dispatch, by machine; instants by the plant's clock."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    # Written row by row: cells of twenty thousand rows take some hundred megabytes.
    book = Workbook(write_only=True)
    for title, is_dispatch in (("Plan", False), ("Dispatch", True)):
        page: Any = book.create_sheet(title)
        page.freeze_panes = "A2"
        table = _table(sheet, is_dispatch=is_dispatch)
        header = next(table)
        for index, name in enumerate(header):
            page.column_dimensions[_letter(index)].width = _WIDTHS.get(name, 12)
        page.auto_filter.ref = f"A1:{_letter(len(header) - 1)}{1 + _row_count(sheet, is_dispatch)}"
        bold = [WriteOnlyCell(page, value=name) for name in header]
        for cell in bold:
            cell.font = Font(bold=True)
        page.append(bold)
        for cells in table:
            page.append([_xlsx_cell(page, cell, WriteOnlyCell) for cell in cells])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _xlsx_cell(page: Any, value: Any, cell_of: Any) -> Any:
    if isinstance(value, datetime):
        # A workbook knows no zones.
        cell = cell_of(page, value=value.replace(tzinfo=None))
        cell.number_format = _DATE_FORMAT
        return cell
    if not isinstance(value, str):
        return value
    cell = cell_of(page, value=writable(value))
    # Else openpyxl takes text that begins with = for a formula.
    cell.data_type = "s"
    return cell


def _row_count(sheet: PlanSheet, is_dispatch: bool) -> int:
    return sum(len(row.machine_ids) for row in sheet.rows) if is_dispatch else len(sheet.rows)


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def plan_ics(sheet: PlanSheet, stamp: datetime) -> bytes:
    """One event a job (RFC 5545), in UTC; `stamp` is when the plan was made."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Gantry//plan//EN", f"X-WR-CALNAME:{_ics_text(sheet.title)}"]
    for number, row in enumerate(sheet.rows):
        late = f", {amount(row.late_seconds)} late" if row.late_seconds else ""
        machine = row.machine_name or f"machine {row.machine_ids[0]}"
        lines += [
            "BEGIN:VEVENT",
            f"UID:{number}.{sheet.name}@gantry",
            f"DTSTAMP:{_ics_time(stamp)}",
            f"DTSTART:{_ics_time(sheet.moment(row.start))}",
            f"DTEND:{_ics_time(sheet.moment(row.end))}",
            f"SUMMARY:{_ics_text(f'{row.job_id} on {machine}{late}')}",
            f"LOCATION:{_ics_text(machine)}",
            f"DESCRIPTION:{_ics_text(_described(row))}",
            "TRANSP:OPAQUE",
            "END:VEVENT",
        ]
    return "".join(f"{folded}\r\n" for line in [*lines, "END:VCALENDAR"] for folded in _folded(line)).encode()


def _described(row: PlannedRow) -> str:
    parts = [f"setup {amount(row.setup)}" if row.setup else "", f"work {amount(row.working_seconds - row.setup)}"]
    return ", ".join(filter(None, (*parts, f"family {row.family_id}" if row.family_id else "")))


def _ics_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _ics_text(text: str) -> str:
    plain = writable(text).replace("\r\n", "\n").replace("\r", "\n")
    return plain.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def _folded(line: str) -> Iterator[str]:
    """Lines of at most 75 bytes; whatever follows the first begins with a blank. No character is cut."""
    part, size = "", 0
    for character in line:
        length = len(character.encode())
        if size + length > _FOLDED_BYTES:
            yield part
            part, size = " ", 1
        part, size = part + character, size + length
    yield part


_DISPATCH_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 24px; color: #1d2733; background: #fff; }
section { break-after: page; margin-bottom: 32px; }
h1 { font-size: 20px; margin: 0 0 4px; } p { margin: 0 0 12px; color: #5d6b7a; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid #d9dfe6; vertical-align: top; }
td.box { width: 26px; } td.box span { display: inline-block; width: 14px; height: 14px; border: 1px solid #5d6b7a; }
.late { color: #b3261e; font-weight: 600; } thead { display: table-header-group; } tr { break-inside: avoid; }
@media screen and (prefers-color-scheme: dark) {
  body { color: #e4e9ef; background: #14191f; } p { color: #9aa7b5; } th, td { border-color: #37424e; }
  .late { color: #f0877f; }
}
@media print { body { margin: 0; } }
"""


def dispatch_html(sheet: PlanSheet, machine_id: int | None = None) -> bytes:
    """A page a machine, to be printed: what to do in which order, a box to tick off, what is late."""
    sections = [
        _dispatch_section(sheet, machine, rows)
        for machine, rows in sheet.on_machines()
        if rows and machine_id in (None, machine.id)
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(PAGE_POLICY)}">',
            f"<title>{_text(sheet.title)}</title>\n<style>{_DISPATCH_STYLE}</style>\n</head>\n<body>",
            *(sections or ["<p>No work is planned here.</p>"]),
            "</body>\n</html>\n",
        ]
    ).encode()


def _dispatch_section(sheet: PlanSheet, machine: PlannedMachine, rows: Iterable[PlannedRow]) -> str:
    lines = [
        f"<section>\n<h1>{_text(machine.label)} <small>({machine.id})</small></h1>",
        f"<p>{_text(sheet.title)}</p>\n<table>",
        "<thead><tr><th></th><th>#</th><th>start</th><th>end</th><th>job</th><th>family</th><th>setup</th>"
        "<th>work</th><th>due</th></tr></thead>\n<tbody>",
    ]
    lines += [_dispatch_line(sheet, number, row) for number, row in enumerate(rows, start=1)]
    return "\n".join([*lines, "</tbody>\n</table>\n</section>"])


def _dispatch_line(sheet: PlanSheet, number: int, row: PlannedRow) -> str:
    due = "" if row.due is None else due_words(sheet, row.due)
    if row.late_seconds:
        due = f'<span class="late">{due}, {amount(row.late_seconds)} late</span>'
    family = "" if row.family_id is None else _text(f"{row.family_id} / {row.sequence}")
    cells = [
        str(number),
        sheet.when(row.start),
        sheet.when(row.end),
        _text(row.job_id),
        family,
        amount(row.setup) if row.setup else "",
        amount(row.working_seconds - row.setup),
        due,
    ]
    return '<tr><td class="box"><span></span></td>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def due_words(sheet: PlanSheet, second: int) -> str:
    """A due date for people; one that no calendar of ours reaches is said to be far."""
    try:
        return sheet.when(second)
    except OverflowError:
        return "far away"


def _text(text: str) -> str:
    return escape(writable(text))
