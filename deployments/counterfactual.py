"""Counterfactual: the arm that did not serve, computed and judged in process, one at a time and at low priority."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from deployments.freight import pack, unpack
from deployments.memory import release_start_up_memory
from deployments.persistence.evaluations import EvaluationStatus
from deployments.predictors import Predictors
from deployments.replica import settle_in
from deployments.steering.recomputing import Recomputation, Recomputed, Recomputer
from deployments.warming import warm_policy, warm_rules

LOWEST_PRIORITY = 19
LAST_WORDS_SECONDS = 0.5


class Counterfactual:
    """One niced thread beside an event loop that keeps the time. Never on the served path."""

    def __init__(self) -> None:
        """Raises `ArtefactError` for a published policy that must not be used."""
        settings = settle_in()
        predictors = Predictors(settings.model_path, settings.models_folder)
        # On Linux a thread is as nice as it says itself, not as its process is.
        self._thread = ThreadPoolExecutor(1, "counterfactual", initializer=os.nice, initargs=(LOWEST_PRIORITY,))
        self._recomputer = Recomputer(lambda contender: predictors.get(contender.artefact), settings.anomaly_limits)
        self._one_at_a_time = asyncio.Lock()
        self._is_hung = False
        warm_rules()
        warm_policy(predictors.published)
        release_start_up_memory()

    async def compute(self, freight: bytes) -> bytes:
        """A packed `Recomputation` -> a packed `Recomputed`; an arm that hangs is told as such, in time."""
        async with self._one_at_a_time:
            if self._is_hung:
                return pack(Recomputed(status=EvaluationStatus.DROPPED, reason="the replica is being replaced"))
            work: Recomputation = unpack(freight)
            done = asyncio.get_running_loop().run_in_executor(self._thread, self._recomputer.compute, work)
            try:
                return pack(await asyncio.wait_for(asyncio.shield(done), work.limit_seconds))
            except TimeoutError:
                return pack(self._given_up(work))

    def _given_up(self, work: Recomputation) -> Recomputed:
        # A thread that hangs cannot be stopped, a process can; Serve starts another one.
        self._is_hung = True
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, os._exit, 1)
        reason = f"no proposal: took longer than {work.limit_seconds:g} s"
        return Recomputed(status=EvaluationStatus.TIMED_OUT, reason=reason)
