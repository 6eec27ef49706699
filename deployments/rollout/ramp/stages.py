"""Every way from one stage of the rollout to the next: pure functions of state, order and evidence.

shadow -> limited -> expanded -> full; `pause` and `resume` from and to each of them; `rollback` from everywhere,
without conditions; after it only a person starts again, from shadow, as the next ramp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from deployments.errors import StaleVersion, TransitionRefused
from deployments.rollout.ramp.gate import GateVerdict, PromotionGate
from deployments.rollout.ramp.state import (
    MANUAL,
    RAMP,
    Action,
    Order,
    RampConfiguration,
    RolloutState,
    Stage,
    Transition,
)


def begin(
    configuration: RampConfiguration,
    *,
    stage: Stage,
    seed: str,
    challenger: str,
    order: Order,
    champion: str = MANUAL,
    version: int = 1,
    ramp: int = 1,
) -> Transition:
    """The first transition of a new database, to `stage` of the ramp or to `rolled_back`. Raises `TransitionRefused`.

    Where latches are found without any state, begin rolled back, at their highest ramp and above their highest
    version: then the next ramp clears them.
    """
    if stage is Stage.PAUSED:
        raise TransitionRefused(Action.BEGIN, stage.value, ("a rollout begins on the ramp or rolled back",))
    state = RolloutState(
        version=version,
        ramp=ramp,
        stage=stage,
        share=configuration.step(stage).share if stage.is_on_ramp else 0.0,
        seed=seed,
        challenger=challenger,
        champion=champion,
        configuration_hash=configuration.hash,
        changed_at=order.at,
        stage_since=order.at,
    )
    return Transition(
        action=Action.BEGIN,
        from_stage=None,
        state=state,
        actor=order.actor,
        reason=order.reason,
        evidence=order.evidence,
    )


def promote(
    state: RolloutState, configuration: RampConfiguration, order: Order, gate: PromotionGate, *, force: bool = False
) -> Transition:
    """One stage up the ramp; from `rolled_back`, the next ramp from shadow, which only a person may order.

    `force` promotes although data is missing; it opens neither a breach nor a trigger. Raises `StaleVersion`
    and `TransitionRefused` with everything that is missing.
    """
    _compare(state, order)
    if not order.is_of_a_person:
        raise TransitionRefused(Action.PROMOTE, state.stage.value, ("only a person promotes",))
    if state.stage is Stage.ROLLED_BACK:
        return _ramp_again(state, configuration, order)
    if state.stage in (Stage.FULL, Stage.PAUSED):
        hint = "resume it first" if state.stage is Stage.PAUSED else "the challenger serves everything already"
        raise TransitionRefused(Action.PROMOTE, state.stage.value, (hint,))
    is_open = gate.verdict is GateVerdict.PROMOTE
    if not is_open and not (force and gate.can_be_forced):
        raise TransitionRefused(
            Action.PROMOTE, state.stage.value, (f"the verdict is {gate.verdict.value}", *gate.texts)
        )
    target = RAMP[RAMP.index(state.stage) + 1]
    changes = {"stage": target, "share": configuration.step(target).share, "configuration_hash": configuration.hash}
    return _transition(state, Action.PROMOTE, order, gate.as_json(), changes, is_forced=not is_open)


def pause(state: RolloutState, order: Order) -> Transition:
    """The share stays, promotion is blocked. Raises `StaleVersion` and `TransitionRefused`."""
    _compare(state, order)
    if not state.stage.is_on_ramp:
        raise TransitionRefused(Action.PAUSE, state.stage.value, ("only a stage of the ramp can be paused",))
    changes = {
        "stage": Stage.PAUSED,
        "held_stage": state.stage,
        "stage_seconds": state.seconds_in_stage(order.at),
    }
    return _transition(state, Action.PAUSE, order, {}, changes)


def resume(state: RolloutState, order: Order) -> Transition:
    """Back to the stage that was held. Raises `StaleVersion` and `TransitionRefused`."""
    _compare(state, order)
    if state.stage is not Stage.PAUSED:
        hint = "promote it to start again from shadow" if state.stage is Stage.ROLLED_BACK else "it is not paused"
        raise TransitionRefused(Action.RESUME, state.stage.value, (hint,))
    changes = {"stage": state.held_stage, "stage_seconds": state.stage_seconds}
    return _transition(state, Action.RESUME, order, {}, changes)


def rollback(state: RolloutState, order: Order, *, seen_version: int = 0, seen_ramp: int = 0) -> Transition | None:
    """To `rolled_back` from everywhere; None when it is there already. `expected_version` is ignored.

    `seen_version` and `seen_ramp` are the highest that anybody is known to have held, which after a loss of data
    may be more than `state` has: the new version lies above, and the next ramp is later than all of them.
    """
    is_known = state.ramp >= seen_ramp and state.version >= seen_version
    if state.stage is Stage.ROLLED_BACK and is_known:
        return None
    changes = {"stage": Stage.ROLLED_BACK, "share": 0.0, "ramp": max(state.ramp, seen_ramp)}
    return _transition(state, Action.ROLLBACK, order, {}, changes, seen_version=seen_version)


def configure(state: RolloutState, configuration: RampConfiguration, order: Order) -> Transition | None:
    """The ramp's numbers have changed; None when they have not. The stage stays, its share is the new one."""
    _compare(state, order)
    if state.configuration_hash == configuration.hash:
        return None
    serving = state.serving_stage
    share = configuration.step(serving).share if serving.is_on_ramp else 0.0
    changes = {"share": share, "configuration_hash": configuration.hash}
    return _transition(state, Action.CONFIGURE, order, {}, changes)


def activate(
    state: RolloutState,
    configuration: RampConfiguration,
    order: Order,
    *,
    challenger: str,
    champion: str | None = None,
    keep_stage: bool = False,
) -> Transition | None:
    """Other arms from now on; None when they are these already. Raises `StaleVersion`.

    Another pair of arms is another experiment, so it begins the next ramp in shadow, or in the present stage with
    `keep_stage`. Without a `champion` the present one stays; from `full` it is the challenger so far, so that a
    plant that trusts its policy does not go back to the rule for the sake of the next one. Where that is worse in lists
    that are held back, who is to serve those is a person's decision: `TransitionRefused` without a `champion`.
    """
    _compare(state, order)
    kept = state.challenger if state.stage is Stage.FULL and not keep_stage else state.champion
    if challenger == state.challenger and champion in (None, state.champion):
        return None
    if champion is None and kept == state.challenger and state.held_back:
        hint = f"{kept} was shown to be worse in {', '.join(state.held_back)}: say who is the champion from now on"
        raise TransitionRefused(Action.ACTIVATE, state.stage.value, (hint,))
    arms = {"challenger": challenger, "champion": kept if champion is None else champion}
    shadow = {"stage": Stage.SHADOW, "share": configuration.shadow.share, "configuration_hash": configuration.hash}
    changes = arms | {"ramp": state.ramp + 1, "held_back": ()} | ({} if keep_stage else shadow)
    evidence = {"before": {"challenger": state.challenger, "champion": state.champion}}
    return _transition(state, Action.ACTIVATE, order, evidence, changes, is_forced=keep_stage)


def hold_back(state: RolloutState, strata: Iterable[str], order: Order) -> Transition | None:
    """Lists of the kinds `strata` stay on the champion until the next ramp; None where they do, or nothing is served.

    The stage and its share are those of all other lists. Raises `StaleVersion`.
    """
    _compare(state, order)
    held = tuple(sorted({*state.held_back, *strata}))
    if held == state.held_back or not state.serving_stage.is_on_ramp:
        return None
    return _transition(state, Action.HOLD_BACK, order, {}, {"held_back": held})


def succeed(current: RolloutState | None, transition: Transition) -> RolloutState:
    """The state after `transition`, if it was made for `current`: compare-and-set. Raises `StaleVersion`."""
    version = 0 if current is None else current.version
    is_next = transition.version == version + 1
    if is_next or (transition.action is Action.ROLLBACK and transition.version > version):
        return transition.state
    raise StaleVersion(transition.version - 1, version)


def since_same_arms(transitions: Sequence[Transition]) -> tuple[Transition, ...]:
    """The latest of them, without a gap, that have the arms of the last one; empty when there are none."""
    arms = None if not transitions else (transitions[-1].state.challenger, transitions[-1].state.champion)
    same = takewhile(lambda each: (each.state.challenger, each.state.champion) == arms, reversed(transitions))
    return tuple(reversed(list(same)))


def _ramp_again(state: RolloutState, configuration: RampConfiguration, order: Order) -> Transition:
    changes = {
        "ramp": state.ramp + 1,
        "stage": Stage.SHADOW,
        "share": configuration.shadow.share,
        "configuration_hash": configuration.hash,
        "held_back": (),
    }
    return _transition(state, Action.RAMP_AGAIN, order, {}, changes)


def _compare(state: RolloutState, order: Order) -> None:
    if order.expected_version is not None and order.expected_version != state.version:
        raise StaleVersion(order.expected_version, state.version)


def _transition(
    state: RolloutState,
    action: Action,
    order: Order,
    evidence: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    is_forced: bool = False,
    seen_version: int = 0,
) -> Transition:
    """`state` with `changes`, one version on. The trail never runs backwards, even if the clock did."""
    at = max(order.at, state.changed_at)
    behind_seconds = (at - order.at).total_seconds()
    clock = {"clock_stepped_back_seconds": behind_seconds} if behind_seconds > 0.0 else {}
    moved: dict[str, Any] = {"version": max(state.version, seen_version) + 1, "changed_at": at}
    if "stage" in changes:
        moved |= {"held_stage": None, "stage_since": at, "stage_seconds": 0.0}
    return Transition(
        action=action,
        from_stage=state.stage,
        state=replace(state, **(moved | dict(changes))),
        actor=order.actor,
        reason=order.reason,
        evidence={**order.evidence, **evidence, **clock},
        is_forced=is_forced,
    )
