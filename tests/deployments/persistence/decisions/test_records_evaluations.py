"""Evaluations and feedback: rows of their own, in any order, exactly once, on SQLite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, func, select

from deployments.persistence.decisions.records import DecisionRecord, EvaluationRecord, FeedbackRecord, record_of
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.spool.dead_letters import DeadLetterKind
from deployments.persistence.tables import FEEDBACK
from tests.deployments.persistence.payloads import FIGURES, FIRST_INSTANT, decision, decision_id


def evaluation(number: int = 1, arm: str = "manual", **changes: Any) -> EvaluationRecord:
    """What `arm` made of the request of decision `number`."""
    values: dict[str, Any] = {
        "decision_id": decision_id(number),
        "arm": arm,
        "role": arm,
        "created_at": FIRST_INSTANT,
        "plant_id": "penang",
        "unit": "penang//2025-07-22",
        "stage": "limited",
        "share": 0.1,
        "rollout_version": 3,
        "ramp": 1,
        "is_forced": False,
        "job_list_sha256": "ab" * 32,
        "is_served": False,
        "status": "valid",
        "outcome": "ok",
        "reason": None,
        "model": None,
        "source": None,
        "baseline": "rule",
        "time_budget_ms": 25,
        "job_count": 170,
        "figures": replace(FIGURES, makespan_seconds=170_000),
        "proposal_ms": 3.5,
    }
    return EvaluationRecord(**values | changes)


FEEDBACK_RECORD = FeedbackRecord(
    feedback_id=decision_id(77),
    decision_id=decision_id(1),
    client="planner",
    created_at=FIRST_INSTANT,
    rating=4,
    comment="gut",
    author="foreman",
)


def test_record_of_each_kind_comes_back_unchanged() -> None:
    """Each kind of spool payload is told from the others and read back as it was."""
    whole = replace(decision(), evaluations=(evaluation(arm="ppo", is_served=True),))
    for record in (whole, evaluation(), FEEDBACK_RECORD):
        assert record_of(record.to_bytes()) == record


def test_decision_of_an_earlier_version_is_still_read() -> None:
    """What an older program left in the spool lacks the newest columns and is a decision all the same."""
    record = decision()
    newer = (b',"rollout_version":0', b',"is_forced":false', b',"job_list_sha256":null', b',"evaluations":[]')
    payload = record.to_bytes()
    for column in newer:
        assert column in payload
        payload = payload.replace(column, b"")
    assert record_of(payload) == record


def test_evaluations_come_before_or_after_their_decision(engine: Engine) -> None:
    """A shadow evaluation that overtakes its decision, or comes late, is one more arm of it; the first one stays."""
    early, late = evaluation(1), evaluation(2, reason="queue full", status="dropped", outcome=None)
    own = [replace(decision(number), evaluations=(evaluation(number, "ppo"),)) for number in (1, 2)]
    writer = DecisionWriter(engine)
    for payloads in ([early], own, [late, late, replace(late, reason="again")]):
        report = writer.write([record.to_bytes() for record in payloads])
        assert report.poisoned == ()
    with unit_of_work(engine) as decisions:
        first, second = (decisions.get(decision_id(number), "planner") for number in (1, 2))
    assert first is not None
    assert first.evaluations == (early, evaluation(1, "ppo"))
    assert second is not None
    assert second.evaluations == (late, evaluation(2, "ppo"))


def test_feedback_written_twice_is_stored_once(engine: Engine) -> None:
    """Delivery at least once makes rows exactly once."""
    writer = DecisionWriter(engine)
    for _ in range(2):
        assert writer.write([FEEDBACK_RECORD.to_bytes()]).accepted == 1
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(FEEDBACK)).scalar_one() == 1


def test_damaged_evaluation_does_not_take_its_neighbours_along(engine: Engine) -> None:
    """A payload that is no evaluation, and one that the database refuses, are dead letters; the rest is stored."""
    broken = evaluation(3).to_bytes().replace(b'"unit"', b'"unti"')
    refused = replace(evaluation(4), plant_id=None).to_bytes()  # type: ignore[arg-type]
    report = DecisionWriter(engine).write([broken, refused, evaluation(5).to_bytes(), decision(6).to_bytes()])
    assert report.accepted == 2
    kinds = [letter.kind for letter in report.poisoned]
    assert kinds == [DeadLetterKind.UNREADABLE, DeadLetterKind.REJECTED]
    assert isinstance(record_of(decision(6).to_bytes()), DecisionRecord)
