"""How far the database's clock is off, as far as that is certain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.persistence.database import ClockSkew, create_engine
from deployments.persistence.errors import DatabaseError

HOUR = timedelta(hours=1)


def clock_ahead(by: timedelta) -> Callable[[], datetime]:
    """A clock that is wrong by so much."""
    return lambda: datetime.now(UTC) + by


@pytest.mark.parametrize(("ahead", "least", "most"), [(HOUR, -3600.001, -3500.0), (-HOUR, 3500.0, 3600.0)])
def test_skew_is_what_is_certain_of_it(engine: Engine, ahead: timedelta, least: float, most: float) -> None:
    """A clock of ours that is ahead sees the database behind, by no more than it is; SQLite cuts off microseconds."""
    watch = ClockSkew(engine, clock_ahead(ahead))
    watch.ask()
    assert least <= watch.seconds <= most


def test_slow_answer_is_no_skew(engine: Engine) -> None:
    """A minute passed meanwhile: the database's instant lies between, so nothing is wrong."""
    now = datetime.now(UTC)
    instants = iter([now - timedelta(seconds=30), now + timedelta(seconds=30)])
    watch = ClockSkew(engine, lambda: next(instants))
    watch.ask()
    assert watch.seconds == 0.0


def test_database_that_is_away_is_an_error(tmp_path: Path) -> None:
    """Which is how a router learns that it is away."""
    absent = create_engine(f"sqlite:///{tmp_path / 'absent' / 'x.sqlite3'}")
    with pytest.raises(DatabaseError, match="unable to open database file"):
        ClockSkew(absent, clock_ahead(HOUR)).ask()
    absent.dispose()
