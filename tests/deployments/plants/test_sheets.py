"""Tables of spreadsheets: XLSX says the same as CSV, other spellings are read on demand, faults are few lines."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import pytest
from openpyxl import Workbook

from deployments.plants import sheets
from deployments.plants.files import read_calendar, read_jobs, read_machines
from deployments.plants.sheets import InvalidPlantFile, Spelling, folded
from tests.deployments.plants.rows import TEMPLATES

ZONE = ZoneInfo("Asia/Kuala_Lumpur")
NOW = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)
GERMAN = Spelling(decimal_comma=True, day_first=True)
HEADER = ("job_id", "processing_time", "machine_types", "lcd_date")


def _book(path: Path, **rows_of_sheets: Iterable[Iterable[Any]]) -> Path:
    book = Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for name, rows in rows_of_sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def _csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _reasons(path: Path, spelling: Spelling = Spelling()) -> tuple[tuple[str, str], ...]:  # noqa: B008 - frozen
    with pytest.raises(InvalidPlantFile) as caught:
        read_jobs(path, 100, spelling)
    return caught.value.reasons


@pytest.mark.parametrize("kind", ["machines", "jobs", "calendar"])
def test_workbook_says_the_same_as_the_template(kind: str, tmp_path: Path) -> None:
    """Each shipped CSV template, typed into a spreadsheet, is read as before: with its text, and with its numbers."""
    import csv

    def typed(cell: str) -> Any:
        return float(cell) if cell.replace(".", "", 1).isdigit() else cell or None

    lines = list(csv.reader((TEMPLATES / f"{kind}.csv").read_text().splitlines()))
    for number, rows in enumerate((lines, [[typed(cell) for cell in line] for line in lines])):
        book = _book(tmp_path / f"{number}.xlsx", Notes=[["do not read"]], **{kind.title(): rows})
        if kind == "calendar":
            told, expected = (read_calendar(path, zone=ZONE, now=NOW) for path in (book, TEMPLATES / "calendar.csv"))
            assert told == expected
        else:
            read = read_machines if kind == "machines" else read_jobs
            assert read(book, 100) == read(TEMPLATES / f"{kind}.csv", 100)


def test_cells_are_taken_as_they_were_meant(tmp_path: Path) -> None:
    """A spreadsheet has one type for days and instants, and one for numbers: the format of the cell tells."""
    path = tmp_path / "jobs.xlsx"
    rows: list[list[Any]] = [
        [*HEADER, "release_at", "is_important", None],
        [1001, 2.5, 2, date(2025, 7, 25), datetime.fromisoformat("2025-07-22T14:30"), True],
        ["A", 2, "1;2", datetime.fromisoformat("2025-07-25T18:00"), None, "no"],
        [None, " ", None, None],
        [1002.0, 1, 1],
    ]
    jobs = read_jobs(_book(path, Sheet1=rows), 100).models
    assert [(job.job_id, job.processing_time, job.machine_types) for job in jobs] == [
        ("1001", 2.5, [2]),
        ("A", 2.0, [1, 2]),
        ("1002", 1.0, [1]),
    ]
    day = read_jobs(_csv(tmp_path / "day.csv", ",".join(HEADER), "A,1,1,2025-07-25"), 10).models[0].lcd_date
    assert (jobs[0].lcd_date, jobs[0].is_important, jobs[1].is_important) == (day, True, False)
    assert (str(jobs[0].release_at), str(jobs[1].lcd_date)) == ("2025-07-22 14:30:00", "2025-07-25 18:00:00")


def test_clock_times_of_a_spreadsheet_are_clock_times(tmp_path: Path) -> None:
    """Also the midnight that ends a day, which it keeps as a duration."""
    rows = [["kind", "name", "start", "end"], ["break", "late", time(18, 30), timedelta(days=1)]]
    ((found,),) = (
        calendar.breaks or ()
        for calendar in read_calendar(_book(tmp_path / "c.xlsx", S=rows), zone=ZONE, now=NOW).models
    )
    assert (found.start, found.end) == ("18:30", "24:00")


def test_faults_of_a_sheet_are_told_by_their_rows(tmp_path: Path) -> None:
    """Rows as the spreadsheet numbers them, blank ones included; a formula without a value is no value."""
    rows = [HEADER, ["A", "zero", 1, None], [], ["B", "#N/A", 1], ["C", 1, 1, None, "more"]]
    assert _reasons(_book(tmp_path / "jobs.xlsx", S=rows)) == (
        ("row 2", 'processing_time must be a number, was "zero"'),
        ("row 4", "processing_time must be a value, was the error #N/A"),
        ("row 5", "must have as many cells as the header, had more: put cells with separators in quotes"),
    )
    assert [place for place, _ in _reasons(_book(tmp_path / "h.xlsx", S=[["colour"]]))] == ["row 1"]
    assert "must be a header" in _reasons(_book(tmp_path / "e.xlsx", S=[]))[0][1]


def test_sheet_is_found_by_its_name_and_else_the_first(tmp_path: Path) -> None:
    """One workbook may have the machines, the jobs and notes about them."""
    machines = [["machine_id", "machine_type"], [1, 1], [2, 1]]
    path = _book(tmp_path / "plant.xlsx", Machines=machines, JOBS=[HEADER, ["A", 1, 1]])
    assert len(read_machines(path, 10).models) == 2
    assert len(read_jobs(path, 10).models) == 1
    only = _book(tmp_path / "only.xlsx", Tabelle1=machines, Tabelle2=[["?"]])
    assert len(read_machines(only, 10).models) == 2


@pytest.mark.parametrize("name", ["jobs.xlsx", "jobs.csv", "jobs"])
def test_workbook_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    """Whatever it is called."""
    path = _book(tmp_path / "jobs.xlsx", S=[HEADER, ["A", 1, 1]]).rename(tmp_path / name)
    assert len(read_jobs(path, 10).models) == 1


def test_file_that_is_no_workbook_is_one_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old one, a broken one, another archive and one that unpacks to too much: one sentence, no traceback."""
    path = tmp_path / "jobs.xlsx"
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    assert _reasons(path) == (("file", "must be CSV, XLSX or JSON, was an old Excel file: save it as .xlsx"),)
    whole = _book(tmp_path / "whole.xlsx", S=[HEADER, ["A", 1, 1]]).read_bytes()
    path.write_bytes(whole[:-100])
    ((_, message),) = _reasons(path)
    assert message.startswith("must be XLSX: ")
    for broken in (
        _archive({"a.txt": "b"}),
        _with_sheet(whole, b"<worksheet><sheetData><row><c"),
        _with_sheet(whole, b""),
    ):
        path.write_bytes(broken)
        ((_, message),) = _reasons(path)
        assert message.startswith("must be XLSX: ")
    monkeypatch.setattr(sheets, "MAX_XLSX_BYTES", 1000)
    path.write_bytes(whole)
    ((_, message),) = _reasons(path)
    assert message.startswith("must have at most 1,000 bytes when it is unpacked, had ")


def _archive(parts: dict[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _with_sheet(book: bytes, sheet: bytes) -> bytes:
    """The workbook with other bytes for its sheet."""
    with ZipFile(io.BytesIO(book)) as archive:
        parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    return _archive({name: sheet if "sheets/sheet" in name else content for name, content in parts.items()})


def test_limit_holds_for_sheets(tmp_path: Path) -> None:
    """No row after it is read."""
    path = _book(tmp_path / "jobs.xlsx", S=[HEADER, *([f"J{number}", 1, 1] for number in range(5))])
    with pytest.raises(InvalidPlantFile, match="must be right") as caught:
        read_jobs(path, 3)
    assert caught.value.reasons == (("row 5", "must be among the first 3, which is the limit, was after them"),)


@pytest.mark.parametrize(
    ("hours", "day", "expected"),
    [
        ("2,5", "25.07.2025", (2.5, "2025-07-26 00:00:00")),
        ("2", "1/7/2025 6:05", (2.0, "2025-07-01 06:05:00")),
        ('"0,75"', "25-07-2025T18:00:30", (0.75, "2025-07-25 18:00:30")),
        ("1", "2025-07-25", (1.0, "2025-07-26 00:00:00")),
    ],
)
def test_other_spellings_are_read_when_asked_for(
    hours: str, day: str, expected: tuple[float, str], tmp_path: Path
) -> None:
    """Decimal commas and the day before its month; ISO 8601 can be nothing else and stays. A day is due at its end."""
    path = _csv(tmp_path / "jobs.csv", ";".join(HEADER), f"A;{hours};1,2;{day}")
    (job,) = read_jobs(path, 10, GERMAN).models
    assert (job.processing_time, str(job.lcd_date), job.machine_types) == (*expected, [1, 2])


def test_other_spellings_are_never_guessed(tmp_path: Path) -> None:
    """Without the options they are refused, with the option that reads them; 05.07. might be May."""
    path = _csv(tmp_path / "jobs.csv", ";".join(HEADER), "A;2,5;1;2025-07-25", "B;1;1;05.07.2025 08:00")
    assert _reasons(path) == (
        ("line 2", 'processing_time must be a number, was "2,5"; a decimal comma needs --decimal-comma'),
        (
            "line 3",
            "lcd_date must be an ISO 8601 date and time such as 2026-12-13T14:00:00, or a date such as 2026-12-13, "
            'was "05.07.2025 08:00"; '
            "a day before its month needs --day-first",
        ),
    )


def test_point_beside_decimal_commas_is_refused(tmp_path: Path) -> None:
    """It divides thousands there: 1.500 is fifteen hundred, or one and a half."""
    path = _csv(tmp_path / "jobs.csv", ";".join(HEADER), "A;1.500;1;", "B;1.234,5;1;", "C;x;1;99.99.2025")
    assert [message for _, message in _reasons(path, GERMAN)] == [
        f"processing_time must be a number such as 2,5 because of --decimal-comma, was {cell!r}"
        for cell in ("1.500", "1.234,5", "x")
    ]
    path = _csv(tmp_path / "jobs.csv", ";".join(HEADER), "C;1;1;99.99.2025")
    ((_, message),) = _reasons(path, GERMAN)
    assert message.startswith("lcd_date must be an ISO 8601 date")


def test_calendars_have_other_spellings_too(tmp_path: Path) -> None:
    """Holidays and closures by the day first."""
    lines = ["kind;date;machine_id;from;to", "holiday;31.08.2025;;;", "unavailable;;3;23.07.2025 8:00;23.07.2025 17:00"]
    path = _csv(tmp_path / "calendar.csv", *lines)
    (calendar,) = read_calendar(path, zone=ZONE, now=NOW, spelling=GERMAN).models
    assert str(calendar.holidays[0]) == "2025-08-31"
    assert str(calendar.machines[0].unavailable[0].to) == "2025-07-23 17:00:00"


def test_faults_of_a_kind_are_one_sentence() -> None:
    """With two places, the number of the others, and a few of the values."""
    high = [
        (f"line {number}", f'priority must be a whole number, was "{value}"') for number, value in enumerate("abcde", 3)
    ]
    same = [("row 2", "status must be 'busy', was \"bsy\"; did you mean busy?")] * 2
    twice = [
        ("line 9", "job_id must be unique, A is also in line 2; was a row sent twice?"),
        ("line 7", "job_id must be unique, B is also in line 4; was a row sent twice?"),
    ]
    options = [(f"entry {n}", f"machine_options[{n}].machine_id must be given, was absent") for n in (1, 2, 3)]
    alone = [("file", "must be UTF-8"), ("calendar", "breaks must leave an hour, was none")]
    assert list(folded([*high, *same, *twice, *options, *alone])) == [
        'lines 3, 4 and 3 more: priority must be a whole number, was "a", "b", "c" and 2 others',
        "row 2: status must be 'busy', was \"bsy\"; did you mean busy?",
        "lines 9 and 7: job_id must be unique, A is also in line 2, …; was a row sent twice?",
        "entries 1, 2 and 1 more: machine_options[1].machine_id must be given, was absent",
        "file: must be UTF-8",
        "calendar: breaks must leave an hour, was none",
    ]


def test_nearly_right_word_is_answered_with_the_right_one(tmp_path: Path) -> None:
    """Statuses, kinds and columns are few: a letter wrong tells which was meant."""
    lines = _csv(tmp_path / "machines.csv", "machine_id,status", "1,avaliable", "2,broken")
    with pytest.raises(InvalidPlantFile) as caught:
        read_machines(lines, 10)
    first, second = (message for _, message in caught.value.reasons)
    assert first.endswith('was "avaliable"; did you mean available?')
    assert second.endswith('was "broken"')
