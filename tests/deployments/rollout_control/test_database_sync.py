"""The lease of the rollout by the database's clock, and how incidents reach the database: late perhaps, but once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from deployments.errors import UnreadableState
from deployments.persistence.decisions.records import EvaluationRecord
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.persistence.errors import DatabaseUnavailable
from deployments.rollout.analysis.outcomes import LossCause, MissingPair, Outcome
from deployments.rollout.assignment import ArmRole, PlanningWindow, assign, planning_window
from deployments.rollout.ramp.state import Action, Stage, Transition
from deployments.rollout_control.database_sync import (
    LEASE_SECONDS,
    TAKEOVER_SECONDS,
    DatabaseSync,
    compared_events,
    evaluation_of,
    paired_rows,
    readable_rows,
)
from deployments.runtime.background import Threads
from tests.deployments.persistence.decisions.test_records_evaluations import evaluation
from tests.deployments.rollout_control.events import Clock, state
from tests.deployments.rollout_control.shared_database import SharedDatabase
from tests.deployments.rollout_control.test_controller import _stored as stored_evaluation
from tests.deployments.rollout_control.test_webhook import INCIDENT


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(clock: Clock) -> Iterator[SharedDatabase]:
    database = SharedDatabase(clock.now, clock.steady)
    yield database
    database.close()


def transition(version: int, stage: Stage = Stage.EXPANDED) -> Transition:
    """To that version and stage, by whatever way."""
    share = 0.0 if stage is Stage.ROLLED_BACK else 0.5
    return Transition(
        action=Action.PAUSE,
        from_stage=None,
        state=state(version=version, stage=stage, share=share),
        actor="ops",
        reason="because",
        evidence={"pairs": 3},
    )


def _service(database: SharedDatabase, name: str) -> DatabaseSync:
    service = database.sync(database.line(), name)
    service.owner_id = name
    return service


async def test_first_service_owns_and_the_second_follows(database: SharedDatabase, clock: Clock) -> None:
    """For as long as the owner renews."""
    first, second = _service(database, "a"), _service(database, "b")
    for _ in range(10):
        await first.meet(None)
        await second.meet(None)
        assert (first.is_owner, second.is_owner, second.is_follower) == (True, False, True)
        clock.seconds += LEASE_SECONDS / 2
    assert second.lease is not None
    assert (second.lease.owner_name, second.lease.token) == ("a", 1)


async def test_second_service_takes_over_at_once_what_was_given_back(database: SharedDatabase, clock: Clock) -> None:
    """An owner that ends in order leaves nobody waiting; that it comes again changes nothing."""
    first, second = _service(database, "a"), _service(database, "b")
    await first.meet(None)
    await second.meet(None)
    await first.stop()
    await second.meet(None)
    assert (first.is_owner, second.is_owner) == (False, True)
    assert second.lease is not None
    assert (second.lease.owner_name, second.lease.token) == ("b", 2)
    again = _service(database, "a")
    await again.meet(None)
    assert (again.is_owner, again.is_follower) == (False, True)


async def test_lease_that_cannot_be_given_back_expires(database: SharedDatabase, clock: Clock) -> None:
    """Without the database the end is the same, and what somebody else has taken is left alone."""
    line = database.line()
    first, second = database.sync(line, "a"), _service(database, "b")
    await first.meet(None)
    line.is_cut = True
    await first.stop()
    await second.meet(None)
    assert not second.is_owner
    clock.seconds += LEASE_SECONDS
    await second.meet(None)
    clock.seconds += TAKEOVER_SECONDS
    await second.meet(None)
    assert second.is_owner
    database.line().release_lease(1)
    await second.meet(None)
    assert second.is_owner


async def test_second_service_takes_over_after_the_lease_with_a_higher_token(
    database: SharedDatabase, clock: Clock
) -> None:
    """Neither before it has expired, nor at once when it has: the owner may have lost the database just as long."""
    first, second = _service(database, "a"), _service(database, "b")
    await first.meet(None)
    await second.meet(None)
    clock.seconds += LEASE_SECONDS
    await second.meet(None)
    clock.seconds += TAKEOVER_SECONDS - 0.01
    await second.meet(None)
    assert not second.is_owner
    clock.seconds += 0.01
    await second.meet(None)
    assert second.is_owner
    assert second.lease is not None
    assert second.lease.token == 2
    # What the first one still believes is refused by the database.
    assert first.is_owner
    assert not await first.append(transition(1), 0)
    await first.meet(None)
    assert first.is_follower
    assert await second.append(transition(1), 0)


async def test_outage_leaves_the_owner_the_owner(database: SharedDatabase, clock: Clock) -> None:
    """Ten minutes without the database; whoever asks first afterwards, the owner has renewed before the other may."""
    lines = database.line(), database.line()
    first, second = database.sync(lines[0], "a"), database.sync(lines[1], "b")
    first.owner_id, second.owner_id = "a", "b"
    await first.meet(None)
    await second.meet(None)
    for line in lines:
        line.is_cut = True
    for _ in range(60):
        clock.seconds += 10.0
        for service in (first, second):
            with pytest.raises(DatabaseUnavailable):
                await service.meet(None)
            assert not service.is_owner
            assert service.failure == "it is unreachable, read-only or busy, and is tried again by itself"
    for line in lines:
        line.is_cut = False
    await second.meet(None)
    clock.seconds += 1.0
    await first.meet(None)
    clock.seconds += TAKEOVER_SECONDS
    await second.meet(None)
    assert (first.is_owner, second.is_owner) == (True, False)


async def test_owner_that_comes_back_owns_at_once(database: SharedDatabase) -> None:
    """The next controller on the same folder need not wait for the lease of the one that died, and fences it."""
    died = _service(database, "a")
    await died.meet(None)
    back = _service(database, "a")
    await back.meet(None)
    assert back.is_owner
    assert not await died.append(transition(1), 0)
    assert await back.append(transition(1), 0)


def test_lease_is_taken_once_and_only_when_it_has_expired(database: SharedDatabase, clock: Clock) -> None:
    """Of two that saw the same token one gets the next; nobody gets one that still holds, but who had it himself."""
    rows = database.line()

    def take(owner_id: str, seen_token: int, *, is_own: bool = False) -> int | None:
        return rows.take_lease(owner_id, "", seen_token=seen_token, lease_seconds=LEASE_SECONDS, is_own=is_own)

    assert (take("a", 0), take("b", 0)) == (1, None)
    assert (take("b", 1), take("b", 1, is_own=True)) == (None, None)
    clock.seconds += LEASE_SECONDS
    assert (take("b", 1), take("a", 1), take("a", 1, is_own=True)) == (2, None, None)
    assert take("b", 2, is_own=True) == 3
    assert (rows.renew_lease(2, LEASE_SECONDS), rows.renew_lease(3, LEASE_SECONDS)) == (False, True)


async def test_transition_is_stored_once_and_in_order(database: SharedDatabase, clock: Clock) -> None:
    """The version must follow the newest one; what is stored is read back as it was."""
    service = _service(database, "a")
    assert await service.meet(None) == ()
    assert await service.append(transition(1), 0)
    for version, expected in ((1, 0), (3, 2), (2, 0)):
        assert not await service.append(transition(version), expected)
    assert await service.append(transition(2), 1)
    assert await service.meet(None) == (transition(2),)
    assert await service.meet(1) == (transition(1), transition(2))
    assert await service.meet(7) == (transition(2),), "nothing from there on: the newest"
    clock.seconds += LEASE_SECONDS
    assert not await service.append(transition(3), 2), "the lease has expired"


async def test_rollback_is_stored_for_whoever_has_seen_the_newest_version(database: SharedDatabase) -> None:
    """A follower may do nothing else, and not even that under a token of the past."""
    owner, follower = _service(database, "a"), _service(database, "b")
    await owner.meet(None)
    await follower.meet(None)
    assert await owner.append(transition(1), 0)
    assert not await follower.append(transition(2), 1)
    rollback = transition(2, Stage.ROLLED_BACK)
    assert not await follower.append(rollback, 0)
    assert follower.lease is not None
    follower.lease = replace(follower.lease, token=0)
    assert not await follower.append(rollback, 1)
    await follower.meet(None)
    assert await follower.append(rollback, 1)


async def _filed(database_sync: DatabaseSync, rows: RolloutRows) -> None:
    database_sync.start()
    async with asyncio.timeout(10):
        while not rows.incidents():
            await asyncio.sleep(0.01)
    await database_sync.stop()


async def test_incidents_are_filed_once_whoever_tells_them_again(database: SharedDatabase) -> None:
    """A new controller tells all that it remembers; a transition is no business of this way."""
    rows = RolloutRows(database.engine)
    for _ in range(2):
        database_sync = _service(database, "a")
        for entry in (transition(1), INCIDENT):
            database_sync.hear(entry)
        await _filed(database_sync, rows)
    assert [row["trigger"] for row in rows.incidents()] == ["crash_rate"]
    assert rows.transitions() == []


class SlowHistory(RolloutRows):
    """A history that is read as long as nobody lets it end."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.may_end = threading.Event()

    def all_transitions(self) -> list[dict[str, Any]]:
        assert self.may_end.wait(10.0)
        return super().all_transitions()


async def test_lease_is_renewed_while_the_history_is_read(database: SharedDatabase, clock: Clock) -> None:
    """Months of rows are read beside the lease, and not before it."""
    line, history = database.line(), SlowHistory(database.engine)
    with closing(Threads("lease", 1)) as threads, closing(Threads("history", 1)) as history_threads:
        owner = DatabaseSync(
            line,
            threads,
            history=history,
            history_threads=history_threads,
            owner_name="a",
            steady=clock.steady,
        )
        await owner.meet(None)
        reading = asyncio.create_task(
            owner.compared(
                clock.now(),
                challenger="published",
                champion="manual",
                is_same=lambda _: True,
                seed="s",
                sampled_share=1.0,
            )
        )
        for _ in range(10):
            clock.seconds += LEASE_SECONDS / 2
            await owner.meet(None)
            assert owner.is_owner
        assert owner.lease is not None
        assert owner.lease.seconds_left > 0.0
        history.may_end.set()
        assert await reading == ((), [])


class DownAtFirst(RolloutRows):
    """A database that takes nothing twice."""

    failures = 2

    def save_incidents(self, incidents: Sequence[object]) -> None:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("down")
        super().save_incidents(incidents)  # type: ignore[arg-type]


async def test_incidents_wait_for_the_database(database: SharedDatabase) -> None:
    """Tried again after pauses that grow, until all is there."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    rows = DownAtFirst(database.engine)
    with closing(Threads("the rows of the rollout", 1)) as threads:
        database_sync = DatabaseSync(rows, threads, history=rows, history_threads=threads, owner_name="a", sleep=sleep)
        database_sync.hear(INCIDENT)
        await _filed(database_sync, rows)
    assert pauses == [0.1, 0.2]


async def test_state_that_cannot_be_read_is_told_from_none(database: SharedDatabase) -> None:
    """A new database knows nothing; a damaged row is an error."""
    service = _service(database, "a")
    assert await service.meet(None) == ()
    database.put(state(version=1), {"state": "{"})
    with pytest.raises(UnreadableState, match="a stored transition must be JSON"):
        await service.meet(None)
    database.put(state(version=2), {"evidence": "{}"})
    with pytest.raises(UnreadableState, match="transition cannot be read"):
        await service.meet(None)


def _row(decision_id: str, role: ArmRole | str, *, day: int = 0, **changes: Any) -> EvaluationRecord:
    """A valid plan of that arm, served by nobody."""
    makespan = 90.0 if role is ArmRole.PPO else 100.0
    model = "a@2" if role is ArmRole.PPO else None
    stored = stored_evaluation(day, ArmRole(role), makespan, model)
    return replace(stored, **({"decision_id": decision_id, "stage": "expanded", "share": 0.5} | changes))


def _both(decision_id: str, served: ArmRole, *, day: int = 0, **changes: Any) -> list[EvaluationRecord]:
    return [_row(decision_id, arm, day=day, is_served=arm is served, **changes) for arm in ArmRole]


def _unplanned(decision_id: str, role: ArmRole, status: str, *, day: int = 0, **changes: Any) -> EvaluationRecord:
    fields = {"status": status, "outcome": None, "figures": None, "is_served": False, "model": None}
    return _row(decision_id, role, day=day, **(fields | changes))


CRASH: dict[str, Any] = {"status": "failed", "outcome": "crash", "figures": None, "model": None, "is_served": False}


def _told(rows: list[EvaluationRecord], **named: Any) -> list[tuple[str, str, ArmRole | None]]:
    found = compared_events(rows, challenger="a@2", champion="manual", **named)
    return [(e.decision_id, e.cause.value if isinstance(e, MissingPair) else "pair", e.assigned) for e in found]


def test_stored_pairs_and_losses_count_in_the_arm_of_their_unit() -> None:
    """Who served, whose turn it was that went unanswered, and whose rival was dropped: all tell the unit's arm."""
    rows = [
        *_both("pair-ppo", ArmRole.PPO),
        *_both("pair-manual", ArmRole.MANUAL, day=1),
        _unplanned("lost-ppo", ArmRole.PPO, "unanswered", day=2),
        _unplanned("lost-manual", ArmRole.MANUAL, "client_gone", day=3),
        _row("dropped", ArmRole.PPO, day=4, is_served=True),
        _unplanned("dropped", ArmRole.MANUAL, "dropped", day=4),
        # The challenger crashed, served from the champion: its unit is known from another decision.
        *_both("fallback", ArmRole.MANUAL, day=0)[1:],
        _row("fallback", ArmRole.PPO, **CRASH),
        *_both("shadow", ArmRole.MANUAL, day=5)[1:],
        _row("shadow", ArmRole.PPO, day=5, **CRASH),
    ]
    assert _told(rows) == [
        ("pair-ppo", "pair", ArmRole.PPO),
        ("fallback", "crash", ArmRole.PPO),
        ("pair-manual", "pair", ArmRole.MANUAL),
        ("lost-ppo", "unanswered", ArmRole.PPO),
        ("lost-manual", "client gone", ArmRole.MANUAL),
        ("dropped", "dropped", ArmRole.PPO),
        ("shadow", "crash", ArmRole.MANUAL),
    ]


def test_stored_request_that_the_challenger_held_up_is_its_crash() -> None:
    """A row of its own tells it, which is of the challenger whoever was assigned: the unit's other rows tell that."""
    held = _row("held", ArmRole.PPO, outcome="crash", status="unanswered", figures=None)
    rows = [*_both("pair-manual", ArmRole.MANUAL), held]
    assert _told(rows) == [("pair-manual", "pair", ArmRole.MANUAL), ("held", "crash", ArmRole.MANUAL)]
    found = evaluation_of(held)
    assert found is not None
    assert (found.outcome, found.is_served) == (Outcome.CRASH, False)


@pytest.mark.parametrize(("share", "assigned"), [(0.0, ArmRole.MANUAL), (1.0, ArmRole.PPO)])
def test_share_of_nothing_or_all_tells_the_arm(share: float, assigned: ArmRole) -> None:
    """Whoever served in the end."""
    rows = [_row("d", ArmRole.PPO, share=share, **CRASH), _row("d", ArmRole.MANUAL, share=share, is_served=True)]
    assert _told(rows) == [("d", "crash", assigned)]


def test_seed_tells_the_arm_of_a_unit_that_lost_everything() -> None:
    """A challenger that crashed at each list of its window loses them in its own arm, forced ones among them."""
    rows = []
    for day in range(20):
        rows += [_row(f"{day}", ArmRole.PPO, day=day, **CRASH), _row(f"{day}", ArmRole.MANUAL, day=day, is_served=True)]
        rows += [_row(f"f{day}", ArmRole.MANUAL, day=day, is_forced=True, is_served=True)]
    found = compared_events(rows, challenger="a@2", champion="manual", seed="s")
    by_hash = {row.decision_id: assign(_window(row), seed="s", share=0.5, stage="expanded").arm for row in rows}
    assert {each.decision_id: each.assigned for each in found} == by_hash
    assert set(by_hash.values()) == set(ArmRole)


def _window(row: EvaluationRecord) -> PlanningWindow:
    window = planning_window(row.unit)
    assert window is not None
    return window


def test_stored_losses_are_those_that_are_told_live() -> None:
    """By decision: a champion's loss counts too, a challenger's alone is none yet, and forced ones are `forced`."""
    rows = [
        _row("champion", ArmRole.PPO, is_served=True),
        _row("champion", ArmRole.MANUAL, **CRASH),
        _row("alone", ArmRole.PPO, **CRASH),
        *(_row("both", arm, **CRASH) for arm in ArmRole),
        _row("forced-rule", ArmRole.MANUAL, is_forced=True, is_served=True),
        _row("forced-other", ArmRole.PPO, is_forced=True, is_served=True, model="c@9"),
        _unplanned("forced-lost", ArmRole.MANUAL, "unanswered", is_forced=True),
        *_both("input", ArmRole.MANUAL, outcome="input", status="rejected"),
    ]
    assert [each[:2] for each in _told(rows)] == [
        ("champion", "crash"),
        ("both", "crash"),
        ("forced-rule", "forced"),
        ("forced-other", "forced"),
        ("forced-lost", "unanswered"),
    ]
    assert {each[2] for each in _told(rows)} == {ArmRole.PPO}
    (lost,) = paired_rows(rows[:2])
    assert isinstance(lost, MissingPair)
    assert (lost.unit, lost.job_list_digest, lost.cause) == (rows[0].unit, "0" * 64, LossCause.CRASH)


def test_stored_requests_that_were_not_sampled_count_nothing() -> None:
    """What was not to be compared is neither a pair nor lost; rows of the lost are of sampled ones alone."""
    rows = [
        _row("d", ArmRole.PPO, **CRASH),
        _row("d", ArmRole.MANUAL, is_served=True),
        _row("f", ArmRole.MANUAL, is_forced=True, is_served=True),
        _unplanned("u", ArmRole.PPO, "unanswered"),
    ]
    assert [each[0] for each in _told(rows, sampled_share=0.0)] == ["u"]


def test_rows_of_two_models_with_a_time_budget_do_not_count() -> None:
    """Those of before 0.3.0 do not tell effort, by which the live rule refuses pairs; without a budget they count."""
    rows = _both("d", ArmRole.PPO)
    rows = [replace(row, model={"ppo": "a@2", "manual": "b@1"}[row.role]) for row in rows]
    budgeted = [replace(row, decision_id="budget", time_budget_ms=1000) for row in rows]
    found = compared_events([*rows, *budgeted], challenger="a@2", champion="b@1")
    assert [each.decision_id for each in found] == ["d"]


def test_rows_with_words_of_a_newer_version_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """One word that nobody knows here costs its own row alone, and the log counts them."""
    strange = [replace(_row(f"s{number}", ArmRole.PPO), outcome="superseded") for number in range(2)]
    assert [each[:2] for each in _told([*strange, *_both("d", ArmRole.PPO)])] == [("d", "pair")]
    (line,) = caplog.messages
    assert line == "2 evaluations are left out, as this version cannot read them: 'superseded' is not a valid Outcome"


def test_lost_row_of_a_newer_version_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """It has no evaluation to read, and a pairing that would end every count if it were kept."""
    newer = evaluation(arm="ppo", status="dropped", outcome=None, pairing='{"format":2,"strata":[]}')
    kept = evaluation(2, arm="ppo", status="dropped", outcome=None, pairing=None)
    assert readable_rows([newer, kept]) == [kept]
    assert "1 evaluations are left out" in caplog.text
    assert len(compared_events([kept], challenger="ppo@1", champion="manual")) <= 1
