"""SafetyValidator: the judge. It shares no code with whatever proposed; without its verdict nothing is served."""

from __future__ import annotations

from anyio import to_thread

from deployments.runtime.metrics import ANOMALIES, REJECTIONS, VERDICTS
from deployments.serve.metrics import replica_meter
from deployments.serve.process import configure_process, release_start_up_memory
from deployments.serve.serialization import decode, encode
from env.instances.generator import toy_problem
from env.judge.anomalies import BoundedMakespan
from env.judge.judge import judge
from env.problem import Problem
from env.schedule import Schedule


class SafetyValidator:
    """The judge keeps no state, and judges in threads: a few rows years ahead of many breaks take it seconds, in which
    the replica must go on to say that it lives.
    """

    def __init__(self) -> None:
        settings = configure_process()
        self._meter = replica_meter()
        self._limits = settings.policy.anomaly_limits
        judge(toy_problem(), Schedule(assignments=()), self._limits)
        release_start_up_memory()

    async def judge(self, payload: bytes, recent: tuple[BoundedMakespan, ...] = ()) -> bytes:
        """(an encoded `Problem`, `Schedule`), encoded, and the plant's latest makespans -> an encoded `Verdict`."""
        return await to_thread.run_sync(self._verdict, payload, recent)

    def _verdict(self, payload: bytes, recent: tuple[BoundedMakespan, ...]) -> bytes:
        problem, schedule = _opened(payload)
        verdict = judge(problem, schedule, self._limits, recent_makespans=recent)
        self._meter.count(VERDICTS, valid=str(verdict.valid).lower())
        for code in {violation.code for violation in verdict.violations}:
            self._meter.count(REJECTIONS, code=code.value)
        for anomaly in verdict.anomalies:
            self._meter.count(ANOMALIES, code=anomaly.code.value)
        return encode(verdict)

    async def ping(self) -> bool:
        """Whether verdicts can be had; reaching it is the answer."""
        return True


def _opened(payload: bytes) -> tuple[Problem, Schedule]:
    problem, schedule = decode(payload)
    return decode(problem), schedule
