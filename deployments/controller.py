"""RolloutController: one replica that owns the stage; everything it does is in `steering`."""

from __future__ import annotations

from typing import Any

from deployments.memory import release_start_up_memory
from deployments.replica import settle_in
from deployments.rollout.state import RolloutState
from deployments.settings import Settings
from deployments.steering.control import Command
from deployments.steering.controlling import Controlling
from deployments.steering.messages import Reply, Report


class RolloutController:
    """Runs on one event loop; disk and database are asked in threads."""

    async def __init__(self) -> None:  # type: ignore[misc]
        """Ray awaits this. Raises `InvalidSettings`, or `ControllerTaken` while an earlier controller lives."""
        self._controlling = await Controlling.open(self.settings())
        release_start_up_memory()

    def settings(self) -> Settings:
        """Those of this process."""
        return settle_in()

    async def exchange(self, report: Report) -> Reply:
        """A router's news for the state."""
        return await self._controlling.control.exchange(report)

    async def command(self, command: Command) -> RolloutState:
        """A person's order. Raises `RolloutError` or `RolloutUnavailable`."""
        return await self._controlling.control.command(command)

    async def overview(self) -> dict[str, Any]:
        """What an operator looks at. Raises `RolloutUnavailable`."""
        return self._controlling.control.overview()

    async def __del__(self) -> None:
        await self._controlling.close()
