from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.demo import EXAMPLE
from deployments.commands.solve import UnknownAlgorithm, UnknownEnding, read_problem
from deployments.errors import MalformedBody
from env.errors import BenchmarkFormatError, InvalidProblem
from tests.deployments.fakes import body, job

TINY = "2 2\n2 1 0 3 1 1 2\n2 1 1 3 1 0 2\n"
RULES = ["manual", "fifo", "edd", "spt", "mwkr", "atcs", "composite", "planner"]


def solve(*arguments: str) -> dict[str, Any]:
    """What `gantry solve ... --json` prints, which must be one JSON object and nothing else."""
    result = CliRunner().invoke(app, ["solve", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A benchmark file with a known optimum of 5."""
    path = tmp_path / "tiny.fjs"
    path.write_text(TINY, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("algorithm", ["ppo", *RULES])
def test_benchmark_is_solved_in_its_own_unit(tiny: str, algorithm: str) -> None:
    """Whole units, machines and operations named as in the file, and the judge agrees."""
    found = solve(tiny, "--algorithm", algorithm)
    assert (found["makespan"], found["valid"], found["operations"]) == (5, True, 4)
    assert sorted(row["job_id"] for row in found["schedule"]) == ["0-0", "0-1", "1-0", "1-1"]
    assert {row["machine_id"] for row in found["schedule"]} == {0, 1}
    assert found["algorithm"] == algorithm
    assert found["seconds"] > 0


def test_request_is_solved_in_hours() -> None:
    """The shipped example: 170 jobs, all placed, times in hours."""
    found = solve(str(EXAMPLE))
    assert (found["valid"], found["operations"], len(found["schedule"])) == (True, 170, 170)
    assert found["metrics"]["completion_rate"] == 100.0
    assert found["makespan"] == max(row["end"] for row in found["schedule"]) < 100


def test_same_file_gives_the_same_schedule() -> None:
    """With a number of iterations instead of a time budget, solving twice gives the same plan."""
    first, second = (solve(str(EXAMPLE), "--iterations", "2000", "--seed", "3") for _ in range(2))
    assert first["schedule"] == second["schedule"]


def test_table_is_for_people(tiny: str) -> None:
    """Without --json a table says what was found, and a chart shows it in the file's unit; nothing is due here."""
    result = CliRunner().invoke(app, ["solve", tiny, "--algorithm", "spt"])
    assert result.exit_code == 0
    assert "makespan" in result.stdout
    assert "valid" in result.stdout
    assert "late families" not in result.stdout
    left, right, scale = result.stdout.splitlines()[-3:]
    assert (left.split()[0], right.split()[0], scale.split()) == ("M0", "M1", ["0", "5"])


def test_late_families_are_named_with_their_latest_work(tmp_path: Path) -> None:
    """Twelve families on one machine, all due after an hour: one is on time, and of the late ones ten are named."""
    jobs = [
        job(f"J{number}", family_id=f"F{number:02}", sequence=1, processing_time=1, setup_time=0, priority=1)
        | {"lcd_date": "2025-07-22T15:00:00"}
        for number in range(12)
    ]
    (tmp_path / "plant.json").write_text(json.dumps(body(jobs=jobs)), encoding="utf-8")
    result = CliRunner().invoke(app, ["solve", str(tmp_path / "plant.json"), "--algorithm", "fifo"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    first = lines.index("late families: 11 of 12")
    assert lines[first + 1] == "  F11: J11 ends 11.00 h late"
    assert lines[first + 11 : first + 13] == ["  and 1 more", f"CM42 {lines[first + 12][5:]}"]
    assert lines[-1].split() == ["0", "h", "12.0", "h"]


def test_request_is_answered_with_the_rows_of_the_service() -> None:
    """Beside `schedule`, which has no dates."""
    found = solve(str(EXAMPLE), "--algorithm", "manual")
    assert {row["job_id"] for row in found["scheduled_jobs"]} == {row["job_id"] for row in found["schedule"]}
    assert all(row["start_datetime"] for row in found["scheduled_jobs"])


@pytest.mark.parametrize(
    ("name", "text", "algorithm", "error", "message"),
    [
        ("a.fjs", TINY, "magic", UnknownAlgorithm, "algorithm must be one of ppo, atcs, .*, was 'magic'"),
        ("a.fjs", "1", "spt", BenchmarkFormatError, "must be 'jobs machines'"),
        ("a.json", "1 2", "spt", MalformedBody, "^a.json: the body must be JSON: .* at line 1 column 3"),
    ],
)
def test_unusable_input_is_one_clear_error(
    tmp_path: Path, name: str, text: str, algorithm: str, error: type[Exception], message: str
) -> None:
    """The command line turns each of these into one line and exit code 1."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, ["solve", str(path), "--algorithm", algorithm], catch_exceptions=False)


def test_infeasible_request_lists_its_reasons(tmp_path: Path) -> None:
    """A machine type that nobody has is named with its field."""
    request = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    request["jobs"][0]["machine_types"] = [99]
    path = tmp_path / "request.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    with pytest.raises(InvalidProblem, match=r"jobs\[0\]"):
        CliRunner().invoke(app, ["solve", str(path)], catch_exceptions=False)


FOUND = Path(__file__).parents[2] / "data" / "benchmark_files"


@pytest.mark.parametrize("algorithm", ["ppo", "manual", "spt"])
@pytest.mark.parametrize("name", ["one_based.fjs", "zero_time.fjs", "orlib.jsp", "ta_std.jsp", "sdst.fjs", "upper.FJS"])
def test_benchmark_found_in_the_wild_is_solved(name: str, algorithm: str) -> None:
    """The judge agrees, and one line on stderr says how the file was understood, even beside --json."""
    result = CliRunner().invoke(app, ["solve", str(FOUND / name), "--algorithm", algorithm, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["valid"]
    assert result.stderr.splitlines()[-1].startswith(f"{name}: ")


@pytest.mark.parametrize(("name", "optimum"), [("sdst.fjs", 25), ("job_shop_lib_ft06.json", 55), ("jsplib.jsp", 7)])
def test_small_benchmark_is_solved_to_its_optimum(name: str, optimum: int) -> None:
    """Setups by sequence and machine, JSON of another library, and the longest job of two."""
    assert solve(str(FOUND / name), "--iterations", "2000")["makespan"] == optimum


def test_machines_are_called_by_the_numbers_of_the_file() -> None:
    """A file that counts from 1 is answered from 1, a time of 0 is answered as 0."""
    rows = solve(str(FOUND / "one_based.fjs"))["schedule"]
    assert {row["machine_id"] for row in rows} == {1, 2, 3}
    (short,) = (row for row in solve(str(FOUND / "zero_time.fjs"))["schedule"] if row["job_id"] == "1-0")
    assert short["start"] == short["end"]


def test_machines_beyond_the_limit_of_the_service_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a request holds for files too, and is one line."""
    monkeypatch.setenv("GANTRY_MAX_MACHINES", "2")
    with pytest.raises(BenchmarkFormatError, match=r"^one_based\.fjs, line 1: machines must be 1 to 2, was 3$"):
        CliRunner().invoke(app, ["solve", str(FOUND / "one_based.fjs")], catch_exceptions=False)


def test_request_that_is_not_written_by_the_letter_is_solved_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with a byte order mark and numbers as text is read as the service reads it; stdout is the problem's."""
    file = tmp_path / "order.json"
    jobs = [{"job_id": "A", "processing_time": "2.5", "machine_types": [1]}]
    request = {
        "jobs": jobs,
        "machines": [{"machine_id": 1, "machine_type": 1}],
        "schedule_start": "2026-05-04T08:00:00Z",
    }
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(request).encode())
    problem = read_problem(file).problem
    assert problem.operations[0].alternatives[0].processing_seconds == 9000
    printed = capsys.readouterr()
    assert printed.err.startswith("order.json: numbers that were sent as text were taken as numbers (at jobs[0].")
    assert printed.out == ""


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("plan.svg", b"<svg "),
        ("plan.HTML", b"<!doctype html>"),
        ("plan.csv", b"\xef\xbb\xbfjob_id"),
        ("plan.xlsx", b"PK"),
    ],
)
def test_plan_is_written_as_its_ending_says(tiny: str, tmp_path: Path, name: str, beginning: bytes) -> None:
    """Of a benchmark in its own units, and stdout stays what it is."""
    solve(tiny, "--algorithm", "fifo", "--output", str(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(beginning)


def test_plan_of_a_request_has_dates(tmp_path: Path) -> None:
    """Also as a calendar, which a benchmark has none of."""
    file, target = tmp_path / "plant.json", tmp_path / "plan.ics"
    file.write_text(json.dumps(body(jobs=[job("A")])), encoding="utf-8")
    solve(str(file), "--algorithm", "fifo", "--output", str(target))
    assert b"DTSTART:2025072" in target.read_bytes()


def test_ending_that_nobody_knows_is_refused_before_anything_is_solved(tiny: str, tmp_path: Path) -> None:
    """And a calendar of what has no dates."""
    for name, message in (("plan.pdf", "--output must end in one of"), ("plan.ics", "a calendar needs dates")):
        result = CliRunner().invoke(app, ["solve", tiny, "--algorithm", "fifo", "--output", str(tmp_path / name)])
        assert isinstance(result.exception, UnknownEnding)
        assert message in str(result.exception)
        assert not (tmp_path / name).exists()
