"""One router's way to the controller: operators' orders, rollbacks without it, and the exchange of news."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from deployments.errors import JournalUnavailable, Overloaded, RolloutUnavailable
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import Action, Order, RolloutState
from deployments.rollout_control.controller import Command
from deployments.rollout_control.protocol import ControllerReply, RouterReport
from deployments.rollout_control.router_view import RolloutView
from deployments.runtime.background import BackgroundTask

COMMAND_SECONDS = 10.0
ROLLBACK_SECONDS = 0.7
INTERVAL_SECONDS = 0.2
WATCH_SECONDS = 0.1
MAX_CALL_SECONDS = 2.0
_RETRY_AFTER_SECONDS = 2
_log = logging.getLogger(__name__)


class RolloutClient:
    """Where operators' orders arrive. `command` and `overview` raise whatever a lost controller raises."""

    def __init__(
        self,
        view: RolloutView,
        *,
        command: Callable[[Command], Awaitable[RolloutState]],
        overview: Callable[[], Awaitable[dict[str, Any]]],
        unreachable: tuple[type[Exception], ...],
        clock: Callable[[], datetime],
        steady: Callable[[], float],
    ) -> None:
        self._view = view
        self._command = command
        self._overview = overview
        self._unreachable: tuple[type[Exception], ...] = (*unreachable, TimeoutError, Overloaded, RolloutUnavailable)
        self._clock = clock
        self._steady = steady

    async def overview(self) -> dict[str, Any]:
        """Everything that an operator looks at. Raises `RolloutUnavailable`."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self._overview()
        except self._unreachable as failure:
            raise _unavailable(failure) from failure

    async def command(self, command: Command) -> RolloutState:
        """The state that an order leads to. Raises `RolloutError` or `RolloutUnavailable`."""
        asked_at = self._steady()
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                state = await self._command(command)
        except self._unreachable as failure:
            raise _unavailable(failure) from failure
        self._view.learn(state, asked_at)
        return state

    async def roll_back(self, actor: str, reason: str) -> RolloutState | Latch:
        """In force on this router when this returns, and soon on all: the controller's state, or a latch without it.

        Raises `JournalUnavailable` when neither disk nor controller could keep it; it is in force here all the same.
        """
        kept = True
        try:
            latch = await self._view.roll_back(actor, reason)
        except (OSError, Overloaded) as error:
            _log.error("the rollback is not on disk: %s", error)
            kept = False
        order = Order(actor=actor, reason=reason, at=self._clock())
        asked_at = self._steady()
        try:
            async with asyncio.timeout(ROLLBACK_SECONDS):
                state = await self._command(Command(action=Action.ROLLBACK, order=order))
        except self._unreachable as failure:
            _log.warning("rolled back without the controller: %s", failure)
            if not kept:
                message = "rolled back on this router until it ends: neither disk nor controller could keep it"
                raise JournalUnavailable(message, _RETRY_AFTER_SECONDS) from failure
            return latch
        self._view.learn(state, asked_at)
        return state


class StateSync:
    """Tells the controller what happened and fetches the state, and looks around, in two tasks: a call to a controller
    that is gone may take seconds, and a neighbour's latch may not.

    One call at a time, every `interval_seconds`, or at once when there is urgent news; for ever until stopped."""

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


def _unavailable(failure: Exception) -> RolloutUnavailable:
    if isinstance(failure, RolloutUnavailable):
        return failure
    words = "it took too long" if isinstance(failure, TimeoutError) else str(failure)
    return RolloutUnavailable(f"the rollout controller does not answer: {words}", _RETRY_AFTER_SECONDS)
