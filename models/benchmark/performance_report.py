"""Benchmark runs -> docs/PERFORMANCE_IMPROVEMENTS.md. Every measured figure comes from a run; given ones say whose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from env.errors import GantryError
from models.benchmark.benchmark import ONE_PLAY, POLICY, samples_name, search_name
from models.benchmark.leaderboard import Quality, quality_of_json
from models.benchmark.quality_page import number, quality_markdown, table
from models.benchmark.speed import SIZES, Speed, Timing, speed_of_json
from models.publishing.evaluation import PublishingGate

SPEED_FILE = "speed.json"
_DIGITS = 6
SEARCH = search_name(2.0)
QUALITY_PICTURE, SPEED_PICTURE = "quality.png", "speed.png"
_OPENING = """# Performance

Written by `gantry bench report` from the runs in `docs/figures/`, which `gantry bench quality` and `gantry bench speed`
measured; edit neither this page nor those files by hand. What each competitor is and how it is measured:
[BENCHMARKS.md](BENCHMARKS.md). Where fewer instances were measured than a set has, the tables say so. Shared machines
are noisy: trust ratios within a table."""
_LIKE_WITH_LIKE = """A published greedy figure is one play of one network: that is *one play* here. A policy pass is
one play forwards and one backwards by the network that knows the objective best, and plays of the others in those of
the two directions that come close, each justified, and the best of these schedules; a sample is one such play with
draws. How much time they take is in the tables of each set."""


class NoRuns(GantryError):
    """A folder without the figures of a benchmark, or with figures that cannot be read; names what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFiles:
    """The newest figures of each set, by its name, and those of speed, None where it was not measured."""

    qualities: Mapping[str, Quality]
    speed: Speed | None

    def updated(self, newer: ResultFiles) -> ResultFiles:
        """These runs with whatever the newer ones have in place of it."""
        return ResultFiles(qualities={**self.qualities, **newer.qualities}, speed=newer.speed or self.speed)


def read_runs(folder: Path) -> ResultFiles:
    """The runs in a folder that `gantry bench quality`, `gantry bench speed` or `write_runs` wrote to.

    Raises `NoRuns` when a file is none of theirs.
    """
    qualities, speed = {}, None
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if path.name == SPEED_FILE:
                speed = speed_of_json(document)
            else:
                found = quality_of_json(document)
                qualities[found.conditions.set_name] = found
        except (ValueError, TypeError, KeyError) as error:
            raise NoRuns(f"{path} must hold the figures of a benchmark, but does not: {error}") from error
    return ResultFiles(qualities=qualities, speed=speed)


def write_runs(folder: Path, runs: ResultFiles) -> None:
    """Write the figures, with six digits, as one file a set and one for speed."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = {f"{name}.json": found.as_json() for name, found in runs.qualities.items()}
    if runs.speed is not None:
        documents[SPEED_FILE] = runs.speed.as_json()
    for name, document in documents.items():
        text = json.dumps(_rounded(document), separators=(",", ":"))
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


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
    """A bound that a competitor shall hold on the mean over a set. `figure` is an attribute of its row."""

    set_name: str
    competitor: str
    figure: str
    gate: PublishingGate

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
    gate: PublishingGate

    def value(self, found: Quality) -> float | None:
        """What was measured, None where it was not."""
        if not self.against_solver:
            return found.policy_better_than_every_rule_percent
        return found.search_better_than_hinted_solver_percent.get("2")


def _gap_target(set_name: str, competitor: str, percent: float) -> Target:
    gate = PublishingGate(name="gap", quantity="gap to best known, %", at_most=percent)
    return Target(set_name=set_name, competitor=competitor, figure="mean_gap_percent", gate=gate)


def _hours(set_name: str, competitor: str, hours: float) -> Target:
    gate = PublishingGate(name="makespan", quantity="makespan, h", at_most=hours)
    return Target(set_name=set_name, competitor=competitor, figure="mean_makespan_hours", gate=gate)


def _balanced(figure: str, quantity: str, percent: float) -> Target:
    gate = PublishingGate(name=figure, quantity=quantity, at_least=percent)
    return Target(set_name="reference-170-balanced", competitor=SEARCH, figure=figure, gate=gate)


def _share(competitor: str, quantity: str, percent: float, *, against_solver: bool) -> ShareTarget:
    gate = PublishingGate(name="ahead", quantity=quantity, at_least=percent)
    return ShareTarget(set_name="plants", competitor=competitor, against_solver=against_solver, gate=gate)


TARGETS: tuple[Target | ShareTarget, ...] = (
    _gap_target("brandimarte", POLICY, 9.0),
    _gap_target("brandimarte", SEARCH, 2.0),
    _gap_target("hurink-edata", POLICY, 13.0),
    _gap_target("hurink-edata", SEARCH, 3.0),
    _gap_target("hurink-rdata", POLICY, 9.0),
    _gap_target("hurink-rdata", SEARCH, 2.0),
    _gap_target("hurink-vdata", POLICY, 3.0),
    _gap_target("hurink-vdata", SEARCH, 0.5),
    _gap_target("behnke", POLICY, 7.5),
    _gap_target("behnke", SEARCH, 2.5),
    _gap_target("taillard", POLICY, 12.5),
    _gap_target("taillard", SEARCH, 6.0),
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
    PublishingGate(name="p50", quantity="policy pass for 170 jobs, p50 ms on one core", at_most=5.0),
    PublishingGate(name="large", quantity="policy pass for 10,000 operations on 150 machines, ms", at_most=2_000.0),
    PublishingGate(name="growth", quantity="fitted growth exponent of the policy pass", at_most=1.2),
    PublishingGate(name="decodes", quantity="decoder evaluations a second, 170 operations", at_least=2e6),
    PublishingGate(name="warm", quantity="new process to first schedule, ms", at_most=2_000.0),
)
SET_ORDER = tuple(dict.fromkeys(target.set_name for target in TARGETS))


def performance_markdown(runs: ResultFiles, notes: str) -> str:
    """The whole page; `notes` is prose on what was tried and what comes next, without figures."""
    sets = ordered(runs.qualities)
    parts = [
        _OPENING,
        "## Targets\n\n" + "\n".join(_targets(runs)),
        "## From the baseline\n\n" + _baseline(runs.qualities),
        "## Against published learned dispatchers\n\n" + _published(runs.qualities),
        f"## Quality over time\n\n![Quality over time, set by set](figures/{QUALITY_PICTURE})",
        "## Set by set",
        *(f"### {found.conditions.set_name}\n\n{quality_markdown(found).rstrip()}" for found in sets),
        "## Speed\n\n" + _speed(runs.speed),
        "## What was tried and what comes next\n\n" + notes.strip(),
    ]
    return "\n\n".join(parts) + "\n"


def ordered(qualities: Mapping[str, Quality]) -> list[Quality]:
    """The sets in the order of the targets, any other behind them."""
    names = [*SET_ORDER, *sorted(set(qualities) - set(SET_ORDER))]
    return [qualities[name] for name in names if name in qualities]


def speed_lines(found: Speed) -> list[str]:
    """What is measured once, in sentences."""
    lines = []
    if found.growth_exponent is not None:
        lines.append(f"The policy pass grows as operations ^ {found.growth_exponent:.2f} (continuous operation).")
    if found.warm_process_ms is not None:
        lines.append(f"A new process has its first schedule after {found.warm_process_ms:,.0f} ms.")
    if found.decodes_per_second is not None:
        lines.append(
            f"{found.decodes_per_second:,.0f} schedules of 170 operations a second are timed along a known order."
        )
    return lines


def _targets(runs: ResultFiles) -> list[str]:
    rows = []
    for target in TARGETS:
        found = runs.qualities.get(target.set_name)
        value = None if found is None else target.value(found)
        count = "-" if found is None else f"{len(found.instances)} of {found.instances_in_set}"
        rows.append([f"{target.set_name}, {target.competitor}", *_verdict(target.gate, value), count])
    values = {} if runs.speed is None else _speed_values(runs.speed)
    for gate in SPEED_TARGETS:
        rows.append(["speed", *_verdict(gate, values.get(gate.name)), "-"])
    return table(["target", "figure", "bound", "measured", "reached", "instances"], rows)


def _verdict(gate: PublishingGate, value: float | None) -> list[str]:
    bound = f"<= {gate.at_most:,.12g}" if gate.at_most is not None else f">= {gate.at_least:,.12g}"
    digits = 0 if value is not None and value >= 100 else 2
    reached = "not measured" if value is None else "no" if gate.miss(value) else "yes"
    return [gate.quantity, bound, number(value, digits), reached]


def _speed_values(found: Speed) -> dict[str, float | None]:
    return {
        "p50": _policy_ms(found, SIZES[0]),
        "large": _policy_ms(found, 10_000),
        "growth": found.growth_exponent,
        "decodes": found.decodes_per_second,
        "warm": found.warm_process_ms,
    }


def _policy_ms(found: Speed, operations: int) -> float | None:
    steady = (each for each in found.timings if each.operations == operations and not each.calendar)
    timing: Timing | None = next(steady, None)
    return None if timing is None else timing.policy_ms


def _baseline(qualities: Mapping[str, Quality]) -> str:
    """The user's own table beside what the ten plants modelled on it give."""
    rows = [[f"{name} (the user's table)", number(hours, 1)] for name, hours in BASELINE_MAKESPAN_HOURS.items()]
    found = qualities.get("reference-170")
    if found is not None:
        chosen = ["rule fifo", "rule edd", "rule spt", "rule planner", *found.conditions.ours]
        standings = [found.standing(name) for name in chosen]
        rows += [[row.competitor, number(row.mean_makespan_hours, 2)] for row in standings if row is not None]
    return "\n".join(table(["170 jobs, makespan as objective", "mean makespan, h"], rows))


def _published(qualities: Mapping[str, Quality]) -> str:
    names = [name for name in SET_ORDER if any(name in each.gaps for each in LEARNED_DISPATCHERS)]
    rows = []
    for each in LEARNED_DISPATCHERS:
        rows.append([each.method, *(number(each.gaps.get(name), 1) for name in names)])
    for label, competitors in _ours(qualities).items():
        gaps = (_gap(qualities.get(name), competitors) for name in names)
        rows.append([f"**Gantry, {label}**", *(number(gap, 2) for gap in gaps)])
    return "\n".join(table(["mean gap to best known, %", *names], rows)) + "\n\n" + _LIKE_WITH_LIKE


def _ours(qualities: Mapping[str, Quality]) -> dict[str, Sequence[str]]:
    samples = {samples_name(found.conditions.samples) for found in qualities.values() if found.conditions.samples}
    return {ONE_PLAY: [ONE_PLAY], POLICY: [POLICY], **{name: [name] for name in sorted(samples)}, SEARCH: [SEARCH]}


def _gap(found: Quality | None, competitors: Sequence[str]) -> float | None:
    rows = [] if found is None else [found.standing(name) for name in competitors]
    return next((row.mean_gap_percent for row in rows if row is not None), None)


def _speed(found: Speed | None) -> str:
    if found is None:
        return "Not measured."
    headings = ["operations", "machines", "calendar", "policy pass, ms", "planner's rule, ms", "judge, ms"]
    rows = [
        [f"{each.operations:,}", str(each.machines), "yes" if each.calendar else "no"]
        + [number(value, 1) for value in (each.policy_ms, each.rule_ms, each.judge_ms)]
        for each in found.timings
    ]
    picture = f"![Growth of policy pass, rule and judge](figures/{SPEED_PICTURE})"
    heading = f"Medians on one core, policy {found.model}."
    return "\n\n".join([heading, "\n".join(table(headings, rows)), " ".join(speed_lines(found)), picture])
