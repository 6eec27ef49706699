"""Policies, rules and solvers x problems: what a policy must hold to be published, and who schedules how well."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from env.judge.judge import violations
from env.objective import objective_value, relative_gain
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.policy.predictor import Predictor

NOT_WORSE_MARGIN = 0.002
"""A policy is no worse when it loses less than this share of the objective, with 95 % confidence."""
MAX_DOUBLINGS = 3
_RESAMPLES = 4_000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingGate:
    """A bound on a figure; exactly one of `at_most` and `at_least` is given."""

    name: str
    quantity: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"gate {self.name!r} must have one bound, had {self.at_most} and {self.at_least}")

    def miss(self, value: float) -> str | None:
        """Why the value does not pass, None if it does. What is no number never passes."""
        if self.at_most is not None:
            return None if value <= self.at_most else self._message("<=", self.at_most, value)
        assert self.at_least is not None
        return None if value >= self.at_least else self._message(">=", self.at_least, value)

    def _message(self, relation: str, bound: float, value: float) -> str:
        return f"gate {self.name!r}: {self.quantity} must be {relation} {bound:g}, was {value:.4g}"


AGREEMENT, VALID, SIZE, PASS_TIME, RULE = "agreement", "valid", "size", "pass time", "rule"
GATES = (
    PublishingGate(name=AGREEMENT, quantity="decisions that differ from Stable-Baselines3's", at_most=0),
    PublishingGate(name=VALID, quantity="validation schedules that the judge refuses", at_most=0),
    PublishingGate(name=SIZE, quantity="megabytes of model and weights", at_most=8),
    PublishingGate(name=PASS_TIME, quantity="median time of a policy pass in times of the composite rule", at_most=10),
    PublishingGate(name=RULE, quantity="mean gain over the composite rule in per cent of its objective", at_least=0),
)


def missed(measured: Mapping[str, float], gates: Sequence[PublishingGate] = GATES) -> list[str]:
    """A message for each gate that is missed; a figure that was not measured is missed too."""
    messages = [gate.miss(measured.get(gate.name, float("nan"))) for gate in gates]
    return [message for message in messages if message is not None]


class ComparisonOutcome(StrEnum):
    """What paired figures say about a candidate."""

    NOT_WORSE = "not worse"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyComparison:
    """Candidate minus another policy, problem by problem, in shares of the objective; positive is better.

    `published` is the other one's id, and `low` to `high` is the 95 % bootstrap interval of the mean.
    """

    published: str
    problems: int
    wins: int
    losses: int
    mean: float
    low: float
    high: float

    @property
    def decision(self) -> ComparisonOutcome:
        """Worse only if noise cannot explain it, no worse only if noise cannot hide more than the margin."""
        if self.high < 0:
            return ComparisonOutcome.WORSE
        return ComparisonOutcome.NOT_WORSE if self.low >= -NOT_WORSE_MARGIN else ComparisonOutcome.UNDECIDED

    def miss(self) -> str | None:
        """Why the candidate may not replace the published policy, None if it may."""
        if self.decision is ComparisonOutcome.NOT_WORSE:
            return None
        return (
            f"gate 'not worse': the mean gain over {self.published} must be shown to be >= "
            f"{-100 * NOT_WORSE_MARGIN:.1f} % of the objective, was {self.found}"
        )

    @property
    def found(self) -> str:
        """The mean, its interval, and what follows from it, in words."""
        return (
            f"{100 * self.mean:.2f} % ({100 * self.low:.2f} to {100 * self.high:.2f} %) on {self.problems} problems, "
            f"{self.wins} won and {self.losses} lost: {self.decision}"
        )


def compared(
    published: str, candidate_gains: NDArray[np.float64], published_gains: NDArray[np.float64]
) -> PolicyComparison:
    """Compare gains of both on the same problems, shape [problem]."""
    differences = candidate_gains - published_gains
    rng = np.random.default_rng(0)
    picked = rng.integers(0, len(differences), size=(_RESAMPLES, len(differences)))
    tail = 50.0 * (1.0 - _CONFIDENCE)
    low, high = np.percentile(differences[picked].mean(axis=1), [tail, 100.0 - tail])
    return PolicyComparison(
        published=published,
        problems=len(differences),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        mean=float(differences.mean()),
        low=float(low),
        high=float(high),
    )


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
