"""The data folder as a whole: whoever writes there, and whatever the umask, nobody but the owner may read it."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from deployments.access.key_keeper import KnownKeys, save_snapshot
from deployments.local_cluster.processes import ProcessRecord, diverted_lines
from deployments.local_cluster.proxy import install_wrapper
from deployments.local_cluster.service import owning_data_folder, prepare_spool, withdraw_from_others
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.spool import Spool, SpoolConfig
from deployments.rollout.model_registry import Registry
from deployments.rollout.ramp.state import Action
from deployments.rollout_control.router_view import LatchFile, unknown_latch
from deployments.rollout_control.webhook import DeliveryLog
from deployments.serve.policy import SuspectFiles
from deployments.serve.process import DrainNotice
from deployments.settings.service import PUBLISHED_MODEL, Settings, hand_down, load_settings
from tests.deployments.rollout_control.events import NOW, evaluation, report
from tests.deployments.rollout_control.test_controller import Plant, command


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Those of a service whose files are open to all, as far as the umask says."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    policy = tmp_path / "policy.toml"
    policy.write_text("", encoding="utf-8")
    umask = os.umask(0)
    yield load_settings(data_folder=tmp_path / "data", policy_file=policy)
    os.umask(umask)


def _modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()
    }


async def test_nobody_else_may_read_the_data_folder(settings: Settings) -> None:
    """A service's worth of writers, one after the other, under a umask that takes nothing away."""
    run = settings.run_folder
    with owning_data_folder(settings):
        record, notice = ProcessRecord(run / "processes"), DrainNotice(run)
        record.begin()
        record.note([os.getpid()])
        install_wrapper(run / "gantry-haproxy", "/bin/true", record.path)
        notice.report(os.getpid(), 1)
        notice.give()
        with diverted_lines(run / "ray.log", is_printed=False):
            logging.getLogger("ray").error("said")
    hand_down(settings)
    _store(settings)
    await _spool(settings)
    await _roll_out(settings)
    SuspectFiles(settings.data_folder / "suspects").suspect("0" * 64)
    Registry(settings.models_folder, PUBLISHED_MODEL).register(PUBLISHED_MODEL)
    modes = _modes(settings.data_folder)
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    assert {Path(path).parts[0] for path in modes} >= {
        "api_keys.json",
        "gantry.sqlite3",
        "models",
        "policy-of-service.toml",
        "rollout",
        "run",
        "spool",
        "suspects",
    }


def test_what_an_earlier_version_made_is_closed(settings: Settings, tmp_path: Path) -> None:
    """Folders and the SQLite file with its journals, inside and elsewhere, lose the rights of others and no more."""
    database, elsewhere = tmp_path / "plant.sqlite3", tmp_path / "elsewhere"
    given = {"database_url": f"sqlite:///{database}", "spool_folder": elsewhere / "spool"}
    moved = load_settings(data_folder=settings.data_folder, policy_file=settings.policy_file, **given)
    folders = (moved.data_folder, moved.spool_folder, moved.rollout_folder, moved.models_folder)
    for folder in folders:
        folder.mkdir(parents=True, mode=0o755)
    files = [database, *(database.with_name(database.name + suffix) for suffix in ("-journal", "-wal", "-shm"))]
    for file in files:
        file.touch(mode=0o644)
    bystanders = (elsewhere, tmp_path / "policy.toml")
    before = [path.stat().st_mode for path in bystanders]
    with owning_data_folder(moved):
        assert list(withdraw_from_others(moved)) == []
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (*folders, moved.run_folder)} == {0o700}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert [path.stat().st_mode for path in bystanders] == before


def test_folders_of_a_new_service_are_its_own(settings: Settings) -> None:
    """They are made for their owner alone, whatever the umask, the data folder before anybody can look into it."""
    with owning_data_folder(settings):
        assert stat.S_IMODE(settings.data_folder.stat().st_mode) == 0o700
        assert list(withdraw_from_others(settings)) == []
    folders = (settings.spool_folder, settings.rollout_folder, settings.models_folder)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_what_stays_open_is_said_and_stops_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for everybody, a linked file, and folders of another user are one sentence; the rest is closed."""
    shared, target = tmp_path / "shared", tmp_path / "target.sqlite3"
    shared.mkdir()
    shared.chmod(0o1777)
    target.touch(mode=0o644)
    link = tmp_path / "link.sqlite3"
    link.symlink_to(target)
    given = {"database_url": f"sqlite:///{link}", "spool_folder": shared}
    moved = load_settings(data_folder=settings.data_folder, policy_file=settings.policy_file, **given)
    moved.models_folder.mkdir(parents=True, mode=0o755)
    named = f"{shared} (it is for everybody), {link} (it is a link)"
    assert list(withdraw_from_others(moved)) == [
        f"other users may be able to read {named}: take it from them with `chmod go=`"
    ]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (shared, target)] == [0o1777, 0o644]
    assert stat.S_IMODE(moved.models_folder.stat().st_mode) == 0o700
    owner = os.geteuid()
    moved.models_folder.chmod(0o750)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    (sentence,) = withdraw_from_others(moved)
    assert f"{moved.models_folder} (it is of user {owner})" in sentence
    assert stat.S_IMODE(moved.models_folder.stat().st_mode) == 0o750


def _store(settings: Settings) -> None:
    """The database, in the middle of a transaction, and the snapshot of its keys."""
    url = settings.database_url.get_secret_value()
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM spool_owner"))
        connection.execute(text("INSERT INTO spool_owner VALUES ('a', '2025-07-22')"))
        journal = settings.data_folder / "gantry.sqlite3-journal"
        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    engine.dispose()
    save_snapshot(settings.key_snapshot_path, KnownKeys(keys=(), had_admin=False, read_at=NOW))


async def _spool(settings: Settings) -> None:
    """Segments, what stands beside them, and dead letters."""
    prepare_spool(settings)
    spool = Spool(settings.spool_folder, SpoolConfig(segment_bytes=100))
    await spool.start()
    for number in range(4):
        await spool.append(f"payload {number}".encode() * 10)
    batch = await spool.read_batch(max_count=1)
    assert batch is not None
    await spool.acknowledge(batch)
    await spool.tell_trouble("the disk is full")
    letter = DeadLetter(payload=b"x", kind=DeadLetterKind.UNREADABLE, reason="r")
    await spool.dead_letter([letter])
    await spool.close()
    LatchFile(settings.spool_folder).write(unknown_latch(now=NOW, router="r", actor="a", reason="r"))


async def _roll_out(settings: Settings) -> None:
    """The controller's journal, statistics, identity and lock, and what the webhook has delivered."""
    control = await Plant(settings.rollout_folder).start()
    await control.exchange(report(evaluation(1)))
    await control.command(command(Action.ROLLBACK))
    await control.close()
    DeliveryLog(settings.rollout_folder, begun_at=NOW).add("transition 1", NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_folder_in_which_others_have_files_stays_theirs_too(settings: Settings) -> None:
    """Such as /var/lib, given as the data folder of a service that root runs."""
    settings.data_folder.mkdir(mode=0o755, exist_ok=True)
    settings.data_folder.chmod(0o755)
    others = settings.data_folder / "postgresql"
    others.mkdir()
    os.chown(others, 65534, 65534)
    (sentence,) = withdraw_from_others(settings)
    assert f"{settings.data_folder} (others have files in it)" in sentence
    assert stat.S_IMODE(settings.data_folder.stat().st_mode) == 0o755
