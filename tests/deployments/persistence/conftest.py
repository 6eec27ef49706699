"""Fixtures of the persistence tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.persistence.database import create_engine
from deployments.persistence.tables import METADATA


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on a new SQLite file with all tables."""
    engine = create_engine(f"sqlite:///{tmp_path / 'gantry.sqlite3'}")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()
