"""Runs of the benchmarks -> docs/PERFORMANCE_IMPROVEMENTS.md. Every measured figure comes from a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.contestants import ONE_PLAY, POLICY, samples_name
from models.gates import Gate
from models.published_results import BASELINE_MAKESPAN_HOURS, LEARNED_DISPATCHERS, SEARCH, SPEED_TARGETS, TARGETS
from models.quality import Quality
from models.quality_page import number, quality_markdown, table
from models.runs import Runs
from models.speed import SIZES, Speed, Timing

QUALITY_PICTURE, SPEED_PICTURE = "quality.png", "speed.png"
SET_ORDER = tuple(dict.fromkeys(target.set_name for target in TARGETS))

_OPENING = """# Performance

Written by `gantry bench report` from the runs in `docs/figures/`, which `gantry bench quality` and `gantry bench speed`
measured; edit neither this page nor those files by hand. What each competitor is and how it is measured:
[BENCHMARKS.md](BENCHMARKS.md). Where fewer instances were measured than a set has, the tables say so. Shared machines
are noisy: trust ratios within a table."""
_LIKE_WITH_LIKE = """A published greedy figure is one play of one network: that is *one play* here. A policy pass is
one play forwards and one backwards by each network that has learned the objective, each justified, and the best of
these schedules; a sample is one such play with draws. How much time they take is in the tables of each set."""


def performance_markdown(runs: Runs, notes: str) -> str:
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


def _targets(runs: Runs) -> list[str]:
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


def _verdict(gate: Gate, value: float | None) -> list[str]:
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
