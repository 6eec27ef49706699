"""The instant that it is now: what clocks are unless a test brings its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives instants with a time zone."""


def utc_now() -> datetime:
    """By the clock of this machine, in UTC."""
    return datetime.now(UTC)
