"""Latches: who may undo one, and what a starting controller believes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deployments.rollout.analysis.guardrails import one_event_trigger
from deployments.rollout.analysis.outcomes import Outcome
from deployments.rollout.errors import UnreadableState
from deployments.rollout.ramp.gate import GateVerdict, PromotionGate
from deployments.rollout.ramp.latch import Latch, in_force, is_fresh, latched, newer, recovered, roll_back_for
from deployments.rollout.ramp.stages import begin, pause, promote, rollback
from deployments.rollout.ramp.state import Order, RolloutState, Stage
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


def test_starting_controller_takes_the_newest() -> None:
    """Database and journal may be at different versions; nobody knowing anything is a new database."""
    old = started()
    new = pause(old, order()).state
    assert recovered([old, new], [], order=order()) == (new, None)
    assert recovered([new, None], [], order=order()) == (new, None)
    assert recovered([None, None], [], order=order()) == (None, None)


def test_starting_controller_carries_out_a_latch() -> None:
    """A rollback that happened while the controller was dead is not forgotten."""
    state = started()
    latch = latched(state, TRIGGER, "router-1")
    assert latch is not None
    newest, transition = recovered([state, None], [latch], order=order())
    assert newest == state
    assert transition is not None
    assert transition.to_stage is Stage.ROLLED_BACK
    assert transition.evidence["latch"]["router"] == "router-1"


def test_starting_controller_rolls_back_when_its_sources_disagree() -> None:
    """Two different states of one version cannot both be true."""
    state = started()
    newest, transition = recovered([state, replace(state, seed="other")], [], order=order())
    assert newest is not None
    assert transition is not None
    assert (transition.to_stage, transition.reason) == (
        Stage.ROLLED_BACK,
        "two sources disagree about the newest version",
    )


def test_latches_survive_json() -> None:
    """What is fsynced beside the spool is what is read after a crash."""
    latch = latched(started(), TRIGGER, "router-1")
    assert latch is not None
    person = replace(latch, trigger=None, actor="operations")
    for sent in (latch, person):
        assert Latch.from_json(json.loads(json.dumps(sent.as_json()))) == sent
    with pytest.raises(UnreadableState, match="latch cannot be read"):
        Latch.from_json({"ramp": 1})
