"""Results of a benchmark -> how each competitor stands, who beats whom, and one document small enough to be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.benchmark.benchmark import POLICY, RULES, Cell, samples_name, search_name, solver_name

TIE_SHARE = 1e-9
"""Values closer than this share of each other are equal: only rounding tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
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


def leaderboard(cells: Sequence[Cell]) -> list[LeaderboardRow]:
    """One row a competitor, in the order in which they competed."""
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


def _standing(name: str, cells: Sequence[Cell], best: dict[str, float]) -> LeaderboardRow:
    solved = [cell for cell in cells if cell.valid and cell.objective_seconds is not None]
    seconds = [cell.seconds for cell in cells]
    return LeaderboardRow(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which conditions a set was measured: equal conditions, and only those, may share one table."""

    set_name: str
    objective: str
    in_hours: bool
    model: str
    model_sha256: str
    core: str
    budgets_seconds: tuple[float, ...]
    samples: int
    seed: int
    solver: str | None
    cores: int

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"budgets_seconds": list(self.budgets_seconds)}

    @property
    def ours(self) -> list[str]:
        """Competitors that are the product."""
        sampled = [samples_name(self.samples)] if self.samples else []
        return [POLICY, *sampled, *map(search_name, self.budgets_seconds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The leaderboard of a set, duels of the product's own competitors, shares of instances where they are ahead."""

    conditions: Conditions
    instances: tuple[str, ...]
    instances_in_set: int
    standings: tuple[LeaderboardRow, ...]
    duels: tuple[Duel, ...]
    policy_better_than_every_rule_percent: float | None
    search_better_than_hinted_solver_percent: Mapping[str, float | None]

    def standing(self, competitor: str) -> LeaderboardRow | None:
        """How a competitor stands, None when it did not compete."""
        return next((each for each in self.standings if each.competitor == competitor), None)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `quality_of_json` reads them back."""
        duels = [[each.competitor, each.opponent, each.wins, each.ties, each.losses] for each in self.duels]
        return asdict(self) | {"conditions": self.conditions.as_json(), "duels": duels}


def quality(conditions: Conditions, cells: Sequence[Cell], instances_in_set: int) -> Quality:
    """The document of a set, from all cells that are there."""
    ours = set(conditions.ours)
    ahead = {
        f"{budget:g}": better_than_all(cells, search_name(budget), [solver_name(budget, hinted=True)])
        for budget in conditions.budgets_seconds
        if conditions.solver is not None
    }
    return Quality(
        conditions=conditions,
        instances=tuple(dict.fromkeys(cell.instance for cell in cells)),
        instances_in_set=instances_in_set,
        standings=tuple(leaderboard(cells)),
        duels=tuple(duel for duel in duels(cells) if duel.competitor in ours),
        policy_better_than_every_rule_percent=better_than_all(cells, POLICY, RULES),
        search_better_than_hinted_solver_percent=ahead,
    )


def quality_of_json(document: Mapping[str, Any]) -> Quality:
    """The inverse of `Quality.as_json`."""
    conditions = dict(document["conditions"])
    conditions["budgets_seconds"] = tuple(conditions["budgets_seconds"])
    return Quality(
        **{
            **document,
            "conditions": Conditions(**conditions),
            "instances": tuple(document["instances"]),
            "standings": tuple(LeaderboardRow(**each) for each in document["standings"]),
            "duels": tuple(map(_duel_of_json, document["duels"])),
        }
    )


def _duel_of_json(row: Sequence[Any]) -> Duel:
    competitor, opponent, wins, ties, losses = row
    return Duel(competitor=competitor, opponent=opponent, wins=wins, ties=ties, losses=losses)
