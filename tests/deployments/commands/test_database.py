"""Commands on the database say which one it is, where nobody takes that for the answer."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import make_url
from typer.main import get_command
from typer.testing import CliRunner

from deployments import cli
from deployments.commands.database import other_url
from deployments.persistence.errors import InvalidDatabaseUrl
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
INTO_ANOTHER = {"db restore": "first.backup", "db verify": "first.backup", "db drill": "--folder backups"}
WITHOUT_A_DATABASE = {
    "db spool status",
    "db spool show",
    "db spool skip",
    "db partitions",
    "db grants",
    "db backup-key",
}


@pytest.fixture(autouse=True)
def folder(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a migrated database and a backup of it; the commands find the database by a relative path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    monkeypatch.setenv("GANTRY_DATABASE_URL", "sqlite:///gantry.sqlite3")
    shutil.copyfile(migrated_file, tmp_path / "gantry.sqlite3")
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


@pytest.mark.parametrize(("command", "options"), INTO_ANOTHER.items(), ids=INTO_ANOTHER)
def test_command_names_the_other_database_that_it_fills(
    migrated_file: Path, folder: Path, command: str, options: str
) -> None:
    """The one of --into, not that of the settings."""
    shutil.copyfile(migrated_file, folder / "other.sqlite3")
    (folder / "backups").mkdir()
    shutil.copy(folder / "first.backup", folder / "backups" / "gantry-20260101T000000Z.backup")
    done = _run(*command.split(), *options.split(), "--into", "sqlite:///other.sqlite3")
    assert (done.exit_code, done.stderr) == (0, f"database: file {folder / 'other.sqlite3'}\n")


def test_database_is_named_although_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and schema, but neither user nor password; nothing listens on port 1."""
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://root:hush@127.0.0.1:1/gantry?passwd=hush")
    done = CliRunner().invoke(cli.app, ["keys", "list", "--json"])
    assert (done.stdout, done.stderr) == ("", "database: schema gantry on 127.0.0.1:1\n")
    assert "hush" not in str(done.exception)


OTHER = "mariadb+pymysql://owner@db.plant:3306/copy"


def test_other_database_is_reached_as_that_of_the_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the settings say of encryption holds for --into, too; SQLite, which has no wire, stays as it is."""
    ca = folder / "ca.pem"
    ca.write_text("a certificate")
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://gantry:hush@db.plant:3306/gantry")
    monkeypatch.setenv("GANTRY_DATABASE_TLS", "verified")
    monkeypatch.setenv("GANTRY_DATABASE_TLS_CA", str(ca))
    assert make_url(other_url(OTHER)).query == {"ssl_ca": str(ca), "ssl_check_hostname": "true"}
    assert other_url("sqlite:///other.sqlite3") == "sqlite:///other.sqlite3"
    with pytest.raises(InvalidDatabaseUrl, match="must leave TLS to GANTRY_DATABASE_TLS, had ssl_ca as well"):
        other_url(f"{OTHER}?ssl_ca=other.pem")


def test_password_of_the_other_database_is_never_an_argument(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file, stdin, the environment, or the settings where user and server are the same; else there is none."""
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://gantry:of-the-settings@db.plant:3306/gantry")
    assert make_url(other_url(OTHER)).password is None
    assert make_url(other_url(OTHER.replace("owner", "gantry"))).password == "of-the-settings"
    monkeypatch.setenv("GANTRY_INTO_PASSWORD", "of-the-environment")
    assert make_url(other_url(OTHER)).password == "of-the-environment"
    file = folder / "password"
    file.write_text("of a file, with @:/\n")
    assert make_url(other_url(OTHER, file)).password == "of a file, with @:/"
    monkeypatch.setattr(sys, "stdin", io.StringIO("of stdin\n"))
    assert make_url(other_url(OTHER, Path("-"))).password == "of stdin"
    for url in (OTHER.replace("owner", "owner:hush"), f"{OTHER}?password=hush"):
        with pytest.raises(
            InvalidDatabaseUrl, match=r"must not have a password, .* set GANTRY_INTO_PASSWORD"
        ) as caught:
            other_url(url)
        assert "hush" not in str(caught.value)


def test_every_command_on_the_database_is_looked_at() -> None:
    """A new one is added to the tests above, or said to need no database."""
    groups = get_command(cli.app).commands  # type: ignore[attr-defined]
    found = {"audit", "rollout replay"} | {
        f"{group} {name}" for group in ("db", "keys") for name in groups[group].commands if name != "spool"
    }
    found |= {f"db spool {name}" for name in groups["db"].commands["spool"].commands}
    assert found == set(ON_THE_DATABASE) | set(INTO_ANOTHER) | WITHOUT_A_DATABASE
