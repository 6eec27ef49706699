"""What several tests of the service undo after themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def _restored_loggers() -> Iterator[None]:
    floors = [logging.getLogger(name) for name in ("env", "models", "deployments")]
    before = [(floor.handlers, floor.level, floor.propagate) for floor in floors]
    yield
    for floor, (handlers, level, propagate) in zip(floors, before, strict=True):
        floor.handlers, floor.propagate = handlers, propagate
        floor.setLevel(level)
