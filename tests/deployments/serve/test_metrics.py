"""What the controller of the rollout tells as metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest

from deployments.errors import RolloutUnavailable
from deployments.rollout.analysis.e_processes import EvidenceReading
from deployments.rollout.analysis.guardrails import Guardrails
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.analysis.triggers import Condition, Guardrail, GuardrailReading, GuardrailRule, limits_at
from deployments.runtime.metrics import (
    EVIDENCE_NEEDED,
    EVIDENCE_ODDS,
    EVIDENCE_WINDOWS,
    GUARDRAIL_KNOWN,
    GUARDRAIL_LIMIT,
    GUARDRAIL_VALUE,
)
from deployments.serve.metrics import RolloutMetrics
from tests.deployments.fakes import KeptMeter

READING = GuardrailReading(
    guardrail=Guardrail.MAKESPAN,
    rule=GuardrailRule.POINT,
    value=0.02,
    limit=0.05,
    n=12,
    condition=Condition.HEALTHY,
    baseline=Baseline.RULE,
)
LIMITS = limits_at(completion=0.95, crash_rate=0.01, makespan_increase=0.05)
QUESTION = EvidenceReading(
    question="better", log_e=math.log(10.0), log_threshold=math.log(100.0), n=7, windows_missing=14.0
)


def unknown_evidence() -> Iterable[EvidenceReading]:
    """What a controller says that has just begun."""
    raise RolloutUnavailable("the state must be known, was not yet", 2)


async def test_controller_tells_guardrails_and_questions() -> None:
    """Value beside limit, and odds beside those that are needed."""
    meter = KeptMeter()
    await RolloutMetrics(meter, guardrails=lambda: [READING], evidence=lambda: [QUESTION]).tell()
    rule = ("makespan_increase", "mean of the window", "rule")
    assert meter.gauges[GUARDRAIL_VALUE.name, *rule] == 0.02
    assert meter.gauges[GUARDRAIL_LIMIT.name, *rule] == 0.05
    assert meter.gauges[GUARDRAIL_KNOWN.name, *rule] == 1
    assert meter.gauges[EVIDENCE_WINDOWS.name, "better"] == 7
    assert meter.gauges[EVIDENCE_ODDS.name, "better"] == 1
    assert meter.gauges[EVIDENCE_NEEDED.name, "better"] == pytest.approx(2)


async def test_what_is_not_known_any_more_is_told_so() -> None:
    """A new ramp has seen nothing yet: the last value of the ramp before would be taken for its own."""
    meter, reading = KeptMeter(), READING
    report = RolloutMetrics(meter, guardrails=lambda: [reading], evidence=unknown_evidence)
    await report.tell()
    reading = replace(READING, value=None)
    await report.tell()
    rule = ("makespan_increase", "mean of the window", "rule")
    assert (meter.gauges[GUARDRAIL_VALUE.name, *rule], meter.gauges[GUARDRAIL_KNOWN.name, *rule]) == (0, 0)
    assert EVIDENCE_WINDOWS.name not in {name for name, *_ in meter.gauges}


async def test_every_rule_of_a_new_ramp_can_be_told() -> None:
    """Each has its own series, so that none hides another."""
    meter = KeptMeter()
    readings = Guardrails(ramp=1, limits=LIMITS).readings()
    await RolloutMetrics(meter, guardrails=lambda: readings, evidence=list).tell()
    assert len(meter.gauges) == 3 * len(readings) > 0
