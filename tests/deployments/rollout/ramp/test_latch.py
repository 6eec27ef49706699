"""Latches: who may undo one, and what a starting controller believes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deployments.errors import UnreadableState
from deployments.rollout.analysis.guardrails import one_event_trigger
from deployments.rollout.analysis.outcomes import Outcome
from deployments.rollout.ramp.gate import GateVerdict, PromotionGate
from deployments.rollout.ramp.latch import (
    Latch,
    Reconciliation,
    base_of,
    in_force,
    is_fresh,
    latched,
    newer,
    reconcile,
    roll_back_for,
)
from deployments.rollout.ramp.stages import begin, pause, promote, resume, rollback
from deployments.rollout.ramp.state import Order, RolloutState, Stage, Transition
from tests.deployments.rollout.events import at, evaluation
from tests.deployments.shipped_policy import CONFIGURATION

TRIGGER = one_event_trigger(evaluation(0, Outcome.CRITICAL))
assert TRIGGER is not None


def order(minute: float = 0, **changes: object) -> Order:
    return Order(**({"actor": "operations", "reason": "because", "at": at(minute)} | changes))  # type: ignore[arg-type]


def started(stage: Stage = Stage.LIMITED) -> RolloutState:
    return begin(CONFIGURATION, stage=stage, seed="s", challenger="full_production@3", order=order()).state


def again(state: RolloutState) -> RolloutState:
    return promote(state, CONFIGURATION, order(), PromotionGate(verdict=GateVerdict.HOLD, reasons=())).state


def test_latch_beats_every_state_of_its_ramp() -> None:
    """A pause that crossed the latch on its way has a later version, and still cannot undo it."""
    state = started()
    latch = latched(state, TRIGGER, "router-1")
    assert latch is not None
    acted = in_force(pause(state, order()).state, latch)
    assert acted is not None
    assert (acted.stage, acted.share, acted.held_stage) == (Stage.ROLLED_BACK, 0.0, None)
    assert acted.assign("unit").arm.value == "manual"


def test_only_the_next_ramp_clears_a_latch() -> None:
    """After the rollback a person starts again, and the routers follow."""
    state = started()
    latch = latched(state, TRIGGER, "router-1")
    assert latch is not None
    transition = roll_back_for(state, latch)
    assert transition is not None
    assert (transition.actor, transition.to_stage) == ("guardrail", Stage.ROLLED_BACK)
    assert latch.holds(transition.state)
    restarted = again(transition.state)
    assert in_force(restarted, latch) == restarted
    assert roll_back_for(restarted, latch) is None


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.ROLLED_BACK])
def test_nothing_latches_where_nothing_is_served(stage: Stage) -> None:
    """In shadow a trigger opens an incident; there is nothing to take back."""
    assert latched(started(stage), TRIGGER, "router-1") is None


def test_latch_of_a_forgotten_ramp_is_cleared_by_the_next() -> None:
    """A database that lost two ramps learns of them from a latch, and its next ramp lies above."""
    state = started()
    latch = Latch(ramp=3, version=17, at=at(9), router="router-1", actor="operations", reason="stop")
    transition = roll_back_for(state, latch)
    assert transition is not None
    assert (transition.version, transition.state.ramp) == (18, 3)
    assert not latch.holds(again(transition.state))
    lost = rollback(state, order())
    assert lost is not None
    learned = roll_back_for(lost.state, latch)
    assert learned is not None
    assert (learned.version, learned.state.ramp) == (18, 3)


def test_router_never_goes_back_a_version() -> None:
    """An answer that was overtaken on its way is not taken."""
    old = started()
    new = pause(old, order()).state
    assert newer(None, old) == old
    assert newer(old, new) == new
    assert newer(new, old) == new


@pytest.mark.parametrize(("age", "fresh"), [(0.0, True), (5.0, True), (5.01, False), (-0.1, False)])
def test_state_older_than_five_seconds_is_no_state(age: float, fresh: bool) -> None:
    """So is one from the future."""
    assert is_fresh(age) is fresh


def _trail() -> tuple[Transition, Transition, Transition]:
    """Begun in `limited`, paused, and rolled back."""
    first = begin(CONFIGURATION, stage=Stage.LIMITED, seed="s", challenger="m@1", order=order())
    second = pause(first.state, order())
    third = rollback(second.state, order(5))
    assert third is not None
    return first, second, third


def test_database_is_followed_and_filled() -> None:
    """What only one side has, the other gets; a new controller takes the newest alone."""
    first, second, third = _trail()
    assert reconcile((), ()) == Reconciliation()
    assert reconcile((), (first, second)) == Reconciliation(adopted=(second,))
    assert reconcile((first, second), (second,)) == Reconciliation()
    assert reconcile((first,), (first, second, third)) == Reconciliation(adopted=(second, third))
    assert reconcile((first, second), ()) == Reconciliation(missing=(first, second))
    assert reconcile((first, second, third), (first,)) == Reconciliation(missing=(second, third))


def test_comparison_begins_before_a_rollback_on_local_disk() -> None:
    """There both sides must still have been the same."""
    first, second, third = _trail()
    assert base_of(()) is None
    assert base_of((first, second)) == second
    assert base_of((first, second, third)) == second
    assert base_of((third,)) == third


def test_rollback_holds_against_whatever_was_decided_elsewhere_in_its_ramp() -> None:
    """Somebody resumed under the same version: a rollback above both has to follow."""
    _, second, third = _trail()
    resumed = resume(second.state, order(6))
    promoted = replace(resumed, state=replace(resumed.state, version=4, stage=Stage.EXPANDED, share=0.5))
    found = reconcile((second, third), (second, resumed, promoted))
    assert found == Reconciliation(conflict=(third, promoted), rolls_back=True)
    above = rollback(promoted.state, order(7), seen_version=third.version)
    assert above is not None
    assert reconcile((second, third, above), (second, resumed, promoted)) == Reconciliation(missing=(above,))
    assert reconcile((second, third, above), (second, resumed, promoted, above)) == Reconciliation()


def test_rollback_is_of_the_past_where_a_person_has_started_again() -> None:
    """And where others rolled back as well, there is nothing left to do; but it is said each time."""
    _, second, third = _trail()
    theirs = rollback(second.state, order(6))
    assert theirs is not None
    again = promote(theirs.state, CONFIGURATION, order(7), PromotionGate(verdict=GateVerdict.HOLD, reasons=()))
    for stored in ((second, theirs), (second, theirs, again)):
        found = reconcile((second, third), stored)
        assert found == Reconciliation(adopted=stored[1:], conflict=(third, stored[-1]))


def test_routers_are_never_led_back_a_version() -> None:
    """A database that has gone on from an older copy: a rollback above both versions."""
    first, second, _ = _trail()
    other = replace(second, state=replace(second.state, seed="other"))
    ahead = resume(second.state, order(8))
    found = reconcile((first, second, ahead), (first, other))
    assert found == Reconciliation(conflict=(ahead, other), rolls_back=True)


def test_journal_of_another_rollout_decides_nothing() -> None:
    """Nothing is the same on both sides: the database is the truth, unless its versions are lower."""
    first, second, third = _trail()
    strange = replace(second, state=replace(second.state, seed="other"))
    assert reconcile((first, second), (strange,)) == Reconciliation(adopted=(strange,), conflict=(second, strange))
    found = reconcile((first, second, third), (strange,))
    assert found == Reconciliation(conflict=(third, strange), is_foreign=True)


def test_latches_survive_json() -> None:
    """What is fsynced beside the spool is what is read after a crash."""
    latch = latched(started(), TRIGGER, "router-1")
    assert latch is not None
    person = replace(latch, trigger=None, actor="operations")
    for sent in (latch, person):
        assert Latch.from_json(json.loads(json.dumps(sent.as_json()))) == sent
    with pytest.raises(UnreadableState, match="latch cannot be read"):
        Latch.from_json({"ramp": 1})
