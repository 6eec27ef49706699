"""Work beside the requests: rounds until a stop, tasks that nobody waits for, and threads for one purpose."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from tenacity import AsyncRetrying, RetryCallState, wait_exponential, wait_none

from deployments.errors import Overloaded

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
MAX_WAITING = 256
"""As many requests as Serve lets into one router (`max_ongoing_requests`)."""
_RETRY_AFTER_SECONDS = 2
_log = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class BackgroundTask:
    """Goes round after round until it is stopped; a round that raises is followed by the next one all the same.

    With `period_seconds` each round begins so long after the last one. Without, a round must wait by itself for
    something to do, and while it raises the next ones follow after pauses that double from `FIRST_PAUSE_SECONDS` to
    `MAX_PAUSE_SECONDS`. `on_failure` is told each error and the pause that follows; by default the first error in a
    row is logged with its traceback.
    """

    def __init__(
        self,
        name: str,
        round_: Callable[[], Awaitable[object]],
        *,
        period_seconds: float | None = None,
        on_failure: Callable[[Exception, float], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._round = round_
        self._period_seconds = period_seconds
        self._on_failure = on_failure
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends at once: a round that is under way is cut off. Nothing happens where nothing was started."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        backoff = wait_exponential(multiplier=FIRST_PAUSE_SECONDS, max=MAX_PAUSE_SECONDS)
        wait = backoff if self._period_seconds is None else wait_none()
        retrying = AsyncRetrying(wait=wait, before_sleep=self._note_error, sleep=self._sleep)
        while True:
            await retrying(self._go_round)

    async def _go_round(self) -> None:
        if self._period_seconds is not None:
            await self._sleep(self._period_seconds)
        await self._round()

    def _note_error(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        assert isinstance(error, Exception), "nothing else is tried again"
        if self._on_failure is not None:
            self._on_failure(error, attempt.upcoming_sleep)
        elif attempt.attempt_number == 1:
            _log.error("the background task %r failed, and goes on", self._name, exc_info=error)


class DetachedTasks:
    """Work that is begun here and waited for by nobody; an error that it does not catch is logged."""

    def __init__(self) -> None:
        # The event loop itself holds its tasks only weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begins, on the running event loop."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._note)
        return task

    async def finish(self, timeout_seconds: float | None = None) -> None:
        """Returns when all that was begun is done, or the time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)

    def _note(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the background task %r failed", task.get_name(), exc_info=error)


class Threads:
    """`count` threads for one purpose, so that whatever hangs there holds up nothing else.

    Never asyncio's own pool: everybody shares that. At most `max_waiting` calls wait for a thread. A call that nobody
    waits for any more, and that has not begun, is never made.
    """

    def __init__(self, name: str, count: int, *, max_waiting: int = MAX_WAITING) -> None:
        self._name = name
        self._room = threading.Semaphore(count + max_waiting)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(
        self, work: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """What `work` comes to. Raises `Overloaded`, and whatever `work` raises."""
        return await asyncio.wrap_future(self.submit(work, *arguments, **named))

    def submit(
        self, work: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Future[Result]:
        """The same for whoever is on no event loop. Raises `RuntimeError` after `close`."""
        if not self._room.acquire(blocking=False):
            raise Overloaded(f"too much waits for {self._name}", _RETRY_AFTER_SECONDS)
        try:
            # Log lines from the thread belong to the same request.
            future = self._pool.submit(contextvars.copy_context().run, partial(work, *arguments, **named))
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self, *, waits: bool = False) -> None:
        """What has not begun is not made; what has is waited for if `waits`."""
        self._pool.shutdown(wait=waits, cancel_futures=True)
