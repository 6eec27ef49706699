"""`gantry audit`: who did what beyond scheduling."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.database import opened

if TYPE_CHECKING:
    from deployments.persistence.decisions.records import AuditEvent


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(audit)


def audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the newest rows.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show who operated the service or changed its keys, newest first: one line for each act.

    Example: gantry audit --limit 20
    """
    from deployments.persistence.decisions.audit_repository import audit_work

    with opened() as engine, audit_work(engine) as trail:
        events = trail.page(limit=limit)
    for event in events:
        print(json.dumps(event.to_fields()) if as_json else _line(event))


def _line(event: AuditEvent) -> str:
    when = event.occurred_at.isoformat(timespec="seconds")
    status = "" if event.status is None else f" -> {event.status}"
    return f"{when} {event.actor}: {event.action} {event.target}{status} {event.detail or ''}".rstrip()
