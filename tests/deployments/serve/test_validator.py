"""SafetyValidator without Ray: what the settings and the router give it reaches the verdict."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.scheduling.use_case import Scheduling
from deployments.serve.handles import RemoteJudge
from deployments.serve.serialization import decode, encode
from deployments.serve.validator import SafetyValidator
from env.instances.generator import Plant, random_problem
from env.judge.judge import judge
from env.judge.verdict import Verdict
from env.simulator.rules import Rule, dispatch
from tests.deployments.api.calls import call
from tests.deployments.fakes import body, job, scheduling_over, services_over


class _NearMethod:
    """The `judge` of a validator in this process, called as if it were far away."""

    def __init__(self, validator: SafetyValidator) -> None:
        self._validator = validator

    def remote(self, *arguments: Any) -> Awaitable[bytes]:
        return self._validator.judge(*arguments)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _restored_loggers: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))


def _policy(line: str) -> None:
    """What the settings read from then on; the variable stays as the fixture has it."""
    Path("policy.toml").write_text(f"[anomalies]\n{line}\n", encoding="utf-8")


def _scheduling() -> Scheduling:
    method = _NearMethod(SafetyValidator())
    return scheduling_over(judge=RemoteJudge(method, attempts=1, timeout_seconds=5.0))


async def _validated(scheduling: Scheduling, hours: float, idle: float = 0.0) -> list[tuple[str, float]]:
    """The anomalies, with their limits, of a schedule that works that long after it has been idle."""
    services = services_over(scheduling=scheduling)
    row = {"job_id": "JOAW001", "machine_id": 42, "start_time": idle, "end_time": idle + hours}
    claim = {"request": body(jobs=[job(processing_time=hours - 0.3)]), "scheduled_jobs": [row]}
    response = await call("POST", "/v1/validate", services=services, json=claim)
    verdict = response.json()
    assert verdict["valid"], verdict
    return [(each["code"], each["limit"]) for each in verdict["anomalies"]]


async def _serve(scheduling: Scheduling, times: int) -> None:
    services = services_over(scheduling=scheduling)
    for _ in range(times):
        assert (await call("POST", "/schedule", services=services, json=body())).status_code == 200


async def test_limits_of_the_policy_reach_validate() -> None:
    """A threshold in the policy file decides what `/v1/validate` calls suspicious."""
    _policy("max_makespan_hours = 2")
    assert await _validated(_scheduling(), 2.8) == [("makespan_above_limit", 2.0)]
    _policy("max_makespan_hours = 3")
    assert await _validated(_scheduling(), 2.8) == []


async def test_history_reaches_validate() -> None:
    """A foreign schedule is held against what the plant was served, by the threshold of the policy."""
    _policy("max_makespan_from_history_percent = 20")
    scheduling = _scheduling()
    await _serve(scheduling, 5)
    assert await _validated(scheduling, 2.8, idle=0.5) == []
    assert await _validated(scheduling, 2.8, idle=0.6) == [("makespan_unlike_history", 20.0)]


async def test_history_can_be_switched_off() -> None:
    """`off` compares with no history, however long it is."""
    _policy("max_makespan_from_history_percent = 'off'")
    scheduling = _scheduling()
    await _serve(scheduling, 5)
    assert await _validated(scheduling, 2.8, idle=2.5) == []


async def test_judge_lives_while_it_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the plan: a few rows far ahead of many breaks may take seconds."""
    _policy("max_makespan_hours = 'off'")
    validator, release = SafetyValidator(), threading.Event()

    def slow(*given: Any, **named: Any) -> Verdict:
        assert release.wait(30.0)
        return judge(*given, **named)

    monkeypatch.setattr("deployments.serve.validator.judge", slow)
    problem = random_problem(np.random.default_rng(1), Plant(operations=(2, 2)))
    payload = encode((encode(problem), dispatch(problem, Rule.PLANNER)))
    judging = asyncio.create_task(validator.judge(payload))
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(validator.ping(), 5.0)
    assert not judging.done()
    release.set()
    assert decode(await judging).valid
