"""Optima of tiny problems by two independent ways: every dispatch sequence, and a model for CP-SAT."""

from __future__ import annotations

from collections.abc import Iterator

from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import ProblemArrays, compile_problem, schedule_of
from env.simulator.simulation import State, dispatch, is_complete, new_state
from models.benchmark.cpsat import proven_minimum

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
    return proven_minimum(problem, 1, [0] * len(problem.operations), SOLVER_SECONDS)


def least_weighted_tardiness(problem: Problem) -> int:
    """Optimal sum of w_i * T_i by CP-SAT; weights must be whole numbers."""
    weights = [int(operation.weight) for operation in problem.operations]
    assert weights == [operation.weight for operation in problem.operations]
    return proven_minimum(problem, 0, weights, SOLVER_SECONDS)
