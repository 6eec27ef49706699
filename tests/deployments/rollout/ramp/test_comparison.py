"""The comparison by windows: what a pair adds, what is lost, what is counted again, and the evidence for the gate."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deployments.errors import UnreadableState
from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.margins import CostRates
from deployments.rollout.analysis.outcomes import JobSketch, LossCause, MissingPair
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.analysis.windows import Amounts
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.comparison import MAX_TRIALS, WindowComparison, replay
from deployments.rollout.ramp.gate import GateVerdict, judge_gate
from deployments.rollout.ramp.stages import begin, promote
from deployments.rollout.ramp.state import DAY_SECONDS, Order, Stage
from tests.deployments.rollout.events import START, evaluation, key_figures, missing, pair
from tests.deployments.rollout.records import OPEN
from tests.deployments.shipped_policy import CONFIGURATION, LIMITS

A_DAY = 1440
AFTERWARDS = timedelta(days=2)


def empty() -> WindowComparison:
    return WindowComparison(challenger="b", champion="a", limits=LIMITS)


def of_day(day: int, ratio: float = -0.1, number: int = 0, **changes: Any) -> Event:
    """One pair of that day's window, of a list of its own."""
    unit = f"p//{(START + timedelta(days=day)).date()}"
    fields = {"unit": unit, "assigned": ArmRole.MANUAL, "champion_seconds": 72_000.0}
    return pair(day * A_DAY + number, ratio, **(fields | changes))


def fed(days: int, ratio: float = -0.1, **changes: Any) -> WindowComparison:
    comparison = empty()
    comparison.begin_stage(Stage.LIMITED)
    for day in range(days):
        for number in range(5):
            comparison.observe(of_day(day, ratio, number, **changes))
        comparison.close(START + timedelta(days=day))
    comparison.close(START + timedelta(days=days) + AFTERWARDS)
    return comparison


def verdict(comparison: WindowComparison, stage: Stage = Stage.LIMITED) -> GateVerdict:
    evidence = comparison.evidence(stage, Guardrails(ramp=1, limits=LIMITS))
    return judge_gate(stage, 30 * DAY_SECONDS, CONFIGURATION, evidence).verdict


def test_better_windows_open_the_gate_and_presses_do_not() -> None:
    """Forty days of five lists at -10 % are enough; the same two hundred pairs on one day are one window."""
    assert verdict(fed(40)) is GateVerdict.PROMOTE
    pressed = empty()
    for number in range(200):
        pressed.observe(of_day(0, number=number))
    pressed.close(START + AFTERWARDS)
    assert (pressed.windows.windows, pressed.lists) == (1, 200)
    assert verdict(pressed) is GateVerdict.HOLD


def test_equal_windows_end_futile() -> None:
    """Hundred and fifty days without any difference."""
    assert verdict(fed(150, 0.0)) is GateVerdict.FUTILE


def test_worse_tardiness_holds() -> None:
    """Shorter plans at the price of an hour of tardiness are not better, shown over a hundred windows."""
    evidence = fed(120, differences=(3600.0, 0.0, 0.0, 0.0, 0.0)).evidence(
        Stage.LIMITED, Guardrails(ramp=1, limits=LIMITS)
    )
    found = judge_gate(Stage.LIMITED, 30 * DAY_SECONDS, CONFIGURATION, evidence)
    assert found.verdict is GateVerdict.HOLD
    assert found.texts[0].startswith("tardiness_seconds against the rule is worse")


def test_half_a_minute_of_tardiness_does_not_hold() -> None:
    """Plans that are ten per cent shorter and half a minute later go to `full`."""
    comparison = empty()
    comparison.begin_stage(Stage.EXPANDED)
    for day in range(60):
        comparison.observe(of_day(day, stage="expanded", differences=(30.0, 0.0, 0.0, 0.0, 0.0)))
    comparison.close(START + timedelta(days=60) + AFTERWARDS)
    assert verdict(comparison, Stage.EXPANDED) is GateVerdict.PROMOTE


def test_requests_are_counted_by_stage_arm_and_cause() -> None:
    """Pairs and lost pairs by the arm that was assigned; a stage that begins again counts from nothing."""
    comparison = empty()
    for number in range(3):
        comparison.observe(of_day(0, number=number, assigned=ArmRole.PPO))
    comparison.observe(
        MissingPair(
            decision_id="x", at=START, ramp=1, stage="limited", reason="", cause=LossCause.LATE, assigned=ArmRole.PPO
        )
    )
    comparison.observe(missing())
    comparison.observe(missing(stage="shadow"))
    comparison.observe(evaluation(3))
    losses = comparison.losses(Stage.LIMITED)
    assert dict(losses.accepted) == {ArmRole.PPO: 4, ArmRole.MANUAL: 1}
    assert losses.causes == ((LossCause.LATE, 1), (LossCause.DROPPED, 1))
    comparison.begin_stage(Stage.LIMITED)
    assert sum(comparison.losses(Stage.LIMITED).accepted.values()) == 0
    assert sum(comparison.losses(Stage.SHADOW).accepted.values()) == 1


def lost(number: int = 0, **changes: Any) -> MissingPair:
    fields: dict[str, Any] = {"unit": "p//2025-07-22", "job_list_digest": "list", "assigned": ArmRole.PPO}
    return replace(missing(number), **({"cause": LossCause.UNANSWERED} | fields | changes))


def test_list_that_is_pressed_again_is_one_request() -> None:
    """Forty presses of a list that nobody answers are one lost request, and of one that is answered one pair."""
    comparison = empty()
    for number in range(40):
        comparison.observe(lost(number))
        comparison.observe(pair(number, unit="p//2025-07-22", job_list_digest="other", assigned=ArmRole.MANUAL))
    losses = comparison.losses(Stage.LIMITED)
    assert (dict(losses.accepted), losses.causes) == (dict.fromkeys(ArmRole, 1), ((LossCause.UNANSWERED, 1),))
    comparison = WindowComparison.restored(json.loads(json.dumps(comparison.snapshot())), limits=LIMITS)
    comparison.observe(lost(41))
    assert sum(comparison.losses(Stage.LIMITED).accepted.values()) == 2
    for other in ({"unit": "p//2025-07-23"}, {"job_list_digest": "x"}, {"assigned": ArmRole.MANUAL}):
        comparison.observe(lost(42, **other))
    assert sum(comparison.losses(Stage.LIMITED).accepted.values()) == 5


def test_first_press_is_what_a_request_came_to() -> None:
    """A retry that is answered leaves the first one lost, and counts no second time; its window has the pair."""
    comparison = empty()
    comparison.observe(lost())
    comparison.observe(pair(1, unit="p//2025-07-22", job_list_digest="list", assigned=ArmRole.PPO))
    losses = comparison.losses(Stage.LIMITED)
    assert (losses.accepted_of(ArmRole.PPO), losses.lost_of(ArmRole.PPO)) == (1, 1)
    assert [window.lists for window in comparison.partial] == [1]


def test_presses_of_one_list_in_an_outage_do_not_spoil_the_experiment() -> None:
    """After a month of tenths, one client's retries on one challenger's day say nothing of the arms."""
    comparison = empty()
    for number in range(600):
        arm = ArmRole.PPO if number % 10 == 0 else ArmRole.MANUAL
        comparison.observe(of_day(number // 20, number=number, assigned=arm))
    for number in range(100):
        comparison.observe(lost(number))
    assert comparison.losses(Stage.LIMITED).findings == ()


def test_lost_pair_of_an_older_router_is_a_request_by_itself() -> None:
    """What 0.2.0 pickled has neither unit nor list, so each counts."""
    comparison = empty()
    for number in range(2):
        old = copy.copy(missing(number))
        for name in ("unit", "job_list_digest", "cause", "assigned"):
            object.__delattr__(old, name)
        comparison.observe(old)
    assert comparison.losses(Stage.LIMITED).causes == ((LossCause.DROPPED, 2),)


def test_bounded_many_requests_are_remembered() -> None:
    """Of more the oldest is forgotten, and counts again when it is pressed again."""
    comparison = empty()
    for number in range(MAX_TRIALS + 1):
        comparison.observe(lost(job_list_digest=f"list-{number}"))
    assert len(comparison.snapshot()["trials"]) == MAX_TRIALS
    comparison.observe(lost(job_list_digest="list-0"))
    assert comparison.losses(Stage.LIMITED).lost_of(ArmRole.PPO) == MAX_TRIALS + 2


def test_strata_of_the_request_and_of_its_size_are_told() -> None:
    """Plant and kind come with the pair, the third of its size from the lists so far."""
    comparison = empty()
    for number in range(40):
        jobs = JobSketch.of(f"{number}-{job}" for job in range((10, 50, 200)[number % 3]))
        comparison.observe(of_day(0, number=number, jobs=jobs, strata=("plant p", "lists with setups")))
    (window,) = comparison.partial
    assert set(window.strata) == {"plant p", "lists with setups", "small lists", "middle lists", "large lists"}
    assert (window.hours, window.lists) == (40 * 20.0, 40)


def test_stored_events_are_counted_as_time_went_by() -> None:
    """Told at once and in any order: the same windows, and the stage asks those alone that began in it."""
    order = Order(actor="operations", reason="r", at=START)
    first = begin(CONFIGURATION, stage=Stage.SHADOW, seed="s", challenger="b", order=order)
    later = Order(actor="operations", reason="r", at=START + timedelta(days=10))
    transitions = [first, promote(first.state, CONFIGURATION, later, OPEN)]
    events = [of_day(day, number=n, stage="shadow" if day < 10 else "limited") for day in range(30) for n in range(5)]
    comparison = empty()
    closed = replay(comparison, reversed(events), transitions, now=START + timedelta(days=40))
    assert [observation.day.day for _, observation in closed[:3]] == [22, 23, 24]
    readings = {each.question: each for each in comparison.windows.readings(is_for_full=False)}
    assert (readings["better"].n, readings["better in this stage"].n) == (30, 20)
    assert comparison.late == 0


def test_comparison_survives_json() -> None:
    """A snapshot goes on where it stopped; half of one, or that of pairs, is refused."""
    comparison = fed(20)
    comparison.observe(missing())
    comparison.observe(of_day(30))
    restored = WindowComparison.restored(json.loads(json.dumps(comparison.snapshot())), limits=LIMITS)
    for each in (comparison, restored):
        each.observe(of_day(31, 0.5))
        each.close(START + timedelta(days=40))
    assert restored.snapshot() == comparison.snapshot()
    assert restored.arms == ("b", "a")
    for damage in ({}, {"format": 1}, {"format": 2}, {"format": 2, "windows": {"format": 1}}):
        with pytest.raises(UnreadableState):
            WindowComparison.restored(damage, limits=LIMITS)


def test_snapshot_of_before_margins_is_read() -> None:
    """Format 2 told differences of hundreds of windows and no amounts: the windows go on, the margins begin anew."""
    comparison = fed(20)
    comparison.observe(of_day(21))
    old = json.loads(json.dumps(comparison.snapshot())) | {"format": 2, "differences": {}}
    del old["margins"]
    old["log"]["format"] = 1
    for window in old["log"]["open"].values():
        window["pairs"] = {name: [pair[:5] for pair in pairs] for name, pairs in window["pairs"].items()}
    restored = WindowComparison.restored(old, limits=LIMITS)
    assert restored.windows.snapshot() == comparison.windows.snapshot()
    assert restored.partial == comparison.partial
    evidence = restored.evidence(Stage.EXPANDED, Guardrails(ramp=1, limits=LIMITS))
    assert evidence.margins is not None
    assert {reading.n for reading in evidence.margins.readings()} == {0}


def test_plans_that_come_out_otherwise_make_it_invalid() -> None:
    """A served plan that another one comes of where the other arm is computed spoils the stage, and no later one."""
    comparison = fed(40)
    fields = {"at": START, "ramp": 1, "stage": "limited", "arm": ArmRole.PPO, "log_ratio": 0.0}
    comparison.observe(Recomputation(decision_id="d", **fields, is_same=False))
    assert verdict(comparison) is GateVerdict.INVALID
    again = WindowComparison.restored(json.loads(json.dumps(comparison.snapshot())), limits=LIMITS)
    assert verdict(again) is GateVerdict.INVALID
    comparison.begin_stage(Stage.LIMITED)
    assert comparison.recomputations.findings == ()


def test_amounts_of_a_pair_are_told_by_its_figures() -> None:
    """The champion's tardiness, and what both plans cost at the rates of the policy."""
    rates = CostRates(makespan_hour=1.0, change=2.0)
    limits = replace(LIMITS, margins=replace(LIMITS.margins, rates=rates))
    comparison = WindowComparison(challenger="b", champion="a", limits=limits)
    both = (key_figures(3600.0), key_figures(7200.0, tardiness_seconds=60.0))
    comparison.observe(of_day(0, figures=both, changed_jobs=(3, 0)))
    (window,) = comparison.partial
    assert window.amounts == Amounts(champion_tardiness_seconds=60.0, challenger_cost=7.0, champion_cost=2.0)
    again = WindowComparison.restored(json.loads(json.dumps(comparison.snapshot())), limits=limits)
    assert again.partial == comparison.partial
