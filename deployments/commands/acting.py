"""Who runs a command, as the audit trail shows it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployments.persistence.audit_event import AuditEvent


def actor() -> str:
    """The user of the machine."""
    return f"cli:{getpass.getuser()}"


def event_of(action: str, target: str, detail: str | None = None) -> AuditEvent:
    """What that user does now to `target`."""
    from uuid6 import uuid7

    from deployments.persistence.audit_event import AuditEvent

    return AuditEvent(
        event_id=str(uuid7()),
        occurred_at=datetime.now(UTC),
        actor=actor(),
        client=None,
        key_id=None,
        action=action,
        target=target,
        status=None,
        request_id=None,
        detail=detail,
    )
