"""A spool folder seen from outside, and its replay."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.delivery.inspection import inspect, replay_dead_letters, replay_segments
from deployments.persistence.errors import SpoolFailed
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.segment import framed
from deployments.persistence.spool.segment_folder import SegmentFolder
from tests.deployments.persistence.faulty_disk import FaultyDisk
from tests.deployments.persistence.payloads import decision, decision_id


def _opened(folder: Path) -> SegmentFolder:
    spool = SegmentFolder(folder, segment_bytes=10_000, disk=FaultyDisk(), clock_us=lambda: 1_000_000)
    spool.open()
    return spool


def test_inspection_counts_what_waits_and_takes_nothing(tmp_path: Path) -> None:
    """Records of the living and of the dead, told apart; the owner goes on undisturbed."""
    living, dead = _opened(tmp_path), _opened(tmp_path)
    living.append([b"a", b"b"])
    dead.append([b"c"])
    dead.close()
    report = inspect(tmp_path)
    assert sorted((segment.is_owned, segment.waiting_records) for segment in report.segments) == [(False, 1), (True, 2)]
    assert (report.waiting_records, report.needs_a_person) == (3, False)
    living.append([b"d"])
    assert inspect(tmp_path).waiting_records == 4


def test_inspection_sees_damage_tail_and_dead_letters(tmp_path: Path) -> None:
    """A torn tail mends itself; damage before it, and dead letters, need a person."""
    spool = _opened(tmp_path)
    spool.append([b"first"])
    spool.append([b"second"])
    spool.close()
    (path,) = tmp_path.glob("*.segment")
    path.write_bytes(path.read_bytes() + framed(b"third", 1)[:-1])
    report = inspect(tmp_path)
    assert ([segment.torn_bytes for segment in report.segments], report.needs_a_person) == ([24], False)
    data = bytearray(path.read_bytes())
    data[22] ^= 1
    path.write_bytes(data)
    assert inspect(tmp_path).needs_a_person
    letter = DeadLetter(payload=b"x", kind=DeadLetterKind.REJECTED, reason="y")
    _opened(tmp_path).save_dead_letters([letter, letter], bound_bytes=1_000)
    report = inspect(tmp_path)
    assert report.dead_letters == {DeadLetterKind.REJECTED: 2}
    assert [segment.damaged_regions for segment in report.segments] == [1]


def test_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    """The path, and who makes it."""
    with pytest.raises(SpoolFailed, match=r"absent must exist; the service makes it when it starts"):
        inspect(tmp_path / "absent")


def test_replay_stores_what_dead_routers_left(tmp_path: Path, engine: Engine) -> None:
    """Each once, also when replayed again; poison goes to the dead letters; a living owner keeps its own."""
    living, dead = _opened(tmp_path), _opened(tmp_path)
    living.append([decision(9).to_bytes()])
    dead.append([decision(1).to_bytes(), b"poison", decision(2).to_bytes()])
    dead.close()
    heir, progress = _opened(tmp_path), []
    report = replay_segments(heir, DecisionWriter(engine).write, progress.append, bound_bytes=10_000)
    assert (report.segments, report.written, report.dead, progress) == (1, 2, 1, [3])
    with unit_of_work(engine) as decisions:
        assert decisions.get(decision_id(2), "planner") == decision(2)
        assert decisions.get(decision_id(9), "planner") is None
    assert inspect(tmp_path).dead_letters == {DeadLetterKind.UNREADABLE: 1}


def test_dead_letters_are_replayed_once_their_cause_is_mended(tmp_path: Path, engine: Engine) -> None:
    """A file that is stored whole is set aside; one that still has a dead letter stays."""
    spool = _opened(tmp_path)
    good = DeadLetter(payload=decision(1).to_bytes(), kind=DeadLetterKind.REJECTED, reason="too long then")
    spool.save_dead_letters([good], bound_bytes=100_000)
    spool.save_dead_letters(
        [DeadLetter(payload=b"junk", kind=DeadLetterKind.UNREADABLE, reason="junk")], bound_bytes=100_000
    )
    assert replay_dead_letters(tmp_path, DecisionWriter(engine).write) == 1
    assert inspect(tmp_path).dead_letters == {DeadLetterKind.UNREADABLE: 1}
    assert len(list((tmp_path / "dead_letters").glob("*.replayed"))) == 1
    with unit_of_work(engine) as decisions:
        assert decisions.get(decision_id(1), "planner") is not None
