"""Segments on disk: crashes, damage, adoption, deletion."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.persistence.errors import SpoolFailed, SpoolFull
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.segment import HEADER
from deployments.persistence.spool.segment_folder import SegmentFolder
from tests.deployments.persistence.faulty_disk import FaultyDisk

PAYLOADS = [b"first", b"", b"the third payload", b"\xf1GS\x01 looks like a mark", b"last"]
LETTER = DeadLetter(payload=b"poison", kind=DeadLetterKind.REJECTED, reason="too long")


def _opened(folder: Path, disk: FaultyDisk | None = None, segment_bytes: int = 10_000) -> SegmentFolder:
    spool = SegmentFolder(folder, segment_bytes=segment_bytes, disk=disk or FaultyDisk(), clock_us=lambda: 1_000_000)
    spool.open()
    return spool


def _drained(spool: SegmentFolder, max_bytes: int = 10_000, max_count: int = 100) -> list[bytes]:
    payloads = []
    while batch := spool.read(max_bytes, max_count):
        payloads += batch.payloads
        spool.acknowledge(batch)
    return payloads


def _adopted(folder: Path) -> list[bytes]:
    spool = _opened(folder)
    while spool.adopt_orphan():
        pass
    payloads = _drained(spool)
    spool.close()
    return payloads


def _files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir() if path.is_file() and path.suffix != ".owner")


def _written(folder: Path) -> Path:
    """A folder with one segment of all PAYLOADS that nobody owns."""
    spool = _opened(folder)
    for payload in PAYLOADS:
        spool.append([payload])
    spool.close()
    (path,) = folder.glob("*.segment")
    return path


def _ends() -> list[int]:
    """Where each of the PAYLOADS ends in its segment."""
    ends, end = [], 0
    for payload in PAYLOADS:
        end += HEADER.size + len(payload)
        ends.append(end)
    return ends


def test_payloads_are_read_in_the_order_of_appending(tmp_path: Path) -> None:
    """Across segments too."""
    spool = _opened(tmp_path, segment_bytes=40)
    for payload in PAYLOADS:
        spool.append([payload])
    assert len(list(tmp_path.glob("*.segment"))) > 1
    assert sorted(_drained(spool)) == sorted(PAYLOADS)
    assert spool.state().record_count == 0


def test_batch_stays_within_its_bounds_but_holds_one_record(tmp_path: Path) -> None:
    """Bytes and count limit a batch; a larger record travels alone."""
    spool = _opened(tmp_path)
    spool.append([b"aaaa", b"bb", b"cc", b"d" * 100])
    sizes = []
    while batch := spool.read(5, 2):
        sizes.append([len(payload) for payload in batch.payloads])
        spool.acknowledge(batch)
    assert sizes == [[4], [2, 2], [100]]


def test_batch_is_read_again_until_acknowledged(tmp_path: Path) -> None:
    """A batch whose write failed is not lost."""
    spool = _opened(tmp_path)
    spool.append(PAYLOADS)
    first = spool.read(10_000, 2)
    assert first == spool.read(10_000, 2)
    assert first is not None
    spool.acknowledge(first)
    spool.acknowledge(first)
    assert spool.state().record_count == 3
    assert _drained(spool) == PAYLOADS[2:]


def test_finished_segment_is_deleted(tmp_path: Path) -> None:
    """A sealed and fully acknowledged segment leaves nothing behind; the current one stays."""
    spool = _opened(tmp_path, segment_bytes=1)
    spool.append([b"one"])
    _drained(spool)
    assert _files(tmp_path) == []
    spool.close()


def test_new_segment_has_its_name_on_the_medium(tmp_path: Path) -> None:
    """Creating a segment syncs the folder, each append syncs the file once."""
    disk = FaultyDisk()
    spool = _opened(tmp_path, disk)
    before = disk.folder_fsyncs
    spool.append([b"one", b"two"])
    spool.append([b"three"])
    assert (disk.folder_fsyncs - before, disk.fsyncs) == (1, 2)


def test_owned_segment_is_not_adopted(tmp_path: Path) -> None:
    """While its writer lives the lock keeps others out; afterwards they take over where it stopped."""
    owner, heir = _opened(tmp_path), _opened(tmp_path)
    owner.append(PAYLOADS)
    assert not heir.adopt_orphan()
    batch = owner.read(10_000, 2)
    assert batch is not None
    owner.acknowledge(batch)
    owner.close()
    assert heir.adopt_orphan()
    assert heir.state().record_count == 3
    assert heir.state().oldest_at_us == 1_000_000
    assert _drained(heir) == PAYLOADS[2:]
    assert _files(tmp_path) == []


def test_crash_at_every_byte_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """However much of the last write reached the disk, all earlier records are recovered, and no other."""
    data = _written(tmp_path / "whole").read_bytes()
    assert len(data) == _ends()[-1]
    for cut in range(len(data) + 1):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "0-a.segment").write_bytes(data[:cut])
        wanted = [payload for payload, end in zip(PAYLOADS, _ends(), strict=True) if end <= cut]
        assert _adopted(folder) == wanted
        assert _files(folder) == []


def test_crash_that_left_zeros_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A file that was lengthened before its data arrived ends in zeros: a torn tail too."""
    data = _written(tmp_path / "whole").read_bytes()
    for cut in range(len(data)):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        torn = data[:cut] + bytes(40)
        (folder / "0-a.segment").write_bytes(torn)
        # A record whose last bytes are zeros anyway is whole a little earlier.
        wanted = [payload for payload, end in zip(PAYLOADS, _ends(), strict=True) if torn.startswith(data[:end])]
        assert _adopted(folder) == wanted


@pytest.mark.parametrize("damaged", range(len(PAYLOADS)))
def test_damaged_record_is_scanned_past_and_kept(tmp_path: Path, damaged: int) -> None:
    """Only the damaged record is missing, the last one too: it was promised. The file is set aside, never cut."""
    path = _written(tmp_path)
    data = bytearray(path.read_bytes())
    data[_ends()[damaged] - 1] ^= 0xFF
    path.write_bytes(data)
    spool = _opened(tmp_path)
    assert spool.adopt_orphan()
    assert spool.state().damaged_regions == 1
    assert _drained(spool) == PAYLOADS[:damaged] + PAYLOADS[damaged + 1 :]
    assert spool.state().damaged_regions == 1
    assert path.with_suffix(".damaged").read_bytes() == data
    assert _opened(tmp_path).state().damaged_regions == 1


def test_damage_after_the_append_is_scanned_past(tmp_path: Path) -> None:
    """Bytes that rot under a living owner, up to the end, are reported and not waited for."""
    spool = _opened(tmp_path)
    spool.append(PAYLOADS)
    (path,) = tmp_path.glob("*.segment")
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    assert _drained(spool) == PAYLOADS[:-1]
    assert spool.state().damaged_regions == 1
    assert spool.state().waiting_bytes == 0


@given(data=st.binary(max_size=300))
def test_any_bytes_can_be_adopted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A file of junk is no reason to stop: nothing is read from it and nothing raised."""
    folder = tmp_path_factory.mktemp("junk")
    (folder / "0-a.segment").write_bytes(data)
    assert _adopted(folder) == []


@pytest.mark.parametrize("acknowledged", [b"", b"\0" * 12, b"short", b"\xff" * 12])
def test_unreadable_acknowledgement_delivers_all_again(tmp_path: Path, acknowledged: bytes) -> None:
    """A torn sidecar costs a repetition, never a record."""
    path = _written(tmp_path)
    path.with_suffix(".acknowledged").write_bytes(acknowledged)
    assert _adopted(tmp_path) == PAYLOADS


def test_short_writes_are_completed(tmp_path: Path) -> None:
    """A disk that takes three bytes at a time stores whole records."""
    disk = FaultyDisk()
    disk.largest_write = 3
    spool = _opened(tmp_path, disk)
    spool.append(PAYLOADS)
    assert _drained(spool) == PAYLOADS


@pytest.mark.parametrize("free_bytes", range(2 * HEADER.size + 8))
def test_full_disk_keeps_what_was_acknowledged(tmp_path: Path, free_bytes: int) -> None:
    """The append that hits the end of the disk is refused whole; earlier and later ones are kept."""
    disk = FaultyDisk()
    spool = _opened(tmp_path, disk)
    spool.append([b"before"])
    disk.free_bytes = free_bytes
    with pytest.raises(SpoolFull, match="could not append to the spool: No space left on device"):
        spool.append([b"torn", b"torn too"])
    disk.free_bytes = None
    spool.append([b"after"])
    spool.close()
    assert sorted(_adopted(tmp_path)) == [b"after", b"before"]


def test_full_disk_does_not_keep_the_spool_from_emptying(tmp_path: Path) -> None:
    """Segments are acknowledged and deleted although the sidecar cannot be written."""
    disk = FaultyDisk()
    spool = _opened(tmp_path, disk, segment_bytes=60)
    spool.append(PAYLOADS)
    disk.is_saving = False
    assert _drained(spool, max_count=1) == PAYLOADS
    assert _files(tmp_path) == []


@pytest.mark.parametrize("is_truncating", [True, False])
def test_failed_fsync_retires_the_segment(tmp_path: Path, is_truncating: bool) -> None:
    """It is not tried again on that file; the next append goes to another one."""
    disk = FaultyDisk()
    spool = _opened(tmp_path, disk)
    spool.append([b"before"])
    disk.is_syncing, disk.is_truncating = False, is_truncating
    with pytest.raises(SpoolFailed, match=r"could not append to the spool: .*Input/output error"):
        spool.append([b"not promised"])
    assert disk.fsyncs == 2
    disk.is_syncing = True
    spool.append([b"after"])
    assert len(list(tmp_path.glob("*.segment"))) == 2
    assert sorted(_drained(spool)) == [b"after", b"before"]


def test_failed_fsync_of_a_new_segment_leaves_no_file(tmp_path: Path) -> None:
    """A segment that never held a promise is removed."""
    disk = FaultyDisk()
    disk.is_syncing = False
    spool = _opened(tmp_path, disk)
    with pytest.raises(SpoolFailed):
        spool.append([b"not promised"])
    assert _files(tmp_path) == []
    assert spool.state().disk_bytes == 0


def test_dead_letters_are_bounded(tmp_path: Path) -> None:
    """Beyond the bound they are refused, so that the caller keeps the payload in the spool."""
    spool = _opened(tmp_path)
    spool.save_dead_letters([LETTER], bound_bytes=1)
    assert spool.state().dead_letter_files == 1
    with pytest.raises(SpoolFull, match="dead letters must stay below 1 bytes"):
        _opened(tmp_path).save_dead_letters([LETTER], bound_bytes=1)
