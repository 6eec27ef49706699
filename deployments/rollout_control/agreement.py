"""How a controller and the database come to one truth: when it starts, and several times a second from then on.

The database is the truth. What raises anything is stored there before it is in force here; a rollback is in force
here at once, and stored as soon as the database answers, above whatever others have decided meanwhile. Nothing
that was decided twice is dropped without a word: it is logged, is an incident, and an alarm until the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from deployments.errors import RolloutUnavailable, StaleVersion, UnreadableState
from deployments.persistence.decisions.records import RolloutLease
from deployments.persistence.errors import DatabaseError
from deployments.rollout.analysis.guardrails import ComparisonEvent
from deployments.rollout.ramp.latch import Reconciliation, base_of, reconcile
from deployments.rollout.ramp.stages import begin, configure, rollback
from deployments.rollout.ramp.state import Order, RampConfiguration, RolloutState, Stage, Transition
from deployments.rollout_control.ramp_statistics import RampStatistics
from deployments.rollout_control.transition_log import TransitionLog

CONFIGURATION = "configuration"
SYSTEM = "system"
CONFLICT = "conflicting version"
MAX_ORDER_SECONDS = 2.0
"""How long an order may wait for the database before its own row is written; with that it is answered in time."""
_MAX_ROUNDS = 4
_MAX_ALARMS = 5
_RETRY_SECONDS = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """A policy as rows name it, and its hash: the same for the same policy, whatever it is called."""

    model_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """How a controller begins, and what it watches for."""

    configuration: RampConfiguration
    initial_stage: Stage
    seed: str
    challenger: str
    is_dry_run: bool = False
    sampled_share: float = 1.0
    """Of the requests, 0 to 1, that are compared."""
    identify: Callable[[str], ModelIdentity | None] = lambda name: ModelIdentity(model_id=name, sha256=name)
    """Which policy a name of the state means; None while that cannot be told. It may block, in whichever thread."""


class StoredRollout(Protocol):
    """The database, as far as the controller speaks with it: `DatabaseSync`."""

    owner_id: str
    lease: RolloutLease | None
    failure: str | None

    @property
    def token(self) -> int | None:
        """That under which this controller owns the rollout; None where it does not, or the database did not answer."""
        ...

    @property
    def is_owner(self) -> bool:
        """Whether this controller may change the rollout, and the database answered."""
        ...

    @property
    def is_follower(self) -> bool:
        """Whether somebody else owns the rollout."""
        ...

    async def meet(self, version: int | None) -> tuple[Transition, ...]:
        """The transitions from `version` on, or the newest. Raises `DatabaseError` or `UnreadableState`."""
        ...

    async def append(self, transition: Transition, expected_version: int) -> bool:
        """Whether it is stored now. Raises `DatabaseError`."""
        ...

    async def compared(
        self,
        until: datetime,
        *,
        challenger: str,
        champion: str,
        is_same: Callable[[RolloutState], bool],
        seed: str,
        sampled_share: float,
    ) -> tuple[tuple[Transition, ...], list[ComparisonEvent]]:
        """All transitions, and what was stored of these two models in the ramps whose arms `is_same` recognises.

        `is_same` may block, and is called in a thread; `seed` and `sampled_share` are those of the split and of what is
        compared.

        Raises `DatabaseError` or `UnreadableState`.
        """
        ...


class DatabaseAgreement:
    """Speaks with the database under a lock of its own, so that nobody who needs `lock` ever waits for it.

    `lock` is that of the transition log; `on_change` is called under it, whenever the state may be another one.
    """

    def __init__(
        self,
        settings: ControlSettings,
        transition_log: TransitionLog,
        database: StoredRollout,
        *,
        lock: asyncio.Lock,
        clock: Callable[[], datetime],
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._transition_log = transition_log
        self._database = database
        self._lock = lock
        self._clock = clock
        self._on_change = on_change
        self._conversation = asyncio.Lock()
        self._damage: str | None = None
        self._unreadable: str | None = None
        self._in_doubt: Transition | None = None
        self._conflicts: dict[tuple[int, int], str] = {}

    @property
    def alarms(self) -> tuple[str, ...]:
        """What a person must look at, in words that tell no stranger a secret."""
        failure = self._database.failure
        waits = () if failure is None else (f"the rollout's lease cannot be had, so nothing is promoted: {failure}",)
        unreadable = () if self._unreadable is None else (self._unreadable,)
        return (*waits, *unreadable, *self._conflicts.values())

    def known(self) -> RolloutState:
        """The state that is in force. Raises `RolloutUnavailable` while there is none."""
        if self._transition_log.state is None:
            raise RolloutUnavailable("the stage is not known: the database does not answer", _RETRY_SECONDS)
        return self._transition_log.state

    async def read_journal(self) -> RampStatistics:
        """What this controller knew when it died is in force again; its statistics."""
        limits = self._settings.configuration.limits
        try:
            remembered = await self._transition_log.read()
            statistics = RampStatistics(ramp=0, limits=limits)
            if remembered.statistics is not None:
                statistics = RampStatistics.restored(remembered.statistics, limits=limits)
        except UnreadableState as error:
            _log.error("the controller's journal is set aside: %s", error)
            await self._transition_log.set_aside()
            self._damage = f"the controller's journal cannot be read: {error}"
            return RampStatistics(ramp=0, limits=limits)
        if remembered.transitions:
            self._transition_log.state = remembered.transitions[-1].state
        # Passed on again, because whoever listens may have missed them when the last controller died.
        for transition in remembered.decided:
            self._transition_log.tell(transition)
        for incident in remembered.incidents:
            self._transition_log.tell(incident)
        return statistics

    async def meet(self) -> None:
        """Takes what others have decided, and stores what was decided here, as far as the database answers."""
        async with self._conversation:
            await self._meet()

    async def decide(self, make: Callable[[RolloutState], Transition | None]) -> RolloutState:
        """Stores the transition that `make` makes of the newest state, and then puts it in force; the state after it.

        Raises `RolloutUnavailable`, `StaleVersion`, and whatever `make` raises. Nothing is stored for an order that the
        database was too slow for: whoever gave it may have been told by then that it came to nothing.
        """
        deadline = asyncio.get_running_loop().time() + MAX_ORDER_SECONDS
        async with self._conversation:
            await self._meet()
            async with self._lock:
                state = self.known()
                transition = make(state)
            if asyncio.get_running_loop().time() > deadline:
                raise RolloutUnavailable("the database is too slow for orders: nothing was changed", _RETRY_SECONDS)
            if transition is not None:
                await self._store_and_commit(transition, state)
            return self.known()

    async def _meet(self) -> None:
        for _ in range(_MAX_ROUNDS):
            if not await self._go_round():
                return

    async def _go_round(self) -> bool:
        """Whether the database should be asked again at once."""
        base = base_of(self._transition_log.transitions)
        try:
            stored = await self._database.meet(None if base is None else base.version)
        except DatabaseError:
            return False
        except UnreadableState as error:
            await self._stop_for(error)
            return False
        async with self._lock:
            self._unreadable = None
            found = reconcile(self._transition_log.transitions, stored)
            await self._follow(found)
        try:
            if found.missing and not await self._store(found.missing, stored[-1].version if stored else 0):
                return True
            if found.conflict is None and self._database.is_owner:
                await self._begin_or_configure(is_new=not stored)
        except (DatabaseError, RolloutUnavailable, StaleVersion) as error:
            _log.warning("the rollout waits for the database: %s", error)
            return False
        return found.rolls_back

    async def _stop_for(self, error: UnreadableState) -> None:
        """A state that this program does not understand is not guessed at: nobody knows the stage, so manual serves."""
        if self._unreadable is None:
            _log.error("the database's newest state cannot be read, so manual serves: %s", error)
        self._unreadable = "the rollout's newest state in the database cannot be read, so manual serves"
        async with self._lock:
            self._transition_log.state = None

    async def _follow(self, found: Reconciliation) -> None:
        transition_log = self._transition_log
        if found.conflict is not None:
            await self._note(found, *found.conflict)
        if found.is_foreign:
            transition_log.state = None
            return
        for transition in found.adopted:
            await transition_log.adopt(transition)
            if self._in_doubt is not None and self._in_doubt.state == transition.state:
                # It was stored, although nobody could say so when it was ordered.
                transition_log.tell(transition)
            self._in_doubt = None
        if transition_log.state is None and transition_log.transitions:
            transition_log.state = transition_log.transitions[-1].state
        if found.rolls_back and found.conflict is not None:
            await self._roll_back_above(*found.conflict)
        if self._damage is not None and transition_log.state is not None:
            order, self._damage = self._order(SYSTEM, self._damage), None
            await self._commit_if_any(rollback(transition_log.state, order))
        await self._on_change()

    async def _note(self, found: Reconciliation, ours: Transition, theirs: Transition) -> None:
        if (ours.version, theirs.version) in self._conflicts:
            return
        said = f"version {ours.version} of this service ({ours.to_stage.value}) was never in the database"
        there = f"which holds version {theirs.version} ({theirs.to_stage.value})"
        action = "the database's is in force"
        if found.rolls_back:
            action = "rolled back above both"
        if found.is_foreign:
            action = "manual serves: the journal is of another rollout, move it away and start anew"
        _log.error("%s by %s, %s by %s: %s", said, ours.actor, there, theirs.actor, action)
        while len(self._conflicts) >= _MAX_ALARMS:
            self._conflicts.pop(next(iter(self._conflicts)))
        self._conflicts[ours.version, theirs.version] = f"{said}, {there}: {action}"
        evidence = {"own": ours.as_json(), "database": theirs.as_json()}
        await self._transition_log.open_incident(CONFLICT, theirs.state, action, evidence)

    async def _roll_back_above(self, ours: Transition, theirs: Transition) -> None:
        """The rollback of this service once more, with a version above all that anybody has seen."""
        evidence: dict[str, Any] = {"conflict": [ours.version, theirs.version]}
        if ours.to_stage is Stage.ROLLED_BACK:
            order = Order(actor=ours.actor, reason=ours.reason, at=self._clock(), evidence=evidence)
        else:
            order = self._order(SYSTEM, "two sources disagree about the newest version", evidence)
        transition = rollback(theirs.state, order, seen_version=ours.version, seen_ramp=ours.state.ramp)
        await self._commit_if_any(transition)

    async def _store(self, missing: Sequence[Transition], newest_version: int) -> bool:
        """Whether all that may be stored is; a follower stores the rollback that is in force here, and nothing else."""
        if not self._database.is_owner:
            missing = [each for each in missing[-1:] if each.to_stage is Stage.ROLLED_BACK]
        for transition in missing:
            if not await self._database.append(transition, newest_version):
                return False
            newest_version = transition.version
        return True

    async def _begin_or_configure(self, *, is_new: bool) -> None:
        """Other numbers in the settings are another configuration, which the audit trail must show."""
        settings, state = self._settings, self._transition_log.state
        transition: Transition | None = None
        if state is not None:
            transition = configure(
                state, settings.configuration, self._order(CONFIGURATION, "the settings have changed")
            )
        elif is_new and not self._transition_log.transitions:
            transition = begin(
                settings.configuration,
                stage=Stage.ROLLED_BACK if self._damage else settings.initial_stage,
                seed=settings.seed,
                challenger=settings.challenger,
                order=self._order(SYSTEM, self._damage or "the controller has started"),
            )
            self._damage = None
        if transition is not None:
            await self._store_and_commit(transition, state)

    async def _store_and_commit(self, transition: Transition, state: RolloutState | None) -> None:
        """Raises `RolloutUnavailable` when the database does not answer, `StaleVersion` when others were faster."""
        expected_version = 0 if state is None else state.version
        self._in_doubt = transition
        try:
            is_stored = await self._database.append(transition, expected_version)
        except DatabaseError as error:
            message = (
                f"nothing but a rollback is possible without the database: {error.advice}; whether this order arrived "
                "there before it went is not known, so look at the status, and repeat it with expected_version"
            )
            raise RolloutUnavailable(message, _RETRY_SECONDS) from error
        self._in_doubt = None
        if not is_stored:
            await self._go_round()
            raise StaleVersion(expected_version, self.known().version)
        async with self._lock:
            # Stale when a rollback was decided here meanwhile, which then follows in the database, too.
            await self._transition_log.commit(transition, is_stored=True)
            await self._on_change()

    async def _commit_if_any(self, transition: Transition | None) -> None:
        if transition is not None:
            await self._transition_log.commit(transition)

    def _order(self, actor: str, reason: str, evidence: dict[str, Any] | None = None) -> Order:
        return Order(actor=actor, reason=reason, at=self._clock(), evidence=evidence or {})
