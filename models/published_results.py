"""What others have published and what the product was asked to reach: given figures, none of them measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from models.contestants import POLICY, search_name
from models.gates import Gate
from models.quality import Quality

SEARCH = search_name(2.0)


class Published(NamedTuple):
    """Mean gaps to the best known makespan in per cent, by set; absent where nothing is published."""

    method: str
    gaps: Mapping[str, float]


LEARNED_DISPATCHERS = (
    Published(
        "HGNN (Song et al. 2022), greedy",
        {"brandimarte": 28.8, "hurink-edata": 15.8, "hurink-rdata": 11.6, "hurink-vdata": 4.4},
    ),
    Published(
        "HGNN (Song et al. 2022), best of 100",
        {"brandimarte": 18.8, "hurink-edata": 8.4, "hurink-rdata": 6.0, "hurink-vdata": 1.4},
    ),
    Published(
        "DANIEL (Wang et al. 2023), greedy",
        {"brandimarte": 13.2, "hurink-edata": 14.7, "hurink-rdata": 11.9, "hurink-vdata": 3.4},
    ),
    Published(
        "DANIEL (Wang et al. 2023), best of 100",
        {"brandimarte": 9.2, "hurink-edata": 9.0, "hurink-rdata": 5.4, "hurink-vdata": 0.8},
    ),
    Published(
        "Residual Scheduling, greedy",
        {"brandimarte": 23.2, "hurink-edata": 14.6, "hurink-rdata": 9.9, "hurink-vdata": 3.1, "taillard": 12.5},
    ),
    Published(
        "Residual Scheduling, best of 100",
        {"brandimarte": 15.4, "hurink-edata": 7.9, "hurink-rdata": 4.7, "hurink-vdata": 0.7},
    ),
    Published("ReSched (2026), greedy", {"brandimarte": 9.1, "hurink-vdata": 3.4}),
    Published("SLIM, greedy", {"taillard": 13.4}),
    Published("SLIM, best of 128", {"taillard": 8.4}),
)

BASELINE_MAKESPAN_HOURS = {"First-Fit": 65.3, "SJF": 62.1, "EDD": 58.7, "earlier PPO": 49.2}
"""The user's own table for a plant of 170 jobs, which `reference-170` is modelled on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound that a competitor shall hold on the mean over a set. `figure` is an attribute of its standing."""

    set_name: str
    competitor: str
    figure: str
    gate: Gate

    def value(self, found: Quality) -> float | None:
        """What was measured, None where it was not."""
        standing = found.standing(self.competitor)
        value: float | None = getattr(standing, self.figure, None)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareTarget:
    """A share of instances on which a competitor shall be better than others."""

    set_name: str
    competitor: str
    against_solver: bool
    gate: Gate

    def value(self, found: Quality) -> float | None:
        """What was measured, None where it was not."""
        if not self.against_solver:
            return found.policy_better_than_every_rule_percent
        return found.search_better_than_hinted_solver_percent.get("2")


def _gap(set_name: str, competitor: str, percent: float) -> Target:
    gate = Gate(name="gap", quantity="gap to best known, %", at_most=percent)
    return Target(set_name=set_name, competitor=competitor, figure="mean_gap_percent", gate=gate)


def _hours(set_name: str, competitor: str, hours: float) -> Target:
    gate = Gate(name="makespan", quantity="makespan, h", at_most=hours)
    return Target(set_name=set_name, competitor=competitor, figure="mean_makespan_hours", gate=gate)


def _balanced(figure: str, quantity: str, percent: float) -> Target:
    gate = Gate(name=figure, quantity=quantity, at_least=percent)
    return Target(set_name="reference-170-balanced", competitor=SEARCH, figure=figure, gate=gate)


def _share(competitor: str, quantity: str, percent: float, *, against_solver: bool) -> ShareTarget:
    gate = Gate(name="ahead", quantity=quantity, at_least=percent)
    return ShareTarget(set_name="plants", competitor=competitor, against_solver=against_solver, gate=gate)


TARGETS: tuple[Target | ShareTarget, ...] = (
    _gap("brandimarte", POLICY, 9.0),
    _gap("brandimarte", SEARCH, 2.0),
    _gap("hurink-edata", POLICY, 13.0),
    _gap("hurink-edata", SEARCH, 3.0),
    _gap("hurink-rdata", POLICY, 9.0),
    _gap("hurink-rdata", SEARCH, 2.0),
    _gap("hurink-vdata", POLICY, 3.0),
    _gap("hurink-vdata", SEARCH, 0.5),
    _gap("behnke", POLICY, 7.5),
    _gap("behnke", SEARCH, 2.5),
    _gap("taillard", POLICY, 12.5),
    _gap("taillard", SEARCH, 6.0),
    _hours("reference-170", POLICY, 45.0),
    _hours("reference-170", SEARCH, 43.1),
    _hours("reference-170-balanced", SEARCH, 44.5),
    _balanced("on_time_percent", "families on time, %", 96.0),
    _balanced("important_on_time_percent", "important families on time, %", 100.0),
    _balanced("utilisation_percent", "utilisation, %", 84.0),
    _share(POLICY, "instances better than every rule, %", 95.0, against_solver=False),
    _share(SEARCH, "instances better than hinted CP-SAT at equal time, %", 90.0, against_solver=True),
)

SPEED_TARGETS = (
    Gate(name="p50", quantity="policy pass for 170 jobs, p50 ms on one core", at_most=5.0),
    Gate(name="large", quantity="policy pass for 10,000 operations on 150 machines, ms", at_most=2_000.0),
    Gate(name="growth", quantity="fitted growth exponent of the policy pass", at_most=1.2),
    Gate(name="decodes", quantity="decoder evaluations a second, 170 operations", at_least=2e6),
    Gate(name="warm", quantity="new process to first schedule, ms", at_most=2_000.0),
)
