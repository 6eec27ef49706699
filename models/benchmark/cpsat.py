"""OR-Tools CP-SAT on a problem: what it finds by given times.

A competitor for benchmarks; nothing that serves uses it. The solver
decides machines and orders, the simulator times them: that moves no operation later, fills in breaks,
and gives the judge the same kind of schedule that every other competitor makes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from env.errors import SolverMissing, UnsupportedProblem
from env.objective import OBJECTIVE_WEIGHTS, objective_value
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import compile_problem
from env.simulator.rules import Rule, dispatch, finished_schedule
from env.simulator.simulation import dispatch as dispatch_pair
from env.simulator.simulation import new_state

if TYPE_CHECKING:
    from models.benchmark.cpsat_model import ExactModel

WORKERS = 2
HORIZON_IN_RULE_MAKESPANS = 2
_WEIGHT_UNITS = 1_000  # of weights that are not whole
_MAKESPAN_UNITS = 100  # the smallest weight of a makespan in `env.objective` is a hundredth

Choice = tuple[int, int]  # start on the solver's axis, index of the alternative


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """The best schedule known after `budget_seconds`, None when there was none yet.

    `seconds` is less than the budget where the optimum was proven before. `is_exact` tells whether the
    solver saw every setup and break (`ExactModel`).
    """

    budget_seconds: float
    schedule: Schedule | None
    seconds: float
    is_proven: bool
    is_exact: bool


def solve(
    problem: Problem,
    budgets_seconds: Sequence[float],
    *,
    hint: Schedule | None = None,
    seed: int = 0,
    workers: int = WORKERS,
) -> list[Incumbent]:
    """One run until the largest budget, building the model included, and what was known at each budget.

    Raises `SolverMissing` and `UnsupportedProblem`.
    """
    begun = time.perf_counter()
    budgets = sorted(budgets_seconds)
    rule = dispatch(problem, Rule.COMPOSITE)
    makespan_weight, tardiness_weights = objective_weights(problem)
    horizon = HORIZON_IN_RULE_MAKESPANS * rule.makespan_seconds
    late_seconds = OBJECTIVE_WEIGHTS[problem.objective].late_seconds
    built = _model(problem, horizon, makespan_weight, tardiness_weights, late_seconds)
    if hint is not None:
        built.hint(_decoded(built.timed_as, _choices(problem, hint)))
    found: list[tuple[float, list[Choice]]] = []
    _, is_proven = _run(
        built,
        budgets[-1] - (time.perf_counter() - begun),
        seed,
        workers,
        lambda choices: found.append((time.perf_counter() - begun, choices)),
    )
    elapsed = time.perf_counter() - begun
    best = _best_by(budgets, problem, found)
    return [
        Incumbent(
            budget_seconds=budget,
            schedule=best[budget],
            seconds=min(budget, elapsed),
            is_proven=is_proven and built.is_exact and elapsed <= budget,
            is_exact=built.is_exact,
        )
        for budget in budgets
    ]


def objective_weights(problem: Problem) -> tuple[int, list[int]]:
    """Whole weights of the makespan and of each operation's tardiness, in proportion to the problem's objective."""
    objective = OBJECTIVE_WEIGHTS[problem.objective]
    weights = [operation.weight for operation in problem.operations]
    units = 1 if all(weight == int(weight) for weight in weights) else _WEIGHT_UNITS
    of_makespan = round(objective.makespan * _MAKESPAN_UNITS * units * sum(weights))
    of_tardiness = [round(objective.tardiness * _MAKESPAN_UNITS * units * weight) for weight in weights]
    divisor = gcd(of_makespan, *of_tardiness)
    return of_makespan // divisor, [weight // divisor for weight in of_tardiness]


def require_solver() -> None:
    """Raise `SolverMissing` unless OR-Tools is installed."""
    try:
        import ortools.sat.python.cp_model  # noqa: F401
    except ImportError as error:
        raise SolverMissing("comparing with CP-SAT needs ortools: pip install 'gantry[dev]'") from error


def _model(
    problem: Problem,
    horizon_seconds: int,
    makespan_weight: int,
    tardiness_weights: Sequence[int],
    late_seconds: int,
) -> ExactModel:
    require_solver()
    from models.benchmark.cpsat_model import ExactModel, shared_axis

    _refuse_unsupported(problem)
    axis = shared_axis(problem, horizon_seconds)
    horizon = horizon_seconds if axis is None else axis.open_seconds(horizon_seconds)
    return ExactModel(problem, axis, horizon, makespan_weight, tardiness_weights, late_seconds)


def _refuse_unsupported(problem: Problem) -> None:
    operations, machines = problem.operations, problem.machines
    closures = {machine.closures for machine in machines}
    closes = problem.hours is not None or closures != {()}
    pauses = any(operation.interruptible for operation in operations)
    shares = len(closures) == 1 and all(operation.interruptible for operation in operations)
    reasons = {
        "no pinned work": any(operation.pin is not None for operation in operations),
        "no deadlines": any(operation.deadline_seconds is not None for operation in operations),
        "no earlier plan": problem.stability_seconds > 0,
        "one calendar for all machines and interruptible work, or closures and none that pauses": (
            closes and not shares and (problem.hours is not None or pauses)
        ),
        "no busy machines with closures of their own": (
            closes and not shares and any(machine.busy_seconds for machine in machines)
        ),
    }
    missed = [reason for reason, is_missed in reasons.items() if is_missed]
    if missed:
        raise UnsupportedProblem(f"the model for CP-SAT needs {'; '.join(missed)}")


def _run(
    built: ExactModel, seconds: float, seed: int, workers: int, on_solution: Callable[[list[Choice]], None]
) -> tuple[int, bool]:
    """Value found and whether it is proven to be the least; tells every improvement."""
    from ortools.sat.python import cp_model

    class Listener(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            on_solution(
                [
                    (self.value(start), next(place for place, each in enumerate(chosen) if self.boolean_value(each)))
                    for start, chosen in zip(built.start, built.present, strict=True)
                ]
            )

    if seconds <= 0:
        return 0, False
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(built.model, Listener())
    assert status != cp_model.MODEL_INVALID, built.model.validate()
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return 0, False
    return round(solver.objective_value), status == cp_model.OPTIMAL


def _best_by(
    budgets: Sequence[float], problem: Problem, found: Sequence[tuple[float, list[Choice]]]
) -> dict[float, Schedule | None]:
    """Budget -> the best schedule, by the problem's own objective, of what was found by then."""
    plans = [(elapsed, _decoded(problem, choices)) for elapsed, choices in found]
    valued = [(objective_value(problem, plan), elapsed, plan) for elapsed, plan in plans]
    in_time = {budget: [entry for entry in valued if entry[1] <= budget] for budget in budgets}
    return {budget: min(each, key=lambda entry: entry[0])[2] if each else None for budget, each in in_time.items()}


def _choices(problem: Problem, schedule: Schedule) -> list[Choice]:
    """The machines and the order of a schedule."""
    rows = [schedule.by_operation[operation.id] for operation in problem.operations]
    machines = [[problem.machines[each.machine].id for each in step.alternatives] for step in problem.operations]
    return [(row.start_seconds, ids.index(row.machine_id)) for row, ids in zip(rows, machines, strict=True)]


def _decoded(problem: Problem, choices: list[Choice]) -> Schedule:
    """The solver's machines, and its order by start, dispatched as early as the simulator can."""
    arrays = compile_problem(problem)
    state = new_state(arrays)
    pairs = [int(arrays.pair_first[index]) + choice for index, (_, choice) in enumerate(choices)]
    # Work that takes no time goes before what begins when it does.
    takes_time = [bool(arrays.pair_setup[pair] + arrays.pair_processing[pair]) for pair in pairs]
    for index in sorted(range(len(choices)), key=lambda index: (choices[index][0], takes_time[index], index)):
        dispatch_pair(arrays, state, pairs[index], index)
    return finished_schedule(problem, state)
