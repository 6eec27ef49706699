"""What several tests of the service undo after themselves, and a pool that nobody may use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployments.persistence.database import upgrade


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite file at the newest revision, to copy and not to open: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "gantry.sqlite3"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def _restored_loggers() -> Iterator[None]:
    floors = [logging.getLogger(name) for name in ("env", "models", "deployments")]
    before = [(floor.handlers, floor.level, floor.propagate) for floor in floors]
    yield
    for floor, (handlers, level, propagate) in zip(floors, before, strict=True):
        floor.handlers, floor.propagate = handlers, propagate
        floor.setLevel(level)


class ForbiddenPool(ThreadPoolExecutor):
    """Asyncio's default pool, as far as the service is concerned: whoever hangs in it would hang everybody."""

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        raise AssertionError(f"{work} must have threads of its own purpose, was given asyncio's default pool")


@pytest.fixture(autouse=True)
async def _nobody_uses_the_default_pool() -> None:
    asyncio.get_running_loop().set_default_executor(ForbiddenPool(1))
