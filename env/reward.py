"""What one dispatch was worth: minus the increase of a lower bound of the objective.

With gamma = 1 the rewards of an episode add up to (first bound - final objective) / norm, so the
return is exactly the objective of `env.objective`, up to a constant of the problem.
"""

from __future__ import annotations

from env.compilation import compiled
from env.problem_arrays import ProblemArrays
from env.simulation import MAKESPAN_BOUND, State

ILLEGAL_ACTION_REWARD = -2.0
"""Reward of an action outside the mask, which ends the episode."""


@compiled
def objective_bound(arrays: ProblemArrays, state: State) -> float:
    """Lower bound of the objective in seconds; its exact value once everything is dispatched."""
    bound = arrays.objective[0] * state.totals[MAKESPAN_BOUND]
    return bound + arrays.objective[1] * state.tardiness_bound[0]  # type: ignore[no-any-return]


@compiled
def reward_norm(arrays: ProblemArrays, state: State) -> float:
    """Seconds that one unit of reward stands for: the makespan no schedule of a fresh state can beat.

    The larger of the longest job and the mean load of a machine, scaled to the weight of the objective.
    """
    load = arrays.operation_shortest.sum() / len(state.machine_ready)
    weight = max(arrays.objective[0], 1.0)
    return max(float(state.totals[MAKESPAN_BOUND]), load) * weight  # type: ignore[no-any-return]
