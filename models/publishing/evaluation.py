"""Policies and rules x problems -> who schedules how well and how long that takes, as a table and as files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from env.judge.judge import violations
from env.objective import objective_value, relative_gain
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.policy.predictor import Predictor
from models.publishing.gates import PolicyComparison, compared

Scheduler = Callable[[Problem], Schedule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one scheduler did on one problem. `gap_percent` is None where no reference value is known."""

    scheduler: str
    problem: str
    objective_seconds: float
    makespan_seconds: int
    seconds: float
    valid: bool
    gap_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One scheduler over all problems. Wins are problems on which no other scheduler was better."""

    scheduler: str
    problems: int
    mean_objective_hours: float
    mean_gap_percent: float | None
    median_milliseconds: float
    wins: int
    invalid: int


def schedulers(predictor: Predictor | None) -> dict[str, Scheduler]:
    """The policy, if any, and every rule, by name."""
    found: dict[str, Scheduler] = {}
    if predictor is not None:
        found["ppo"] = predictor.schedule
    for rule in Rule:
        found[rule.name.lower()] = lambda problem, rule=rule: dispatch(problem, rule)  # type: ignore[misc]
    return found


def evaluate(
    competitors: Mapping[str, Scheduler],
    problems: Sequence[Problem],
    references: Mapping[str, float],
    on_progress: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Every scheduler on every problem, side by side; `references` is problem name -> best-known objective."""
    rows = []
    for problem in problems:
        for name, schedule in competitors.items():
            rows.append(_row(name, schedule, problem, references.get(problem.name)))
            on_progress()
    return rows


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """One summary a scheduler, best mean first."""
    best: dict[str, float] = {}
    for row in rows:
        best[row.problem] = min(best.get(row.problem, np.inf), row.objective_seconds)
    names = list(dict.fromkeys(row.scheduler for row in rows))
    found = [_summary(name, [row for row in rows if row.scheduler == name], best) for name in names]
    return sorted(found, key=lambda summary: summary.mean_objective_hours)


def comparison(rows: Sequence[Row], candidate: str, other: str) -> PolicyComparison:
    """Two schedulers of the rows as publishing compares them: by their gains over the composite rule, in pairs.

    The rule must be among the rows.
    """
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        values.setdefault(row.scheduler, {})[row.problem] = row.objective_seconds
    rule = values[Rule.COMPOSITE.name.lower()]
    gains = [
        np.array([relative_gain(reference, values[name][problem]) for problem, reference in rule.items()])
        for name in (candidate, other)
    ]
    return compared(other, *gains)


def _row(name: str, scheduler: Scheduler, problem: Problem, reference: float | None) -> Row:
    begun = time.perf_counter()
    schedule = scheduler(problem)
    seconds = time.perf_counter() - begun
    objective = objective_value(problem, schedule)
    return Row(
        scheduler=name,
        problem=problem.name,
        objective_seconds=objective,
        makespan_seconds=schedule.makespan_seconds,
        seconds=seconds,
        valid=not any(violation.is_critical for violation in violations(problem, schedule)),
        gap_percent=None if reference is None else 100.0 * (objective / reference - 1.0),
    )


def _summary(name: str, rows: Sequence[Row], best: Mapping[str, float]) -> Summary:
    gaps = [row.gap_percent for row in rows if row.gap_percent is not None]
    return Summary(
        scheduler=name,
        problems=len(rows),
        mean_objective_hours=float(np.mean([row.objective_seconds for row in rows])) / 3600.0,
        mean_gap_percent=float(np.mean(gaps)) if gaps else None,
        median_milliseconds=1000.0 * float(np.median([row.seconds for row in rows])),
        wins=sum(row.objective_seconds <= best[row.problem] for row in rows),
        invalid=sum(not row.valid for row in rows),
    )


def write_report(
    folder: Path, rows: Sequence[Row], summaries: Sequence[Summary], against: PolicyComparison | None = None
) -> None:
    """Write report.json and, if possible, objectives.png into `folder`; `against` is the comparison of two policies."""
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, object] = {
        "summaries": [asdict(summary) for summary in summaries],
        "rows": [asdict(row) for row in rows],
    }
    if against is not None:
        document["comparison"] = asdict(against) | {"decision": against.decision.value}
    (folder / "report.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if find_spec("matplotlib") is not None:
        _plot(folder / "objectives.png", rows, [summary.scheduler for summary in summaries])


def _plot(path: Path, rows: Sequence[Row], names: Sequence[str]) -> None:
    """One box a scheduler: its objective relative to the best scheduler on each problem."""
    from matplotlib.figure import Figure

    best: dict[str, float] = {}
    for row in rows:
        best[row.problem] = min(best.get(row.problem, float("inf")), row.objective_seconds)
    ratios = [
        [row.objective_seconds / best[row.problem] for row in rows if row.scheduler == name and best[row.problem] > 0]
        for name in names
    ]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(ratios, tick_labels=list(names), showmeans=True)
    axes.set_ylabel("objective / best of all on the same problem")
    axes.set_title(f"{len(best)} problems, lower is better")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
