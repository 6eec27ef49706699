"""What an earlier version left is read by this one: a data folder of 0.1.0, killed with decisions in its spool."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from deployments.access.key_keeper import load_snapshot
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.decisions.records import DecisionRecord
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.delivery.inspection import replay_segments
from deployments.persistence.spool.disk import LocalDisk
from deployments.persistence.spool.segment_folder import SegmentFolder
from deployments.rollout.ramp.state import Action
from deployments.rollout_control.ramp_statistics import RampStatistics
from deployments.rollout_control.transition_log import ControllerJournal
from tests.deployments.shipped_policy import LIMITS

ARCHIVE = Path(__file__).parent / "data" / "data_folder_0_1_0.tar.gz"
CLIENT = "default"
STORED = 5
SPOOLED = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder as the service left it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def deliver_and_read(url: str, spool_folder: Path) -> list[DecisionRecord]:
    """Brings the schema up to date, delivers what waits in the spool, and reads everything back whole."""
    upgrade(url)
    engine = create_engine(url)
    spool = SegmentFolder(spool_folder, segment_bytes=2**20, disk=LocalDisk(), clock_us=lambda: 1_000_000)
    spool.open()
    report = replay_segments(spool, DecisionWriter(engine).write, lambda _: None, bound_bytes=2**20)
    assert report.dead == 0
    with unit_of_work(engine) as decisions:
        page = decisions.page(CLIENT, limit=50, with_payload=True).records
        whole = [decisions.get(record.decision_id, CLIENT) for record in page]
    engine.dispose()
    for record in whole:
        assert record is not None
        assert record.figures.makespan_seconds > 0
        served = [evaluation for evaluation in record.evaluations if evaluation.is_served]
        assert [evaluation.figures for evaluation in served] == [record.figures]
    return [record for record in whole if record is not None]


def test_spooled_decisions_reach_the_database_and_are_read(folder: Path) -> None:
    """Those that waited when the service was killed, beside those that were delivered; each with what its arms made."""
    assert len(deliver_and_read(f"sqlite:///{folder / 'gantry.sqlite3'}", folder / "spool")) == STORED + SPOOLED


def test_rollout_is_remembered(folder: Path) -> None:
    """The journal's transitions, the statistics of the ramp, and the same transitions in the database."""
    journal = ControllerJournal(folder / "rollout")
    remembered = journal.read()
    actions = [transition.action for transition in remembered.transitions]
    assert actions == [Action.BEGIN, Action.PAUSE, Action.RESUME]
    assert remembered.statistics is not None
    statistics = RampStatistics.restored(remembered.statistics, limits=LIMITS)
    assert statistics.ramp == remembered.transitions[-1].state.ramp
    rows = RolloutRows(create_engine(f"sqlite:///{folder / 'gantry.sqlite3'}"))
    assert [row["version"] for row in rows.transitions()] == [3, 2, 1]


def test_keys_are_known(folder: Path) -> None:
    """The snapshot of the key ring, which a start without the database needs."""
    assert load_snapshot(folder / "api_keys.json").keys == ()
