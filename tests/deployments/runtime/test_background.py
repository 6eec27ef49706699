"""Tasks beside the requests: none dies unheard, and none outlives its stop."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import closing

import pytest

from deployments.errors import Overloaded
from deployments.logs import REQUEST_ID
from deployments.runtime.background import MAX_PAUSE_SECONDS, BackgroundTask, DetachedTasks, Threads


class Work:
    """A round that fails as often as it is told to, then counts what it has done, one item at a time."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.done = 0
        self.pauses: list[float] = []
        self.items: asyncio.Queue[int] = asyncio.Queue()

    async def round(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError(f"{self.failures} more to come")
        await self.items.get()
        self.done += 1

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def until_done(self, rounds: int) -> None:
        async with asyncio.timeout(10):
            while self.done < rounds:
                await asyncio.sleep(0)


async def test_rounds_follow_each_other_until_the_stop() -> None:
    """Three items are three rounds; after the stop no task is left, and a fourth item waits for ever."""
    work = Work()
    task = BackgroundTask("work", work.round, sleep=work.sleep)
    task.start()
    for item in range(3):
        work.items.put_nowait(item)
    await work.until_done(3)
    await task.stop()
    work.items.put_nowait(3)
    await asyncio.sleep(0.01)
    assert (work.done, work.pauses, len(asyncio.all_tasks())) == (3, [], 1)


async def test_round_that_fails_is_tried_again_after_pauses_that_double() -> None:
    """Up to five seconds, however long it takes; after a success they begin anew."""
    work = Work(failures=8)
    task = BackgroundTask("work", work.round, sleep=work.sleep)
    task.start()
    work.items.put_nowait(0)
    await work.until_done(1)
    assert work.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS]
    work.failures = 2
    for item in range(2):
        work.items.put_nowait(item)
    await work.until_done(3)
    await task.stop()
    assert work.pauses[8:] == [0.1, 0.2]


async def test_failure_is_logged_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """With its name and its traceback; an outage of days must not fill the disk, and the next one is another."""
    work = Work(failures=5)
    task = BackgroundTask("work", work.round, sleep=work.sleep)
    with caplog.at_level(logging.DEBUG, logger="deployments"):
        task.start()
        work.items.put_nowait(0)
        await work.until_done(1)
        (record,) = caplog.records
        assert record.message == "the background task 'work' failed, and goes on"
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == "4 more to come"
        work.failures = 1
        for item in range(2):
            work.items.put_nowait(item)
        await work.until_done(3)
    await task.stop()
    assert len(caplog.records) == 2


async def test_owner_may_hear_of_each_failure_instead(caplog: pytest.LogCaptureFixture) -> None:
    """With the error and how long the pause is; then nothing is logged here."""
    work, heard = Work(failures=2), list[tuple[str, float]]()

    def note(error: Exception, pause_seconds: float) -> None:
        heard.append((str(error), pause_seconds))

    task = BackgroundTask("work", work.round, on_failure=note, sleep=work.sleep)
    task.start()
    work.items.put_nowait(0)
    await work.until_done(1)
    await task.stop()
    assert heard == [("1 more to come", 0.1), ("0 more to come", 0.2)]
    assert caplog.records == []


async def test_periodic_rounds_come_at_their_time_whether_or_not_they_fail() -> None:
    """The first one too comes after a period, and a failure makes no period longer."""
    work = Work(failures=2)
    task = BackgroundTask("work", work.round, period_seconds=7.0, sleep=work.sleep)
    task.start()
    for item in range(2):
        work.items.put_nowait(item)
    await work.until_done(2)
    await task.stop()
    assert [pause for pause in work.pauses if pause][:4] == [7.0] * 4


async def test_stop_cuts_off_what_hangs() -> None:
    """A round, or a pause after a failure; without a start, and a second time, there is nothing to stop."""

    async def fail() -> None:
        raise RuntimeError("no")

    for hanging in (BackgroundTask("hangs", asyncio.Event().wait), BackgroundTask("pauses", fail)):
        await hanging.stop()
        hanging.start()
        await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            await hanging.stop()
            await hanging.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_detached_work_is_done_although_nobody_holds_it() -> None:
    """`finish` waits for it, and not longer than it is told to."""
    tasks, done = DetachedTasks(), list[int]()

    async def work(number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        done.append(number)

    await tasks.finish()
    tasks.start(work(1, 0.0), "quick")
    await tasks.finish()
    assert done == [1]
    slow = tasks.start(work(2, 60.0), "slow")
    await tasks.finish(timeout_seconds=0.01)
    assert not slow.done()
    slow.cancel()
    await tasks.finish()
    assert done == [1]


async def test_error_of_detached_work_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it who could be told."""
    tasks = DetachedTasks()

    async def fail() -> None:
        raise RuntimeError("pulled the plug")

    tasks.start(fail(), "latch")
    await tasks.finish()
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert (record.message, record.levelname) == ("the background task 'latch' failed", "ERROR")
    assert record.exc_info is not None


async def test_threads_refuse_what_has_no_room() -> None:
    """One call runs and one waits; the third is refused, until one of them is done or nobody wants it any more."""
    release = threading.Event()
    with closing(Threads("reads", 1, max_waiting=1)) as threads:
        runs = asyncio.create_task(threads.run(release.wait))
        waits = asyncio.create_task(threads.run(release.wait))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="too much waits for reads"):
            await threads.run(release.wait)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        another = asyncio.create_task(threads.run(lambda: "done"))
        await asyncio.sleep(0)
        release.set()
        assert (await runs, await another) == (True, "done")
        assert await threads.run(lambda: "room again") == "room again"


async def test_threads_know_the_request() -> None:
    """A log line from a thread has the id of the request that the work is for."""
    token = REQUEST_ID.set("erp-4711")
    with closing(Threads("reads", 1)) as threads:
        assert await threads.run(REQUEST_ID.get) == "erp-4711"
    REQUEST_ID.reset(token)
