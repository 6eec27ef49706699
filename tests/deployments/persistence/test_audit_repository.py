"""The audit trail in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from deployments.persistence.audit_repository import AuditEvent, audit_work

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
        rest = trail.page(before=first[-1], limit=3)
    assert first + rest == events[::-1]


def test_events_of_one_instant_are_all_shown(engine: Engine) -> None:
    """The id decides where instants are equal."""
    events = [event(number, occurred_at=NOW) for number in range(4)]
    with audit_work(engine) as trail:
        trail.insert(events)
        first = trail.page(limit=2)
        assert first + trail.page(before=first[-1], limit=2) == events[::-1]


def test_event_is_stored_once(engine: Engine) -> None:
    """Inserting it again, as after a lost connection, changes nothing."""
    for _ in range(2):
        with audit_work(engine) as trail:
            trail.insert([event(1)])
    with audit_work(engine) as trail:
        trail.insert([])
        assert trail.page() == [event(1)]
        assert trail.get(event(1).event_id) == event(1)
        assert trail.get("nothing") is None


def test_event_survives_the_spool() -> None:
    """Its bytes give it back unchanged."""
    assert AuditEvent.from_bytes(event(1).to_bytes()) == event(1)
