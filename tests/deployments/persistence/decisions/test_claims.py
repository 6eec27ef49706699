"""Claims of idempotency keys in the database, with a clock that a test moves, on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from deployments.persistence.decisions.claims import GONE_FOR_GOOD, ClaimRepository, claim_work
from deployments.persistence.decisions.records import (
    ClaimKey,
    ClaimMark,
    ClaimOutcome,
    DecisionRecord,
    Finished,
    Granted,
    OtherBody,
    Running,
    Wanted,
    record_of,
)
from deployments.persistence.delivery.batch_writer import DecisionWriter
from tests.deployments.persistence.payloads import decision, decision_id

KEY = ClaimKey(client="planner", route="schedule", key="erp-4711")
ANSWER = Finished(status=200, body=b'{"schedule_id": "1"}')
OWNER = "a" * 32


class RolloutClient:
    """The claims, one transaction for each question, at a time of the test's choice."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = datetime(2025, 7, 22, tzinfo=UTC)

    @contextmanager
    def claims(self) -> Iterator[ClaimRepository]:
        with self.engine.begin() as connection:
            yield ClaimRepository(connection, lambda: self.now)

    def ask(self, number: int = 1, **changes: Any) -> ClaimOutcome:
        """The claim of decision `number`, for thirty seconds."""
        values: dict[str, Any] = {
            "claim": KEY,
            "request_sha256": "a" * 64,
            "decision_id": decision_id(number),
            "owner_id": OWNER,
            "lease_seconds": 30.0,
            "kept_seconds": 86_400.0,
        }
        with self.claims() as claims:
            return claims.claim(Wanted(**values | changes))

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def desk(engine: Engine) -> RolloutClient:
    """Claims on a new database."""
    return RolloutClient(engine)


def test_first_claim_is_granted_and_holds_against_others(desk: RolloutClient) -> None:
    """One asker gets it; the next hears that it is running; other keys, routes and clients are free."""
    assert desk.ask(1) == Granted()
    assert desk.ask(2) == Running()
    for number, change in enumerate(({"key": "ERP-4711"}, {"route": "other"}, {"client": "Planner"}), 3):
        assert desk.ask(number, claim=replace(KEY, **change)) == Granted()


def test_answer_is_replayed_for_the_same_body_only(desk: RolloutClient) -> None:
    """Whoever sends something else under the key is told so, whether it is running or finished."""
    desk.ask(1)
    assert desk.ask(2, request_sha256="b" * 64) == OtherBody()
    with desk.claims() as claims:
        claims.finish(KEY, decision_id(1), ANSWER)
    assert desk.ask(2) == ANSWER
    assert desk.ask(2, request_sha256="b" * 64) == OtherBody()


def test_first_answer_stays(desk: RolloutClient) -> None:
    """Neither a second finish nor a stranger's changes it."""
    desk.ask(1)
    with desk.claims() as claims:
        claims.finish(KEY, decision_id(9), Finished(status=200, body=b"stranger"))
    assert desk.ask(2) == Running()
    with desk.claims() as claims:
        claims.finish(KEY, decision_id(1), ANSWER)
        claims.finish(KEY, decision_id(1), Finished(status=200, body=b"second"))
        claims.release(KEY, decision_id(1))
    assert desk.ask(2) == ANSWER


def test_released_claim_is_free(desk: RolloutClient) -> None:
    """Only its holder can release it."""
    desk.ask(1)
    with desk.claims() as claims:
        claims.release(KEY, decision_id(2))
    assert desk.ask(2) == Running()
    with desk.claims() as claims:
        claims.release(KEY, decision_id(1))
    assert desk.ask(2, request_sha256="b" * 64) == Granted()


def test_answer_is_forgotten_after_its_time(desk: RolloutClient) -> None:
    """A day later the key is free for anything, and the row can be deleted."""
    desk.ask(1)
    with desk.claims() as claims:
        claims.finish(KEY, decision_id(1), ANSWER)
        assert claims.forget_expired() == 0
    desk.pass_time(86_399)
    assert desk.ask(2) == ANSWER
    desk.pass_time(1)
    with desk.claims() as claims:
        assert claims.forget_expired() == 1
        assert claims.forget_expired() == 0
    assert desk.ask(3, request_sha256="b" * 64) == Granted()


def test_takeover_waits_for_the_owner_s_spool(desk: RolloutClient) -> None:
    """The lease must have ended, and all that was appended until then must be stored."""
    desk.ask(1)
    desk.pass_time(31)
    assert desk.ask(2) == Running()
    with desk.claims() as claims:
        claims.report_drained(OWNER, desk.now - timedelta(seconds=1))
    assert desk.ask(2) == Running()
    with desk.claims() as claims:
        claims.report_drained("b" * 32, GONE_FOR_GOOD)
    assert desk.ask(2) == Running()
    with desk.claims() as claims:
        claims.report_drained(OWNER, desk.now)
    assert desk.ask(2) == Granted()


def test_lease_that_is_renewed_does_not_end(desk: RolloutClient) -> None:
    """Renewing works for the holder only, and no longer once somebody has taken over."""
    desk.ask(1)
    with desk.claims() as claims:
        claims.report_drained(OWNER, GONE_FOR_GOOD)
    desk.pass_time(29)
    with desk.claims() as claims:
        assert claims.renew(KEY, decision_id(1), 30.0)
    desk.pass_time(29)
    assert desk.ask(2) == Running()
    desk.pass_time(2)
    assert desk.ask(2) == Granted()
    with desk.claims() as claims:
        assert not claims.renew(KEY, decision_id(1), 30.0)


def _under_claim(number: int, **changes: Any) -> DecisionRecord:
    mark = ClaimMark(route=KEY.route, key=KEY.key, answer=changes.pop("kept", None))
    return decision(number, claim=mark, **changes)


def test_stored_decision_finishes_its_claim(desk: RolloutClient) -> None:
    """Whoever empties the spool of a dead router makes its answer known."""
    desk.ask(1)
    DecisionWriter(desk.engine).write([_under_claim(1).to_bytes()])
    assert desk.ask(2) == Finished(status=200, body=decision(1).answer or b"")


def test_decision_without_payload_still_finishes_its_claim(desk: RolloutClient) -> None:
    """The client wants no payload kept, yet the same answer again."""
    desk.ask(1)
    record = _under_claim(1, request=None, answer=None, kept=b"the answer")
    assert record_of(record.to_bytes()) == record
    DecisionWriter(desk.engine).write([record.to_bytes()])
    assert desk.ask(2) == Finished(status=200, body=b"the answer")


def test_late_decision_does_not_finish_another_one_s_claim(desk: RolloutClient) -> None:
    """A decision of an earlier attempt is stored, and the key goes on standing for the later one."""
    desk.ask(1)
    with desk.claims() as claims:
        claims.release(KEY, decision_id(1))
    desk.ask(2)
    DecisionWriter(desk.engine).write([_under_claim(1).to_bytes()])
    assert desk.ask(3) == Running()


def test_clock_is_the_database_s(engine: Engine) -> None:
    """In UTC, near to ours when both are on this machine."""
    with claim_work(engine) as claims:
        assert abs((claims.now() - datetime.now(UTC)).total_seconds()) < 60
