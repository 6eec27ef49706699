"""Fixtures of the persistence tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.persistence.database import create_engine


@pytest.fixture
def engine(migrated_file: Path, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a migrated SQLite file of the test's own, views included."""
    path = shutil.copyfile(migrated_file, tmp_path / "gantry.sqlite3")
    engine = create_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()
