"""Who may serve, as one router knows it at one moment: the rollout's state applied to one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from deployments.rollout.assignment import Arm, Assignment, PlanningWindow, assign
from deployments.rollout.configuration import Stage
from deployments.rollout.guardrails import Event
from deployments.rollout.state import MANUAL, RolloutState

if TYPE_CHECKING:
    # The rollout's controller knows policies by name, and can do without the compiled core that loads them.
    from deployments.registry import Artefact

PUBLISHED = "published"
"""The challenger that is whatever policy the service was started with."""
UNKNOWN_STAGE = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One arm as it is asked and named: the planner's rule, or a policy (`artefact` None: the published one)."""

    name: str
    role: Arm
    is_rule: bool = False
    artefact: Artefact | None = None

    @property
    def algorithm(self) -> Arm:
        """What `algorithm_used` says when it serves."""
        return Arm.MANUAL if self.is_rule else Arm.PPO


RULE = Contender(name=Arm.MANUAL.value, role=Arm.MANUAL, is_rule=True)
PUBLISHED_POLICY = Contender(name=Arm.PPO.value, role=Arm.PPO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The arm of one request with all that it was derived from; `version` and `ramp` are 0 without any state."""

    assignment: Assignment
    contender: Contender
    rival: Contender
    version: int
    ramp: int
    is_forced: bool = False

    @property
    def order(self) -> tuple[Contender, ...]:
        """Who is asked, one after the other: the assigned arm, the champion, and the rule behind all."""
        champion = (self.rival,) if self.contender.role is Arm.PPO and not self.is_forced else ()
        return tuple(dict.fromkeys((self.contender, *champion, RULE)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The state in force (None: none that is fresh, so the rule serves) and the two arms that it names."""

    state: RolloutState | None
    seed: str
    challenger: Contender = PUBLISHED_POLICY
    champion: Contender = RULE

    @property
    def stage(self) -> str:
        """Where the rollout stands."""
        return UNKNOWN_STAGE if self.state is None else self.state.stage.value

    @property
    def is_comparing(self) -> bool:
        """Whether the arm that did not serve is computed too."""
        return self.state is not None and self.state.stage is not Stage.ROLLED_BACK

    def assign(self, unit: PlanningWindow | str) -> Assigned:
        """The arm of a planning window, or of a unit that the client chose."""
        if self.state is None:
            assignment = assign(unit, seed=self.seed, share=0.0, stage=UNKNOWN_STAGE)
            return Assigned(assignment=assignment, contender=RULE, rival=self.challenger, version=0, ramp=0)
        assignment = self.state.assign(unit)
        is_challenger = assignment.arm is Arm.PPO
        # After a rollback nothing learned serves, whoever the champion was.
        champion = RULE if self.state.stage is Stage.ROLLED_BACK else self.champion
        return Assigned(
            assignment=assignment,
            contender=self.challenger if is_challenger else champion,
            rival=champion if is_challenger else self.challenger,
            version=self.state.version,
            ramp=self.state.ramp,
        )

    def force(self, unit: PlanningWindow | str, contender: Contender) -> Assigned:
        """The arm that the request asked for, beside what it would have got."""
        by_hash = self.assign(unit)
        assignment = replace(by_hash.assignment, arm=contender.role)
        return replace(by_hash, assignment=assignment, contender=contender, is_forced=True)

    def permits(self, assigned: Assigned, served: Contender) -> bool:
        """Whether `served` may still serve what was `assigned` a moment ago. A forced arm was asked for by name."""
        if served.is_rule or assigned.is_forced:
            return True
        if self.state is None or self.state.stage is Stage.ROLLED_BACK:
            return False
        return served.role is Arm.MANUAL or assigned.assignment.bucket < self.state.share


class Rollout(Protocol):
    """The rollout as a router meets it."""

    def standing(self) -> Standing:
        """What is in force now."""
        ...

    def observe(self, event: Event) -> None:
        """Take note of what an arm did; never waits, never raises."""
        ...


class FixedRollout:
    """A rollout that never changes: for whoever has no controller."""

    def __init__(self, standing: Standing, *, on_event: Callable[[Event], None] = lambda _: None) -> None:
        self._standing = standing
        self._on_event = on_event

    def standing(self) -> Standing:
        return self._standing

    def observe(self, event: Event) -> None:
        self._on_event(event)


def fixed_standing(share: float, seed: str) -> Standing:
    """The standing while `share` of the units go to the published policy and nothing ever changes."""
    stage = Stage.FULL if share == 1.0 else Stage.EXPANDED if share else Stage.SHADOW
    epoch = datetime.fromtimestamp(0, UTC)
    state = RolloutState(
        version=1,
        ramp=1,
        stage=stage,
        share=share,
        seed=seed,
        challenger=PUBLISHED,
        champion=MANUAL,
        configuration_hash="",
        changed_at=epoch,
        stage_since=epoch,
    )
    return Standing(state=state, seed=seed)


def standing_of(state: RolloutState | None, seed: str, find: Callable[[str], Artefact | None]) -> Standing:
    """The standing under `state`. A model that `find` does not know cannot serve: the rule does."""
    if state is None:
        return Standing(state=None, seed=seed)
    champion = RULE if state.champion == MANUAL else _policy(state.champion, Arm.MANUAL, state.champion, find)
    is_duel = champion is not RULE
    challenger = _policy(state.challenger, Arm.PPO, state.challenger if is_duel else Arm.PPO.value, find)
    if challenger is None or champion is None:
        return Standing(state=None, seed=seed)
    return Standing(state=state, seed=seed, challenger=challenger, champion=champion)


def _policy(model: str, role: Arm, name: str, find: Callable[[str], Artefact | None]) -> Contender | None:
    if model == PUBLISHED:
        return Contender(name=name, role=role)
    artefact = find(model)
    return None if artefact is None else Contender(name=name, role=role, artefact=artefact)
