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


def test_earlier_answer_is_found_by_its_id(tmp_path: Path) -> None:
    """The file is named like the schedule and lies beside the request."""
    (tmp_path / "monday.json").write_text(json.dumps({"scheduled_jobs": [ROW]}), encoding="utf-8")
    rows = earlier_rows_beside(tmp_path / "request.json", request_of(previous_schedule_id="monday"))
    assert rows is not None
    assert [row.job_id for row in rows] == ["A"]


@pytest.mark.parametrize("name", [None, "tuesday", "../monday", "a/monday"])
def test_nothing_else_is_read(tmp_path: Path, name: str | None) -> None:
    """No id, no such file and ids that lead elsewhere all mean that there is nothing."""
    (tmp_path.parent / "monday.json").write_text("{}", encoding="utf-8")
    assert earlier_rows_beside(tmp_path / "request.json", request_of(previous_schedule_id=name)) is None


def test_file_that_is_no_answer_is_refused(tmp_path: Path) -> None:
    """The reason names the field and the file."""
    (tmp_path / "monday.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidProblem) as caught:
        earlier_rows_beside(tmp_path / "request.json", request_of(previous_schedule_id="monday"))
    message = "monday.json: an earlier schedule must have scheduled_jobs, had 1 fault"
    assert caught.value.reasons == (("previous_schedule_id", message),)
