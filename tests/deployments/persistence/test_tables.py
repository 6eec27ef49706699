"""The tables as each dialect hands them out."""

from __future__ import annotations

from sqlalchemy import Column, Float
from sqlalchemy.dialects import mysql

from deployments.persistence.tables import METADATA


def _floats() -> list[Column[object]]:
    columns = [column for table in METADATA.tables.values() for column in table.columns]
    return [column for column in columns if isinstance(column.type, Float)]


def test_numbers_are_floats_on_mariadb_too() -> None:
    """A bucket or a makespan that came back as a decimal could not be compared with a computed one."""
    dialect = mysql.dialect()  # type: ignore[no-untyped-call]
    dialect.name = "mariadb"
    found = {str(column): column.type.dialect_impl(dialect) for column in _floats()}
    assert "decision.bucket" in found
    assert [name for name, kind in found.items() if getattr(kind, "asdecimal", False)] == []
