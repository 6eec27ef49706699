"""Plans as files: read back by other programs, and nothing in a name is ever run."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from openpyxl import load_workbook

from deployments.contracts.answers.plan_files import (
    KeptAnswer,
    PlannedMachine,
    PlannedRow,
    PlanSheet,
    dispatch_html,
    plan_csv,
    plan_ics,
    plan_xlsx,
    sheet_of,
)
from deployments.contracts.translation.problem import translate
from tests.deployments.fakes import KUALA_LUMPUR, NOW, body, job, request_of

NASTY = (
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    " =1+1",
    "\uff1d1",
    "<script>alert(1)</script>",
    "]]>&amp;\"'",
    "a,b;c\\d",
    "two\nlines",
    "🚀 Träger №1",
    "bell\x07",
    "\tTAB",
)


def row(job_id: str, machine_id: int = 1, start: int = 0, **changes: Any) -> PlannedRow:
    """An hour of work, a quarter of it setup."""
    values: dict[str, Any] = {
        "job_id": job_id,
        "machine_ids": (machine_id,),
        "machine_name": "Saw",
        "start": start,
        "end": start + 3600,
        "setup": 900,
    }
    return PlannedRow(**values | changes)


def sheet(*rows: PlannedRow, **changes: Any) -> PlanSheet:
    """A plan on two machines, from 14:00 by the clock of Kuala Lumpur."""
    values: dict[str, Any] = {
        "name": "plan",
        "title": "penang",
        "rows": rows,
        "machines": (PlannedMachine(id=1, name="Saw"), PlannedMachine(id=2, name="")),
        "start": NOW.astimezone(KUALA_LUMPUR),
        "zone": KUALA_LUMPUR,
    }
    return PlanSheet(**values | changes)


def read_csv(content: bytes) -> list[dict[str, str]]:
    """As a spreadsheet reads it."""
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_table_has_a_row_for_each_job_in_the_order_of_the_request() -> None:
    """Instants by the plant's clock, hours as numbers, what is late as hours."""
    late = row("B", start=3600, family_id="F", sequence=2, due=5400, pauses=((4000, 4900),), is_important=True)
    found = read_csv(plan_csv(sheet(late, row("A"))))
    assert [each["job_id"] for each in found] == ["B", "A"]
    assert found[0] == {
        "job_id": "B",
        "family_id": "F",
        "sequence": "2",
        "machine_id": "1",
        "machine_name": "Saw",
        "start": "2025-07-22T15:00:00+08:00",
        "end": "2025-07-22T16:00:00+08:00",
        "setup_hours": "0.25",
        "working_hours": "0.75",
        "lcd_date": "2025-07-22T15:30:00+08:00",
        "late_hours": "0.5",
        "priority": "",
        "is_important": "true",
        "machine_ids": "1",
    }


def test_dispatch_list_is_by_machine_and_time() -> None:
    """Work that holds two machines is on the list of both; one machine's list can be had alone."""
    plan = sheet(row("C", start=7200), row("A"), row("B", start=3600, machine_ids=(2, 1)))
    found = [
        (each["machine_id"], each["number"], each["job_id"]) for each in read_csv(plan_csv(plan, is_dispatch=True))
    ]
    assert found == [("1", "1", "A"), ("1", "2", "B"), ("1", "3", "C"), ("2", "1", "B")]
    alone = read_csv(plan_csv(plan, is_dispatch=True, machine_id=2))
    assert [each["job_id"] for each in alone] == ["B"]
    page = dispatch_html(plan, machine_id=2).decode()
    assert page.count("<section>") == 1
    assert "machine 2" in page


@pytest.mark.parametrize("name", NASTY)
def test_names_are_text_in_every_file(name: str) -> None:
    """No spreadsheet takes one for a formula, no browser for markup, no calendar for a line of its own."""
    plan = sheet(row(name, machine_name=name, family_id=name))
    (cells,) = read_csv(plan_csv(plan))
    assert not cells["job_id"].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\uff1d"))
    assert cells["job_id"].endswith(name.replace("\x07", "\ufffd"))
    book = load_workbook(io.BytesIO(plan_xlsx(plan)))
    cell = book["Plan"]["A2"]
    assert (cell.data_type, cell.value) == ("s", name.replace("\x07", "\ufffd"))
    page = dispatch_html(plan).decode()
    assert "<script" not in page
    assert "alert(1)</" not in page
    lines = plan_ics(plan, NOW).decode().replace("\r\n ", "").split("\r\n")
    assert sum(line.startswith("SUMMARY:") for line in lines) == 1
    assert all(":" in line for line in lines[:-1])


def test_workbook_has_instants_and_hours_that_can_be_reckoned_with() -> None:
    """By the plant's clock, since a workbook knows no zones; both sheets have a header that stays."""
    book = load_workbook(io.BytesIO(plan_xlsx(sheet(row("A"), row("B", 2, due=1800)))))
    assert book.sheetnames == ["Plan", "Dispatch"]
    page = book["Plan"]
    found = dict(zip([cell.value for cell in page[1]], [cell.value for cell in page[3]], strict=True))
    assert (found["job_id"], found["start"], found["late_hours"]) == ("B", datetime(2025, 7, 22, 14), 0.5)  # noqa: DTZ001
    assert (page.freeze_panes, page.auto_filter.ref) == ("A2", "A1:N3")


def test_calendar_folds_lines_and_escapes_text() -> None:
    """RFC 5545: CRLF, at most 75 bytes a line, UTC, and no character cut in two."""
    content = plan_ics(sheet(row("Träger;" * 20)), NOW)
    assert all(len(line) <= 75 for line in content.split(b"\r\n"))
    text = content.decode().replace("\r\n ", "")
    assert "SUMMARY:" + "Träger\\;" * 20 + " on Saw" in text
    assert "DTSTART:20250722T060000Z\r\nDTEND:20250722T070000Z" in text


def test_plan_of_an_answer_knows_closed_hours_due_dates_and_earlier_work() -> None:
    """The answer says when, the request what is due, and the question when machines are closed."""
    request = request_of(
        jobs=[job("A", processing_time=2.7, setup_time=0.3, lcd_date="2025-07-22T15:00:00", family_id="F")],
        machines=[{"machine_id": 42, "machine_name": "CM42", "machine_type": 2, "current_load": 1.0}],
        respect_break_times=True,
    )
    question = translate(request, zone=KUALA_LUMPUR, now=NOW)
    pause = {"from": "2025-07-22T15:15:00+08:00", "to": "2025-07-22T15:30:00+08:00"}
    rows = [
        {
            "job_id": "A",
            "machine_id": 42,
            "machine_name": "CM42",
            "start_time": 1.0,
            "end_time": 4.25,
            "setup_time_included": 0.3,
            "pauses": [pause],
        }
    ]
    answer = KeptAnswer.model_validate({"scheduled_jobs": rows})
    whole = {"start": question.start, "zone": KUALA_LUMPUR, "name": "x", "title": "x"}
    plan = sheet_of(answer, request, question, **whole)
    (machine,), (found,) = plan.machines, plan.rows
    assert machine.closed == ((4500, 5400), (14400, 15300))
    assert machine.loaded_until == 3600
    assert (found.due, found.late_seconds, found.pauses) == (3600, 11_700, ((4500, 5400),))
    assert found.working_seconds == 3 * 3600
    bare = sheet_of(answer, request, None, **whole)
    assert (bare.machines, len(bare.notes)) == ((PlannedMachine(id=42, name="CM42"),), 1)


def test_rows_of_earlier_versions_are_read() -> None:
    """What 0.1.0 answered had neither pauses nor several machines."""
    earlier = {"job_id": "A", "machine_id": 1, "start_time": 0.0, "end_time": 1.0}
    plan = sheet_of(
        KeptAnswer.model_validate({"scheduled_jobs": [earlier]}),
        request_of(**body(jobs=[job("A")])),
        None,
        start=NOW,
        zone=ZoneInfo("UTC"),
        name="x",
        title="x",
    )
    assert [each["end"] for each in read_csv(plan_csv(plan))] == ["2025-07-22T07:00:00+00:00"]


def test_due_date_beyond_the_calendar_is_left_out() -> None:
    """Clients send 9999-12-31 for no date at all."""
    far = round((datetime.max.replace(tzinfo=UTC) - NOW).total_seconds()) - 3600
    plan = sheet(row("A", due=far))
    assert read_csv(plan_csv(plan))[0]["lcd_date"] == ""
    assert "far away" in dispatch_html(plan).decode()
