"""Cells of CSV files and of other people's views as values of the wire."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from deployments.plants.completion import wire_document


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("processing_time", "2.5", 2.5),
        ("processing_time", " 2 ", 2),
        ("processing_time", Decimal("2.50"), 2.5),
        ("priority", 1, 1),
        ("is_important", "Yes", True),
        ("is_important", 0, False),
        ("is_important", b"\x01", True),
        ("machine_types", "1;2, 3", [1, 2, 3]),
        ("machine_types", "[1, 2]", [1, 2]),
        ("machine_types", 7, [7]),
        ("days", "mon tue", ["mon", "tue"]),
        ("pinned", '{"machine_id": 1}', {"machine_id": 1}),
        ("job_id", 4711, "4711"),
        ("job_id", b"J1", "J1"),
        ("job_id", "007", "007"),
        ("lcd_date", datetime(2025, 7, 25, 18, 0), "2025-07-25T18:00:00"),  # noqa: DTZ001 as drivers give it
        ("lcd_date", date(2025, 7, 25), "2025-07-25"),
    ],
)
def test_cell_becomes_the_value_that_was_meant(name: str, cell: object, value: Any) -> None:
    """Whatever type a file or a driver gives it, a cell arrives as JSON would have it."""
    assert wire_document({name: cell}) == {name: value}


@pytest.mark.parametrize("cell", [None, "", "  "])
def test_blank_cell_is_an_absent_field(cell: object) -> None:
    """Only what is absent gets its default."""
    assert wire_document({"setup_time": cell, "job_id": "A"}) == {"job_id": "A"}


@pytest.mark.parametrize(
    ("name", "cell", "left"),
    [
        ("processing_time", "2,5", "2,5"),
        ("processing_time", "true", "true"),
        ("is_important", "perhaps", "perhaps"),
        ("machine_options", "[{", "[{"),
        ("machine_types", "[1,", "[1,"),
        ("machine_types", "1;x", [1, "x"]),
    ],
)
def test_cell_that_cannot_be_read_is_left_to_the_model(name: str, cell: str, left: Any) -> None:
    """The model of the wire says what a value must be, so a wrong one reaches it unchanged."""
    found = wire_document({name: cell})[name]
    assert (found, type(found)) == (left, type(left))
