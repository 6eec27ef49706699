"""The verdict: its order, its reasons, and which of them a person may override."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from deployments.rollout.analysis.e_processes import WindowEvidence
from deployments.rollout.analysis.guardrails import one_event_trigger
from deployments.rollout.analysis.margins import MarginEvidence, Margins
from deployments.rollout.analysis.outcomes import LossCause, Outcome
from deployments.rollout.analysis.sample_ratio import LossCounts
from deployments.rollout.analysis.triggers import Condition, Guardrail, GuardrailReading, GuardrailRule
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.gate import REMEDIES, Evidence, GateVerdict, PromotionGate, judge_gate
from deployments.rollout.ramp.state import DAY_SECONDS, Stage
from tests.deployments.rollout.events import closed_window, evaluation
from tests.deployments.shipped_policy import CONFIGURATION

TRIGGER = one_event_trigger(evaluation(0, Outcome.CRITICAL))
BREACH = GuardrailReading(
    guardrail=Guardrail.COMPLETION, rule=GuardrailRule.POINT, value=0.94, limit=0.95, n=100, condition=Condition.BREACH
)
assert TRIGGER is not None


def windows(days: int = 60, log_ratio: float = -0.1, **changes: object) -> WindowEvidence:
    """So many days of one plant, ten lists each."""
    found = WindowEvidence(challenger="b", champion="a")
    for day in range(days):
        found.add([closed_window(day, log_ratio, **{"stage": "limited"} | changes)])
    return found


def losses(lost: int, accepted: int = 1000, arm: ArmRole = ArmRole.MANUAL) -> LossCounts:
    return LossCounts(accepted={arm: accepted}, lost={arm: {LossCause.LATE: lost}})


def margins(tardiness: float = 0.0, on_time: float = 0.0, days: int = 60) -> MarginEvidence:
    """So many days on which tardiness, in seconds, and families on time, in points, change by so much."""
    found = MarginEvidence(Margins())
    for day in range(days):
        found.add([closed_window(day, -0.1, differences=(tardiness, 0.0, on_time, 0.0, 0.0))])
    return found


GOOD = Evidence(windows=windows(), losses=losses(10), margins=margins())


def verdict(
    evidence: Evidence = GOOD, *, days: float = 30, stage: Stage = Stage.LIMITED, is_paused: bool = False
) -> PromotionGate:
    return judge_gate(stage, days * DAY_SECONDS, CONFIGURATION, evidence, is_paused=is_paused)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.LIMITED, Stage.EXPANDED])
def test_better_with_enough_of_everything_is_promoted(stage: Stage) -> None:
    """Evidence of shorter plans, healthy guardrails, few losses and time: PROMOTE, and it says why."""
    found = verdict(stage=stage)
    assert found.verdict is GateVerdict.PROMOTE
    assert found.texts[0] == "better: more than a million to 1 against no improvement after 60 windows"
    questions = ["better", "better in this stage"] + (["fewer hours"] if stage is Stage.EXPANDED else [])
    within = [reading for reading in found.readings if "within" in reading.question]
    assert [reading.question for reading in found.readings if reading not in within] == questions
    assert len(within) == (3 if stage is Stage.EXPANDED else 0)
    assert found.as_json()["evidence"][1] == {
        "question": "better in this stage",
        "windows": 60,
        "odds": pytest.approx(math.exp(found.readings[1].log_e)),
        "needed_odds": pytest.approx(10.0),
        "windows_missing": 0.0,
        "is_answered": True,
    }


def test_verdicts_have_an_order() -> None:
    """ROLLBACK before INVALID, that before FUTILE, that before COMPLETE, that before what holds."""
    unequal = LossCounts(
        accepted=dict.fromkeys(ArmRole, 500), lost={ArmRole.PPO: {LossCause.LATE: 200}, ArmRole.MANUAL: {}}
    )
    bad = Evidence(triggers=(TRIGGER,), integrity=("sample ratio",), windows=windows(200, 0.0), losses=unequal)
    assert verdict(bad).verdict is GateVerdict.ROLLBACK
    bad = replace(bad, triggers=())
    assert (verdict(bad).verdict, verdict(bad).texts[0]) == (GateVerdict.INVALID, "sample ratio")
    bad = replace(bad, integrity=())
    assert verdict(bad).texts[0].startswith("lost pairs differ by arm: 200 of 500 requests of ppo")
    bad = replace(bad, losses=losses(500))
    assert verdict(bad, stage=Stage.FULL).verdict is GateVerdict.FUTILE
    bad = replace(bad, windows=windows(3))
    assert verdict(bad, stage=Stage.FULL).verdict is GateVerdict.COMPLETE
    assert verdict(bad).verdict is GateVerdict.HOLD


def test_harm_of_the_windows_is_a_rollback() -> None:
    """Two hundred to one that plans are longer by more than ten per cent, whichever ramp has shown it."""
    found = verdict(Evidence(windows=windows(40, 0.26)))
    assert found.verdict is GateVerdict.ROLLBACK
    assert found.texts == ("makespan is shown to be longer than the rule's beyond the limit",)


@pytest.mark.parametrize(("stage", "is_forcible"), [(Stage.LIMITED, True), (Stage.EXPANDED, False)])
def test_futile_is_not_forced_to_full(stage: Stage, is_forcible: bool) -> None:
    """An equal challenger is called futile in the end; a person may go on learning, but not give it everything."""
    found = verdict(Evidence(windows=windows(200, 0.0), losses=losses(0)), stage=stage)
    assert found.verdict is GateVerdict.FUTILE
    assert "not better by 2 %" in found.texts
    assert found.can_be_forced == is_forcible


@pytest.mark.parametrize(
    ("evidence", "days", "text"),
    [
        (GOOD, 6.99, "limited must last 7 days, has lasted 6.99"),
        (replace(GOOD, windows=windows(5)), 30, "better: 3 to 1 after 5 windows, needs 508 (about "),
        (replace(GOOD, windows=windows(0)), 30, "better: no window has closed yet, needs 508 to 1"),
        (replace(GOOD, unknown="windows of before are not counted yet"), 30, "windows of before are not counted yet"),
        (replace(GOOD, windows=windows(60, -0.02), losses=losses(50)), 30, "5.0% of the accepted requests have no"),
    ],
)
def test_lack_of_data_holds_and_may_be_forced(evidence: Evidence, days: float, text: str) -> None:
    """What only more data would show, a person may take upon themselves."""
    found = verdict(evidence, days=days)
    assert found.verdict is GateVerdict.HOLD
    assert found.texts[0].startswith(text)
    assert found.can_be_forced


def test_what_is_held_back_is_named_and_others_may_be_promoted() -> None:
    """Lists that stay on the champion are harmed by no promotion; those that cannot be told beforehand are."""
    evidence = replace(GOOD, windows=windows(60, strata={"plant b": 0.2, "large lists": 0.2}))
    found = judge_gate(Stage.LIMITED, 30 * DAY_SECONDS, CONFIGURATION, evidence, held_back=("plant b",))
    assert found.verdict is GateVerdict.HOLD
    assert not found.can_be_forced
    evidence = replace(GOOD, windows=windows(60, strata={"plant b": 0.2}))
    found = judge_gate(Stage.LIMITED, 30 * DAY_SECONDS, CONFIGURATION, evidence, held_back=("plant b",))
    assert found.verdict is GateVerdict.HOLD
    assert "worse by more than 2 % in plant b: these lists stay on the champion" in found.texts
    assert found.can_be_forced


def test_missing_pairs_name_cause_remedy_and_when_they_heal() -> None:
    """What was lost to, which setting helps, and after how many more requests the share is small enough."""
    text = verdict(replace(GOOD, windows=windows(60, -0.02), losses=losses(50))).texts[0]
    assert "(late 50)" in text
    assert "It heals after some 1,500 more requests with a pair, or with the next stage" in text
    assert "late: the policy had no room or time: more replicas in serve_config.yaml" in text
    assert set(REMEDIES) == set(LossCause)


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (replace(GOOD, breaches=(BREACH,)), "completion_rate is 94.00% over the last 100, limit 95.00%"),
        (
            replace(GOOD, windows=windows(60, strata={"plant b": 0.2})),
            "worse by more than 2 % in plant b",
        ),
        (
            replace(GOOD, margins=margins(tardiness=3600.0)),
            "tardiness_seconds against the rule is worse by more than half its margin",
        ),
        (replace(GOOD, margins=margins(on_time=-2.0)), "on_time_percent against the rule is worse"),
    ],
)
def test_harm_holds_and_cannot_be_forced(evidence: Evidence, text: str) -> None:
    """What the data do show is no lack of data."""
    found = verdict(evidence)
    assert found.verdict is GateVerdict.HOLD
    assert text in found.texts[0]
    assert not found.can_be_forced


def test_more_hours_in_total_hold_the_way_to_full_for_everybody() -> None:
    """Shorter in the mean of the lists, and more work in all: no person gives it everything."""
    evidence = Evidence(windows=windows(80, -0.05, change=0.08), losses=losses(0))
    assert verdict(evidence, stage=Stage.LIMITED).verdict is GateVerdict.PROMOTE
    found = verdict(evidence, stage=Stage.EXPANDED)
    assert (found.verdict, found.texts[-1], found.can_be_forced) == (GateVerdict.HOLD, "more hours in total", False)


def test_improvement_of_other_kpis_is_no_harm() -> None:
    """Less tardiness and more on time do not hold anything."""
    found = verdict(replace(GOOD, margins=margins(-3600.0, 3.0)), stage=Stage.EXPANDED)
    assert found.verdict is GateVerdict.PROMOTE
    assert "utilisation within 1 point by days: 24,392 to 1 against a greater loss after 55 days" in found.texts


def test_only_the_way_to_full_asks_for_margins() -> None:
    """Few days hold the way to everything, which a person may take upon themselves, and no other."""
    short = replace(GOOD, margins=margins(days=10))
    assert verdict(short, stage=Stage.LIMITED).verdict is GateVerdict.PROMOTE
    found = verdict(short, stage=Stage.EXPANDED)
    assert (found.verdict, found.can_be_forced) == (GateVerdict.HOLD, True)
    assert [text.partition(" within")[0] for text in found.texts] == ["families on time", "utilisation", "tardiness"]


def test_paused_is_held_and_full_is_complete() -> None:
    """Nobody promotes from a pause, and after full there is nothing."""
    paused = verdict(is_paused=True)
    assert (paused.verdict, paused.texts, paused.can_be_forced) == (GateVerdict.HOLD, ("the rollout is paused",), False)
    full = verdict(stage=Stage.FULL)
    assert (full.verdict, full.texts) == (GateVerdict.COMPLETE, ("the challenger serves everything",))
    assert not full.can_be_forced


@pytest.mark.parametrize("evidence", [replace(GOOD, triggers=(TRIGGER,)), replace(GOOD, integrity=("x",)), GOOD])
def test_only_lack_of_proof_can_be_forced(evidence: Evidence) -> None:
    """Neither a trigger nor a doubtful experiment is forced open."""
    assert not verdict(evidence).can_be_forced


def test_reasons_are_complete() -> None:
    """All that is missing is said at once, not one thing a day: time, two questions, and a kind of baseline."""
    assert len(verdict(Evidence(), days=0).texts) == 4
