"""Policy weights -> schedule: the only inference path. Imports neither torch nor Ray.

The whole pass runs compiled: find candidates, encode, score, dispatch the best, until nothing is
left. It is deterministic: equal scores go to the better composite rank. A policy may be several
networks, which erred in different places in training: each plays the pass, and the best schedule counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from env.candidates import CANDIDATE_LIMIT, Candidates, find_candidates, new_candidates
from env.compilation import compiled
from env.dispatching_rules import finished_schedule
from env.observation import FEATURE_COUNT, TALLIES, encode
from env.problem import Problem
from env.problem_arrays import Integers, ProblemArrays, compile_problem
from env.reward import objective_bound
from env.schedule import Schedule
from env.simulation import State, dispatch, is_complete, new_state, operation_of

Matrix = NDArray[np.float32]


class Weights(NamedTuple):
    """The scorer of `models.network.CandidateScorer`; matrices act on rows from the right."""

    first: Matrix  # [feature, hidden]
    first_bias: Matrix  # [hidden]
    second: Matrix  # [hidden, hidden]
    context: Matrix  # [hidden, hidden]
    second_bias: Matrix  # [hidden]
    score: Matrix  # [hidden]


class Workspace(NamedTuple):
    """Room for one decision."""

    rows: Matrix  # [limit, feature]
    hidden: Matrix  # [limit, hidden]
    mixed: Matrix  # [limit, hidden]
    mean: Matrix  # [hidden]
    shift: Matrix  # [hidden]
    logits: Matrix  # [limit]
    tallies: Integers  # [TALLIES, machine]


class Predictor:
    """A policy of one or more networks, ready to schedule.

    Safe to share between threads: each pass has its own state.
    """

    def __init__(self, networks: Sequence[Weights], model_id: str = "unpublished") -> None:
        if not networks:
            raise ValueError("a policy must have a network, had none")
        for weights in networks:
            if weights.first.shape[0] != FEATURE_COUNT:
                raise ValueError(f"weights must take {FEATURE_COUNT} features, took {weights.first.shape[0]}")
        self.networks = tuple(
            Weights(*(np.ascontiguousarray(matrix, dtype=np.float32) for matrix in weights)) for weights in networks
        )
        self.model_id = model_id

    def schedule(self, problem: Problem) -> Schedule:
        """One greedy policy pass. Raises `HorizonExceeded` when the calendar cannot hold the work."""
        arrays = compile_problem(problem)
        state = new_state(arrays)
        self.play(arrays, state)
        return finished_schedule(problem, state)

    def play(self, arrays: ProblemArrays, state: State) -> None:
        """Dispatch everything that is left in `state`, in place: by each network, the best by the objective counts.

        Of equal ones the earlier network's does.
        """
        rivals = [copy_of(state) for _ in self.networks[1:]]
        _play(arrays, state, self.networks[0])
        for weights, rival in zip(self.networks[1:], rivals, strict=True):
            _play(arrays, rival, weights)
            if objective_bound(arrays, rival) < objective_bound(arrays, state):
                for place, better in zip(state, rival, strict=True):
                    place[:] = better

    def sample(self, arrays: ProblemArrays, state: State, seed: int, temperature: float) -> None:
        """Dispatch everything that is left in `state`, in place, by draws of one network: its turn comes by `seed`."""
        _play(arrays, state, self.networks[seed % len(self.networks)], seed, temperature)


def copy_of(state: State) -> State:
    """A state of its own that is equal to `state`."""
    return State._make(array.copy() for array in state)


def _play(arrays: ProblemArrays, state: State, weights: Weights, seed: int = 0, temperature: float = 0.0) -> None:
    workspace = new_workspace(weights, len(arrays.machine_busy))
    play_policy(arrays, state, new_candidates(arrays), weights, workspace, seed, temperature)


def new_workspace(weights: Weights, machines: int, limit: int = CANDIDATE_LIMIT) -> Workspace:
    """Scratch arrays for `limit` candidates."""
    hidden = len(weights.score)
    return Workspace(
        rows=np.zeros((limit, FEATURE_COUNT), dtype=np.float32),
        hidden=np.zeros((limit, hidden), dtype=np.float32),
        mixed=np.zeros((limit, hidden), dtype=np.float32),
        mean=np.zeros(hidden, dtype=np.float32),
        shift=np.zeros(hidden, dtype=np.float32),
        logits=np.zeros(limit, dtype=np.float32),
        tallies=np.zeros((TALLIES, machines), dtype=np.int64),
    )


@compiled
def play_policy(
    arrays: ProblemArrays,
    state: State,
    found: Candidates,
    weights: Weights,
    workspace: Workspace,
    seed: int,
    temperature: float,
) -> None:
    """`play_on` with draws of its own."""
    np.random.seed(seed)
    play_on(arrays, state, found, weights, workspace, temperature)


@compiled
def play_on(
    arrays: ProblemArrays, state: State, found: Candidates, weights: Weights, workspace: Workspace, temperature: float
) -> None:
    """Dispatch until the episode is complete: the best scored candidate, or with a temperature a drawn one."""
    while not is_complete(state):
        find_candidates(arrays, state, found)
        count = found.filled[0]
        chosen = 0
        if count > 1:
            encode(arrays, state, found, workspace.tallies, workspace.rows)
            chosen = score(weights, workspace, count)
            if temperature > 0.0:
                chosen = draw(workspace.logits, count, temperature)
        pair = found.pair[chosen]
        dispatch(arrays, state, pair, operation_of(arrays, pair))


@compiled
def draw(logits: NDArray[np.float32], count: int, temperature: float) -> int:
    """A candidate in proportion to exp(logit / temperature), by the Gumbel-max trick."""
    best, best_value = 0, -np.inf
    for index in range(count):
        noise = -np.log(-np.log(np.random.random() + 1e-12) + 1e-12)
        value = logits[index] + temperature * noise
        if value > best_value:
            best, best_value = index, value
    return best


@compiled
def score(weights: Weights, workspace: Workspace, count: int) -> int:
    """Fill workspace.logits[:count] from workspace.rows[:count]; gives the place of the first largest."""
    hidden, mixed, logits = workspace.hidden[:count], workspace.mixed[:count], workspace.logits[:count]
    np.dot(workspace.rows[:count], weights.first, hidden)
    rectify(hidden, weights.first_bias)
    mean_over_rows(hidden, workspace.mean)
    shift_by_context(workspace.mean, weights.context, weights.second_bias, workspace.shift)
    np.dot(hidden, weights.second, mixed)
    rectify(mixed, workspace.shift)
    np.dot(mixed, weights.score, logits)
    best = 0
    for row in range(count):
        if logits[row] > logits[best]:
            best = row
    return best


@compiled
def rectify(rows: Matrix, shift: Matrix) -> None:
    """max(rows + shift, 0) in place; shapes [row, unit] and [unit]."""
    for row in range(rows.shape[0]):
        for unit in range(rows.shape[1]):
            rows[row, unit] = max(rows[row, unit] + shift[unit], np.float32(0.0))


@compiled
def mean_over_rows(rows: Matrix, mean: Matrix) -> None:
    """Mean of each unit over all rows; shapes [row, unit] and [unit]."""
    mean[:] = np.float32(0.0)
    for row in range(rows.shape[0]):
        for unit in range(rows.shape[1]):
            mean[unit] += rows[row, unit]
    for unit in range(len(mean)):
        mean[unit] /= np.float32(rows.shape[0])


@compiled
def shift_by_context(mean: Matrix, context: Matrix, bias: Matrix, shift: Matrix) -> None:
    """bias + mean @ context; too small a product for the call of a library to pay."""
    shift[:] = bias
    for row in range(len(mean)):
        for unit in range(len(shift)):
            shift[unit] += mean[row] * context[row, unit]
