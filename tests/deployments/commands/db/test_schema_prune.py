"""`gantry db size, prune`: what they print, and what they leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments import cli
from deployments.persistence.database import create_engine
from deployments.persistence.delivery.batch_writer import DecisionWriter
from tests.deployments.persistence.payloads import decision


@pytest.fixture(autouse=True)
def database(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database that the commands find in their settings, with two decisions of July 2025."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'gantry.sqlite3'}"
    monkeypatch.setenv("GANTRY_DATABASE_URL", url)
    shutil.copyfile(migrated_file, tmp_path / "gantry.sqlite3")
    engine = create_engine(url)
    DecisionWriter(engine).write([decision(number, plant_id=None).to_bytes() for number in (1, 2)])
    engine.dispose()


def run(*words: str) -> str:
    """What a command prints to stdout."""
    result = CliRunner().invoke(cli.app, ["db", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_prune_counts_first_and_removes_when_told() -> None:
    """Without --delete nothing goes; with it the row of the audit trail says who and what."""
    found = "2 decisions, 0 evaluations, 0 rows of feedback"
    kept = "older ones that are kept: 0 (0 latest plans, 0 with a key, 0 reported on since)"
    announced = f"before 2025-08-01T00:00:00+00:00: {found} can go; {kept}\n"
    advice = "nothing was removed: run it again with --delete, after a backup (`gantry db backup`)\n"
    for _ in range(2):
        assert run("prune", "--before", "2025-08-01") == announced + advice
    assert run("prune", "--before", "2025-08-01", "--delete") == f"{announced}removed: {found}\n"
    assert run("prune", "--before", "2025-08-01").startswith("before 2025-08-01T00:00:00+00:00: 0 decisions")
    trail = CliRunner().invoke(cli.app, ["audit"], catch_exceptions=False).stdout
    assert "db.prune" in trail
    assert "2 decisions" in trail


def test_size_shows_rows_and_bytes_for_each_decision() -> None:
    """One line for each table, and what each decision takes of it."""
    lines = {line.split()[0]: line.split()[1:] for line in run("size").splitlines()}
    rows, size, share = lines["decision"]
    assert rows == "2"
    assert int(size.replace(",", "")) // 2 == int(share.replace(",", ""))
    assert lines["feedback"][0] == "0"
    assert "all" in lines


def test_partitions_are_printed_for_the_tables_that_grow() -> None:
    """Statements and nothing else, so that they can be piped into the client of the database."""
    printed = run("partitions", "--first", "2026-01", "--months", "2").splitlines()
    assert [line.split(" (")[0] for line in printed] == [
        f"ALTER TABLE {table} PARTITION BY RANGE COLUMNS" for table in ("decision", "evaluation")
    ]
