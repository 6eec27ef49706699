"""`gantry db spool`, on a folder that a dead router left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments import cli
from deployments.persistence.database import create_engine
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.errors import SchemaMismatch
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.segment_folder import SegmentFolder
from tests.deployments.persistence.faulty_disk import FaultyDisk
from tests.deployments.persistence.payloads import decision, decision_id


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a service that died with two decisions in its spool."""
    for name in os.environ:
        if name.startswith("GANTRY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_DATA_FOLDER", str(tmp_path))
    spool = SegmentFolder(tmp_path / "spool", segment_bytes=9_999, disk=FaultyDisk(), clock_us=lambda: 1_000_000)
    spool.open()
    spool.append([decision(1).to_bytes(), decision(2).to_bytes()])
    spool.close()
    return tmp_path


def test_status_shows_what_waits(data_folder: Path) -> None:
    """As lines and as JSON."""
    shown = CliRunner().invoke(cli.app, ["db", "spool", "status"])
    assert shown.exit_code == 0
    assert "waiting        2 decisions in 1 segment" in shown.output
    document = json.loads(CliRunner().invoke(cli.app, ["db", "spool", "status", "--json"]).output)
    assert (document["waiting_records"], document["dead_letters"]) == (2, {})


def test_replay_empties_the_spool(migrated_file: Path, data_folder: Path) -> None:
    """The decisions are in the database, the folder holds no segment, and a second run finds nothing."""
    url = f"sqlite:///{shutil.copyfile(migrated_file, data_folder / 'gantry.sqlite3')}"
    done = CliRunner().invoke(cli.app, ["db", "spool", "replay"])
    assert done.stdout.splitlines() == ["2 decisions written from 1 segment, 0 to the dead letters"]
    again = CliRunner().invoke(cli.app, ["db", "spool", "replay", "--dead-letters"])
    assert again.stdout.splitlines()[-1] == "0 dead letters came into the database"
    engine = create_engine(url)
    with unit_of_work(engine) as decisions:
        assert decisions.get(decision_id(2), "planner") == decision(2)
    engine.dispose()
    assert list((data_folder / "spool").glob("*.segment")) == []


def test_show_lists_what_waits_and_prints_one_record(data_folder: Path) -> None:
    """A line for each record with age, bytes and whose it is; with an id the record itself, bodies as text."""
    lines = CliRunner().invoke(cli.app, ["db", "spool", "show"]).stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("waits ")
    assert lines[1].endswith(f" bytes  decision {decision_id(2)} (client planner, plant penang, arm ppo)")
    documents = CliRunner().invoke(cli.app, ["db", "spool", "show", "--json", "--limit", "1"]).stdout.splitlines()
    ((entry),) = map(json.loads, documents)
    assert (entry["record_id"], entry["is_dead"], entry["bytes"]) == (
        decision_id(1),
        False,
        len(decision(1).to_bytes()),
    )
    assert entry["age_seconds"] > 0
    whole = json.loads(CliRunner().invoke(cli.app, ["db", "spool", "show", decision_id(2)]).stdout)
    assert whole["record"]["request"] == '{"jobs": [2]}'
    nothing = CliRunner().invoke(cli.app, ["db", "spool", "show", "x"])
    assert "must hold a record 'x', held none" in str(nothing.exception)


def test_skipped_record_is_kept_and_can_be_replayed(migrated_file: Path, data_folder: Path) -> None:
    """Out of the way at the next delivery, listed with the reason, and in the database when it is replayed."""
    shutil.copyfile(migrated_file, data_folder / "gantry.sqlite3")
    skipped = CliRunner().invoke(cli.app, ["db", "spool", "skip", decision_id(1)])
    assert skipped.stdout.startswith(
        f"decision {decision_id(1)} (client planner, plant penang, arm ppo) goes to the dead"
    )
    assert ": is to be skipped" in CliRunner().invoke(cli.app, ["db", "spool", "show"]).stdout
    done = CliRunner().invoke(cli.app, ["db", "spool", "replay"])
    assert done.stdout.splitlines() == ["1 decision written from 1 segment, 1 to the dead letters"]
    (line,) = CliRunner().invoke(cli.app, ["db", "spool", "show"]).stdout.splitlines()
    assert (line.startswith("dead "), "skipped: a person had it skipped" in line) == (True, True)
    again = CliRunner().invoke(cli.app, ["db", "spool", "skip", decision_id(1)])
    assert again.stdout == f"{decision_id(1)} is among the dead letters already\n"
    revived = CliRunner().invoke(cli.app, ["db", "spool", "replay", "--dead-letters"])
    assert revived.stdout.splitlines()[-1] == "1 dead letter came into the database"
    assert CliRunner().invoke(cli.app, ["db", "spool", "show"]).stdout == ""


def test_what_is_no_record_is_shown_all_the_same(data_folder: Path) -> None:
    """Under a name made of its bytes, and printed as base64."""
    spool = SegmentFolder(data_folder / "spool", segment_bytes=9_999, disk=FaultyDisk(), clock_us=lambda: 2_000_000)
    spool.open()
    letter = DeadLetter(payload=b"poison", kind=DeadLetterKind.UNREADABLE, reason="no JSON")
    spool.save_dead_letters([letter], bound_bytes=9_999)
    spool.close()
    *_, line = CliRunner().invoke(cli.app, ["db", "spool", "show"]).stdout.splitlines()
    (name,) = re.findall(r"sha256-[0-9a-f]{16}", line)
    whole = json.loads(CliRunner().invoke(cli.app, ["db", "spool", "show", name]).stdout)
    assert (whole["record"], whole["kind"]) == ({"payload_base64": "cG9pc29u"}, "unreadable")


def test_replay_into_an_old_schema_is_refused(data_folder: Path) -> None:
    """The spool is left as it is."""
    done = CliRunner().invoke(cli.app, ["db", "spool", "replay"])
    assert isinstance(done.exception, SchemaMismatch)
    assert len(list((data_folder / "spool").glob("*.segment"))) == 1


def test_status_exits_with_1_when_a_person_must_look(migrated_file: Path, data_folder: Path) -> None:
    """Dead letters do not pass unnoticed in a script."""
    spool = SegmentFolder(data_folder / "spool", segment_bytes=9_999, disk=FaultyDisk(), clock_us=lambda: 2_000_000)
    spool.open()
    spool.append([b"poison"])
    spool.close()
    shutil.copyfile(migrated_file, data_folder / "gantry.sqlite3")
    CliRunner().invoke(cli.app, ["db", "spool", "replay"])
    shown = CliRunner().invoke(cli.app, ["db", "spool", "status"])
    assert (shown.exit_code, "dead letters   1 unreadable" in shown.output) == (1, True)
