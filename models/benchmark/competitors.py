"""Who competes in a benchmark: rules, the policy, its search at several budgets, and CP-SAT."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from env.objective import objective_value
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import compile_problem
from env.simulator.rules import Rule, dispatch, finished_schedule
from env.simulator.simulation import new_state, reset
from models.benchmark.benchmark import Competitor, CompetitorResult
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
