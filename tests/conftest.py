"""How all tests run: Hypothesis without deadlines, because a busy machine proves nothing about a law."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.requirements import require_extra

if TYPE_CHECKING:
    from tests.system.serving import Service

settings.register_profile("gantry", deadline=None, print_blob=True)
settings.load_profile("gantry")


def pytest_configure() -> None:
    """A run that cannot have what it must have ends before its first test."""
    require_extra()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One real service on SQLite for the session, with the faulty application beside the published one."""
    from tests.system.serving import config_with_faulty_application, running_service

    folder = tmp_path_factory.mktemp("service")
    with running_service(folder, config=config_with_faulty_application(folder)) as running:
        yield running
