"""Amounts and instants as a planner reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from env.judge.verdict import amount, machine_words, machines_words, moment
from env.problem import Machine, WorkingHours

KUALA_LUMPUR = WorkingHours(origin=datetime(2025, 7, 22, 6, 0, tzinfo=UTC), zone="Asia/Kuala_Lumpur")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (901, "15 min 1 s"),
        (3600, "1 h"),
        (7501, "2 h 5 min 1 s"),
        (360_000, "100 h"),
        (10**18, "more than 30 million years"),
    ],
)
def test_amount_names_only_the_parts_that_are_there(seconds: int, words: str) -> None:
    """Hours, minutes and seconds, without zeros in front, between or behind."""
    assert amount(seconds) == words


@pytest.mark.parametrize(
    ("hours", "second", "words"),
    [
        (None, 0, "the start of the schedule"),
        (None, 90, "1 min 30 s after the start of the schedule"),
        (None, -90, "1 min 30 s before the start of the schedule"),
        (KUALA_LUMPUR, 0, "Tue 2025-07-22 14:00:00"),
        (KUALA_LUMPUR, 10**18, "more than 30 million years after the start of the schedule"),
    ],
)
def test_moment_is_wall_clock_where_there_is_one(hours: WorkingHours | None, second: int, words: str) -> None:
    """The plant's clock when it is known and the date exists, otherwise the distance from the start."""
    assert moment(hours, second) == words


def test_machine_is_named_when_it_has_a_name() -> None:
    """The public id comes first, because that is what the request and the answer hold."""
    assert machine_words(Machine(id=42, name="CM03")) == "machine 42 (CM03)"
    assert machine_words(Machine(id=42)) == "machine 42"


def test_machines_are_named_together() -> None:
    """Work that holds several machines names all of them, the last after an "and"."""
    machines = [Machine(id=1, name="press"), Machine(id=2), Machine(id=3)]
    assert machines_words(machines[:1]) == "machine 1 (press)"
    assert machines_words(machines[:2]) == "machines 1 (press) and 2"
    assert machines_words(machines) == "machines 1 (press), 2 and 3"
