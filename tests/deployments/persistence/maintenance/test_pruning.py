"""What is old goes, with all that belongs to it; what somebody still needs stays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from deployments.persistence.decisions.records import AuditEvent, DecisionRecord, FeedbackRecord
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import PruningRefused
from deployments.persistence.maintenance.pruning import Pruned, prune, survey
from deployments.persistence.tables import AUDIT_EVENT, DECISION, EVALUATION, FEEDBACK, IDEMPOTENCY_CLAIM, PLAN
from deployments.persistence.tables import ROLLOUT_TRANSITION as TRANSITION
from deployments.rollout.ramp.state import RolloutState, Stage
from tests.deployments.persistence.decisions.test_records_evaluations import FEEDBACK_RECORD, evaluation
from tests.deployments.persistence.decisions.test_releases import order, release
from tests.deployments.persistence.payloads import FIRST_INSTANT, decision, decision_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CUT = FIRST_INSTANT + 10 * DAY
EVENT = AuditEvent(
    event_id=decision_id(999),
    occurred_at=NOW,
    actor="cli:owner",
    client=None,
    key_id=None,
    action="db.prune",
    target="decisions",
    status=None,
    request_id=None,
    detail=None,
)


def made(number: int, day: float, **changes: Any) -> DecisionRecord:
    """A decision of that day, with both arms; as the only one of its line it is its latest plan."""
    at = FIRST_INSTANT + day * DAY
    arms = (evaluation(number, "ppo", is_served=True, created_at=at), evaluation(number, created_at=at))
    return decision(number, created_at=at, evaluations=arms, plant_id=None, **changes)


def rated(number: int, day: float) -> FeedbackRecord:
    """What somebody said about a decision on that day."""
    identity = {"feedback_id": decision_id(1000 + number), "decision_id": decision_id(number)}
    return replace(FEEDBACK_RECORD, created_at=FIRST_INSTANT + day * DAY, **identity)


def write(engine: Engine, records: Iterable[DecisionRecord | FeedbackRecord]) -> None:
    """All of them are stored."""
    assert not DecisionWriter(engine).write([record.to_bytes() for record in records]).poisoned


def pruned(engine: Engine, before: datetime = CUT) -> Pruned:
    """What was removed, which is what was announced."""
    announced = survey(engine, before, NOW)
    removed = prune(engine, before, NOW, EVENT, lambda count: None)
    assert removed == announced
    return removed


def ids(engine: Engine, table: Any = DECISION) -> list[str]:
    """Decisions that are left in a table, once for each row."""
    with engine.connect() as connection:
        return sorted(connection.execute(select(table.c.decision_id)).scalars())


def enter(engine: Engine, stage: Stage, at: datetime) -> None:
    """The rollout is in its second ramp, in this stage, since then."""
    states = [
        RolloutState(
            version=version,
            ramp=ramp,
            stage=each,
            share=0.0,
            seed="s",
            challenger="m",
            champion="manual",
            configuration_hash="h",
            changed_at=when,
            stage_since=when,
        )
        for version, ramp, each, when in ((1, 1, Stage.ROLLED_BACK, FIRST_INSTANT), (2, 2, stage, at))
    ]

    rows = [
        {
            "version": state.version,
            "created_at": state.changed_at,
            "from_stage": "",
            "to_stage": state.stage.value,
            "actor": "somebody",
            "reason": "test",
            "evidence": "{}",
            "configuration_sha256": "00" * 32,
            "state": json.dumps(state.as_json()),
        }
        for state in states
    ]
    with engine.begin() as connection:
        connection.execute(TRANSITION.insert(), rows)


def test_old_decisions_go_with_all_that_belongs_to_them(engine: Engine) -> None:
    """More than one transaction takes, to the microsecond; what is as old as the instant stays, and a row tells."""
    old = [made(number, 1) for number in range(1, 601)]
    edge, young = made(2001, 10), made(2002, 11)
    write(engine, [*old, edge, young, rated(1, 2), rated(2002, 12)])
    assert pruned(engine) == Pruned(decisions=600, evaluations=1200, feedback=1)
    left = [decision_id(2001), decision_id(2002)]
    assert ids(engine) == left
    assert ids(engine, EVALUATION) == sorted(2 * left)
    assert ids(engine, FEEDBACK) == left[1:]
    with engine.connect() as connection:
        assert connection.execute(select(AUDIT_EVENT.c.action)).scalars().all() == ["db.prune"]
    assert pruned(engine) == Pruned()


def test_counting_removes_nothing(engine: Engine) -> None:
    """The dry run leaves every row, and no row in the audit trail."""
    write(engine, [made(1, 1)])
    assert survey(engine, CUT, NOW).decisions == 1
    assert ids(engine) == [decision_id(1)]
    with engine.connect() as connection:
        assert connection.execute(select(AUDIT_EVENT)).all() == []


def test_latest_plans_claims_and_what_was_reported_on_since_are_kept(engine: Engine) -> None:
    """However old they are; each counts once, and their evaluations stay with them."""
    write(engine, [made(number, 1) for number in range(1, 6)])
    write(engine, [rated(3, 11), rated(4, 2)])
    claim = {"client": "planner", "route": "schedule", "idempotency_key": "k", "request_sha256": "00" * 32}
    times = dict.fromkeys(("leased_until", "expires_at"), NOW)
    with engine.begin() as connection:
        plan = {"plant_id": "penang", "line_id": "", "decision_id": decision_id(1), "created_at": FIRST_INSTANT}
        connection.execute(PLAN.insert(), [plan])
        rows = [claim | times | {"decision_id": decision_id(2), "owner_id": decision_id(1)}]
        connection.execute(IDEMPOTENCY_CLAIM.insert(), rows)
    assert pruned(engine) == Pruned(decisions=2, evaluations=4, feedback=1, planned=1, claimed=1, reported=1)
    assert ids(engine) == [decision_id(number) for number in (1, 2, 3)]
    assert len(ids(engine, EVALUATION)) == 6


def test_whatever_was_released_once_is_kept(engine: Engine) -> None:
    """It is what the floor worked by, and a release may be taken back."""
    write(engine, [made(number, 1, line_id=str(number)) for number in (1, 2, 3)])
    write(engine, [decision(number, created_at=FIRST_INSTANT + DAY) for number in (4, 5)])
    for expected, number in ((None, 4), (4, 5)):
        release(engine, order(number, expected, of={"created_at": FIRST_INSTANT + DAY}))
    assert pruned(engine).planned == 2
    assert ids(engine) == [decision_id(number) for number in (4, 5)]


def test_decision_whose_id_is_of_a_later_time_is_left_alone(engine: Engine) -> None:
    """Ids follow the clock; one that does not, by more than a day, is not found by the walk along the ids."""
    at = FIRST_INSTANT + DAY
    early, late = (f"{int((CUT + days * DAY).timestamp() * 1000):012x}" for days in (0.5, 1.5))
    for digits in (early, late):
        identity = f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
        write(engine, [decision(1, decision_id=identity, created_at=at, plant_id=None)])
    assert pruned(engine).decisions == 1
    assert [each[:13] for each in ids(engine)] == [f"{late[:8]}-{late[8:]}"]


@pytest.mark.parametrize("days", [-1, 6.9])
def test_what_is_young_may_still_be_on_its_way(engine: Engine, days: float) -> None:
    """Nothing of the last seven days may go."""
    for do in (lambda at: survey(engine, at, NOW), lambda at: prune(engine, at, NOW, EVENT, print)):
        with pytest.raises(PruningRefused, match=r"7 days ago at least \(2025-12-25T00:00:00\+00:00\), was 202"):
            do(NOW - days * DAY)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.LIMITED, Stage.EXPANDED, Stage.ROLLED_BACK])
def test_evidence_of_a_ramp_that_is_not_full_stays(engine: Engine, stage: Stage) -> None:
    """What is older than the ramp may go; what its gates and reports read may not."""
    began = FIRST_INSTANT + 5 * DAY
    enter(engine, stage, began)
    write(engine, [made(1, 1), made(2, 6)])
    with pytest.raises(PruningRefused, match=f"must not be after .* the ramp began that is in stage {stage.value}"):
        pruned(engine, began + timedelta(seconds=1))
    assert pruned(engine, began).decisions == 1
    assert ids(engine) == [decision_id(2)]


def test_after_the_last_stage_the_ramp_may_go(engine: Engine) -> None:
    """Nothing is decided on it any more."""
    enter(engine, Stage.FULL, FIRST_INSTANT)
    write(engine, [made(1, 1)])
    assert pruned(engine).decisions == 1
