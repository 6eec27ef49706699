"""`gantry db backup, backup-key, drill`: what a timer gets to see, what stays, and what is known afterwards."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deployments import cli
from deployments.persistence.database import create_engine
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import BackupMissing, InvalidBackup
from tests.deployments.persistence.payloads import decision

LINE = r"backups/gantry-\d{8}T\d{6}Z\.backup(\.age)?: \d+ rows, 3 of them decisions, [\d,]+ bytes"
DRILL = (
    r"backups/gantry-\S+\.backup(\.age)?: \d+ rows equal, 3 of them decisions; "
    r"0 h 00 min old \(RPO\); restored in \d+\.\d s \(RTO\)\n"
)


@pytest.fixture(autouse=True)
def folder(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the backups, beside a database with three decisions that the commands find in their settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_ENVIRONMENT", "development")
    monkeypatch.setenv("GANTRY_DATABASE_URL", "sqlite:///gantry.sqlite3")
    shutil.copyfile(migrated_file, tmp_path / "gantry.sqlite3")
    engine = create_engine("sqlite:///gantry.sqlite3")
    assert not DecisionWriter(engine).write([decision(number).to_bytes() for number in (1, 2, 3)]).poisoned
    engine.dispose()
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def _run(*words: str, **options: object) -> Result:
    return CliRunner().invoke(cli.app, ["db", *words], catch_exceptions=bool(options))


def _acts() -> list[tuple[str, str]]:
    """Actions and targets of the audit trail, oldest first."""
    lines = CliRunner().invoke(cli.app, ["audit", "--json"], catch_exceptions=False).stdout.splitlines()
    return [(row["action"], row["target"]) for row in map(json.loads, reversed(lines))]


def _program(path: Path, text: str) -> str:
    path.write_text(text)
    return f"{sys.executable} {path}"


@pytest.mark.system
def test_backup_for_a_timer_is_one_line(tmp_path: Path, folder: Path) -> None:
    """Written, verified, copied, and older ones removed, in that order; the audit trail has what was proven."""
    for day in (1, 2, 3, 4):
        (folder / f"gantry-2025010{day}T000000Z.backup").touch()
    copy = _program(tmp_path / "copy.py", "import shutil, sys; shutil.copy(sys.argv[-1], sys.argv[1])")
    words = ("--verify", "--copy", f"{copy} '{tmp_path / 'off site'}'", "--keep-daily", "3")
    done = _run("backup", "--folder", "backups", *words)
    assert done.exit_code == 0
    assert re.fullmatch(LINE + r"; verified in \d+\.\d s; copied; removed 2 older files\n", done.stdout), done.stdout
    newest = max(path.name for path in folder.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == [
        "gantry-20250103T000000Z.backup",
        "gantry-20250104T000000Z.backup",
        newest,
    ]
    assert (tmp_path / "off site").read_bytes() == (folder / newest).read_bytes()
    assert _acts() == [("db.backup", newest), ("db.verify", newest)]


@pytest.mark.system
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('no route to vault')", r"failed with 1: no route to vault; the backup itself is at "),
        ("import time; time.sleep(60)", r"took more than 1 s and was ended; the backup itself is at "),
    ],
)
def test_copy_that_fails_is_a_failed_backup(tmp_path: Path, folder: Path, program: str, words: str) -> None:
    """In the words of the command; the file stays, and nothing older goes."""
    (folder / "gantry-20250101T000000Z.backup").touch()
    copy = _program(tmp_path / "copy.py", program)
    with pytest.raises(InvalidBackup, match=words):
        _run("backup", "--folder", "backups", "--copy", copy, "--copy-seconds", "1", "--keep-daily", "1")
    assert len(list(folder.iterdir())) == 2


@pytest.mark.system
def test_copy_command_that_is_not_there_is_named() -> None:
    """As the system says it."""
    with pytest.raises(InvalidBackup, match=r"the copy by `no-such-program there` cannot be started: .*No such file"):
        _run("backup", "--folder", "backups", "--copy", "no-such-program there")


def test_newest_verified_backup_never_goes(folder: Path) -> None:
    """Also when newer ones that nobody has verified would take its place."""
    verified = _run("backup", "--folder", "backups", "--verify").stdout.split(":")[0]
    older = folder / "gantry-20250101T000000Z.backup"
    Path(verified).rename(older)
    record = sqlite_audit(older.name, Path(verified).name)
    assert record == 1
    assert _run("backup", "--folder", "backups", "--keep-daily", "1").exit_code == 0
    assert older.exists()
    assert len(list(folder.iterdir())) == 2


def sqlite_audit(name: str, before: str) -> int:
    """Has the audit trail say that the file was called so all along; how many rows said otherwise."""
    engine = create_engine("sqlite:///gantry.sqlite3")
    with engine.begin() as connection:
        changed = connection.exec_driver_sql(
            "UPDATE audit_event SET detail = replace(detail, ?, ?) WHERE action = 'db.verify'", (before, name)
        ).rowcount
    engine.dispose()
    return changed


def test_encrypted_backup_is_drilled_with_its_identity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the key to the drill; what was restored is gone, and `gantry db check` knows how old it is."""
    recipient = _run("backup-key", "identity.txt").stdout.strip()
    assert Path("identity.txt").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidBackup, match="must not exist yet"):
        _run("backup-key", "identity.txt")
    assert "drill: the newest backup drilled should be at most 8 days 0 h old, there was none" in _run("check").stdout
    done = _run("backup", "--folder", "backups", "--recipient", recipient)
    assert re.fullmatch(LINE + r"\n", done.stdout), done.stdout
    (file,) = folder.iterdir()
    assert file.name.endswith(".backup.age")
    with pytest.raises(InvalidBackup, match="give the file of its identity by --identity"):
        _run("drill", "--folder", "backups")
    scratch = "sqlite:///scratch.sqlite3"
    for words in ((), ("--into", scratch)):
        done = _run("drill", "--folder", "backups", "--identity", "identity.txt", *words)
        assert re.fullmatch(DRILL, done.stdout), done.stdout
    assert not Path("scratch.sqlite3").exists()
    assert _acts() == [("db.backup", file.name), ("db.drill", file.name), ("db.drill", file.name)]
    assert re.search(rf"ok +drill: the newest backup drilled is 0 h 00 min old, {file.name}", _run("check").stdout)


def test_drill_takes_the_newest_and_says_when_it_is_too_old(folder: Path) -> None:
    """Exit 1 by age alone; a folder without any is named."""
    with pytest.raises(BackupMissing, match=r"backups must have a backup .*, had none"):
        _run("drill", "--folder", "backups")
    assert _run("backup", "first.backup").exit_code == 0
    shutil.copy("first.backup", folder / "gantry-20260101T000000Z.backup")
    (folder / "gantry-20250101T000000Z.backup").write_text("this one is not looked at")
    assert _run("drill", "--folder", "backups").exit_code == 0
    with pytest.raises(BackupMissing, match="must be at most 0 h old, was 0 h 00 min"):
        _run("drill", "--folder", "backups", "--max-age-hours", "0")


def test_database_that_is_away_is_told_by_its_own_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """75, so that a timer may try again; nothing listens on port 1. One line, without the password."""
    monkeypatch.setenv("GANTRY_DATABASE_URL", "mariadb+pymysql://root:hush@127.0.0.1:1/gantry")
    done = _run("backup", "--folder", "backups")
    assert done.exit_code == 75
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["database", "gantry"]
    assert "hush" not in done.output
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("x.backup", "--folder", "backups"),
        ("x.backup", "--keep-daily", "3"),
        ("--verify", "--recipient", "age1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: tuple[str, ...]) -> None:
    """Before anything is written."""
    assert _run("backup", *words).exit_code == 2
    assert not Path("x.backup").exists()


def test_proof_without_a_database_says_that_nobody_will_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine a backup can be verified all the same; no file of a database is made there."""
    assert _run("backup", "first.backup").exit_code == 0
    monkeypatch.setenv("GANTRY_DATABASE_URL", "sqlite:///nowhere.sqlite3")
    done = _run("verify", "first.backup")
    assert done.exit_code == 0
    assert done.stderr == "not recorded in the audit trail: GANTRY_DATABASE_URL names a file that is not there\n"
    assert not Path("nowhere.sqlite3").exists()
