"""Tasks beside the requests, on the event loop: rounds that go on until stopped, and work that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, wait_exponential, wait_none

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


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
