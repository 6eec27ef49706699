"""Optima of tiny problems by two independent ways: every dispatch sequence, and a model for CP-SAT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ortools.sat.python import cp_model

from env.errors import UnsupportedProblem
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import ProblemArrays, compile_problem, schedule_of
from env.simulator.calendar import horizon_for
from env.simulator.simulation import dispatch, is_complete, new_state
from env.simulator.state import State
from models.benchmark.cpsat_model import ExactModel, shared_axis

SOLVER_SECONDS = 30.0


def weighted_tardiness(problem: Problem, schedule: Schedule) -> float:
    """Sum of w_i * T_i over the operations with a due date."""
    done = schedule.by_operation
    return sum(
        operation.weight * max(0, done[operation.id].end_seconds - operation.due_seconds)
        for operation in problem.operations
        if operation.due_seconds is not None
    )


def every_schedule(problem: Problem) -> Iterator[Schedule]:
    """Every schedule that some dispatch sequence of the simulator leads to, each once."""
    arrays = compile_problem(problem)
    waiting = [new_state(arrays)]
    seen: set[bytes] = set()
    while waiting:
        state = waiting.pop()
        if is_complete(state):
            yield schedule_of(problem, state.chosen_pair, state.start, state.end)
            continue
        for pair, operation in _ready(arrays, state):
            following = State(*(each.copy() for each in state))
            dispatch(arrays, following, pair, operation)
            # Orders that agree on all work done so far go on alike, so one of them is enough.
            work = following.chosen_pair.tobytes() + following.start.tobytes() + following.end.tobytes()
            if work not in seen:
                seen.add(work)
                waiting.append(following)


def _ready(arrays: ProblemArrays, state: State) -> Iterator[tuple[int, int]]:
    """Each pair of the next operation of each open job, with that operation."""
    for operation, after_last in zip(state.job_next.tolist(), arrays.job_first[1:].tolist(), strict=True):
        if operation == after_last:
            continue
        for pair in range(int(arrays.pair_first[operation]), int(arrays.pair_first[operation + 1])):
            yield pair, operation


def least_makespan(problem: Problem) -> int:
    """Optimal makespan by CP-SAT."""
    return proven_minimum(problem, 1, [0] * len(problem.operations))


def least_weighted_tardiness(problem: Problem) -> int:
    """Optimal sum of w_i * T_i by CP-SAT; weights must be whole numbers."""
    weights = [int(operation.weight) for operation in problem.operations]
    assert weights == [operation.weight for operation in problem.operations]
    return proven_minimum(problem, 0, weights)


def proven_minimum(
    problem: Problem, makespan_weight: int, tardiness_weights: Sequence[int], limit_seconds: float = SOLVER_SECONDS
) -> int:
    """The least `makespan_weight * makespan + sum of tardiness_weight_i * T_i` that any schedule has.

    Raises `UnsupportedProblem` where the model leaves something out and `TimeoutError` after `limit_seconds`.
    """
    axis, seconds = shared_axis(problem, _safe_horizon(problem)), _safe_horizon(problem)
    horizon = seconds if axis is None else axis.open_seconds(seconds)
    built = ExactModel(problem, axis, horizon, makespan_weight, tardiness_weights, 0)
    if not built.is_exact:
        raise UnsupportedProblem("the problem must be small enough for every setup and break to count, but is not")
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_time_in_seconds = limit_seconds
    if solver.solve(built.model) != cp_model.OPTIMAL:
        raise TimeoutError(f"the optimum must be proven within {limit_seconds:g} s, but was not")
    return round(solver.objective_value)


def _all_work(problem: Problem) -> int:
    """Working seconds if every operation takes its slowest machine and its longest setup."""
    changeover = max((change.setup_seconds for change in problem.changeovers), default=0)
    return sum(
        max(each.processing_seconds + max(each.setup_seconds, changeover) for each in operation.alternatives)
        for operation in problem.operations
    )


def _safe_horizon(problem: Problem) -> int:
    """An end by which all work is done if it waits for every release and closure and then goes one by one."""
    waits = [operation.release_seconds for operation in problem.operations]
    waits += [closure.end_seconds for machine in problem.machines for closure in machine.closures]
    work = _all_work(problem) + max(machine.busy_seconds for machine in problem.machines)
    after = max(0, *waits)
    return after + work if problem.hours is None else horizon_for(problem.hours, after, work)
