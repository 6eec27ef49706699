"""What commands on the database share: the way to it, which one it is, and who works on it."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deployments.runtime.clock import utc_now

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from deployments.persistence.decisions.records import AuditEvent


@contextmanager
def opened(url: str | None = None, *, statement_timeout_seconds: int = 30) -> Iterator[Engine]:
    """The database of `url`, by default GANTRY_DATABASE_URL, named on stderr and let go at the end.

    Raises `SchemaMismatch` unless its schema is the program's, and other `DatabaseError`s as they come.
    """
    from deployments.persistence.database import create_engine, require_current_schema

    engine = create_engine(named_url(url), statement_timeout_seconds=statement_timeout_seconds)
    try:
        require_current_schema(engine)
        yield engine
    finally:
        engine.dispose()


def named_url(url: str | None = None) -> str:
    """The URL that a command works on, by default GANTRY_DATABASE_URL, after one line that says which database it is.

    On stderr, because stdout may go into a file or another program.
    """
    from deployments.persistence.database import place_of
    from deployments.settings.service import load_settings

    if url is None:
        url = load_settings().database_url.get_secret_value()
    print(f"database: {place_of(url)}", file=sys.stderr, flush=True)
    return url


def actor() -> str:
    """The user of the machine."""
    return f"cli:{getpass.getuser()}"


def event_of(action: str, target: str, detail: str | None = None) -> AuditEvent:
    """What that user does now to `target`."""
    from uuid6 import uuid7

    from deployments.persistence.decisions.records import AuditEvent

    return AuditEvent(
        event_id=str(uuid7()),
        occurred_at=utc_now(),
        actor=actor(),
        client=None,
        key_id=None,
        action=action,
        target=target,
        status=None,
        request_id=None,
        detail=detail,
    )
