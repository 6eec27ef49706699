"""The database's clock, and how far it certainly is from this machine's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, text

from deployments.persistence.database import address_of
from deployments.persistence.failures import database_errors

MOST_SKEW_SECONDS = 2.0
_NOW = {
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "mariadb": "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%d %H:%i:%s.%f')",
}
Clock = Callable[[], datetime]


def database_now(connection: Connection) -> datetime:
    """What time it is there. Raises what the driver raises."""
    words = connection.execute(text(_NOW[connection.dialect.name])).scalar_one()
    return datetime.fromisoformat(words).replace(tzinfo=UTC)


def skew_seconds(connection: Connection, clock: Clock) -> float:
    """How far the database is ahead (negative: behind), at least: how long it took to answer proves nothing."""
    before = clock()
    theirs = database_now(connection)
    after = clock()
    return max(0.0, (theirs - after).total_seconds()) - max(0.0, (before - theirs).total_seconds())


class SkewWatch:
    """Asks one database now and then, and remembers."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.seconds = 0.0

    def ask(self) -> None:
        """Blocks for up to the connect time-out: keep it off the request path. Raises `DatabaseError`."""
        with database_errors(address_of(self._engine)), self._engine.connect() as connection:
            self.seconds = skew_seconds(connection, self._clock)
