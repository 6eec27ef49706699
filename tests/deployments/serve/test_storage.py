"""Explanations and comparisons: the same from the process as from here, and no more than there is room for."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from deployments.errors import NotFound, Overloaded
from deployments.persistence.decisions.records import DecisionRecord
from deployments.serve.storage import MAX_LOCAL_BYTES, MAX_WAITING, NICENESS, ReadFailed, WorkerReads
from tests.deployments.fakes import (
    KUALA_LUMPUR,
    JournalDecisions,
    MemoryJournal,
    body,
    job,
    request_of,
    scheduling_over,
)

pytestmark = pytest.mark.system

LATE = {"jobs": [job("J1"), job("J2", lcd_date="2025-07-22T14:30:00"), job("J3", lcd_date="2025-07-22T14:00:00")]}


class SilentReads(WorkerReads):
    """Its process never answers."""

    program = ("deployments.runtime.worker_process", "tests.deployments.runtime.answering:silent", "0")


@pytest.fixture
def journal() -> MemoryJournal:
    """What was decided."""
    return MemoryJournal()


@pytest.fixture
def reads(journal: MemoryJournal) -> Iterator[WorkerReads]:
    """Whatever the size, by the process."""
    reads = WorkerReads(JournalDecisions(journal), KUALA_LUMPUR, max_local_bytes=0)
    yield reads
    reads.close()


async def _decided(journal: MemoryJournal, **changes: object) -> DecisionRecord:
    scheduling = scheduling_over(journal=journal, archive=JournalDecisions(journal))
    document = json.dumps(body(**changes)).encode()
    await scheduling.schedule(request_of(**changes), client="planner", raw_body=document)
    journal.records[-1] = replace(journal.records[-1], decision_id=f"decision-{len(journal.records)}")
    return journal.records[-1]


def _readers() -> list[psutil.Process]:
    """Those among the children of this process, which may have a database of other tests besides."""
    return [each for each in psutil.Process().children() if any("storage" in word for word in each.cmdline())]


async def test_process_answers_as_the_router_would(journal: MemoryJournal, reads: WorkerReads) -> None:
    """Byte for byte, also of a decision that continues another one, which the router looks for in between."""
    here = WorkerReads(JournalDecisions(journal), KUALA_LUMPUR, max_local_bytes=2**30)
    first = await _decided(journal, **LATE)
    second = await _decided(journal, **LATE, previous_schedule_id=first.decision_id)
    for record in (first, second):
        found = await reads.explanation(record)
        assert found == await here.explanation(record)
        assert {late["job_id"] for late in json.loads(found)["late_jobs"]} == {"J2", "J3"}
    assert await reads.comparison(first, second) == await here.comparison(first, second)
    (process,) = _readers()
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == NICENESS


async def test_what_was_not_kept_is_not_found(journal: MemoryJournal, reads: WorkerReads) -> None:
    """What the process raises is raised here, with its words."""
    record = await _decided(journal, **LATE, save_to_database=False)
    with pytest.raises(NotFound, match="its payload was not kept"):
        await reads.explanation(record)
    with pytest.raises(NotFound, match="its payload was not kept"):
        await reads.comparison(record, record)


async def test_one_decision_that_nobody_can_read_takes_nothing_from_the_others(journal: MemoryJournal) -> None:
    """Whatever is wrong with it, whoever asked is told what the router would say, and the next is answered at once."""
    reads = WorkerReads(JournalDecisions(journal), KUALA_LUMPUR)
    padding = b" " * (MAX_LOCAL_BYTES + 1)
    decided = await _decided(journal, **LATE)
    good = replace(decided, answer=(decided.answer or b"") + padding)
    unreadable = replace(decided, answer=b"{}" + padding)
    journal.records[-1] = unreadable
    continued = await _decided(journal, **LATE)
    request = json.dumps(body(**LATE, previous_schedule_id=decided.decision_id)).encode()
    try:
        expected = await reads.explanation(decided)
        for ask in (
            reads.explanation(unreadable),
            reads.comparison(good, unreadable),
            reads.explanation(replace(continued, request=request + padding)),
        ):
            with pytest.raises(NotFound, match="decision-1' cannot be read as it was made: an earlier schedule must"):
                await ask
            assert await reads.explanation(good) == expected
        without_rows = replace(decided, answer=b'{"scheduled_jobs": []}')
        with pytest.raises(IndexError):
            await reads.comparison(without_rows, decided)
        with pytest.raises(ReadFailed, match="IndexError: tuple index out of range") as caught:
            await reads.comparison(without_rows, good)
        assert "comparison_answer" in caught.value.__notes__[0]
        assert await reads.explanation(good) == expected
        assert len(_readers()) == 1
    finally:
        reads.close()


async def test_more_than_may_wait_are_refused(journal: MemoryJournal) -> None:
    """One is answered, eight wait, the tenth is told when to come back; small ones are answered all the same."""
    record = await _decided(journal, **LATE)
    reads = SilentReads(JournalDecisions(journal), KUALA_LUMPUR, max_local_bytes=0)
    asked = [asyncio.create_task(reads.explanation(record)) for _ in range(1 + MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="too much waits for costly reads") as caught:
        await reads.explanation(record)
    assert caught.value.retry_after_seconds > 0
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    reads.close()
