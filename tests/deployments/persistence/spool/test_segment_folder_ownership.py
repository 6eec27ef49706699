"""Owners of a spool folder: signed in while they live, departed when all they promised is stored."""

from __future__ import annotations

from pathlib import Path

from deployments.persistence.spool.segment_folder import SegmentFolder
from tests.deployments.persistence.faulty_disk import FaultyDisk


def _opened(folder: Path) -> SegmentFolder:
    spool = SegmentFolder(folder, segment_bytes=1_000, disk=FaultyDisk(), clock_us=lambda: 1_000_000)
    spool.open()
    return spool


def test_living_owner_has_not_departed(tmp_path: Path) -> None:
    """Its lock says so, whether it has segments or not."""
    owner, observer = _opened(tmp_path), _opened(tmp_path)
    assert observer.departed() == []
    owner.append([b"promise"])
    assert observer.departed() == []


def test_dead_owner_departs_with_its_last_segment(tmp_path: Path) -> None:
    """As long as anybody still has to store one of its records, it counts."""
    owner, heir = _opened(tmp_path), _opened(tmp_path)
    owner.append([b"promise"])
    owner.close()
    assert heir.departed() == []
    assert heir.adopt_orphan()
    assert heir.departed() == []
    batch = heir.read(1_000, 10)
    assert batch is not None
    heir.acknowledge(batch)
    assert heir.departed() == [owner.owner_id]
    heir.forget(owner.owner_id)
    heir.forget(owner.owner_id)
    assert heir.departed() == []
