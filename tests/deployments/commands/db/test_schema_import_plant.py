"""`gantry db import`: all of a file or nothing, and every bad line by its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments import cli
from deployments.commands.database import actor
from deployments.persistence.database import create_engine
from deployments.persistence.decisions.audit_repository import audit_work
from deployments.persistence.decisions.plant_repository import plant_work
from deployments.plants.files import InvalidPlantFile
from tests.deployments.plants.rows import TEMPLATES

HEADER = "job_id,processing_time,machine_types\n"


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database that the command finds in its settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    url = f"sqlite:///{tmp_path / 'gantry.sqlite3'}"
    monkeypatch.setenv("GANTRY_DATABASE_URL", url)
    monkeypatch.setenv("GANTRY_PLANT_ID", "penang")
    return url


def _import(*words: str) -> str:
    result = CliRunner().invoke(cli.app, ["db", "import", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def _job_ids(url: str, plant_id: str = "penang") -> list[str]:
    engine = create_engine(url)
    with plant_work(engine) as plants:
        found = sorted(str(row["job_id"]) for row in plants.jobs(plant_id, 10_000))
    engine.dispose()
    return found


@pytest.mark.parametrize("kind", ["machines", "calendar", "jobs"])
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_templates_can_be_imported(kind: str, suffix: str) -> None:
    """What is shipped to be copied works as it is, into a database that did not exist."""
    amount = "calendar" if kind == "calendar" else f"4 {kind}"
    printed = _import(kind, str(TEMPLATES / f"{kind}.{suffix}"))
    assert printed == f"plant penang: {amount} imported from {kind}.{suffix}\n"


def test_import_adds_and_replace_forgets(tmp_path: Path, url: str) -> None:
    """Without --replace other jobs stay; with it an empty file empties the plant, and no other plant."""
    file = tmp_path / "jobs.csv"
    file.write_text(HEADER + "A,1,1\n")
    _import("jobs", str(file))
    _import("jobs", str(file), "--plant", "ipoh")
    file.write_text(HEADER + "A,2,1\nB,1,1\n")
    _import("jobs", str(file))
    assert _job_ids(url) == ["A", "B"]
    file.write_text(HEADER)
    _import("jobs", str(file), "--replace")
    assert (_job_ids(url), _job_ids(url, "ipoh")) == ([], ["A"])


def test_import_is_in_the_audit_trail(tmp_path: Path, url: str) -> None:
    """Who put what into which plant, from which file; a file that is refused leaves no row."""
    _import("machines", str(TEMPLATES / "machines.csv"), "--replace")
    _import("calendar", str(TEMPLATES / "calendar.json"), "--plant", "ipoh")
    bad = tmp_path / "jobs.csv"
    bad.write_text(HEADER + "B,0,1\n")
    assert CliRunner().invoke(cli.app, ["db", "import", "jobs", str(bad)]).exit_code == 1
    engine = create_engine(url)
    with audit_work(engine) as trail:
        found = [(event.actor, event.action, event.target, event.detail) for event in reversed(trail.page())]
    engine.dispose()
    assert found == [
        (actor(), "db.import", "machines of plant penang", "4 from machines.csv, in place of all before"),
        (actor(), "db.import", "calendar of plant ipoh", "1 from calendar.json, in place of all before"),
    ]


def test_bad_file_changes_nothing(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each bad line is printed, and what was there stays there."""
    file = tmp_path / "jobs.csv"
    file.write_text(HEADER + "A,1,1\n")
    _import("jobs", str(file))
    file.write_text(HEADER + "B,1,1\nC,0,1\nD,1,x\n")
    with pytest.raises(InvalidPlantFile, match="2 are not"):
        cli.app(["db", "import", "jobs", str(file), "--replace"], standalone_mode=False)
    assert capsys.readouterr().err.splitlines() == [
        "jobs.csv, line 3: processing_time must be greater than 0, was 0",
        'jobs.csv, line 4: machine_types[0] must be a whole number, was "x"',
    ]
    assert _job_ids(url) == ["A"]


def test_many_jobs_are_imported_in_chunks(tmp_path: Path, url: str) -> None:
    """A file of thousands of lines arrives whole."""
    file = tmp_path / "jobs.csv"
    file.write_text(HEADER + "".join(f"J{number:05},1.5,1\n" for number in range(5_100)))
    assert _import("jobs", str(file)) == "plant penang: 5,100 jobs imported from jobs.csv\n"
    assert len(_job_ids(url)) == 5_100


def test_faults_of_a_kind_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A column that is wrong in every line is one sentence, and the last line counts them all."""
    file = tmp_path / "jobs.csv"
    file.write_text(HEADER + "".join(f"J{number},soon,1\n" for number in range(15)) + "K,0,1\n")
    with pytest.raises(InvalidPlantFile, match="16 are not"):
        cli.app(["db", "import", "jobs", str(file)], standalone_mode=False)
    assert capsys.readouterr().err.splitlines() == [
        'jobs.csv, lines 2, 3 and 13 more: processing_time must be a number, was "soon"',
        "jobs.csv, line 17: processing_time must be greater than 0, was 0",
    ]


def test_spreadsheet_in_other_spellings_is_imported(tmp_path: Path, url: str) -> None:
    """What is not written by the letter is told on stderr, and the jobs are there."""
    file = tmp_path / "jobs.csv"
    file.write_text("job_id;processing_time;machine_types;priority;lcd_date\nA;2,5;1;9;25.07.2025\n")
    words = ["db", "import", "jobs", str(file), "--decimal-comma", "--day-first"]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.stdout == "plant penang: 1 jobs imported from jobs.csv\n"
    assert "jobs.csv: priority outside 1 to 3 was taken as the nearest (at line 2, priority)\n" in result.stderr
    assert _job_ids(url) == ["A"]


def test_spellings_of_cells_are_not_for_json(tmp_path: Path) -> None:
    """JSON has one spelling, so an option that would change nothing is refused."""
    file = tmp_path / "jobs.json"
    file.write_text("[]")
    result = CliRunner().invoke(cli.app, ["db", "import", "jobs", str(file), "--day-first"])
    assert result.exit_code == 2
    assert "are for cells" in result.output
