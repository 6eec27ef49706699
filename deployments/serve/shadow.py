"""Counterfactual: has the arm that did not serve computed and judged, one at a time, by a process of low priority.

`python -m deployments.serve.shadow` is that process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployments.runtime.background import Threads
from deployments.runtime.worker_process import NoResult, WorkerProcess, answer_parent
from deployments.serve.process import configure_process, leave_out_unused, release_start_up_memory


class ShadowArm:
    """One thread that asks the process, beside an event loop. Never on the served path.

    The arm may hang, and it may kill whoever computes it. If the replica computed it itself, Serve would replace the
    replica, at normal priority, and the served path would notice. `program` is what the process runs.
    """

    program: tuple[str, ...] = ("deployments.serve.shadow",)

    def __init__(self) -> None:
        self._process = WorkerProcess(*self.program)
        self._threads = Threads("counterfactual", 1)
        configure_process()
        # Here, for the process of low priority needs no Ray.
        from deployments.serve.metrics import replica_meter

        replica_meter()
        release_start_up_memory()

    async def compute(self, payload: bytes, limit_seconds: float) -> bytes | NoResult:
        """An encoded `ShadowWork` -> an encoded `ShadowEvaluation`, or why there is none."""
        return await self._threads.run(self._process.ask, payload, limit_seconds)

    def __del__(self) -> None:
        self._process.close()
        self._threads.close()


def prepared() -> Callable[[bytes], bytes]:
    """What turns an encoded `ShadowWork` into an encoded `ShadowEvaluation`, warm.

    Raises `ArtefactError` for a published policy that must not be used.
    """
    # Whatever weighs something is imported here, at the lowest priority.
    leave_out_unused()
    from deployments.serve.policy import PolicyCache
    from deployments.serve.serialization import decode, encode
    from deployments.shadow.queue import ShadowEvaluator
    from models.search.warm_up import warm_policy, warm_rules

    settings = configure_process()
    policies = PolicyCache(settings.model_path, settings.models_folder)
    evaluator = ShadowEvaluator(lambda arm: policies.get(arm.artefact), settings.policy.anomaly_limits)
    warm_rules()
    warm_policy(policies.published)
    release_start_up_memory()
    return lambda payload: encode(asyncio.run(evaluator.compute(decode(payload))))


if __name__ == "__main__":
    answer_parent(prepared)
