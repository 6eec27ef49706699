"""The audit trail as it is read back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from pydantic import Field

from deployments.contracts.wire import AnswerModel
from deployments.persistence.audit_event import AuditEvent


class AuditEventAnswer(AnswerModel):
    """One act of one actor."""

    event_id: str
    occurred_at: datetime
    actor: str = Field(description="the name of the key, or who ran the command")
    client: str | None
    key_id: str | None
    action: str = Field(description="the operation of this document, or the command")
    target: str
    status: int | None = Field(description="what the actor was answered; null for a command, or nobody was there")
    request_id: str | None
    detail: str | None = Field(description="what the actor gave, its beginning")


class AuditPage(AnswerModel):
    """Events, newest first; `next_cursor` is null on the last page."""

    events: list[AuditEventAnswer]
    next_cursor: str | None


def audit_event_answer(event: AuditEvent) -> AuditEventAnswer:
    """The event in the words of the wire."""
    return AuditEventAnswer(**asdict(event))
