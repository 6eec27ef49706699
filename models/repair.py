"""An earlier plan, kept where it can be: what must move is shifted right, what is new is placed by the policy.

Right-shift repair is the classic answer to a breakdown (Abumaizar and Svestka 1997): it changes little
and is seldom shortest, so `search` weighs it against replanning by the objective, which charges for
every change.
"""

from __future__ import annotations

import numpy as np

from env.problem import Problem
from env.problem_arrays import ProblemArrays
from env.simulation import State, dispatch, new_state
from models.predictor import Predictor


def has_earlier_plan(problem: Problem) -> bool:
    """Whether there is anything to keep and a reason to keep it."""
    return problem.stability_seconds > 0.0 and any(operation.earlier_place for operation in problem.operations)


def repaired(predictor: Predictor, problem: Problem, arrays: ProblemArrays) -> State | None:
    """A complete state in which work begins no earlier than in the earlier plan, on its machines, in its order.

    None when shifting right would run into pinned work.
    """
    places = [operation.earlier_place for operation in problem.operations]
    earlier_start = np.array([0 if place is None else place.start_seconds for place in places], dtype=np.int64)
    held = arrays._replace(operation_release=np.maximum(arrays.operation_release, earlier_start))
    state = new_state(held)
    kept = [operation for operation, place in enumerate(places) if place is not None]
    for operation in sorted(kept, key=lambda operation: (earlier_start[operation], operation)):
        pair = _pair_at_its_place(problem, arrays, operation)
        if pair is not None and state.job_next[arrays.operation_job[operation]] == operation:
            dispatch(held, state, pair, operation)
    predictor.play(held, state)
    return state if _keeps_sequences(arrays, state) else None


def _pair_at_its_place(problem: Problem, arrays: ProblemArrays, operation: int) -> int | None:
    """The operation's pair on the machine of its earlier place, None when that machine may not do it any more."""
    place = problem.operations[operation].earlier_place
    first, last = int(arrays.pair_first[operation]), int(arrays.pair_first[operation + 1])
    machines = arrays.pair_machine[first:last].tolist()
    return first + machines.index(place.machine) if place is not None and place.machine in machines else None


def _keeps_sequences(arrays: ProblemArrays, state: State) -> bool:
    """Whether each operation begins after the one before it in its job; only pinned work can fail to."""
    same_job = arrays.operation_job[1:] == arrays.operation_job[:-1]
    return bool(np.all((state.start[1:] >= state.end[:-1])[same_job]))
