"""SafetyValidator: the judge. It shares no code with whatever proposed; without its verdict nothing is served."""

from __future__ import annotations

from deployments.serve.process import configure_process, release_start_up_memory
from deployments.serve.serialization import decode, encode
from env.instances.generator import toy_problem
from env.judge.anomalies import BoundedMakespan
from env.judge.judge import judge
from env.problem import Problem
from env.schedule import Schedule


class SafetyValidator:
    """Methods run in the thread pool of the replica; the judge keeps no state."""

    def __init__(self) -> None:
        settings = configure_process()
        self._limits = settings.policy.anomaly_limits
        judge(toy_problem(), Schedule(assignments=()), self._limits)
        release_start_up_memory()

    def judge(self, payload: bytes, recent: tuple[BoundedMakespan, ...] = ()) -> bytes:
        """(`Problem`, `Schedule`), encoded, and the plant's latest makespans -> an encoded `Verdict`."""
        problem, schedule = _opened(payload)
        return encode(judge(problem, schedule, self._limits, recent_makespans=recent))

    def ping(self) -> bool:
        """Whether verdicts can be had; reaching it is the answer."""
        return True


def _opened(payload: bytes) -> tuple[Problem, Schedule]:
    problem, schedule = decode(payload)
    return problem, schedule
