"""How all tests run: Hypothesis without deadlines, because a busy machine proves nothing about a law, and in tiers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.requirements import require_extra

if TYPE_CHECKING:
    from tests.system.serving import Service

settings.register_profile("gantry", deadline=None, print_blob=True)
settings.load_profile("gantry")

STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"})
"""What Python calls it, in its audit events, when a process is started."""
MARKS_OF_PROCESSES = ("system", "learning")
_FONT_LIST = "'fc-list'"
"""What matplotlib asks on its first day on a machine."""
_started: list[str] = []


def pytest_configure() -> None:
    """A run that cannot have what it must have ends before its first test.

    One thread each, as a replica has it: where tests run beside each other, two threads of a small network would
    wait for each other most of the time.
    """
    require_extra()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.addaudithook(_note_start)


def _note_start(event: str, details: tuple[object, ...]) -> None:
    if event in STARTS and _FONT_LIST not in repr(details):
        _started.append(f"{event} {details!r}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the shared service come last, so that it does not take its share of the machine beside the others."""
    items.sort(key=lambda item: "service" in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True)
def _starts_processes_only_where_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """The fast tests stay fast, and run beside each other."""
    _started.clear()
    yield
    if not any(request.node.get_closest_marker(mark) for mark in MARKS_OF_PROCESSES):
        assert _started == [], "a test that starts processes must be marked system"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One real service on SQLite for the session, with the faulty application beside the published one."""
    from tests.system.serving import config_with_faulty_application, running_service

    folder = tmp_path_factory.mktemp("service")
    with running_service(folder, config=config_with_faulty_application(folder)) as running:
        yield running
