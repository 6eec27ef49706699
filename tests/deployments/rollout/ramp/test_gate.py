"""The verdict: its order, its reasons, and which of them a person may override."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.rollout.analysis.confidence import Interval
from deployments.rollout.analysis.guardrails import one_event_trigger
from deployments.rollout.analysis.outcomes import Baseline, Outcome
from deployments.rollout.analysis.triggers import Condition, Guardrail, GuardrailReading, GuardrailRule
from deployments.rollout.ramp.gate import Evidence, GateVerdict, PromotionGate, judge_gate
from deployments.rollout.ramp.state import DAY_SECONDS, Stage
from tests.deployments.rollout.events import evaluation
from tests.deployments.shipped_policy import CONFIGURATION

SHORTER = Interval(estimate=-0.08, lower=-0.1, upper=-0.05, n=200)
SAME = Interval(estimate=0.0, lower=-0.02, upper=0.02, n=200)
LONGER = Interval(estimate=0.05, lower=0.02, upper=0.08, n=200)
TRIGGER = one_event_trigger(evaluation(0, Outcome.CRITICAL))
BREACH = GuardrailReading(
    guardrail=Guardrail.COMPLETION, rule=GuardrailRule.POINT, value=0.94, limit=0.95, n=100, condition=Condition.BREACH
)
GOOD = Evidence(pairs_in_stage=200, missing_in_stage=2, makespans={Baseline.RULE: SHORTER})
assert TRIGGER is not None


def verdict(
    evidence: Evidence = GOOD, *, days: float = 30, stage: Stage = Stage.LIMITED, is_paused: bool = False
) -> PromotionGate:
    return judge_gate(stage, days * DAY_SECONDS, CONFIGURATION, evidence, is_paused=is_paused)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.LIMITED, Stage.EXPANDED])
def test_better_with_enough_of_everything_is_promoted(stage: Stage) -> None:
    """Shorter makespans, healthy guardrails, enough pairs and time: PROMOTE, and it says why."""
    found = verdict(stage=stage)
    assert found.verdict is GateVerdict.PROMOTE
    assert found.texts[0] == "makespan is 4.9 to 9.5 % shorter than the rule's, n 200"


def test_verdicts_have_an_order() -> None:
    """ROLLBACK comes before INVALID, INVALID before everything that good evidence says."""
    bad = replace(GOOD, triggers=(TRIGGER,), integrity=("sample ratio",))
    assert verdict(bad).verdict is GateVerdict.ROLLBACK
    assert verdict(replace(bad, triggers=())).verdict is GateVerdict.INVALID
    assert verdict(replace(bad, triggers=(), integrity=())).verdict is GateVerdict.PROMOTE


@pytest.mark.parametrize(
    ("evidence", "days", "text"),
    [
        (GOOD, 6.99, "limited must last 7 days, has lasted 6.99"),
        (replace(GOOD, pairs_in_stage=99), 30, "limited needs 100 paired observations, has 99"),
        (replace(GOOD, missing_in_stage=11), 30, "5.2% of the pairs of limited are missing, at most 5.0% may be"),
        (replace(GOOD, makespans={}), 30, "not enough data to compare makespans"),
        (replace(GOOD, makespans={Baseline.RULE: SAME}), 30, "makespan is not shown to be shorter"),
    ],
)
def test_lack_of_data_holds_and_may_be_forced(evidence: Evidence, days: float, text: str) -> None:
    """What only more data would show, a person may take upon themselves."""
    found = verdict(evidence, days=days)
    assert found.verdict is GateVerdict.HOLD
    assert text in found.texts[0]
    assert found.can_be_forced


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (replace(GOOD, breaches=(BREACH,)), "completion_rate is 94.00% over the last 100, limit 95.00%"),
        (
            replace(GOOD, makespans={Baseline.RULE: SHORTER, Baseline.PLANNER: LONGER}),
            "makespan is 2.0 to 8.3 % longer than the planner's, n 200",
        ),
        (
            replace(GOOD, other_kpis=(("tardiness_seconds", LONGER, False),)),
            "tardiness_seconds is worse: difference between 0.02 and 0.08",
        ),
        (replace(GOOD, other_kpis=(("on_time_percent", SHORTER, True),)), "on_time_percent is worse"),
    ],
)
def test_harm_holds_and_cannot_be_forced(evidence: Evidence, text: str) -> None:
    """What the data do show is no lack of data."""
    found = verdict(evidence)
    assert found.verdict is GateVerdict.HOLD
    assert text in found.texts[0]
    assert not found.can_be_forced


def test_improvement_of_other_kpis_is_no_harm() -> None:
    """Less tardiness and more on time do not hold anything."""
    kpis = (("tardiness_seconds", SHORTER, False), ("on_time_percent", LONGER, True))
    assert verdict(replace(GOOD, other_kpis=kpis)).verdict is GateVerdict.PROMOTE


def test_paused_and_full_are_held() -> None:
    """Nobody promotes from a pause, and after full there is nothing."""
    paused = verdict(is_paused=True)
    assert (paused.verdict, paused.texts, paused.can_be_forced) == (GateVerdict.HOLD, ("the rollout is paused",), False)
    full = verdict(stage=Stage.FULL)
    assert (full.verdict, full.can_be_forced) == (GateVerdict.HOLD, False)


@pytest.mark.parametrize("evidence", [replace(GOOD, triggers=(TRIGGER,)), replace(GOOD, integrity=("x",)), GOOD])
def test_only_hold_can_be_forced(evidence: Evidence) -> None:
    """Neither a trigger nor a doubtful experiment is forced open."""
    assert not verdict(evidence).can_be_forced


def test_reasons_are_complete() -> None:
    """All that is missing is said at once, not one thing a day."""
    assert len(verdict(Evidence(), days=0).texts) == 3
