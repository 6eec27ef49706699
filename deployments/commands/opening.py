"""The database that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine


@contextmanager
def opened(url: str | None = None, *, statement_timeout_seconds: int = 30) -> Iterator[Engine]:
    """The database of `url`, by default GANTRY_DATABASE_URL, let go at the end.

    Raises `SchemaMismatch` unless its schema is the program's, and other `DatabaseError`s as they come.
    """
    from deployments.persistence.database import create_engine, require_current_schema
    from deployments.settings import load_settings

    if url is None:
        url = load_settings().database_url.get_secret_value()
    engine = create_engine(url, statement_timeout_seconds=statement_timeout_seconds)
    try:
        require_current_schema(engine)
        yield engine
    finally:
        engine.dispose()
