"""Decision ids are UUIDs of version 7: their order is that of their milliseconds."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

_TIME_ORDERED = 7


def first_id(at: datetime) -> str:
    """The beginning of an id that no id made at `at` or later is less than, and every earlier one is. `at` is aware."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def made_at(decision_id: str) -> float | None:
    """Seconds since 1970 at which an id was made, None for what is no such id."""
    try:
        parsed = UUID(decision_id)
    except ValueError:
        return None
    return (parsed.int >> 80) / 1000.0 if parsed.version == _TIME_ORDERED else None
