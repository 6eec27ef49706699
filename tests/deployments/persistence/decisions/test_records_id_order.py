"""What an id tells of its time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deployments.persistence.decisions.records import first_id, made_at


def test_id_tells_when_it_was_made() -> None:
    """To the millisecond, and the first id of an instant is made at that instant."""
    at = datetime(2026, 1, 5, 6, 30, 0, 250_000, tzinfo=UTC)
    assert made_at(f"{first_id(at)}-7000-8000-000000000000") == at.timestamp()


@pytest.mark.parametrize("other", ["", "none", "0190", "6f1c1f0e-3f0a-4a53-9d5e-0c7d5b0f5a11"])
def test_other_ids_tell_nothing(other: str) -> None:
    """Neither what is no UUID nor a random one."""
    assert made_at(other) is None
