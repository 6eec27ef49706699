"""Who may serve, as one router knows it at one moment: the rollout's state applied to one request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from deployments.rollout.analysis.guardrails import Event
from deployments.rollout.assignment import ArmRole, PlanningWindow, UnitAssignment, assign
from deployments.rollout.ramp.state import MANUAL, RolloutState, Stage

if TYPE_CHECKING:
    # The rollout's controller knows policies by name, and can do without the compiled core that loads them.
    from deployments.rollout.model_registry import Artefact

PUBLISHED = "published"
"""The challenger that is whatever policy the service was started with."""
UNKNOWN_STAGE = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm as it is asked and named: the planner's rule, or a policy (`artefact` None: the published one)."""

    name: str
    role: ArmRole
    is_rule: bool = False
    artefact: Artefact | None = None

    @property
    def search_threads(self) -> int | None:
        """One where another policy is its rival; None: as many as the search likes. The same served and in shadow.

        Two policies are compared at equal effort. A rule makes none, and the planners' one rival has the name `ppo`.
        """
        return None if self.is_rule or self.name == ArmRole.PPO.value else 1

    @property
    def algorithm(self) -> ArmRole:
        """What `algorithm_used` says when it serves."""
        return ArmRole.MANUAL if self.is_rule else ArmRole.PPO


RULE = Arm(name=ArmRole.MANUAL.value, role=ArmRole.MANUAL, is_rule=True)
PUBLISHED_POLICY = Arm(name=ArmRole.PPO.value, role=ArmRole.PPO)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAssignment:
    """The arm of one request with all that it was derived from; `version` and `ramp` are 0 without any state."""

    assignment: UnitAssignment
    arm: Arm
    rival: Arm
    version: int
    ramp: int
    is_forced: bool = False

    @property
    def by_hash(self) -> ArmRole:
        """The arm that the unit was given, whatever the request asked for."""
        return ArmRole.PPO if self.assignment.bucket < self.assignment.share else ArmRole.MANUAL

    @property
    def order(self) -> tuple[Arm, ...]:
        """Who is asked, one after the other: the assigned arm, the champion, and the rule behind all."""
        champion = (self.rival,) if self.arm.role is ArmRole.PPO and not self.is_forced else ()
        return tuple(dict.fromkeys((self.arm, *champion, RULE)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSplit:
    """The state in force (None: none that is fresh, so the rule serves) and the two arms that it names."""

    state: RolloutState | None
    seed: str
    challenger: Arm = PUBLISHED_POLICY
    champion: Arm = RULE

    @property
    def stage(self) -> str:
        """Where the rollout stands."""
        return UNKNOWN_STAGE if self.state is None else self.state.stage.value

    @property
    def is_comparing(self) -> bool:
        """Whether the arm that did not serve is computed too."""
        return self.state is not None and self.state.stage is not Stage.ROLLED_BACK

    def assign(self, unit: PlanningWindow | str, strata: Iterable[str] = ()) -> ArmAssignment:
        """The arm of a planning window, or of a unit that the client chose, for a list of the kinds `strata`."""
        if self.state is None:
            assignment = assign(unit, seed=self.seed, share=0.0, stage=UNKNOWN_STAGE)
            return ArmAssignment(assignment=assignment, arm=RULE, rival=self.challenger, version=0, ramp=0)
        assignment = self.state.assign(unit, strata)
        is_challenger = assignment.arm is ArmRole.PPO
        # After a rollback nothing learned serves, whoever the champion was.
        champion = RULE if self.state.stage is Stage.ROLLED_BACK else self.champion
        return ArmAssignment(
            assignment=assignment,
            arm=self.challenger if is_challenger else champion,
            rival=champion if is_challenger else self.challenger,
            version=self.state.version,
            ramp=self.state.ramp,
        )

    def force(self, unit: PlanningWindow | str, arm: Arm, strata: Iterable[str] = ()) -> ArmAssignment:
        """The arm that the request asked for, beside what it would have got."""
        by_hash = self.assign(unit, strata)
        assignment = replace(by_hash.assignment, arm=arm.role)
        return replace(by_hash, assignment=assignment, arm=arm, is_forced=True)

    def permits(self, assigned: ArmAssignment, served: Arm) -> bool:
        """Whether `served` may still serve what was `assigned` a moment ago. A forced arm was asked for by name."""
        if served.is_rule or assigned.is_forced:
            return True
        if self.state is None or self.state.stage is Stage.ROLLED_BACK:
            return False
        return served.role is ArmRole.MANUAL or assigned.assignment.bucket < self.state.share


class Rollout(Protocol):
    """The rollout as a router meets it."""

    def traffic_split(self) -> TrafficSplit:
        """What is in force now."""
        ...

    def observe(self, event: Event) -> None:
        """Take note of what an arm did; never waits, never raises."""
        ...


def traffic_split_of(state: RolloutState | None, seed: str, find: Callable[[str], Artefact | None]) -> TrafficSplit:
    """The split under `state`. A model that `find` does not know cannot serve: the rule does."""
    if state is None:
        return TrafficSplit(state=None, seed=seed)
    champion = RULE if state.champion == MANUAL else _policy(state.champion, ArmRole.MANUAL, state.champion, find)
    is_duel = champion is not RULE
    challenger = _policy(state.challenger, ArmRole.PPO, state.challenger if is_duel else ArmRole.PPO.value, find)
    if challenger is None or champion is None:
        return TrafficSplit(state=None, seed=seed)
    return TrafficSplit(state=state, seed=seed, challenger=challenger, champion=champion)


def _policy(model: str, role: ArmRole, name: str, find: Callable[[str], Artefact | None]) -> Arm | None:
    if model == PUBLISHED:
        return Arm(name=name, role=role)
    artefact = find(model)
    return None if artefact is None else Arm(name=name, role=role, artefact=artefact)
