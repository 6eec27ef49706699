"""Counterfactual: has the arm that did not serve computed and judged, one at a time, by a process of low priority."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from deployments.memory import release_start_up_memory
from deployments.niced_process import NicedProcess, Unanswered
from deployments.replica import settle_in


class Counterfactual:
    """One thread that asks the process, beside an event loop. Never on the served path.

    The arm may hang, and it may kill whoever computes it. If the replica computed it itself, Serve would replace the
    replica, at normal priority, and the served path would notice. `program` is what the process runs.
    """

    program: tuple[str, ...] = ("deployments.counterfactual_process",)

    def __init__(self) -> None:
        self._process = NicedProcess(*self.program)
        self._thread = ThreadPoolExecutor(1, "counterfactual")
        settle_in()
        release_start_up_memory()

    async def compute(self, freight: bytes, limit_seconds: float) -> bytes | Unanswered:
        """A packed `Recomputation` -> a packed `Recomputed`, or why there is none."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._process.ask, freight, limit_seconds)

    def __del__(self) -> None:
        self._process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
