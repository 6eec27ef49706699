"""The audit trail in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from deployments.persistence.decisions.audit_repository import audit_work
from deployments.persistence.decisions.records import AuditEvent, record_of
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import InvalidCursor

NOW = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)


def event(number: int, **changes: Any) -> AuditEvent:
    """The act of that number; each second one."""
    values: dict[str, Any] = {
        "event_id": f"01900000-0000-7000-8000-{number:012}",
        "occurred_at": NOW + timedelta(seconds=number),
        "actor": "night shift",
        "client": "erp",
        "key_id": "0123456789ab",
        "action": "rollback_rollout",
        "target": "/v1/rollout/rollback",
        "status": 200,
        "request_id": "r-1",
        "detail": '{"reason": "späte Aufträge"}',
    }
    return AuditEvent(**values | changes)


def test_events_come_back_newest_first(engine: Engine) -> None:
    """Every column survives, absent ones included, and pages join without gap."""
    events = [event(number) for number in range(4)]
    events.append(event(4, client=None, key_id=None, status=None, request_id=None, detail=None))
    with audit_work(engine) as trail:
        trail.insert(events)
        first = trail.page(limit=3)
        rest = trail.page(before=first[-1].event_id, limit=3)
    assert first + rest == events[::-1]


def test_events_of_one_instant_are_all_shown(engine: Engine) -> None:
    """The id decides where instants are equal."""
    events = [event(number, occurred_at=NOW) for number in range(4)]
    with audit_work(engine) as trail:
        trail.insert(events)
        first = trail.page(limit=2)
        assert first + trail.page(before=first[-1].event_id, limit=2) == events[::-1]


def test_event_is_stored_once(engine: Engine) -> None:
    """Inserting it again, as after a lost connection, changes nothing."""
    for _ in range(2):
        with audit_work(engine) as trail:
            trail.insert([event(1)])
    with audit_work(engine) as trail:
        trail.insert([])
        assert trail.page() == [event(1)]


def test_event_survives_the_spool() -> None:
    """Its bytes give it back unchanged."""
    assert record_of(event(1).to_bytes()) == event(1)


def test_event_reaches_the_database_by_the_writer(engine: Engine) -> None:
    """What a router put into its spool is stored beside the decisions, exactly once."""
    for _ in range(2):
        report = DecisionWriter(engine).write([event(1).to_bytes(), event(2).to_bytes()])
        assert (report.accepted, report.poisoned) == (2, ())
    with audit_work(engine) as trail:
        assert trail.page() == [event(2), event(1)]


def test_cursor_that_no_page_gave_is_refused(engine: Engine) -> None:
    """A cursor is the id of an event that exists."""
    with (
        pytest.raises(InvalidCursor, match="one that an earlier page gave, was 'nothing'"),
        audit_work(engine) as trail,
    ):
        trail.page(before="nothing")
