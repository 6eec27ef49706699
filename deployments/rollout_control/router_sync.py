"""The router's background tasks: one tells the controller what happened and fetches the state, one looks around.

They are two, because a call to a controller that is gone may take seconds, and a neighbour's latch may not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from deployments.rollout_control.protocol import ControllerReply, RouterReport
from deployments.rollout_control.router_view import RolloutView
from deployments.runtime.background import BackgroundTask

INTERVAL_SECONDS = 0.2
WATCH_SECONDS = 0.1
MAX_CALL_SECONDS = 2.0
_log = logging.getLogger(__name__)


class StateSync:
    """One call at a time, every `interval_seconds`, or at once when there is urgent news; for ever until stopped."""

    def __init__(
        self,
        view: RolloutView,
        tell: Callable[[RouterReport], Awaitable[ControllerReply]],
        *,
        steady: Callable[[], float],
        interval_seconds: float = INTERVAL_SECONDS,
        watch_seconds: float = WATCH_SECONDS,
        max_call_seconds: float = MAX_CALL_SECONDS,
    ) -> None:
        self._view = view
        self._tell = tell
        self._steady = steady
        self._interval_seconds = interval_seconds
        self._max_call_seconds = max_call_seconds
        self._tasks = (
            BackgroundTask("rollout exchange", self._exchange),
            BackgroundTask("rollout watch", view.look, period_seconds=watch_seconds),
        )
        self._failures = 0

    def start(self) -> None:
        """Begins, on the running event loop."""
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Ends after one last attempt to tell what is left."""
        for task in self._tasks:
            await task.stop()
        await self.once()

    async def once(self) -> bool:
        """One exchange; whether it succeeded. Never raises but when cancelled."""
        asked_at = self._steady()
        self._view.news.clear()
        try:
            async with asyncio.timeout(self._max_call_seconds):
                reply = await self._tell(self._view.report())
        except Exception as error:  # the edge of a background task: whatever it is, the controller is not there
            self._failures += 1
            if self._failures == 1:
                _log.warning("the rollout controller does not answer: %s: %s", type(error).__name__, error)
            return False
        self._failures = 0
        self._view.accept(reply, asked_at)
        return True

    async def _exchange(self) -> None:
        await self.once()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_seconds):
                await self._view.news.wait()
