"""What a benchmark set says about everyone who competed on it: one document, small enough to be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.contest import Cell
from models.contestants import POLICY, RULES, samples_name, search_name, solver_name
from models.standings import Duel, Standing, better_than_all, duels, standings


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
    """Standings of a set, duels of the product's own competitors, and shares of instances where they are ahead."""

    conditions: Conditions
    instances: tuple[str, ...]
    instances_in_set: int
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    policy_better_than_every_rule_percent: float | None
    search_better_than_hinted_solver_percent: Mapping[str, float | None]

    def standing(self, competitor: str) -> Standing | None:
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
        standings=tuple(standings(cells)),
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
            "standings": tuple(Standing(**each) for each in document["standings"]),
            "duels": tuple(map(_duel_of_json, document["duels"])),
        }
    )


def _duel_of_json(row: Sequence[Any]) -> Duel:
    competitor, opponent, wins, ties, losses = row
    return Duel(competitor=competitor, opponent=opponent, wins=wins, ties=ties, losses=losses)
