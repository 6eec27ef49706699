"""Metrics by Ray's own library, and what each replica tells of its process, and the controller of the rollout."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import ray
from ray.serve import metrics

from deployments.errors import RolloutUnavailable
from deployments.runtime.background import BackgroundTask
from deployments.runtime.metrics import (
    CPU_SECONDS,
    EVIDENCE_NEEDED,
    EVIDENCE_ODDS,
    EVIDENCE_WINDOWS,
    GUARDRAIL_KNOWN,
    GUARDRAIL_LIMIT,
    GUARDRAIL_VALUE,
    MEMORY_BYTES,
    UPTIME,
    BoundedLabels,
    Meter,
    Metric,
    MetricKind,
    NoMeter,
)

if TYPE_CHECKING:
    from deployments.rollout.analysis.e_processes import EvidenceReading
    from deployments.rollout.analysis.triggers import GuardrailReading

PERIOD_SECONDS = 5.0
_LOG_OF_TEN = math.log(10.0)
_log = logging.getLogger(__name__)
_KINDS = {MetricKind.COUNTER: metrics.Counter, MetricKind.GAUGE: metrics.Gauge, MetricKind.HISTOGRAM: metrics.Histogram}


class RayMeter:
    """`Meter` of a replica of Serve: Ray adds the names of application, deployment and replica."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._bounded = BoundedLabels()

    def count(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """See `Meter`."""
        if amount > 0.0:
            self._of(metric).inc(amount, self._bounded.of(metric, labels))

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Meter`."""
        self._of(metric).set(value, self._bounded.of(metric, labels))

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Meter`."""
        self._of(metric).observe(value, self._bounded.of(metric, labels))

    def _of(self, metric: Metric) -> Any:
        made = self._made.get(metric.name)
        if made is None:
            boundaries = {"boundaries": list(metric.buckets)} if metric.kind is MetricKind.HISTOGRAM else {}
            made = _KINDS[metric.kind](metric.name, metric.text, tag_keys=metric.labels, **boundaries)
            self._made[metric.name] = made
        return made


class ProcessReport:
    """What this replica's process uses; `tell` says it once."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._clock = clock
        self._started_at = clock()
        self._process = psutil.Process()
        self._cpu_seconds = 0.0

    def tell(self) -> None:
        """One round."""
        used = self._process.cpu_times()
        cpu_seconds = used.user + used.system
        self._meter.count(CPU_SECONDS, cpu_seconds - self._cpu_seconds)
        self._cpu_seconds = cpu_seconds
        self._meter.set(MEMORY_BYTES, self._process.memory_info().rss)
        self._meter.set(UPTIME, self._clock() - self._started_at)


class RolloutMetrics(BackgroundTask):
    """What the controller knows: each rule of the guardrails, and how far each question of the gate is.

    `tell` is one round; `start` and `stop` on the event loop of the controller. `evidence` may raise
    `RolloutUnavailable`.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        guardrails: Callable[[], Iterable[GuardrailReading]],
        evidence: Callable[[], Iterable[EvidenceReading]],
    ) -> None:
        super().__init__("metrics of the rollout", self.tell, period_seconds=PERIOD_SECONDS)
        self._meter = meter
        self._guardrails, self._evidence = guardrails, evidence

    async def tell(self) -> None:
        """One round."""
        for rule in self._guardrails():
            baseline = "none" if rule.baseline is None else rule.baseline.value
            labels = {"guardrail": rule.guardrail.value, "rule": rule.rule.value, "baseline": baseline}
            # Ray passes on no NaN, and a gauge that has been told once cannot be taken back.
            self._meter.set(GUARDRAIL_VALUE, rule.value or 0.0, **labels)
            self._meter.set(GUARDRAIL_KNOWN, rule.value is not None, **labels)
            self._meter.set(GUARDRAIL_LIMIT, rule.limit, **labels)
        # Nobody can tell before the state of the rollout is known.
        with suppress(RolloutUnavailable):
            for question in self._evidence():
                labels = {"question": question.question}
                self._meter.set(EVIDENCE_WINDOWS, question.n, **labels)
                self._meter.set(EVIDENCE_ODDS, question.log_e / _LOG_OF_TEN, **labels)
                self._meter.set(EVIDENCE_NEEDED, question.log_threshold / _LOG_OF_TEN, **labels)


def replica_meter() -> Meter:
    """The meter of this replica, whose process is told of from now on, by a thread that ends with it.

    Nobody is told anything where there is no Ray.
    """
    if not ray.is_initialized():
        return NoMeter()
    meter = RayMeter()
    report = ProcessReport(meter)
    threading.Thread(target=_tell_for_ever, args=(report.tell,), name="metrics", daemon=True).start()
    return meter


def _tell_for_ever(tell: Callable[[], None]) -> None:
    while True:
        try:
            tell()
        except Exception:  # the edge of a thread: what cannot be told now is told later
            _log.exception("the metrics of this process could not be told")
        time.sleep(PERIOD_SECONDS)
