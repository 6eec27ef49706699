"""From the spool to the database, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.persistence.delivery.batch_writer import WriteReport
from deployments.persistence.delivery.drain import MAX_OUTAGES, SpoolDrain
from deployments.persistence.delivery.inspection import ask_to_skip, found_in, listed
from deployments.persistence.errors import DatabaseUnavailable, DataRejected, MessageTooLarge
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind, load_dead_letters
from deployments.persistence.spool.spool import Batch, Spool, SpoolConfig
from tests.deployments.persistence.payloads import decision, decision_id

POISON = b"poison"


class _Database:
    """Takes batches, except while it is down; refuses POISON."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.failures_to_come = 0
        self.pauses: list[float] = []
        self.is_hanging = False

    async def write(self, payloads: list[bytes]) -> WriteReport:
        if self.is_hanging:
            await asyncio.Event().wait()
        if self.failures_to_come:
            self.failures_to_come -= 1
            raise DatabaseUnavailable("it is down")
        good = [payload for payload in payloads if payload != POISON]
        self.stored += good
        letters = [DeadLetter(payload=POISON, kind=DeadLetterKind.MISMATCH, reason="twin")] * payloads.count(POISON)
        return WriteReport(accepted=len(good), poisoned=tuple(letters))

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """A spool of this test's own."""
    spool = Spool(tmp_path)
    await spool.start()
    yield spool
    await spool.close()


async def test_drain_moves_everything_and_acknowledges(spool: Spool) -> None:
    """After a graceful stop the spool is empty and the database has each payload once."""
    database = _Database()
    drain = SpoolDrain(spool, database.write, clock=lambda: 7.0)
    drain.start()
    for payload in (b"a", b"b", b"c"):
        await spool.append(payload)
    await drain.stop(grace_seconds=10)
    assert database.stored == [b"a", b"b", b"c"]
    assert (spool.depth.records, drain.state.written, drain.state.last_success_at) == (0, 3, 7.0)
    assert not drain.state.is_failing


async def test_first_record_waits_for_others(spool: Spool) -> None:
    """Records that come one by one go into one transaction, and a stop waits for none of them."""
    batches: list[list[bytes]] = []

    async def write(payloads: list[bytes]) -> WriteReport:
        batches.append(payloads)
        return WriteReport(accepted=len(payloads))

    drain = SpoolDrain(spool, write, linger_seconds=60.0)
    drain.start()
    for payload in (b"a", b"b", b"c"):
        await spool.append(payload)
    assert batches == []
    async with asyncio.timeout(10):
        await drain.stop(grace_seconds=60.0)
    assert batches == [[b"a", b"b", b"c"]]


async def test_full_batch_waits_for_nobody(tmp_path: Path) -> None:
    """With as many records as a batch may hold there is nothing to wait for."""
    spool, written = Spool(tmp_path, SpoolConfig(batch_count=2)), asyncio.Event()
    await spool.start()

    async def write(payloads: list[bytes]) -> WriteReport:
        written.set()
        return WriteReport(accepted=len(payloads))

    drain = SpoolDrain(spool, write, linger_seconds=60.0)
    await asyncio.gather(spool.append(b"a"), spool.append(b"b"))
    drain.start()
    async with asyncio.timeout(10):
        await written.wait()
    await drain.stop()
    await spool.close()


async def test_drain_waits_out_a_database_outage(spool: Spool) -> None:
    """Nothing is acknowledged while it is down; pauses double up to their bound; then it catches up."""
    database = _Database()
    database.failures_to_come = 7
    drain = SpoolDrain(spool, database.write, sleep=database.pause, clock=lambda: 7.0)
    await spool.append(b"a")
    drain.start()
    await drain.stop(grace_seconds=10)
    assert database.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert database.stored == [b"a"]
    assert drain.state.last_error == "DatabaseUnavailable: it is down"
    assert drain.state.failures_in_a_row == 0
    assert drain.state.advice is None


async def test_drain_survives_any_error_of_its_writer(spool: Spool) -> None:
    """Whatever a remote call raises, the loop goes on."""
    errors = [RuntimeError("replica died"), KeyError("x")]

    async def write(payloads: list[bytes]) -> WriteReport:
        if errors:
            raise errors.pop()
        return WriteReport(accepted=len(payloads))

    drain = SpoolDrain(spool, write, sleep=_Database().pause)
    drain.start()
    await spool.append(b"a")
    await drain.stop(grace_seconds=10)
    assert drain.state.written == 1


async def test_poison_is_kept_aside_and_reported(spool: Spool, tmp_path: Path) -> None:
    """It goes to the dead letters, does not hold up the rest, and a mismatch is told to the guardrail."""
    database = _Database()
    mismatches: list[str] = []
    drain = SpoolDrain(spool, database.write, on_mismatch=mismatches.append)
    await asyncio.gather(*(spool.append(payload) for payload in (b"a", POISON, b"b")))
    drain.start()
    await drain.stop(grace_seconds=10)
    assert database.stored == [b"a", b"b"]
    assert (drain.state.dead_letters, drain.state.mismatches, mismatches) == (1, 1, ["twin"])
    assert len(list((tmp_path / "dead_letters").iterdir())) == 1
    assert spool.depth.records == 0


async def test_a_stop_between_acknowledgement_and_note_loses_neither(tmp_path: Path) -> None:
    """The spool is already empty then, but the mismatch has not yet been told to the guardrail."""
    acknowledged = asyncio.Event()

    class _SlowToReturn(Spool):
        async def acknowledge(self, batch: Batch) -> None:
            await super().acknowledge(batch)
            acknowledged.set()
            await asyncio.sleep(0.05)

    spool = _SlowToReturn(tmp_path)
    await spool.start()
    mismatches: list[str] = []
    drain = SpoolDrain(spool, _Database().write, on_mismatch=mismatches.append)
    await spool.append(POISON)
    drain.start()
    await acknowledged.wait()
    await drain.stop(grace_seconds=10)
    await spool.close()
    assert (mismatches, drain.state.mismatches) == (["twin"], 1)


async def test_stop_leaves_a_hanging_batch_in_the_spool(spool: Spool) -> None:
    """A write that never answers does not hold up the end, and nothing is lost."""
    database = _Database()
    database.is_hanging = True
    drain = SpoolDrain(spool, database.write)
    drain.start()
    await spool.append(b"a")
    await drain.stop()
    await drain.stop()
    assert spool.depth.records == 1


class _Particular(_Database):
    """Fails with `error` whenever POISON, or one of `others`, is in the batch; counts how often that was alone."""

    def __init__(self, error: Exception, *others: bytes) -> None:
        super().__init__()
        self.error = error
        self.refused = {POISON, *others}
        self.alone = 0
        self.is_down = False

    async def write(self, payloads: list[bytes]) -> WriteReport:
        if self.is_down:
            raise DatabaseUnavailable("it is down")
        if self.refused.intersection(payloads):
            self.alone += len(payloads) == 1
            raise self.error
        return await super().write(payloads)


def _letters(folder: Path) -> list[DeadLetter]:
    return [letter for path in sorted((folder / "dead_letters").iterdir()) for letter in load_dead_letters(path)]


async def _drained(spool: Spool, database: _Database, payloads: list[bytes]) -> SpoolDrain:
    drain = SpoolDrain(spool, database.write, sleep=database.pause)
    for payload in payloads:
        await spool.append(payload)
    drain.start()
    await drain.stop(grace_seconds=30)
    return drain


@pytest.mark.parametrize("error", [MessageTooLarge("4,300,000 bytes"), DataRejected("1406 too long")])
async def test_record_that_can_never_be_written_holds_nobody_up(spool: Spool, tmp_path: Path, error: Exception) -> None:
    """The batch is halved down to it without a pause; it is kept with its cause, all others are stored in order."""
    database = _Particular(error)
    good = [f"{number}".encode() for number in range(9)]
    drain = await _drained(spool, database, [*good[:4], POISON, *good[4:]])
    assert (database.stored, spool.depth.records, database.pauses) == (good, 0, [])
    assert [(letter.payload, letter.kind) for letter in _letters(tmp_path)] == [(POISON, DeadLetterKind.REJECTED)]
    assert spool.depth.dead_letter_cause == error.advice  # type: ignore[attr-defined]
    assert (drain.state.dead_letters, drain.state.is_failing) == (1, False)


async def test_record_that_fails_beside_others_is_put_aside(spool: Spool, tmp_path: Path) -> None:
    """As when it kills its writer: others that are stored between its failures show that it is to blame."""
    database = _Particular(RuntimeError("replica died"), b"twin")
    await _drained(spool, database, [b"a", POISON, b"twin", b"b"])
    assert set(database.stored) == {b"a", b"b"}
    kinds = [(letter.payload, letter.kind) for letter in _letters(tmp_path)]
    assert kinds == [(POISON, DeadLetterKind.STUCK), (b"twin", DeadLetterKind.STUCK)]


async def test_record_that_meets_a_lock_waits_longer(spool: Spool, tmp_path: Path) -> None:
    """What the database itself calls a matter of time gets time."""
    database = _Particular(DatabaseUnavailable("1205"))
    await _drained(spool, database, [POISON, b"b"])
    assert database.alone >= MAX_OUTAGES
    assert [letter.kind for letter in _letters(tmp_path)] == [DeadLetterKind.STUCK]


async def test_nothing_is_put_aside_while_the_database_is_away(spool: Spool, tmp_path: Path) -> None:
    """However long that takes: the records wait, and then all of them are stored."""
    database = _Database()
    database.failures_to_come = 10 * MAX_OUTAGES
    drain = await _drained(spool, database, [b"a", b"b", b"c"])
    assert set(database.stored) == {b"a", b"b", b"c"}
    assert (drain.state.dead_letters, (tmp_path / "dead_letters").exists()) == (0, False)


async def test_record_that_is_the_only_one_waits(spool: Spool, tmp_path: Path) -> None:
    """It holds nobody up, and nobody shows that it is to blame."""
    database = _Particular(RuntimeError("replica died"))
    drain = SpoolDrain(spool, database.write, sleep=database.pause)
    await spool.append(POISON)
    drain.start()
    while database.alone < 20:
        await asyncio.sleep(0)
    await drain.stop()
    assert (spool.depth.records, (tmp_path / "dead_letters").exists()) == (1, False)


async def test_record_that_a_person_skips_goes_to_the_dead_letters(spool: Spool, tmp_path: Path) -> None:
    """Its owner says what it is and why it waits; asked for from outside, the running drain does it and goes on."""
    stuck, other = decision(1).to_bytes(), decision(2).to_bytes()
    database = _Particular(DatabaseUnavailable("1205 Lock wait timeout exceeded"), stuck, other)
    drain = SpoolDrain(spool, database.write, sleep=database.pause)
    await spool.append(stuck)
    await spool.append(other)
    drain.start()
    while database.alone < 3:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    (record,) = found_in(tmp_path, decision_id(1))
    assert (record.label.client, record.label.plant, record.label.arm) == ("planner", "penang", "ppo")
    assert record.cause == "DatabaseUnavailable: 1205 Lock wait timeout exceeded"
    ask_to_skip(tmp_path, record)
    while spool.depth.records == 2:
        await asyncio.sleep(0.01)
    database.refused.clear()
    await drain.stop(grace_seconds=10)
    assert database.stored[-1] == other
    ((letter, skipped),) = [(found.cause, found.payload) for found in listed(tmp_path)]
    assert (skipped, str(letter).startswith("skipped: a person had it skipped")) == (stuck, True)
    assert list((tmp_path / "skips").iterdir()) == []


async def test_put_aside_record_is_told_with_whose_it_is(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """The line in the log has its id, client, plant and arm."""
    await spool.append(decision(7).to_bytes())
    database = _Particular(DataRejected("1406 Data too long"), decision(7).to_bytes())
    await _drained(spool, database, [])
    line = next(record.getMessage() for record in caplog.records if "went to the dead letters: " in record.getMessage())
    assert line.startswith(f"decision {decision_id(7)} (client planner, plant penang, arm ppo) of ")
