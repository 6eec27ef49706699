"""Plant data from files: every bad line is named, and CSV says the same as JSON."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.contracts.parsing import Allowance
from deployments.contracts.requests.schedule_request import JobRequest
from deployments.plants.completion import wire_document
from deployments.plants.files import InvalidPlantFile, read_calendar, read_jobs, read_machines
from tests.deployments.plants.rows import TEMPLATES, WHOLE_JOB

ZONE = ZoneInfo("Asia/Kuala_Lumpur")
NOW = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)


def _file(folder: Path, content: str | bytes, name: str = "jobs.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _jobs_reasons(path: Path, limit: int = 100) -> tuple[tuple[str, str], ...]:
    with pytest.raises(InvalidPlantFile) as caught:
        read_jobs(path, limit)
    return caught.value.reasons


def _calendar_reasons(path: Path) -> tuple[tuple[str, str], ...]:
    with pytest.raises(InvalidPlantFile) as caught:
        read_calendar(path, zone=ZONE, now=NOW)
    return caught.value.reasons


def test_templates_are_valid_and_agree() -> None:
    """Each shipped CSV template can be imported and says the same as its JSON twin."""
    assert read_machines(TEMPLATES / "machines.csv", 100) == read_machines(TEMPLATES / "machines.json", 100)
    assert read_jobs(TEMPLATES / "jobs.csv", 100) == read_jobs(TEMPLATES / "jobs.json", 100)
    calendars = [read_calendar(TEMPLATES / f"calendar.{kind}", zone=ZONE, now=NOW) for kind in ("csv", "json")]
    assert calendars[0] == calendars[1]


def test_every_bad_line_is_listed(tmp_path: Path) -> None:
    """One message for each fault, with the line that a text editor shows."""
    lines = [
        "job_id,family_id,sequence,processing_time,machine_types,priority",
        "A,F,1,2.5,1;2,2",
        "B,F,1,zero,1,2",
        "A,F,2,1,1,1.5",
        "C,F,1,1,,2",
        "A,F,3,,1,2",
        "D,F,4,1,1,2,7,8",
    ]
    assert _jobs_reasons(_file(tmp_path, "\n".join(lines))) == (
        ("line 3", 'processing_time must be a number, was "zero"'),
        ("line 4", "priority must be a whole number, was 1.5"),
        ("line 7", "must have as many cells as the header, had more: put cells with separators in quotes"),
        (
            "line 6",
            "job_id must be unique, A is also in line 2; "
            "if they are steps of one order, each needs a job_id of its own, and all the order as family_id",
        ),
        (
            "line 5",
            "family_id and sequence must be unique, F and 1 is also in line 2; "
            "if they are ways to do one step, they are one job with machine_options; "
            "if both are done, number them, or leave out family_id where their order does not matter",
        ),
        ("line 5", "machine_types must be given unless there are machine_options, was absent"),
        ("line 6", "processing_time must be given unless each of machine_options has its own, was absent"),
    )


def test_error_counts_the_places(tmp_path: Path) -> None:
    """The one line that the command ends with says how much there is to do."""
    path = _file(tmp_path, "job_id,priority,sequence\nA,9,-1\nB,8,1\n")
    with pytest.raises(InvalidPlantFile, match=r"^jobs\.csv must be right in each line, 2 are not: see above$"):
        read_jobs(path, 100)


def test_unknown_column_is_refused(tmp_path: Path) -> None:
    """A misspelled column must not vanish, and neither must a repeated one."""
    reasons = _jobs_reasons(_file(tmp_path, "job_id,procesing_time,job_id\nA,1,B\n"))
    assert [place for place, _ in reasons] == ["line 1", "line 1"]
    assert "column must be one of job_id, family_id" in reasons[0][1]
    assert reasons[0][1].endswith("was 'procesing_time'; did you mean processing_time?")
    assert reasons[1][1] == "column job_id must be there once, was repeated"


def test_unknown_member_is_refused(tmp_path: Path) -> None:
    """The same holds for JSON, where entries are counted from one."""
    jobs = [{"job_id": "A", "processing_time": 1, "machine_types": [1]}, {"job_id": "B", "colour": "red"}, 3]
    assert _jobs_reasons(_file(tmp_path, json.dumps(jobs), "jobs.json")) == (
        ("entry 2", "colour must be a known field, was not"),
        ("entry 3", "body must be an object, was 3"),
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("jobs.csv", "", "must be a header"),
        ("jobs.csv", b"job_id\n\xff\n", "must be UTF-8: invalid start byte at byte 7"),
        ("jobs.csv", 'job_id\n"A', "must be CSV: unexpected end of data"),
        ("jobs.csv", '"job_id', "must be CSV: unexpected end of data"),
        ("jobs.json", "[", "must be JSON"),
        ("jobs.json", "{}", "must be a list of jobs, or an object with one"),
        (
            "jobs.csv",
            "job_id,processing_time,machine_types\nA,1,1\nB,1,1\nC,1,1\n",
            "must be among the first 2, which is",
        ),
    ],
)
def test_unreadable_file_is_one_reason(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    """What is no table, no JSON, no text or too long is refused with one sentence."""
    ((_, found),) = _jobs_reasons(_file(tmp_path, content, name), limit=2)
    assert message in found


def test_file_of_a_spreadsheet_is_understood(tmp_path: Path) -> None:
    """A byte order mark, semicolons, blanks and the line ends of Windows are what spreadsheets write."""
    content = "\ufeffjob_id; processing_time;machine_types\r\nA;2.5;1 2\r\n\r\n"
    (job,) = read_jobs(_file(tmp_path, content), 100).models
    assert (job.job_id, job.processing_time, job.machine_types) == ("A", 2.5, [1, 2])


def test_request_body_is_a_file_of_machines_and_jobs(tmp_path: Path) -> None:
    """The lists are found in an object as well, so that an old request can be imported."""
    body = {"jobs": [WHOLE_JOB], "machines": [{"machine_id": 1}]}
    path = _file(tmp_path, json.dumps(body), "request.json")
    assert (len(read_jobs(path, 10).models), len(read_machines(path, 10).models)) == (1, 1)


def test_what_is_not_written_by_the_letter_is_imported_with_a_warning(tmp_path: Path) -> None:
    """Whatever the kind of file: the value that was meant, and one sentence with the first place."""
    lines = ["job_id,processing_time,machine_types,priority", "A,2.5,1,2", "B,2.5,1,4", "C,2.5,1,0"]
    in_csv = read_jobs(_file(tmp_path, "\n".join(lines)), 10)
    assert [job.priority for job in in_csv.models] == [2, 3, 1]
    assert in_csv.warnings == (f"{Allowance.PRIORITY.value} (2 times, first at line 3, priority)",)
    in_json = read_jobs(_file(tmp_path, json.dumps([WHOLE_JOB | {"sequence": "7"}]), "jobs.json"), 10)
    assert [job.sequence for job in in_json.models] == [7]
    assert in_json.warnings == (f"{Allowance.NUMBER.value} (at entry 1, sequence)",)
    closed = "kind,machine_id,from,to\nunavailable,1,2025-07-23t08:00,2025-07-23T17:00"
    calendar = read_calendar(_file(tmp_path, closed, "calendar.csv"), zone=ZONE, now=NOW)
    assert calendar.models[0].machines[0].unavailable[0].from_.hour == 8
    assert calendar.warnings == (f"{Allowance.LOWER_CASE.value} (at line 2, machines[0].unavailable[0].from)",)


def test_bad_calendar_lines_are_listed(tmp_path: Path) -> None:
    """Each line is judged by its kind, country and order of instants included."""
    lines = [
        "kind,name,start,end,days,date,country,machine_id,from,to,reason",
        "break,lunch,12:45,25:00,mon,,,,,,",
        "brake,lunch,12:45,13:00,mon,,,,,,",
        "holiday,,,,,31.12.2025,,,,,",
        "country,,,,,,XX,,,,",
        "unavailable,,,,,,,42,2025-07-23T08:00,2025-07-23T07:00,",
        "country,,,,,,MY,,,,",
    ]
    reasons = _calendar_reasons(_file(tmp_path, "\n".join(lines), "calendar.csv"))
    assert [place for place, _ in reasons] == [f"line {number}" for number in range(2, 8)]
    messages = [message for _, message in reasons]
    assert messages[0].startswith("end must be a time of day such as 09:45")
    assert messages[1] == "kind must be one of break, holiday, country, unavailable, was 'brake'; did you mean break?"
    assert messages[2].startswith("date must be an ISO 8601 date")
    assert messages[3].startswith("country must be a country whose public holidays are known")
    assert messages[4].startswith("to must be after from")
    assert messages[5] == "country must be given once, was given again"


def test_bad_calendar_document_is_listed(tmp_path: Path) -> None:
    """Places in JSON are paths within the calendar."""
    calendar: dict[str, Any] = {"breaks": [{"start": "12:00"}], "holiday": []}
    reasons = _calendar_reasons(_file(tmp_path, json.dumps({"calendar": calendar}), "calendar.json"))
    assert reasons == (("calendar", "breaks[0].end must be given, was absent"),)
    calendar["breaks"] = []
    reasons = _calendar_reasons(_file(tmp_path, json.dumps(calendar), "calendar.json"))
    assert reasons == (("calendar", "holiday must be a known field, was not; did you mean holidays?"),)


_JOBS = st.fixed_dictionaries(
    {
        "job_id": st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20),
        "processing_time": st.floats(1e-3, 1e4),
        "machine_types": st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4),
    },
    optional={
        name: st.just(WHOLE_JOB[name]) for name in set(WHOLE_JOB) - {"job_id", "processing_time", "machine_types"}
    },
)


@settings(max_examples=50, deadline=None)
@given(document=_JOBS)
def test_any_job_survives_a_csv_file(document: dict[str, Any]) -> None:
    """What JSON can say of a job, a line of CSV can say too."""
    cells = {
        name: json.dumps(value) if isinstance(value, list | dict | bool) else value for name, value in document.items()
    }
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(cells))
    writer.writeheader()
    writer.writerow(cells)
    (line,) = csv.DictReader(io.StringIO(file.getvalue()))
    assert JobRequest.model_validate(wire_document(line)) == JobRequest.model_validate(document)
