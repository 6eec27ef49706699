"""The controller's side of the database: the lease under which it owns the rollout, what is written there and read.

One service owns the rollout of a database; any other follows it. The owner's token is one above that of the owner
before, and every transition is stored in one transaction with a look at the newest token and version: so whoever
was taken for dead, and is not, is refused by the database. Only the database's clock tells when a lease has expired.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ParamSpec, TypeVar

from deployments.errors import UnreadableState
from deployments.persistence.decisions.records import EvaluationRecord, EvaluationStatus, RolloutLease
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.errors import DatabaseError, DatabaseUnavailable
from deployments.persistence.failures import advice_for
from deployments.rollout.analysis.guardrails import ComparisonEvent
from deployments.rollout.analysis.outcomes import (
    ASKED_FOR_ARM,
    Baseline,
    Evaluation,
    LossCause,
    MissingPair,
    Outcome,
    PairedObservation,
    Pairing,
    pair_or_loss,
)
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.assignment import ArmRole, assign, is_sampled, planning_window
from deployments.rollout.ramp.state import MANUAL, RolloutState, Stage, Transition
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.transition_log import Entry, transition_of, transition_row
from deployments.runtime.background import BackgroundTask, Threads

LEASE_SECONDS = 10.0
RENEWAL_SECONDS = 3.0
TAKEOVER_SECONDS = 4.0
"""How long a lease must be seen expired before another service takes over: an owner that finds the database again
at the same moment renews it first."""
MAX_ANSWER_SECONDS = 8.0
# The end of a service does not wait for a database that hangs.
_RELEASE_SECONDS = 2.0
_CAUSE_OF_STATUS = {
    EvaluationStatus.DROPPED: LossCause.DROPPED,
    EvaluationStatus.UNANSWERED: LossCause.UNANSWERED,
    EvaluationStatus.CLIENT_GONE: LossCause.CLIENT_GONE,
}
"""Of rows that stand for a request without any plan of that arm."""
_UNANSWERED = (EvaluationStatus.UNANSWERED, EvaluationStatus.CLIENT_GONE)
"""Rows of the arm that was assigned."""
_RIVAL_OF = {ArmRole.PPO: ArmRole.MANUAL, ArmRole.MANUAL: ArmRole.PPO}
_log = logging.getLogger(__name__)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class DatabaseSync(BackgroundTask):
    """One conversation at a time, in `threads` of its own; incidents are filed in the background, sooner or later.

    What was stored long ago is read through `history` in `history_threads`, with a connection of its own: there may be
    months of it, and the lease must not wait for them.

    What is not in the database when it is stopped is passed on again by the next controller.
    """

    def __init__(
        self,
        rows: RolloutRows,
        threads: Threads,
        *,
        history: RolloutRows,
        history_threads: Threads,
        owner_name: str,
        lease_seconds: float = LEASE_SECONDS,
        takeover_seconds: float = TAKEOVER_SECONDS,
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__("rollout filing", self._save, on_failure=_note_failure, sleep=sleep)
        self._rows = rows
        self._threads = threads
        self._history = history
        self._history_threads = history_threads
        self._owner_name = owner_name
        self._lease_seconds = lease_seconds
        self._takeover_seconds = takeover_seconds
        self._steady = steady
        self._incidents: list[Incident] = []
        self._arrived = asyncio.Event()
        self._token: int | None = None
        self._renewed_at = 0.0
        self._has_looked = False
        self._expired: tuple[int, float] | None = None
        self.owner_id = ""
        """Who this controller is; nobody else that lives may have the same id."""
        self.lease: RolloutLease | None = None
        """As it was when the database answered last."""
        self.failure: str | None = None
        """What to do about the database, while it does not answer; in words that name no host, user or file."""

    @property
    def token(self) -> int | None:
        """That of the lease while `is_owner`."""
        return self._token if self.failure is None else None

    @property
    def is_owner(self) -> bool:
        """Whether the rollout was this controller's when the database was asked last, and it answered."""
        return self.token is not None

    @property
    def is_follower(self) -> bool:
        """Whether somebody else owns the rollout, as far as is known."""
        return self._token is None and self.lease is not None

    async def stop(self) -> None:
        """Files no more, and gives the lease back, where the database answers: nobody has to wait until it expires."""
        await super().stop()
        token, self._token = self._token, None
        if token is None:
            return
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._threads.run(self._rows.release_lease, token)
        except (DatabaseError, TimeoutError) as error:
            _log.warning(
                "the rollout's lease could not be given back, it expires in %g s: %s", self._lease_seconds, error
            )

    async def meet(self, version: int | None) -> tuple[Transition, ...]:
        """The transitions from `version` on, or the newest below it; takes the lease, or renews it, as it can be had.

        Raises `DatabaseError` or `UnreadableState`.
        """
        try:
            self.lease, rows = await self._do(self._rows.look, version)
            await self._hold(self.lease)
        except DatabaseError as error:
            if self.failure is None:
                _log.warning("the rollout's lease cannot be renewed, so nothing is promoted: %s", error)
            self.failure, self._expired = advice_for(error), None
            raise
        except ValueError as error:
            raise UnreadableState(f"a stored transition must be JSON: {error}") from error
        if self.failure is not None:
            _log.info("the rollout's database answers again")
        self.failure = None
        return tuple(transition_of(row) for row in rows)

    async def append(self, transition: Transition, expected_version: int) -> bool:
        """Whether it is stored now: only as the version after `expected_version`, and for its owner; but a rollback
        is everybody's.

        Raises `DatabaseError`; then it may be stored all the same.
        """
        is_rollback = transition.to_stage is Stage.ROLLED_BACK
        if self.lease is None or not (is_rollback or self.is_owner):
            return False
        return await self._do(
            self._rows.append_transition,
            transition_row(transition),
            token=self.lease.token,
            expected_version=expected_version,
            is_for_all=is_rollback,
        )

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
        compared. Read in pages, each of which may take `MAX_ANSWER_SECONDS`.
        Raises `DatabaseError` or `UnreadableState`.
        """
        try:
            stored = await self._read(self._history.all_transitions)
        except ValueError as error:
            raise UnreadableState(f"a stored transition must be JSON: {error}") from error
        transitions = tuple(transition_of(row) for row in stored)
        same = await self._history_threads.run(lambda: [each for each in transitions if is_same(each.state)])
        ramps = {each.state.ramp for each in same}

        def pair(rows: list[EvaluationRecord]) -> list[ComparisonEvent]:
            of_ramps = (row for row in rows if row.ramp in ramps)
            return compared_events(
                of_ramps, challenger=challenger, champion=champion, seed=seed, sampled_share=sampled_share
            )

        found: list[ComparisonEvent] = []
        place = (min(each.at for each in same), "") if same else None
        while place is not None:
            rows, place = await self._read(self._history.evaluations_page, place, until)
            found += await self._history_threads.run(pair, rows)
        return transitions, found

    def hear(self, entry: Entry) -> None:
        """Keeps incidents for the database. A transition gets there by `append`, and a breach is no row."""
        if isinstance(entry, Incident):
            self._incidents.append(entry)
            self._arrived.set()

    async def _hold(self, lease: RolloutLease | None) -> None:
        now, is_first_look = self._steady(), not self._has_looked
        if self._token is not None and (lease is None or lease.token != self._token):
            _log.error("another service has taken over the rollout of this database: %s", lease and lease.owner_name)
            self._token = None
        if self._token is not None:
            if now - self._renewed_at >= RENEWAL_SECONDS:
                is_renewed = await self._do(self._rows.renew_lease, self._token, self._lease_seconds)
                self._token, self._renewed_at = (self._token if is_renewed else None), now
        elif self._may_take(lease, now, is_first_look):
            await self._take(lease, now, is_own=is_first_look)
        elif is_first_look and lease is not None:
            _log.info("the rollout of this database is owned by %s: this service follows", lease.owner_name)
        self._has_looked = True

    async def _take(self, lease: RolloutLease | None, now: float, *, is_own: bool) -> None:
        token = await self._do(
            self._rows.take_lease,
            self.owner_id,
            self._owner_name,
            seen_token=0 if lease is None else lease.token,
            lease_seconds=self._lease_seconds,
            is_own=is_own,
        )
        if token is not None:
            self._token, self._renewed_at, self._expired = token, now, None
            self.lease = RolloutLease(
                owner_id=self.owner_id,
                owner_name=self._owner_name,
                token=token,
                seconds_left=self._lease_seconds,
            )
            _log.info("this service owns the rollout of this database, with token %d", token)

    def _may_take(self, lease: RolloutLease | None, now: float, is_first_look: bool) -> bool:
        # Its own of an earlier life: the lock on the controller's folder says that nobody lives it any more.
        # One that was given back has no owner, who might come again.
        if lease is None or not lease.owner_id or (is_first_look and lease.owner_id == self.owner_id):
            return True
        if lease.seconds_left > 0.0:
            self._expired = None
            return False
        if self._expired is None or self._expired[0] != lease.token:
            self._expired = (lease.token, now)
        return now - self._expired[1] >= self._takeover_seconds

    async def _do(
        self, work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        return await _in_time(self._threads.run(work, *arguments, **named))

    async def _read(
        self, work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        return await _in_time(self._history_threads.run(work, *arguments, **named))

    async def _save(self) -> None:
        while not self._incidents:
            self._arrived.clear()
            await self._arrived.wait()
        incidents = tuple(self._incidents)
        await self._do(self._rows.save_incidents, [each.as_row() for each in incidents])
        del self._incidents[: len(incidents)]


async def _in_time(answer: Awaitable[_Result]) -> _Result:
    try:
        async with asyncio.timeout(MAX_ANSWER_SECONDS):
            return await answer
    except TimeoutError as error:
        raise DatabaseUnavailable(f"no answer within {MAX_ANSWER_SECONDS:g} s") from error


def _note_failure(error: Exception, _: float) -> None:
    _log.warning("incidents wait for the database: %s", error)


def evaluation_of(record: EvaluationRecord) -> Evaluation | None:
    """A stored row as the statistics know it; None for the rule behind two models, and for what was not computed."""
    if record.outcome is None or record.role not in {arm.value for arm in ArmRole} or not record.ramp:
        return None
    pairing = Pairing() if record.pairing is None else Pairing.from_text(record.pairing)
    return Evaluation(
        decision_id=record.decision_id,
        at=record.created_at,
        ramp=record.ramp,
        stage=record.stage,
        unit=record.unit,
        job_list_digest=record.job_list_sha256,
        arm=ArmRole(record.role),
        outcome=Outcome(record.outcome),
        is_served=record.is_served,
        baseline=Baseline(record.baseline),
        model=record.model,
        source=record.source,
        budget_ms=record.time_budget_ms,
        latency_ms=record.proposal_ms,
        figures=record.figures,
        is_forced=record.is_forced,
        detail=record.reason or "",
        jobs=pairing.jobs,
        strata=pairing.strata,
        effort=pairing.effort,
    )


def compared_events(
    records: Iterable[EvaluationRecord],
    *,
    challenger: str,
    champion: str,
    seed: str | None = None,
    sampled_share: float = 1.0,
) -> list[ComparisonEvent]:
    """The pairs of stored rows of these two models, those that are missing, and what was computed again; by time.

    `champion` is `manual` for the rule. `seed` is that of the split, None: not known. `sampled_share` of the requests
    (0 to 1) were to be compared.
    """
    models = {ArmRole.PPO.value: challenger, ArmRole.MANUAL.value: None if champion == MANUAL else champion}
    rows = [row for row in records if row.is_forced or row.model is None or row.model == models.get(row.role)]
    return paired_rows(readable_rows(rows), champion=champion, seed=seed, sampled_share=sampled_share)


def paired_rows(
    readable: Iterable[EvaluationRecord], *, champion: str = MANUAL, seed: str | None = None, sampled_share: float = 1.0
) -> list[ComparisonEvent]:
    """What each decision's rows come to by the rule of those that are told live: its pair, or why there is none.

    And what its served plan came to when it was computed again, which rows of before 0.3.0 do not tell.

    Of two models with a time budget nothing counts of before 0.3.0: there, rows do not tell whether both made the same
    effort.
    """
    rows = [row for row in readable if champion == MANUAL or not row.time_budget_ms or row.pairing is not None]
    arms = _AssignedArms(rows, seed)
    by_decision: dict[str, list[EvaluationRecord]] = defaultdict(list)
    for row in rows:
        if row.ramp:
            by_decision[row.decision_id].append(row)
    found: list[ComparisonEvent] = []
    for of_one in by_decision.values():
        pair = _pair_or_loss(of_one, arms, sampled_share)
        found += [*(() if pair is None else (pair,)), *filter(None, map(_recomputation, of_one))]
    return sorted(found, key=lambda each: each.at)


def readable_rows(records: Iterable[EvaluationRecord]) -> list[EvaluationRecord]:
    """Without those of a newer version, whose words this one does not know: they are counted in the log."""
    rows, unknown = [], Counter[str]()
    for record in records:
        try:
            evaluation_of(record)
            # Of a lost request there is no evaluation, and its pairing is looked at all the same.
            if record.pairing is not None:
                Pairing.from_text(record.pairing)
        except ValueError as error:
            unknown[str(error)] += 1
        else:
            rows.append(record)
    for word, count in unknown.items():
        _log.warning("%d evaluations are left out, as this version cannot read them: %s", count, word)
    return rows


class _AssignedArms:
    """The arm that each unit was given, as far as stored rows tell: within ramp, stage and share a unit has one arm.

    A champion that served beside a challenger's failure tells nothing by itself: it may have been its own turn, or the
    fallback. Then `seed` does.
    """

    def __init__(self, rows: Iterable[EvaluationRecord], seed: str | None) -> None:
        self._seed = seed
        self._given: dict[tuple[int, str, float, str], ArmRole] = {}
        for row in rows:
            arm = _told_arm(row)
            # A valid plan of the challenger may have been withdrawn; that it served is certain.
            if arm is ArmRole.PPO or (arm is not None and _exposure(row) not in self._given):
                self._given[_exposure(row)] = arm

    def of(self, rows: Sequence[EvaluationRecord]) -> ArmRole | None:
        """That of one decision, by its own rows or those of its unit; where none tells, the arm that served.

        None: not known.
        """
        share = rows[0].share
        if share <= 0.0 or share >= 1.0:
            return ArmRole.PPO if share >= 1.0 else ArmRole.MANUAL
        told = next((arm for row in rows if (arm := _told_arm(row)) is not None), self._given.get(_exposure(rows[0])))
        if told is not None:
            return told
        if self._seed is not None:
            unit = planning_window(rows[0].unit) or rows[0].unit
            return assign(unit, seed=self._seed, share=share, stage=rows[0].stage).arm
        has_served = not rows[0].is_forced and any(row.is_served for row in rows)
        return ArmRole.MANUAL if has_served else None


def _exposure(row: EvaluationRecord) -> tuple[int, str, float, str]:
    return row.ramp, row.stage, row.share, row.unit


def _told_arm(row: EvaluationRecord) -> ArmRole | None:
    if row.is_forced or row.role not in _RIVAL_OF:
        return None
    arm = ArmRole(row.role)
    if row.status in _UNANSWERED:
        return None if _is_held_up(row) else arm
    if row.status == EvaluationStatus.DROPPED:
        return _RIVAL_OF[arm]
    if arm is ArmRole.PPO and (row.is_served or row.status == EvaluationStatus.VALID):
        return arm if row.is_served else ArmRole.MANUAL
    return None


def _is_held_up(row: EvaluationRecord) -> bool:
    """Whether a request went unanswered because of the challenger, of which the row is, whoever was assigned."""
    return row.status == EvaluationStatus.UNANSWERED and row.outcome == Outcome.CRASH


def _pair_or_loss(
    rows: Sequence[EvaluationRecord], arms: _AssignedArms, sampled_share: float
) -> PairedObservation | MissingPair | None:
    if not all(row.pairing is None or Pairing.from_text(row.pairing).is_sampled for row in rows):
        return None
    assigned = arms.of(rows)
    lost = next((row for row in rows if row.status in _CAUSE_OF_STATUS), None)
    if lost is not None:
        cause = LossCause.CRASH if _is_held_up(lost) else _CAUSE_OF_STATUS[EvaluationStatus(lost.status)]
        return _missing(lost, cause, lost.reason or lost.status, assigned)
    # Rows of the lost have ids of their own; of before 0.3.0 there are none of those that were not to be compared.
    if not is_sampled(rows[0].decision_id, sampled_share):
        return None
    if rows[0].is_forced:
        return _missing(rows[0], LossCause.FORCED, ASKED_FOR_ARM, assigned)
    found = {each.arm: replace(each, assigned=assigned) for row in rows if (each := evaluation_of(row)) is not None}
    return pair_or_loss(found[ArmRole.PPO], found[ArmRole.MANUAL]) if len(found) == len(ArmRole) else None


def _recomputation(row: EvaluationRecord) -> Recomputation | None:
    again = None if row.is_served or row.pairing is None else Pairing.from_text(row.pairing).repetition
    if again is None:
        return None
    return Recomputation(
        decision_id=row.decision_id,
        at=row.created_at,
        ramp=row.ramp,
        stage=row.stage,
        arm=again.arm,
        log_ratio=again.log_ratio,
        is_same=again.is_same,
    )


def _missing(row: EvaluationRecord, cause: LossCause, reason: str, assigned: ArmRole | None) -> MissingPair:
    return MissingPair(
        decision_id=row.decision_id,
        at=row.created_at,
        ramp=row.ramp,
        stage=row.stage,
        reason=reason,
        cause=cause,
        assigned=assigned,
        unit=row.unit,
        job_list_digest=row.job_list_sha256,
    )
