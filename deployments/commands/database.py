"""What commands on the database share: the way to it, which one it is, and who works on it."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


def other_url(url: str, password_file: Path | None = None) -> str:
    """The URL of a database that is not that of the settings, but is reached as they say: with their TLS.

    The password is what `password_file` holds ("-": stdin), else GANTRY_INTO_PASSWORD, else that of GANTRY_DATABASE_URL
    where user and server are the same. Raises `InvalidDatabaseUrl` for a URL that has one: a process list shows it.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from deployments.persistence.errors import InvalidDatabaseUrl
    from deployments.settings.service import load_settings

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # `named_url` says what a URL must look like.
        return named_url(url)
    if parsed.password or not {"passwd", "password"}.isdisjoint(parsed.query):
        remedy = "set GANTRY_INTO_PASSWORD or give --password-file FILE (- for stdin), and change the password"
        raise InvalidDatabaseUrl(f"--into must not have a password, which any process list shows, had one: {remedy}")
    if parsed.drivername.startswith("sqlite"):
        return named_url(url)
    settings = load_settings()
    if password_file is not None:
        text = sys.stdin.readline() if str(password_file) == "-" else password_file.read_text(encoding="utf-8")
        password = text.rstrip("\r\n")
    elif settings.into_password is not None:
        password = settings.into_password.get_secret_value()
    else:
        own = make_url(settings.database_url.get_secret_value())
        is_same = (own.username, own.host, own.port) == (parsed.username, parsed.host, parsed.port)
        password = str(own.password or "") if is_same else ""
    if password:
        parsed = parsed.set(password=password)
    try:
        return named_url(settings.reaching(parsed.render_as_string(hide_password=False)))
    except ValueError as error:
        raise InvalidDatabaseUrl(f"--into {error}") from None


def actor() -> str:
    """The user of the machine."""
    return f"cli:{getpass.getuser()}"


def event_of(action: str, target: str, detail: str | None = None) -> AuditEvent:
    """What that user does now to `target`."""
    from deployments.persistence.decisions.records import AuditEvent

    return AuditEvent.of_machine(actor(), utc_now(), action, target, detail)
