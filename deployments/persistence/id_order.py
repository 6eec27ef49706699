"""Decision ids are UUIDs of version 7: their order is that of their milliseconds."""

from __future__ import annotations

from datetime import datetime


def first_id(at: datetime) -> str:
    """The beginning of an id that no id made at `at` or later is less than, and every earlier one is. `at` is aware."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"
