"""The law of the spool, whatever the disk does: every promise is delivered, and nothing that was never appended."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from deployments.persistence.errors import SpoolError
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind
from deployments.persistence.spool.segment_folder import SegmentFolder
from tests.deployments.persistence.simulated_disk import PowerCut, SimulatedDisk

FOLDER = Path("/spool")
PAYLOADS = [b"first", b"", b"the third payload", b"\xf1GS\x01 looks like a mark", b"last"]


def _opened(disk: SimulatedDisk, segment_bytes: int = 120, clock: Iterator[int] | None = None) -> SegmentFolder:
    clock = count(1_000_000) if clock is None else clock
    spool = SegmentFolder(FOLDER, segment_bytes=segment_bytes, disk=disk, clock_us=lambda: next(clock))
    spool.open()
    return spool


def _recovered(disk: SimulatedDisk) -> list[bytes]:
    """All that a new owner finds."""
    heir = _opened(disk)
    while heir.adopt_orphan():
        pass
    found = []
    while batch := heir.read(10_000, 100):
        found += batch.payloads
        heir.acknowledge(batch)
    return found


def _size_of_all() -> int:
    disk = SimulatedDisk()
    _opened(disk).append(PAYLOADS)
    (path,) = [path for path in disk.names_cached if path.suffix == ".segment"]
    return disk.file_size(path)


@pytest.mark.parametrize("is_power_cut", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("is_unsynced_kept", [False, True], ids=["cache lost", "cache kept"])
def test_crash_at_every_byte_of_a_segment_keeps_every_promise(is_power_cut: bool, is_unsynced_kept: bool) -> None:
    """However many bytes of an append were written when the process or the machine died."""
    for byte in range(1, _size_of_all() + 1):
        disk = SimulatedDisk()
        spool = _opened(disk, segment_bytes=10_000)
        spool.append([b"promised", b"promised too"])
        disk.bytes_to_live = byte
        with pytest.raises(PowerCut):
            spool.append(PAYLOADS)
        disk.kill_process()
        if is_power_cut:
            disk.cut_power(lambda most: most if is_unsynced_kept else 0)
        found = _recovered(disk)
        assert found[:2] == [b"promised", b"promised too"]
        assert found[2:] == PAYLOADS[: len(found) - 2]


def test_every_short_write_is_completed_or_taken_back() -> None:
    """Wherever a write falls short: either the rest follows, or the disk is full there and nothing was promised."""
    for taken in range(1, _size_of_all()):
        for is_full in (False, True):
            disk = SimulatedDisk()
            spool = _opened(disk, segment_bytes=10_000)
            spool.append([b"before"])
            disk.write_limits = [taken, 0] if is_full else [taken]
            wanted = [b"after", b"before"] if is_full else [b"after", b"before", *PAYLOADS]
            if is_full:
                with pytest.raises(SpoolError):
                    spool.append(PAYLOADS)
            else:
                spool.append(PAYLOADS)
            spool.append([b"after"])
            disk.cut_power(lambda _: 0)
            assert sorted(_recovered(disk)) == sorted(wanted)


@pytest.mark.parametrize("taken", range(1, 40, 3))
def test_refused_append_is_not_delivered_after_a_kill(taken: int) -> None:
    """What was written of it is cut off at once, so that an heir does not find what the client was denied."""
    disk = SimulatedDisk()
    spool = _opened(disk, segment_bytes=10_000)
    spool.append([b"before"])
    disk.write_limits = [taken, 0]
    with pytest.raises(SpoolError):
        spool.append([b"", b"denied"])
    disk.failing_fsyncs = 1
    with pytest.raises(SpoolError):
        spool.append([b"denied too"])
    disk.kill_process()
    assert _recovered(disk) == [b"before"]


@pytest.mark.parametrize("failing", range(len(PAYLOADS)))
def test_each_failed_fsync_retires_its_segment(failing: int) -> None:
    """The append is refused, its pages are never trusted again, and all others survive a power cut."""
    disk = SimulatedDisk()
    spool = _opened(disk, segment_bytes=10_000)
    for number, payload in enumerate(PAYLOADS):
        disk.failing_fsyncs = int(number == failing)
        if number == failing:
            with pytest.raises(SpoolError, match="Input/output error"):
                spool.append([payload])
        else:
            spool.append([payload])
    disk.cut_power(lambda _: 0)
    assert sorted(_recovered(disk)) == sorted(PAYLOADS[:failing] + PAYLOADS[failing + 1 :])


class SpoolMachine(RuleBasedStateMachine):
    """Several owners of one folder on one disk that fails in every way the spool must withstand."""

    owners = Bundle("owners")

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimulatedDisk()
        self.numbers = count()
        # One for all owners: at equal instants their random ids would order the segments, anew in each run.
        self.clock = count(1_000_000)
        self.promised: set[bytes] = set()
        self.appended: set[bytes] = set()
        self.delivered: set[bytes] = set()
        self.living: list[SegmentFolder] = []

    @initialize(target=owners)
    def first_owner(self) -> SegmentFolder:
        return self._new_owner()

    @rule(target=owners)
    def another_owner(self) -> SegmentFolder:
        return self._new_owner()

    @rule(
        owner=owners,
        sizes=st.lists(st.integers(0, 60), min_size=1, max_size=3),
        limits=st.lists(st.integers(0, 40), max_size=2),
        fsync=st.booleans(),
        folder_fsync=st.booleans(),
        truncate=st.booleans(),
    )
    def append(
        self,
        owner: SegmentFolder,
        sizes: list[int],
        limits: list[int],
        fsync: bool,
        folder_fsync: bool,
        truncate: bool,
    ) -> None:
        if owner not in self.living:
            return
        payloads = [b"%d:" % next(self.numbers) + b"x" * size for size in sizes]
        self.appended.update(payloads)
        self.disk.write_limits = limits
        self.disk.failing_fsyncs = int(not fsync)
        self.disk.failing_folder_fsyncs = int(not folder_fsync)
        self.disk.failing_truncates = int(not truncate)
        try:
            owner.append(payloads)
        except SpoolError:
            pass
        else:
            self.promised.update(payloads)
        finally:
            self.disk.write_limits = []
            self.disk.failing_fsyncs = self.disk.failing_folder_fsyncs = self.disk.failing_truncates = 0

    @rule(
        owner=owners,
        payload_bytes=st.integers(0, 60),
        bytes_to_live=st.integers(1, 90),
        cut=st.booleans(),
        data=st.data(),
    )
    def die_while_appending(
        self, owner: SegmentFolder, payload_bytes: int, bytes_to_live: int, cut: bool, data: st.DataObject
    ) -> None:
        if owner not in self.living:
            return
        payload = b"%d:" % next(self.numbers) + b"x" * payload_bytes
        self.appended.add(payload)
        self.disk.bytes_to_live = bytes_to_live
        try:
            owner.append([payload])
            self.promised.add(payload)
        except PowerCut:
            pass
        self._end_all(data if cut else None)

    @rule(data=st.data())
    def cut_power(self, data: st.DataObject) -> None:
        self._end_all(data)

    @rule(owner=owners, count=st.integers(1, 3), is_committed=st.booleans())
    def drain(self, owner: SegmentFolder, count: int, is_committed: bool) -> None:
        if owner not in self.living:
            return
        batch = owner.read(100, count)
        if batch is None or not is_committed:
            return
        self.delivered.update(batch.payloads)
        owner.acknowledge(batch)

    @rule(owner=owners)
    def adopt(self, owner: SegmentFolder) -> None:
        if owner in self.living:
            owner.adopt_orphan()

    @rule(owner=owners)
    def close(self, owner: SegmentFolder) -> None:
        if owner in self.living:
            owner.close()
            self.living.remove(owner)

    @invariant()
    def departed_owners_have_kept_every_promise(self) -> None:
        for owner in self.living[:1]:
            for departed in owner.departed():
                assert not [name for name in self.disk.names(FOLDER, ".segment") if departed in name]

    def teardown(self) -> None:
        self._end_all(None)
        self.delivered.update(_recovered(self.disk))
        assert self.promised <= self.delivered
        assert self.delivered <= self.appended

    def _new_owner(self) -> SegmentFolder:
        owner = _opened(self.disk, clock=self.clock)
        self.living.append(owner)
        return owner

    def _end_all(self, data: st.DataObject | None) -> None:
        self.living.clear()
        self.disk.kill_process()
        if data is not None:
            self.disk.cut_power(lambda most: data.draw(st.integers(0, most)))


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_dead_letters_survive_a_power_cut() -> None:
    """They are synced, file and name, before the payload is acknowledged."""
    disk = SimulatedDisk()
    letter = DeadLetter(payload=b"poison", kind=DeadLetterKind.REJECTED, reason="too long")
    _opened(disk).save_dead_letters([letter], bound_bytes=1_000)
    disk.cut_power(lambda _: 0)
    assert _opened(disk).state().dead_letter_files == 1
