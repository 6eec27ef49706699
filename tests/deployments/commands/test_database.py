"""Commands on the database say which one it is, where nobody takes that for the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from deployments import cli
from deployments.persistence.database import upgrade
from tests.deployments.plants.rows import TEMPLATES

ON_THE_DATABASE = {
    "audit": "",
    "db upgrade": "",
    "db check": "",
    "db import": f"machines {TEMPLATES / 'machines.csv'}",
    "db size": "",
    "db prune": "--before 2025-01-01",
    "db spool replay": "--folder .",
    "db backup": "second.backup",
    "rollout replay": "--json",
    "keys create": "--client erp --scope read --all-plants --json",
    "keys list": "--json",
    "keys rotate": "KEY --json",
    "keys revoke": "KEY --json",
}
INTO_ANOTHER = {"db restore", "db verify"}
WITHOUT_A_DATABASE = {"db spool status", "db spool show", "db spool skip", "db partitions", "db grants"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a migrated database and a backup of it; the commands find the database by a relative path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    monkeypatch.setenv("GANTRY_DATABASE_URL", "sqlite:///gantry.sqlite3")
    upgrade("sqlite:///gantry.sqlite3")
    assert _run("db", "backup", "first.backup").exit_code == 0
    return tmp_path


def _run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, words, catch_exceptions=False)


@pytest.mark.parametrize(("command", "options"), ON_THE_DATABASE.items(), ids=ON_THE_DATABASE)
def test_command_names_its_database_on_stderr(folder: Path, command: str, options: str) -> None:
    """Once, by its whole path, and never on stdout, which is JSON where that was asked for."""
    made = json.loads(_run("keys", "create", "--client", "mes", "--scope", "read", "--all-plants", "--json").stdout)
    done = _run(*command.split(), *options.replace("KEY", made["id"]).split())
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[0] == f"database: file {folder / 'gantry.sqlite3'}"
    assert done.output.count("database: ") == 1
    assert "database: " not in done.stdout
    if "--json" in options:
        json.loads(done.stdout)


@pytest.mark.parametrize("command", sorted(INTO_ANOTHER))
def test_command_names_the_other_database_that_it_fills(folder: Path, command: str) -> None:
    """The one of --into, not that of the settings."""
    upgrade("sqlite:///other.sqlite3")
    done = _run(*command.split(), "first.backup", "--into", "sqlite:///other.sqlite3")
    assert (done.exit_code, done.stderr) == (0, f"database: file {folder / 'other.sqlite3'}\n")


def test_database_is_named_although_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and schema, but neither user nor password; nothing listens on port 1."""
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://root:hush@127.0.0.1:1/gantry?passwd=hush")
    done = CliRunner().invoke(cli.app, ["keys", "list", "--json"])
    assert (done.stdout, done.stderr) == ("", "database: schema gantry on 127.0.0.1:1\n")
    assert "hush" not in str(done.exception)


def test_every_command_on_the_database_is_looked_at() -> None:
    """A new one is added to the tests above, or said to need no database."""
    groups = get_command(cli.app).commands  # type: ignore[attr-defined]
    found = {"audit", "rollout replay"} | {
        f"{group} {name}" for group in ("db", "keys") for name in groups[group].commands if name != "spool"
    }
    found |= {f"db spool {name}" for name in groups["db"].commands["spool"].commands}
    assert found == set(ON_THE_DATABASE) | INTO_ANOTHER | WITHOUT_A_DATABASE
