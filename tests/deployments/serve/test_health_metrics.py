"""What a router tells of itself as metrics."""

from __future__ import annotations

import pytest
from ray.exceptions import RaySystemError

from deployments.errors import TemporarilyUnavailable
from deployments.local_cluster.cluster import free_port
from deployments.persistence.delivery.drain import DrainState
from deployments.persistence.spool.spool import SpoolDepth
from deployments.rollout.ramp.state import RolloutState, Stage
from deployments.runtime.background import Threads
from deployments.runtime.metrics import (
    ALARMS,
    HEALTH,
    IN_FLIGHT,
    KEYS_AGE,
    KEYS_EXPIRING,
    MODEL_AGE,
    READY,
    ROLLOUT_SHARE,
    ROLLOUT_STAGE,
    SPOOL_AGE,
    SPOOL_RECORDS,
    WRITES,
)
from deployments.serve.health import Exporter, RouterMetrics
from tests.deployments.fakes import KeptMeter, KnownHealth, health_report, rollout_state

DEPTH = SpoolDepth(
    records=3,
    bytes=30,
    oldest_age_seconds=None,
    disk_bytes=100,
    capacity_bytes=1000,
    damaged_regions=0,
    dead_letter_files=0,
)


class Router:
    """What a `RouterMetrics` looks at; the tests turn the knobs."""

    def __init__(self) -> None:
        self.meter = KeptMeter()
        self.health = KnownHealth(health_report())
        self.drain = DrainState()
        self.state: RolloutState | None = rollout_state()
        self.keys_age_seconds: float | None = None
        self.report = RouterMetrics(
            self.meter,
            health=self.health,
            depth=lambda: DEPTH,
            drain=lambda: self.drain,
            state=lambda: self.state,
            in_flight=lambda: 7,
            keys_age_seconds=lambda: self.keys_age_seconds,
            keys_expiring=lambda span: span.days,
            model_written_at=1000.0,
            clock=lambda: 1060.0,
        )

    def shown(self, name: str) -> dict[tuple[str, ...], float]:
        """The gauges of that name, by their labels."""
        return {series[1:]: value for series, value in self.meter.gauges.items() if series[0] == name}


async def test_router_tells_what_it_knows() -> None:
    """Spool, stage, health, what is under way and how old the policy is; nothing of keys that were never read."""
    router = Router()
    await router.report.tell()
    assert router.shown(SPOOL_RECORDS.name) == {(): 3}
    assert router.shown(SPOOL_AGE.name) == {(): 0}
    assert router.shown(IN_FLIGHT.name) == {(): 7}
    assert router.shown(MODEL_AGE.name) == {(): 60}
    assert router.shown(KEYS_AGE.name) == router.shown(KEYS_EXPIRING.name) == {}
    assert router.shown(READY.name) == {(): 1}
    assert router.shown(ALARMS.name) == {(): 0}
    assert router.shown(ROLLOUT_SHARE.name) == {(): 0.5}


async def test_one_stage_and_one_status_hold_at_a_time() -> None:
    """What held before is told as 0, so that nobody reads two at once."""
    router = Router()
    await router.report.tell()
    stages = router.shown(ROLLOUT_STAGE.name)
    assert {label for (label,), value in stages.items() if value} == {"expanded"}
    assert len(stages) == len(Stage) + 1
    router.state = None
    router.health._report = health_report(judge_reachable=False)
    await router.report.tell()
    assert {label for (label,), value in router.shown(ROLLOUT_STAGE.name).items() if value} == {"unknown"}
    assert {label for (label,), value in router.shown(HEALTH.name).items() if value} == {"unhealthy"}
    assert router.shown(READY.name) == {(): 0}
    assert router.shown(ROLLOUT_SHARE.name) == {(): 0}


async def test_written_records_are_counted_once() -> None:
    """A round tells what has come since the round before."""
    router = Router()
    for written in (5, 5, 12):
        router.drain = DrainState(written=written)
        await router.report.tell()
    assert router.meter.counted[WRITES.name,] == 12


@pytest.mark.parametrize("error", [RaySystemError("gone"), RuntimeError("gone"), KeyError("NodeID"), AssertionError()])
async def test_metrics_that_ray_does_not_tell_of_may_be_asked_for_again(error: Exception) -> None:
    """Whatever Ray raises is a 503, and the next scrape asks it once more."""
    asked = []

    def find() -> str:
        asked.append(error)
        raise error

    threads = Threads("probe", 1)
    exporter = Exporter(threads, find)
    for _ in range(2):
        with pytest.raises(TemporarilyUnavailable, match="Ray must tell where its exporter of metrics is"):
            await exporter.text()
    assert len(asked) == 2
    await exporter.close()
    threads.close()


async def test_exporter_that_does_not_answer_is_looked_for_again() -> None:
    """It may have begun anew at another port."""
    asked = []

    def find() -> str:
        asked.append(None)
        return f"http://127.0.0.1:{free_port()}/metrics"

    threads = Threads("probe", 1)
    exporter = Exporter(threads, find)
    for _ in range(2):
        with pytest.raises(TemporarilyUnavailable, match="must answer, did not"):
            await exporter.text()
    assert len(asked) == 2
    await exporter.close()
    threads.close()


async def test_expiring_keys_are_told_once_the_keys_are_known() -> None:
    """How many expire within a day, a week and a month; before they were read nobody can tell."""
    router = Router()
    router.keys_age_seconds = 1.0
    await router.report.tell()
    assert router.shown(KEYS_EXPIRING.name) == {("1d",): 1, ("7d",): 7, ("30d",): 30}
