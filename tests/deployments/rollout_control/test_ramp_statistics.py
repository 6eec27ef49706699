"""Statistics of a ramp: whatever a router tells, what can be counted counts."""

from __future__ import annotations

import logging

import pytest

from deployments.rollout.analysis.outcomes import Outcome
from deployments.rollout.analysis.triggers import Guardrail
from deployments.rollout_control.ramp_statistics import RampStatistics
from tests.deployments.rollout_control.events import evaluation, report
from tests.deployments.shipped_policy import LIMITS

LAST_DAY = "x//9999-12-31"
HALF_A_CHARACTER = "\ud800"
"""No text in UTF-8, hence no window can be named after it."""


@pytest.mark.parametrize("unit", [LAST_DAY, HALF_A_CHARACTER])
def test_event_of_a_strange_unit_blinds_nothing(unit: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nine crashes an hour after it are counted and roll back, and the router is told that all was taken."""
    statistics = RampStatistics(ramp=1, limits=LIMITS)
    strange = evaluation(0, unit=unit)
    lost = [evaluation(720 + number, Outcome.CRASH, unit="penang//2025-07-22") for number in range(9)]
    with caplog.at_level(logging.ERROR):
        triggers = statistics.take(report(strange, *lost))
    assert [trigger.guardrail for trigger in triggers] == [Guardrail.CRASH]
    assert statistics.received("r1") == 10
    skipped = ["event 0 of router r1 cannot be counted and is skipped"] if unit == HALF_A_CHARACTER else []
    assert [record.getMessage() for record in caplog.records] == skipped
    assert statistics.take(report(strange, *lost)) == []
