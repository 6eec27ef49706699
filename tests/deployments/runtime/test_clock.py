"""The instant that it is now."""

from __future__ import annotations

from datetime import UTC, datetime

from deployments.runtime.clock import utc_now


def test_now_is_an_instant_in_utc() -> None:
    """It has a time zone, so that it can be compared with any other, and lies between two looks at the clock."""
    before = datetime.now(UTC)
    now = utc_now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC
