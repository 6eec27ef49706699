"""The state machine: its laws by Hypothesis, and every refusal with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from deployments.errors import StaleVersion, TransitionRefused, UnreadableState
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.gate import GateReason, GateVerdict, PromotionGate
from deployments.rollout.ramp.stages import (
    activate,
    begin,
    configure,
    hold_back,
    pause,
    promote,
    resume,
    rollback,
    succeed,
)
from deployments.rollout.ramp.state import (
    GUARDRAIL,
    RAMP,
    Order,
    RampConfiguration,
    RolloutState,
    Stage,
    StageStep,
    Transition,
)
from tests.deployments.rollout.events import START, at
from tests.deployments.shipped_policy import CONFIGURATION

OTHER = replace(CONFIGURATION, limited=StageStep(share=0.2, min_seconds=0.0))
OPEN = PromotionGate(verdict=GateVerdict.PROMOTE, reasons=())
SHORT = PromotionGate(verdict=GateVerdict.HOLD, reasons=(GateReason(text="99 pairs", is_forcible=True),))
BREACHED = PromotionGate(verdict=GateVerdict.HOLD, reasons=(GateReason(text="breach", is_forcible=False),))
FIRED = PromotionGate(verdict=GateVerdict.ROLLBACK, reasons=(GateReason(text="critical", is_forcible=False),))
GATES = (OPEN, SHORT, BREACHED, FIRED)


def order(minute: float = 0, **changes: object) -> Order:
    return Order(**({"actor": "operations", "reason": "because", "at": at(minute)} | changes))  # type: ignore[arg-type]


def started(stage: Stage = Stage.SHADOW) -> RolloutState:
    return begin(CONFIGURATION, stage=stage, seed="s", challenger="full_production@3", order=order()).state


class Rollout(RuleBasedStateMachine):
    """Two operators and the guardrails give orders in any order, on what they saw last, by a clock that jumps."""

    visited: ClassVar[set[tuple[int, Stage]]] = set()

    @initialize()
    def start(self) -> None:
        self.state = started()
        self.seen = {"one": self.state, "two": self.state}
        self.path = [Stage.SHADOW]
        self.trail: list[Transition] = []

    def submit(self, transition: Transition | None, operator: str, before: RolloutState) -> None:
        """Write the transition like a controller does: under a version that must be the next."""
        if transition is None:
            return
        self.state = succeed(self.state, transition)
        assert before.version < self.state.version
        self.trail.append(transition)
        self.visited.add((min(self.state.ramp, 2), self.state.stage))
        self.path = [self.state.stage] if self.state.stage is Stage.SHADOW else [*self.path, self.state.stage]

    def give(self, operator: str, make: object) -> None:
        """Carry out an order that was made for what `operator` saw; nobody wins on an old version."""
        before, seen = self.state, self.seen[operator]
        try:
            self.submit(make(seen), operator, before)  # type: ignore[operator]
        except (StaleVersion, TransitionRefused):
            assert self.state == before
        else:
            assert seen.version == before.version or self.state == before

    OPERATORS = st.sampled_from(["one", "two"])
    MINUTES = st.integers(-10_000, 10_000)

    @rule(operator=OPERATORS)
    def look(self, operator: str) -> None:
        self.seen[operator] = self.state

    @rule(operator=OPERATORS, gate=st.sampled_from(GATES), force=st.booleans(), minute=MINUTES)
    def promote(self, operator: str, gate: PromotionGate, force: bool, minute: int) -> None:
        before = self.state
        self.give(operator, lambda seen: promote(seen, CONFIGURATION, order(minute), gate, force=force))
        if self.state != before and before.stage is not Stage.ROLLED_BACK:
            assert gate is OPEN or (gate is SHORT and force)

    @rule(steps=st.integers(1, 3), minute=MINUTES)
    def climb(self, steps: int, minute: int) -> None:
        """One operator who looks each time, so that the top is reached often enough to be tested."""
        for _ in range(steps):
            self.look("one")
            self.give("one", lambda seen: promote(seen, CONFIGURATION, order(minute), OPEN))

    @rule(operator=OPERATORS, minute=MINUTES)
    def pause(self, operator: str, minute: int) -> None:
        before = self.state
        self.give(operator, lambda seen: pause(seen, order(minute)))
        assert self.state.share == before.share

    @rule(operator=OPERATORS, minute=MINUTES)
    def resume(self, operator: str, minute: int) -> None:
        before = self.state
        self.give(operator, lambda seen: resume(seen, order(minute)))
        assert self.state.share == before.share

    @rule(minute=MINUTES, actor=st.sampled_from(["operations", GUARDRAIL]), version=st.none() | st.integers(1, 99))
    def roll_back(self, minute: int, actor: str, version: int | None) -> None:
        """Possible from everywhere, whatever version was expected, and once done nothing more to do."""
        before = self.state
        self.submit(rollback(before, order(minute, actor=actor, expected_version=version)), "one", before)
        assert self.state.stage is Stage.ROLLED_BACK
        assert rollback(self.state, order(minute)) is None

    @rule(operator=OPERATORS, configuration=st.sampled_from([CONFIGURATION, OTHER]))
    def configure(self, operator: str, configuration: RampConfiguration) -> None:
        before = self.state
        self.give(operator, lambda seen: configure(seen, configuration, order()))
        assert self.state.stage == before.stage

    @rule()
    def guardrail_wants_up(self) -> None:
        """No machine promotes, and above all none starts again after a rollback."""
        with pytest.raises(TransitionRefused, match="only a person promotes"):
            promote(self.state, CONFIGURATION, order(actor=GUARDRAIL), OPEN)

    @invariant()
    def full_has_its_predecessors(self) -> None:
        ramp = [stage for stage in self.path if stage.is_on_ramp]
        climbed = [stage for number, stage in enumerate(ramp) if number == 0 or stage != ramp[number - 1]]
        assert tuple(climbed) == RAMP[: len(climbed)]

    @invariant()
    def state_is_consistent(self) -> None:
        state = self.state
        if state.serving_stage in (Stage.SHADOW, Stage.ROLLED_BACK):
            assert state.share == 0.0
        assert RolloutState.from_json(json.loads(json.dumps(state.as_json()))) == state
        assert state.seconds_in_stage(START - timedelta(days=99)) >= 0.0

    @invariant()
    def trail_is_a_chain(self) -> None:
        """Versions grow, time never runs backwards, and each row leads to where the next one starts."""
        for earlier, later in zip(self.trail, self.trail[1:], strict=False):
            assert later.version > earlier.version
            assert later.at >= earlier.at
            assert later.from_stage == earlier.to_stage
        ramps = [row.state.ramp for row in self.trail]
        assert ramps == sorted(ramps)


def test_stages_obey_their_laws() -> None:
    """No sequence of orders breaks a law, and those that were tried reached every stage and a second ramp."""
    Rollout.visited.clear()
    run_state_machine_as_test(Rollout, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
    assert {stage for _, stage in Rollout.visited} == set(Stage)
    assert (2, Stage.LIMITED) in Rollout.visited


def test_ramp_goes_up_step_by_step() -> None:
    """Four stages, each with its share, and then no further."""
    state, shares = started(), []
    for _ in range(3):
        state = promote(state, CONFIGURATION, order(expected_version=state.version), OPEN).state
        shares.append(state.share)
    assert shares == [0.1, 0.5, 1.0]
    with pytest.raises(TransitionRefused, match="cannot promote from full: the challenger serves everything already"):
        promote(state, CONFIGURATION, order(), OPEN)


def test_two_operators_cannot_both_win() -> None:
    """Both saw the same version; the second is told which version it is now."""
    state = started()
    first, second = promote(state, CONFIGURATION, order(), OPEN), pause(state, order())
    after = succeed(state, first)
    with pytest.raises(StaleVersion, match="expected_version must be 2, was 1"):
        succeed(after, second)
    with pytest.raises(StaleVersion) as refused:
        pause(after, order(expected_version=1))
    assert (refused.value.expected, refused.value.actual) == (1, 2)


def test_promotion_without_data_says_what_is_missing() -> None:
    """Every reason of the gate is in the refusal; forcing takes a reason and is on record."""
    with pytest.raises(TransitionRefused, match="cannot promote from shadow: the verdict is HOLD; 99 pairs"):
        promote(started(), CONFIGURATION, order(), SHORT)
    forced = promote(started(), CONFIGURATION, order(reason="go-live is today"), SHORT, force=True)
    assert (forced.is_forced, forced.reason, forced.evidence["reasons"]) == (True, "go-live is today", ["99 pairs"])
    assert not promote(started(), CONFIGURATION, order(), OPEN, force=True).is_forced


@pytest.mark.parametrize("gate", [BREACHED, FIRED])
def test_force_opens_neither_breach_nor_trigger(gate: PromotionGate) -> None:
    """Only lack of data can be forced."""
    with pytest.raises(TransitionRefused, match=f"the verdict is {gate.verdict.value}"):
        promote(started(), CONFIGURATION, order(), gate, force=True)


def test_pause_holds_share_and_stops_the_clock_of_the_stage() -> None:
    """Paused time does not count towards the minimum duration."""
    state = started(Stage.LIMITED)
    paused = pause(state, order(10)).state
    assert (paused.share, paused.serving_stage, paused.seconds_in_stage(at(99))) == (0.1, Stage.LIMITED, 600.0)
    assert paused.assign("a").stage == "limited"
    resumed = resume(paused, order(50)).state
    assert (resumed.stage, resumed.seconds_in_stage(at(55))) == (Stage.LIMITED, 900.0)


def test_pause_and_resume_are_refused_where_they_make_no_sense() -> None:
    """The message says what to do instead."""
    rolled_back = started(Stage.ROLLED_BACK)
    with pytest.raises(TransitionRefused, match="only a stage of the ramp can be paused"):
        pause(rolled_back, order())
    with pytest.raises(TransitionRefused, match="promote it to start again from shadow"):
        resume(rolled_back, order())
    with pytest.raises(TransitionRefused, match="it is not paused"):
        resume(started(), order())
    with pytest.raises(TransitionRefused, match="resume it first"):
        promote(pause(started(), order()).state, CONFIGURATION, order(), OPEN)
    with pytest.raises(TransitionRefused, match="begins on the ramp or rolled back"):
        started(Stage.PAUSED)


def test_new_start_after_a_rollback_is_the_next_ramp_from_shadow() -> None:
    """Whatever the stage was, everything has to be shown again."""
    rolled_back = rollback(started(Stage.FULL), order(actor=GUARDRAIL))
    assert rolled_back is not None
    again = promote(rolled_back.state, CONFIGURATION, order(), FIRED)
    assert (again.to_stage, again.state.ramp, again.state.share) == (Stage.SHADOW, 2, 0.0)


def test_clock_that_steps_back_is_explained() -> None:
    """The trail keeps its order, and the row says by how much the clock was behind."""
    later = pause(started(), order(60)).state
    row = resume(later, order(20))
    assert row.at == later.changed_at
    assert row.evidence == {"clock_stepped_back_seconds": 2400.0}
    assert row.state.seconds_in_stage(at(20)) == 3600.0


def test_configuration_change_is_a_transition() -> None:
    """Another share under the same stage is on record with both hashes; the same configuration is nothing."""
    state = started(Stage.LIMITED)
    row = configure(state, OTHER, order())
    assert row is not None
    assert (row.state.share, row.state.stage, row.configuration_hash) == (0.2, Stage.LIMITED, OTHER.hash)
    assert configure(row.state, OTHER, order()) is None
    paused = configure(pause(state, order()).state, OTHER, order())
    assert paused is not None
    assert (paused.state.share, paused.state.stage) == (0.2, Stage.PAUSED)


def test_activation_keeps_the_stage_when_asked_to() -> None:
    """Other arms are another experiment, so the ramp is the next one; the stage may stay."""
    state = started(Stage.LIMITED)
    arms = {"challenger": "full_production@4", "champion": "full_production@3"}
    row = activate(state, CONFIGURATION, order(), **arms, keep_stage=True)
    assert row is not None
    assert (row.state.challenger, row.state.champion) == ("full_production@4", "full_production@3")
    assert (row.state.stage, row.state.share, row.state.stage_since) == (state.stage, state.share, state.stage_since)
    assert (row.state.ramp, row.is_forced) == (state.ramp + 1, True)
    assert row.evidence["before"] == {"challenger": "full_production@3", "champion": "manual"}
    assert activate(row.state, CONFIGURATION, order(), challenger="full_production@4") is None


@pytest.mark.parametrize(("stage", "champion"), [(Stage.LIMITED, "manual"), (Stage.FULL, "full_production@3")])
def test_activation_begins_in_shadow(stage: Stage, champion: str) -> None:
    """Nothing of the new challenger is served at first; from full the one so far serves on, as the champion."""
    row = activate(started(stage), CONFIGURATION, order(), challenger="full_production@4")
    assert row is not None
    assert (row.state.stage, row.state.share, row.state.ramp) == (Stage.SHADOW, 0.0, 2)
    assert (row.state.challenger, row.state.champion) == ("full_production@4", champion)


def test_assignment_of_a_state_recomputes() -> None:
    """Seed, share and stage of the state go into the assignment."""
    found = begin(CONFIGURATION, stage=Stage.EXPANDED, seed="seed", challenger="m", order=order()).state.assign("a")
    assert (found.arm, found.bucket, found.seed, found.share, found.stage) == (
        ArmRole.PPO,
        0.0505,
        "seed",
        0.5,
        "expanded",
    )


def test_state_is_compact() -> None:
    """What travels five times a second is less than half a kilobyte."""
    assert len(json.dumps(started().as_json(), separators=(",", ":"))) < 512


def test_transitions_survive_json() -> None:
    """A row that was written is the row that is read; half a row is not read."""
    row = promote(started(), CONFIGURATION, order(evidence={"ticket": 7}), SHORT, force=True)
    stored = json.loads(json.dumps(row.as_json()))
    assert Transition.from_json(stored) == row
    assert stored["from"] == "shadow"
    assert stored["to"] == "limited"
    for damage in ({"stage": "canary"}, {"share": 2.0}, {"version": None}):
        with pytest.raises(UnreadableState, match="cannot be read"):
            Transition.from_json(stored | {"state": stored["state"] | damage})
    with pytest.raises(UnreadableState, match="transition cannot be read"):
        Transition.from_json({})


@pytest.mark.parametrize("blank", ["", "  "])
def test_order_needs_actor_and_reason(blank: str) -> None:
    """Nobody changes the stage anonymously or without saying why."""
    with pytest.raises(ValueError, match="an order must have an actor and a reason"):
        order(reason=blank)
    with pytest.raises(ValueError, match="an order must have an actor and a reason"):
        order(actor=blank)


def held(stage: Stage = Stage.LIMITED, *strata: str) -> RolloutState:
    transition = hold_back(started(stage), strata or ("plant b",), order())
    assert transition is not None
    return transition.state


def test_lists_that_are_held_back_stay_on_the_champion_and_recompute() -> None:
    """Whatever their windows' buckets, and nobody else's arm changes; the share that is written explains the arm."""
    before, after = started(Stage.EXPANDED), held(Stage.EXPANDED)
    units = [f"unit {number}" for number in range(200)]
    assert {after.assign(unit, ("plant b", "lists with setups")).arm for unit in units} == {ArmRole.MANUAL}
    assert [after.assign(unit, ("plant a",)) for unit in units] == [before.assign(unit) for unit in units]
    assert after.assign("unit 1", ("plant b",)).share == 0.0
    assert (after.version, after.stage, after.share) == (before.version + 1, before.stage, before.share)


def test_what_is_held_back_adds_up_until_the_next_ramp() -> None:
    """Once each; the stages between keep it, and a new experiment begins without."""
    more = hold_back(held(), ("plant a", "plant b"), order())
    assert more is not None
    state = more.state
    assert state.held_back == ("plant a", "plant b")
    assert hold_back(state, ("plant b",), order()) is None
    promoted = promote(state, CONFIGURATION, order(), OPEN).state
    assert promoted.held_back == state.held_back
    back = rollback(promoted, order())
    assert back is not None
    assert hold_back(back.state, ("plant c",), order()) is None
    assert promote(back.state, CONFIGURATION, order(), OPEN).state.held_back == ()
    other = activate(promoted, CONFIGURATION, order(), challenger="other@1", champion="manual")
    assert other is not None
    assert other.state.held_back == ()
    with pytest.raises(StaleVersion):
        hold_back(state, ("plant c",), order(expected_version=state.version - 1))


def test_state_says_what_is_held_back_and_is_as_before_without() -> None:
    """Earlier versions read a state in which nothing is."""
    assert RolloutState.from_json(json.loads(json.dumps(held().as_json()))) == held()
    document = started().as_json()
    assert "held_back" not in document
    assert RolloutState.from_json(document) == started()


def test_arm_that_is_worse_somewhere_becomes_champion_by_name_alone() -> None:
    """Its held-back lists would be its own from then on."""
    full = held(Stage.FULL)
    with pytest.raises(TransitionRefused, match="was shown to be worse in plant b"):
        activate(full, CONFIGURATION, order(), challenger="other@1")
    named = activate(full, CONFIGURATION, order(), challenger="other@1", champion=full.challenger)
    assert named is not None
    assert (named.state.champion, named.state.held_back) == (full.challenger, ())
