"""Cells of a contest -> how each competitor stands, and who beats whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from models.contest import Cell

TIE_SHARE = 1e-9
"""Values closer than this share of each other are equal: only rounding tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One competitor over the instances of a set. Means are over the `solved` instances; None where that is none.

    `best` counts instances on which no competitor was better.
    """

    competitor: str
    instances: int
    solved: int
    invalid: int
    best: int
    mean_gap_percent: float | None
    mean_objective_hours: float | None
    mean_makespan_hours: float | None
    on_time_percent: float | None
    important_on_time_percent: float | None
    utilisation_percent: float | None
    mean_seconds: float
    median_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """One competitor against another on the instances that both met; no schedule loses to any schedule."""

    competitor: str
    opponent: str
    wins: int
    losses: int
    ties: int


def standings(cells: Sequence[Cell]) -> list[Standing]:
    """One standing a competitor, in the order in which they competed."""
    best = {name: min(map(_value, group)) for name, group in _grouped(cells, lambda cell: cell.instance).items()}
    by_competitor = _grouped(cells, lambda cell: cell.competitor)
    return [_standing(name, group, best) for name, group in by_competitor.items()]


def duels(cells: Sequence[Cell]) -> list[Duel]:
    """Everyone against everyone else."""
    by_competitor = _grouped(cells, lambda cell: cell.competitor)
    values = {name: {cell.instance: _value(cell) for cell in group} for name, group in by_competitor.items()}
    return [_duel(one, values[one], other, values[other]) for one in values for other in values if one != other]


def better_than_all(cells: Sequence[Cell], competitor: str, opponents: Sequence[str]) -> float | None:
    """Per cent of instances on which the competitor is better than each of the opponents; a tie is not better.

    None where they never met.
    """
    groups = _grouped(cells, lambda cell: cell.instance).values()
    rows = [{cell.competitor: _value(cell) for cell in group} for group in groups]
    rows = [row for row in rows if competitor in row and any(each in row for each in opponents)]
    ahead = [all(_is_less(row[competitor], row[each]) for each in opponents if each in row) for row in rows]
    return 100.0 * sum(ahead) / len(ahead) if ahead else None


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found


def _value(cell: Cell) -> float:
    """The objective of a valid schedule; nothing is worse than having none."""
    return cell.objective_seconds if cell.valid and cell.objective_seconds is not None else np.inf


def _is_less(one: float, other: float) -> bool:
    return one < other and not np.isclose(one, other, rtol=TIE_SHARE, atol=0.0)


def _standing(name: str, cells: Sequence[Cell], best: dict[str, float]) -> Standing:
    solved = [cell for cell in cells if cell.valid and cell.objective_seconds is not None]
    seconds = [cell.seconds for cell in cells]
    return Standing(
        competitor=name,
        instances=len(cells),
        solved=len(solved),
        invalid=sum(not cell.valid for cell in cells),
        best=sum(not _is_less(best[cell.instance], _value(cell)) for cell in solved),
        mean_gap_percent=_mean(cell.gap_percent for cell in solved),
        mean_objective_hours=_mean(_hours(cell.objective_seconds) for cell in solved),
        mean_makespan_hours=_mean(_hours(cell.makespan_seconds) for cell in solved),
        on_time_percent=_mean(cell.on_time_percent for cell in solved),
        important_on_time_percent=_mean(cell.important_on_time_percent for cell in solved),
        utilisation_percent=_mean(cell.utilisation_percent for cell in solved),
        mean_seconds=float(np.mean(seconds)),
        median_seconds=float(np.median(seconds)),
    )


def _duel(one: str, values: dict[str, float], other: str, opposing: dict[str, float]) -> Duel:
    shared = [(value, opposing[instance]) for instance, value in values.items() if instance in opposing]
    wins = sum(_is_less(own, theirs) for own, theirs in shared)
    losses = sum(_is_less(theirs, own) for own, theirs in shared)
    return Duel(competitor=one, opponent=other, wins=wins, losses=losses, ties=len(shared) - wins - losses)


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600.0


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
