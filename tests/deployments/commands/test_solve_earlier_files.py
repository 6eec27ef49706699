"""Files stand in for the database: an earlier answer beside the request that continues it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployments.commands.solve import earlier_rows_beside
from env.errors import InvalidProblem
from tests.deployments.fakes import request_of

ROW = {
    "job_id": "A",
    "machine_id": 42,
    "start_datetime": "2025-07-22T14:00:00",
    "end_datetime": "2025-07-22T16:48:00",
}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"scheduled_jobs": [ROW]}, id="answer"),
        pytest.param({"schedule_id": "monday", "answer": {"scheduled_jobs": [ROW]}}, id="stored decision"),
    ],
)
def test_earlier_answer_is_found_by_its_id(tmp_path: Path, document: object) -> None:
    """The file is named like the schedule and lies beside the request: what was answered, or what is stored of it."""
    (tmp_path / "monday.json").write_text(json.dumps(document), encoding="utf-8")
    rows = earlier_rows_beside(tmp_path / "request.json", request_of(previous_schedule_id="monday"))
    assert rows is not None
    assert [row.job_id for row in rows] == ["A"]


def test_request_that_continues_nothing_needs_no_file(tmp_path: Path) -> None:
    """Without an id nothing is looked for."""
    assert earlier_rows_beside(tmp_path / "request.json", request_of()) is None


@pytest.mark.parametrize("name", ["tuesday", "../monday", "a/monday"])
def test_missing_file_is_named_with_what_belongs_in_it(tmp_path: Path, name: str) -> None:
    """No such file, and ids that lead elsewhere: the reason says which file to save where."""
    (tmp_path.parent / "monday.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidProblem) as caught:
        earlier_rows_beside(tmp_path / "request.json", request_of(previous_schedule_id=name))
    message = f"needs the earlier answer as the file {name}.json beside request.json, which is not there: "
    message += "save what POST /schedule or GET /v1/schedules/{schedule_id} answered under that name"
    assert caught.value.reasons == (("previous_schedule_id", message),)


def test_file_that_is_no_answer_is_refused(tmp_path: Path) -> None:
    """The reason names the field and the file."""
    (tmp_path / "monday.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidProblem) as caught:
        earlier_rows_beside(tmp_path / "request.json", request_of(previous_schedule_id="monday"))
    message = "monday.json: an earlier schedule must have scheduled_jobs, had 1 fault"
    assert caught.value.reasons == (("previous_schedule_id", message),)
