"""Where operators' orders arrive: asks the controller, and rolls back without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from deployments.errors import JournalUnavailable, Overloaded, RolloutUnavailable
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import Action, Order, RolloutState
from deployments.rollout_control.controller import Command
from deployments.rollout_control.router_view import RolloutView

COMMAND_SECONDS = 10.0
ROLLBACK_SECONDS = 0.7
_RETRY_AFTER_SECONDS = 2
_log = logging.getLogger(__name__)


class RolloutClient:
    """One router's way to the controller. `command` and `overview` raise whatever a lost controller raises."""

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


def _unavailable(failure: Exception) -> RolloutUnavailable:
    if isinstance(failure, RolloutUnavailable):
        return failure
    words = "it took too long" if isinstance(failure, TimeoutError) else str(failure)
    return RolloutUnavailable(f"the rollout controller does not answer: {words}", _RETRY_AFTER_SECONDS)
