"""Backup under load, restore, verify: by the commands of the documentation, on SQLite and on MariaDB."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select

from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.maintenance.archive import read_header
from deployments.persistence.maintenance.backup import back_up
from deployments.persistence.tables import METADATA
from tests.deployments.persistence.decisions.test_records_evaluations import evaluation
from tests.deployments.persistence.payloads import decision
from tests.system.mariadb import MariaDbServer, private_mariadb
from tests.system.serving import ROOT, environment

pytestmark = pytest.mark.system

GUIDE = ROOT / "docs" / "DURABILITY.md"
DECISIONS_BEFORE = 200
ELSEWHERE = "gantry db restore gantry.backup --into sqlite:///elsewhere.sqlite3\n"
_BATCH = 5


class Load:
    """A thread that writes decisions, each with the evaluations of both arms, one transaction after another."""

    def __init__(self, url: str) -> None:
        self.written = 0
        self._url = url
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._error: Exception | None = None

    def wait_for(self, decisions: int) -> None:
        """Returns when so many are stored."""
        while self.written < decisions and self._error is None:
            time.sleep(0.01)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Writes until the block ends. Raises whatever went wrong meanwhile."""
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        engine = create_engine(self._url)
        try:
            for first in count(1, _BATCH):
                if self._is_over.is_set():
                    return
                records = [decision(n, evaluations=_both_arms(n)).to_bytes() for n in range(first, first + _BATCH)]
                assert not DecisionWriter(engine).write(records).poisoned
                self.written += _BATCH
        except Exception as error:  # the edge of the thread: the test reports it
            self._error = error
        finally:
            engine.dispose()


def _both_arms(number: int) -> tuple[object, ...]:
    return evaluation(number, "ppo", is_served=True), evaluation(number)


@pytest.fixture(params=["sqlite", "mariadb"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A migrated database and an empty one of the same kind."""
    if request.param == "sqlite":
        source, empty = (f"sqlite:///{tmp_path / name}.sqlite3" for name in ("source", "empty"))
        upgrade(source)
        yield source, empty
        return
    server: MariaDbServer = request.getfixturevalue("mariadb")
    with server.schema() as source, server.schema() as empty:
        upgrade(source)
        yield source, empty


def test_commands_of_the_guide_back_up_under_load_and_restore_equal(urls: tuple[str, str], tmp_path: Path) -> None:
    """What is restored, into the same kind of database and into SQLite, is the database at one instant, while it was
    written to before, during and after."""
    source, empty = urls
    load = Load(source)
    with load.running():
        load.wait_for(DECISIONS_BEFORE)
        said = _run(f"{_commands()}{ELSEWHERE}", source, empty, tmp_path)
        load.wait_for(load.written + _BATCH)
    rows = _rows(empty)
    assert said.count("all tables equal") == 3
    assert DECISIONS_BEFORE <= len(rows["decision"]) < load.written
    assert len(rows["decision"]) % _BATCH == 0
    assert len(rows["evaluation"]) == 2 * len(rows["decision"])
    elsewhere = _rows(f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}")
    # Who restored it is written into each once it is compared.
    assert len(_restored(elsewhere) ^ _restored(rows)) == 2
    assert elsewhere | {"audit_event": set()} == rows | {"audit_event": set()}
    there = _rows(source)
    for name in ("decision", "evaluation"):
        assert rows[name] <= there[name]


def _restored(rows: dict[str, set[tuple[object, ...]]]) -> set[tuple[object, ...]]:
    return rows["audit_event"]


def test_backup_says_where_the_binary_log_stood(tmp_path: Path) -> None:
    """At the instant of the snapshot: what was written before it is in the backup, and what comes later in the log."""
    with private_mariadb(("--log-bin=log", "--server-id=1")) as server, server.schema() as url:
        upgrade(url)
        engine = create_engine(url)
        assert not DecisionWriter(engine).write([decision(1).to_bytes()]).poisoned
        path, written = tmp_path / "x.backup", []

        def write_another() -> None:
            if not written:
                written.append(DecisionWriter(engine).write([decision(2).to_bytes()]))

        (before,) = server.execute("SHOW MASTER STATUS")
        header, counts = back_up(url, path, write_another)
        (after,) = server.execute("SHOW MASTER STATUS")
        engine.dispose()
    assert counts["decision"] == 1
    assert header.binary_log is not None
    assert (header.binary_log["file"], int(header.binary_log["position"])) == before[:2]
    assert int(str(after[1])) > int(str(before[1]))
    assert re.fullmatch(r"0-1-\d+", header.binary_log["gtid"])
    assert read_header(path).binary_log == header.binary_log


def _commands() -> str:
    """The shell commands of the section on backups."""
    section = GUIDE.read_text(encoding="utf-8").split("## Backup and restore")[1].split("\n## ")[0]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found is not None
    assert [line.split()[2] for line in found[1].splitlines()] == ["backup", "verify", "restore"]
    return found[1]


def _run(commands: str, source: str, empty: str, folder: Path) -> str:
    """All of them in a shell that stops at the first failure, with `gantry` as it is here."""
    programs = folder / "bin"
    programs.mkdir()
    gantry = programs / "gantry"
    gantry.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from deployments.cli import main; main()" "$@"\n')
    gantry.chmod(0o700)
    variables = environment(folder, {"GANTRY_DATABASE_URL": source, "NEW_DATABASE_URL": empty})
    done = subprocess.run(
        ["bash", "-euc", commands],
        env=variables | {"PATH": f"{programs}:{variables['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _rows(url: str) -> dict[str, set[tuple[object, ...]]]:
    """All rows, read without any code of the backup."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = {
            name: {tuple(row) for row in connection.execute(select(table))} for name, table in METADATA.tables.items()
        }
    engine.dispose()
    return rows
