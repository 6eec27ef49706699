"""Fixtures of the system tests: real servers, shared by the session and used apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from deployments.persistence.database import create_engine, upgrade
from tests.system.mariadb import MariaDbServer, mariadb_server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbServer]:
    """One MariaDB server for the session; a test that cannot have it says so."""
    with mariadb_server() as server:
        yield server


@pytest.fixture
def mariadb_url(mariadb: MariaDbServer) -> Iterator[str]:
    """The URL of an empty schema of this test's own."""
    with mariadb.schema() as url:
        yield url


@pytest.fixture
def engine(mariadb_url: str) -> Iterator[Engine]:
    """An engine on a migrated schema."""
    upgrade(mariadb_url)
    engine = create_engine(mariadb_url)
    yield engine
    engine.dispose()
