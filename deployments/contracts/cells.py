"""Cells of a table, be it a CSV file or a view of an ERP -> values of the wire.

A cell that cannot be read stays what it is, so that the model which is given it says what it must be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

_NUMBERS = frozenset(
    {
        "machine_id",
        "machine_type",
        "current_load",
        "sequence",
        "processing_time",
        "priority",
        "setup_time",
        "weight",
    }
)
_BOOLEANS = frozenset({"is_important", "interruptible"})
_LISTS = frozenset({"machine_types", "requires_all_machines", "days", "holidays"})
_DOCUMENTS = frozenset({"machine_options", "pinned", "breaks"})
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SEPARATORS = re.compile(r"[\s,;|]+")


def wire_document(cells: Mapping[str, object]) -> dict[str, Any]:
    """The JSON object of one line; a cell that is null or blank is an absent field."""
    return {name: _value(name, cell) for name, cell in cells.items() if not _is_blank(cell)}


def _is_blank(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _value(name: str, cell: object) -> Any:
    if isinstance(cell, bytes):
        # A BIT column of MariaDB, else text of a binary collation.
        cell = int.from_bytes(cell) if name in _BOOLEANS else cell.decode(errors="replace")
    if name in _NUMBERS:
        return _number(cell)
    if name in _BOOLEANS:
        return _WORDS.get(str(cell).strip().lower(), cell)
    if name in _LISTS:
        return _list(cell)
    if name in _DOCUMENTS:
        return _parsed(str(cell))
    return cell.isoformat() if isinstance(cell, datetime | date) else str(cell).strip()


def _number(cell: object) -> object:
    if isinstance(cell, Decimal):
        return float(cell)
    parsed = _parsed(cell) if isinstance(cell, str) else cell
    return parsed if isinstance(parsed, int | float) and not isinstance(parsed, bool) else cell


def _list(cell: object) -> object:
    text = str(cell).strip()
    if text.startswith("["):
        return _parsed(text)
    return [_number(part) for part in _SEPARATORS.split(text) if part]


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
