"""The least that the service's database user needs, as text; `tests/system/test_grants.py` tries it."""

from __future__ import annotations

import re

import pytest

from deployments.persistence.errors import InvalidDatabaseUrl
from deployments.persistence.tables import METADATA, VIEWS, service_grants


def _granted() -> dict[str, str]:
    """What is granted, by table."""
    statements = list(service_grants("gantry", "service", "10.0.0.%"))
    assert all(statement.endswith(" TO 'service'@'10.0.0.%';") for statement in statements)
    parts = [statement.removeprefix("GRANT ").split(" ON `gantry`.") for statement in statements]
    return {where.split("`")[1]: what for what, where in parts}


def test_every_table_and_view_is_granted_once() -> None:
    """A new table is not forgotten."""
    assert set(_granted()) == {*METADATA.tables, *VIEWS, "alembic_version"}


def test_nobody_may_change_the_schema() -> None:
    """No statement grants more than reading and writing rows, and seeing what a view is made of."""
    allowed = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    for where, what in _granted().items():
        assert set(re.findall("[A-Z]+", what)) <= allowed | ({"SHOW", "VIEW"} if where in VIEWS else set())


def test_what_was_decided_cannot_be_deleted() -> None:
    """Decisions and incidents stay, both trails are inserted and read, and of a key only the last use moves."""
    granted = _granted()
    assert granted["decision"] == "SELECT, INSERT, UPDATE"
    assert granted["incident"] == "SELECT, INSERT, UPDATE"
    assert granted["audit_event"] == granted["rollout_transition"] == granted["plan_release"] == "SELECT, INSERT"
    assert granted["api_key"] == "SELECT, UPDATE (`last_used_at`)"


@pytest.mark.parametrize("name", ["", "a'b", "a`b", "a b", "a;b", "x" * 65])
def test_odd_names_are_refused(name: str) -> None:
    """A name never ends a statement and begins another."""
    for place in range(3):
        names = ["gantry", "service", "localhost"]
        names[place] = name
        with pytest.raises(InvalidDatabaseUrl, match="must consist of letters"):
            list(service_grants(*names))
