"""Competitors x instances -> cells, one after the other on the same cores; kept on disk as they finish.

All competitors meet an instance before the next one begins, so a benchmark that is stopped early still
compares like with like, and one that is started again goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from env.errors import GantryError
from env.judge.judge import judge
from env.objective import objective_value
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import compile_problem
from env.simulator.rules import Rule, dispatch, finished_schedule
from env.simulator.simulation import new_state, reset
from models.benchmark.cpsat import solve
from models.policy.predictor import Predictor
from models.search.anytime import TEMPERATURE, search

ONE_PLAY = "one play"
POLICY = "policy pass"
RULES = tuple(f"rule {rule.name.lower()}" for rule in Rule)
BUDGETS_SECONDS = (0.1, 0.5, 2.0, 10.0)
SAMPLES = 100
_EXPECTED_PASS_SECONDS = 0.1
_AFTER_THE_SOLVER_SECONDS = 0.5  # judging and timing what it found


def search_name(budget_seconds: float) -> str:
    """The search with a time budget, as tables name it."""
    return f"search {budget_seconds:g} s"


def solver_name(budget_seconds: float, hinted: bool) -> str:
    """CP-SAT after some wall time, as tables name it."""
    return f"CP-SAT{' hinted' if hinted else ''} {budget_seconds:g} s"


def samples_name(samples: int) -> str:
    """The best of so many sampled passes, as tables name it."""
    return f"best of {samples}"


def contestants(
    predictor: Predictor,
    budgets_seconds: Sequence[float] = BUDGETS_SECONDS,
    samples: int = SAMPLES,
    seed: int = 0,
    with_solver: bool = True,
) -> list[Competitor]:
    """Everyone who competes, cheap ones first. The search runs on two threads and CP-SAT on two workers."""
    found = [_timed(f"rule {rule.name.lower()}", 0.01, _by_rule(rule)) for rule in Rule]
    found.append(_timed(ONE_PLAY, _EXPECTED_PASS_SECONDS, predictor.schedule_once))
    found.append(_timed(POLICY, _EXPECTED_PASS_SECONDS, predictor.schedule))
    if samples:
        best = _best_of(predictor, samples, seed)
        found.append(_timed(samples_name(samples), samples * _EXPECTED_PASS_SECONDS, best))
    found += [
        _timed(search_name(budget), budget, _by_search(predictor, round(1000 * budget), seed))
        for budget in budgets_seconds
    ]
    if with_solver and budgets_seconds:
        found += [_solver(tuple(budgets_seconds), seed, hinted) for hinted in (False, True)]
    return found


def warm_up(competitors: Sequence[Competitor], problem: Problem) -> None:
    """Compile and import everything once, so that nobody pays for it on the clock."""
    for each in competitors:
        each.attempt(problem)


def _timed(name: str, expected_seconds: float, schedule: Callable[[Problem], Schedule]) -> Competitor:
    def attempt(problem: Problem) -> list[CompetitorResult]:
        begun = time.perf_counter()
        found = schedule(problem)
        return [CompetitorResult(competitor=name, schedule=found, seconds=time.perf_counter() - begun)]

    return Competitor(competitors=(name,), expected_seconds=expected_seconds, attempt=attempt)


def _by_rule(rule: Rule) -> Callable[[Problem], Schedule]:
    return lambda problem: dispatch(problem, rule)


def _by_search(predictor: Predictor, budget_ms: int, seed: int) -> Callable[[Problem], Schedule]:
    return lambda problem: search(predictor, problem, budget_ms, seed).schedule


def _best_of(predictor: Predictor, samples: int, seed: int) -> Callable[[Problem], Schedule]:
    """The best of that many sampled passes alone, without the greedy one."""

    def schedule(problem: Problem) -> Schedule:
        arrays = compile_problem(problem)
        state = new_state(arrays)
        plans = []
        for sample in range(samples):
            reset(arrays, state)
            predictor.sample(arrays, state, seed * samples + sample, TEMPERATURE)
            plans.append(finished_schedule(problem, state))
        return min(plans, key=lambda plan: objective_value(problem, plan))

    return schedule


def _solver(budgets: tuple[float, ...], seed: int, hinted: bool) -> Competitor:
    """CP-SAT in one run to the largest budget; smaller budgets are what it had by then.

    Hinted, it begins at the composite rule's schedule and falls back on it while it has nothing better.
    """

    def attempt(problem: Problem) -> list[CompetitorResult]:
        begun = time.perf_counter()
        hint = dispatch(problem, Rule.COMPOSITE) if hinted else None
        spent = time.perf_counter() - begun
        left = [budget - spent for budget in budgets]
        return [
            CompetitorResult(
                competitor=solver_name(budget, hinted),
                schedule=_better(problem, found.schedule, hint),
                seconds=found.seconds + spent,
            )
            for budget, found in zip(budgets, solve(problem, left, hint=hint, seed=seed), strict=True)
        ]

    return Competitor(
        competitors=tuple(solver_name(budget, hinted) for budget in budgets),
        expected_seconds=max(budgets) + _AFTER_THE_SOLVER_SECONDS,
        attempt=attempt,
    )


def _better(problem: Problem, found: Schedule | None, hint: Schedule | None) -> Schedule | None:
    plans = [plan for plan in (found, hint) if plan is not None]
    return min(plans, key=lambda plan: objective_value(problem, plan)) if plans else None


class OtherConditions(GantryError):
    """The folder holds the cells of a benchmark under other conditions; names what differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A problem and the best value of its makespan that anybody knows, if anybody does."""

    problem: Problem
    best_known_seconds: float | None

    @property
    def name(self) -> str:
        return self.problem.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CompetitorResult:
    """What a competitor had after `seconds`; None where it had no schedule yet."""

    competitor: str
    schedule: Schedule | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Competitor:
    """Makes one attempt for each of `competitors` on a problem, in about `expected_seconds`."""

    competitors: tuple[str, ...]
    expected_seconds: float
    attempt: Callable[[Problem], Sequence[CompetitorResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One competitor on one instance, judged. Values are None where there was no schedule."""

    instance: str
    operations: int
    competitor: str
    seconds: float
    valid: bool
    objective_seconds: float | None
    makespan_seconds: int | None
    best_known_seconds: float | None
    on_time_percent: float | None
    important_on_time_percent: float | None
    utilisation_percent: float | None

    @property
    def gap_percent(self) -> float | None:
        """How far the makespan is above the best known one."""
        if self.makespan_seconds is None or self.best_known_seconds is None:
            return None
        return 100.0 * (self.makespan_seconds - self.best_known_seconds) / self.best_known_seconds


class CellJournal:
    """Finished cells, one JSON line each, under conditions that must not change while it grows."""

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        self.path = path
        self.conditions = dict(conditions)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(json.dumps(self.conditions) + "\n", encoding="utf-8")
        self._refuse_other_conditions(read_conditions(path))
        self._drop_cut_line()

    def cells(self) -> list[Cell]:
        """All finished cells, the latest one where a cell was repeated."""
        return read_cells(self.path)

    def append(self, cells: Sequence[Cell]) -> None:
        """Keep the cells of one competitor on one instance, all at once."""
        text = "".join(json.dumps(asdict(cell)) + "\n" for cell in cells)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _drop_cut_line(self) -> None:
        """A line that was being written when the machine stopped would spoil the next one."""
        text = self.path.read_text(encoding="utf-8")
        if not text.endswith("\n"):
            self.path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")

    def _refuse_other_conditions(self, found: Mapping[str, Any]) -> None:
        names = sorted({*found, *self.conditions})
        differences = [
            f"{name} must be {found.get(name)!r}, was {self.conditions.get(name)!r}"
            for name in names
            if found.get(name) != self.conditions.get(name)
        ]
        if differences:
            raise OtherConditions(f"{self.path} was begun under other conditions: {'; '.join(differences)}")


def read_conditions(path: Path) -> dict[str, Any]:
    """The conditions in the first line of a journal."""
    with path.open(encoding="utf-8") as file:
        conditions: dict[str, Any] = json.loads(file.readline())
    return conditions


def read_cells(path: Path) -> list[Cell]:
    """The cells of a journal. A last line that was cut off when the machine stopped does not count."""
    found: dict[tuple[str, str], Cell] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]:
        if line.endswith("\n"):
            cell = Cell(**json.loads(line))
            found[cell.instance, cell.competitor] = cell
    return list(found.values())


def missing(
    instances: Sequence[Instance], contestants: Sequence[Competitor], cells: Sequence[Cell]
) -> list[tuple[Instance, Competitor]]:
    """Who still has to meet which instance, in the order of the benchmark."""
    done = {(cell.instance, cell.competitor) for cell in cells}
    return [
        (instance, contestant)
        for instance in instances
        for contestant in contestants
        if any((instance.name, name) not in done for name in contestant.competitors)
    ]


def meet(instance: Instance, contestant: Competitor) -> list[Cell]:
    """Let a competitor try an instance, and judge what it brings."""
    return [_judged(instance, attempt) for attempt in contestant.attempt(instance.problem)]


def _judged(instance: Instance, attempt: CompetitorResult) -> Cell:
    problem, schedule = instance.problem, attempt.schedule
    verdict = None if schedule is None else judge(problem, schedule)
    measures = None if verdict is None else verdict.measures
    return Cell(
        instance=instance.name,
        operations=len(problem.operations),
        competitor=attempt.competitor,
        seconds=attempt.seconds,
        valid=verdict is None or verdict.valid,
        objective_seconds=None if schedule is None else objective_value(problem, schedule),
        makespan_seconds=None if schedule is None else schedule.makespan_seconds,
        best_known_seconds=instance.best_known_seconds,
        on_time_percent=None if measures is None else measures.on_time_percent,
        important_on_time_percent=None if measures is None else measures.important_on_time_percent,
        utilisation_percent=None if measures is None else measures.utilisation_percent,
    )
