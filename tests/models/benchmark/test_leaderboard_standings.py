from __future__ import annotations

import pytest

from models.benchmark.benchmark import Cell
from models.benchmark.leaderboard import better_than_all, duels, leaderboard


def _cell(instance: str, competitor: str, makespan: int | None, *, valid: bool = True, seconds: float = 1.0) -> Cell:
    return Cell(
        instance=instance,
        operations=4,
        competitor=competitor,
        seconds=seconds,
        valid=valid,
        objective_seconds=makespan,
        makespan_seconds=makespan,
        best_known_seconds=100.0,
        on_time_percent=None if makespan is None else 50.0,
        important_on_time_percent=None,
        utilisation_percent=None,
    )


CELLS = [
    _cell("a", "one", 110, seconds=1.0),
    _cell("a", "two", 120),
    _cell("b", "one", 130, seconds=4.0),
    _cell("b", "two", 130),
    _cell("c", "one", 150, seconds=1.0),
    _cell("c", "two", None),
]


def test_standing_averages_what_was_solved() -> None:
    """Means leave out the instance without a schedule, and say how many were solved."""
    one, two = leaderboard(CELLS)
    assert (one.competitor, one.instances, one.solved, one.best) == ("one", 3, 3, 3)
    assert one.mean_gap_percent == pytest.approx(30.0)
    assert (one.mean_seconds, one.median_seconds) == (2.0, 1.0)
    assert (two.instances, two.solved, two.best) == (3, 2, 1)
    assert two.mean_gap_percent == pytest.approx(25.0)
    assert two.on_time_percent == pytest.approx(50.0)


def test_duel_counts_every_shared_instance() -> None:
    """One win by value, one because the other has no schedule, one tie; and the same from the other side."""
    one, two = duels(CELLS)
    assert (one.competitor, one.wins, one.ties, one.losses) == ("one", 2, 1, 0)
    assert (two.competitor, two.wins, two.ties, two.losses) == ("two", 0, 1, 2)


def test_invalid_schedule_wins_nothing() -> None:
    """A short schedule that the judge refused loses, is not the best and is counted."""
    cells = [_cell("a", "cheat", 10, valid=False), _cell("a", "honest", 100)]
    cheat, honest = leaderboard(cells)
    assert (cheat.invalid, cheat.solved, cheat.best, honest.best) == (1, 0, 0, 1)
    assert duels(cells)[0].losses == 1


def test_tie_is_not_better() -> None:
    """Ahead of all others on one of three instances by value and on one because there is no other schedule."""
    assert better_than_all(CELLS, "one", ["two"]) == pytest.approx(100.0 * 2 / 3)
    assert better_than_all(CELLS, "one", ["nobody"]) is None
