"""Statistics of a ramp: whatever a router tells, what can be counted counts."""

from __future__ import annotations

import json
import logging

import pytest

from deployments.rollout.analysis.outcomes import Outcome
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.analysis.triggers import Guardrail
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.comparison import WindowComparison
from deployments.rollout.ramp.state import Stage
from deployments.rollout_control.ramp_statistics import RampStatistics
from tests.deployments.rollout.events import START
from tests.deployments.rollout_control.events import evaluation, report, state
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


def other_plan() -> Recomputation:
    """A served plan that comes out otherwise where the other arm is computed."""
    return Recomputation(
        decision_id="d", at=START, ramp=1, stage="limited", arm=ArmRole.PPO, log_ratio=0.0, is_same=False
    )


def entered() -> RampStatistics:
    statistics = RampStatistics(ramp=1, limits=LIMITS)
    statistics.enter(state(stage=Stage.LIMITED), ("b", "a"))
    return statistics


def test_recomputations_outlive_a_recount_and_a_restart() -> None:
    """Rows do not tell them, so what the routers have told goes on with whatever is counted again."""
    statistics = entered()
    statistics.take(report(other_plan()))
    statistics.adopt(WindowComparison(challenger="b", champion="a", limits=LIMITS), [])
    findings = statistics.evidence(Stage.LIMITED).integrity
    assert findings == ("1 of 1 served plans come out otherwise where the other arm is computed",)
    again = RampStatistics.restored(json.loads(json.dumps(statistics.snapshot())), limits=LIMITS)
    assert again.evidence(Stage.LIMITED).integrity == findings


def test_statistics_of_before_margins_are_read() -> None:
    """Format 2 knew neither margins nor recomputations: all else goes on, and these begin anew."""
    statistics = entered()
    statistics.adopt(WindowComparison(challenger="b", champion="a", limits=LIMITS), [])
    old = json.loads(json.dumps(statistics.snapshot())) | {"format": 2}
    old["comparison"] |= {"format": 2, "differences": {}}
    for name in ("margins", "recomputations"):
        del old["comparison"][name]
    restored = RampStatistics.restored(old, limits=LIMITS)
    assert restored.uncounted is None
    assert restored.arms == ("b", "a")
    assert restored.snapshot() == statistics.snapshot()
