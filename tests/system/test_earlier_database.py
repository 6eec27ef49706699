"""What 0.1.0 left in MariaDB is read by this one: its schema, its rows, and what its spool had not delivered."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from sqlalchemy import text

from deployments.persistence.database import create_engine
from tests.system.mariadb import MariaDbServer
from tests.test_earlier_data import deliver_and_read

pytestmark = pytest.mark.system

ARCHIVE = Path(__file__).parent.parent / "data" / "mariadb_0_1_0.tar.gz"
STORED = 5
SPOOLED = 3


def test_database_and_spool_of_an_earlier_version(mariadb: MariaDbServer, tmp_path: Path) -> None:
    """Made by a service of 0.1.0 whose database was killed, then itself: nothing of what it acknowledged is lost."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    with mariadb.schema() as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            for statement in (tmp_path / "gantry.sql").read_text(encoding="utf-8").split(";\n"):
                if statement.strip():
                    connection.exec_driver_sql(statement.replace("%", "%%"))
        engine.dispose()
        found = deliver_and_read(url, tmp_path / "spool")
        assert sorted(record.request_id or "" for record in found) == [f"old-{n}" for n in range(STORED + SPOOLED)]
        engine = create_engine(url)
        with engine.connect() as connection:
            feedback = connection.execute(text("SELECT rating, comment FROM feedback")).all()
        engine.dispose()
        assert [tuple(row) for row in feedback] == [(4, "fine")]
