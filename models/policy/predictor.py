"""Policy weights -> schedule: the only inference path. Imports neither torch nor Ray.

A play runs compiled: find candidates, encode, score, dispatch the best, until nothing is left. It is
deterministic: equal scores go to the better composite rank. A policy pass is a few plays, and the best
schedule counts: one by the network that knows the objective best, and where the plant has a reverse another
one backwards, which errs at the other end. Other networks that have learned the objective err in different
places, and play in the directions in which the first comes close. A plant with deadlines
is played as often again with its deadlines as due dates, as networks know them. What was played is
justified before it is compared. Large plants are played once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from env.problem import Problem
from env.schedule import Schedule
from env.simulator.arrays import (
    TARDINESS_WEIGHT,
    Integers,
    ProblemArrays,
    compile_problem,
    has_deadlines,
    with_urgent_due_dates,
)
from env.simulator.candidates import CANDIDATE_LIMIT, Candidates, find_candidates, new_candidates
from env.simulator.compilation import compiled
from env.simulator.episode import objective_bound
from env.simulator.observation import FEATURE_COUNT, TALLIES, encode
from env.simulator.reservation import played
from env.simulator.rules import finished_schedule
from env.simulator.simulation import (
    ReversedPlant,
    bound_anew,
    dispatch,
    is_complete,
    is_reversible,
    new_state,
    operation_of,
    order_of,
    reversed_plant,
)
from env.simulator.state import DISPATCHED, State
from models.policy.justification import Justification, dispatch_in, justification, justified, unchanged

MAX_PAIRS = 10_000
"""Operations on each of their machines. Larger plants are played once: they have less to gain from further plays."""
CLOSE_SHARE, CLOSE_SHARE_FOR_DUE_DATES = 0.03, 0.1
"""Further networks play in a direction whose first play is at most so much worse than the best:
from further behind they rarely win."""
ROWS_FOR_A_LIBRARY = 8
"""From so many rows on BLAS multiplies sooner than the plain loop; below, what it packs may cost more than the work."""

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

    `for_due_dates` and `for_makespans` are the places of those networks that have learned nothing else. Safe to share
    between threads: each pass has its own state.
    """

    def __init__(
        self,
        networks: Sequence[Weights],
        model_id: str = "unpublished",
        for_due_dates: Collection[int] = (),
        for_makespans: Collection[int] = (),
    ) -> None:
        if not networks:
            raise ValueError("a policy must have a network, had none")
        for weights in networks:
            if weights.first.shape[0] != FEATURE_COUNT:
                raise ValueError(f"weights must take {FEATURE_COUNT} features, took {weights.first.shape[0]}")
        self.networks = tuple(
            Weights(*(np.ascontiguousarray(matrix, dtype=np.float32) for matrix in weights)) for weights in networks
        )
        self.model_id = model_id
        others = [weights for place, weights in enumerate(self.networks) if place not in for_due_dates]
        self._for_makespans = tuple(others) or self.networks
        # The one that was there first: a network that joins a policy adds plays, and takes none away.
        self._makespan_specialist = self.networks[min(for_makespans)] if for_makespans else self._for_makespans[-1]

    def schedule(self, problem: Problem) -> Schedule:
        """One greedy policy pass. Raises `HorizonExceeded` when the calendar cannot hold the work."""
        return finished_schedule(problem, played(compile_problem(problem), self.play))

    def schedule_once(self, problem: Problem) -> Schedule:
        """A single greedy play by a single network: what the literature calls a pass. Raises like `schedule`."""
        arrays = compile_problem(problem)
        return finished_schedule(problem, _play(arrays, new_state(arrays), self._specialist(arrays)))

    def play(self, arrays: ProblemArrays, state: State) -> None:
        """One greedy policy pass: dispatch everything that is left in `state`, in place.

        Of all plays the best by makespan and tardiness counts, of equal ones the first; what changes against an
        earlier plan cost is for `search` to weigh. Once something has been dispatched, the rest is played forwards
        only, and stays as it is played.
        """
        plays: list[Justification] = []
        if not (has_deadlines(arrays) and _is_large(arrays)):
            plays += self._plays(arrays, arrays, state)
        if has_deadlines(arrays):
            plays += self._plays(arrays, with_urgent_due_dates(arrays), state)
        _write(state, justified(arrays, plays))

    def _plays(self, plant: ProblemArrays, arrays: ProblemArrays, state: State) -> list[Justification]:
        """Plays of a plant by `arrays`, its own or with urgent due dates."""
        specialist = self._specialist(arrays)
        forwards = _play(arrays, copy_of(state), specialist)
        plays, directions = [_weighed(plant, arrays, state, forwards)], list[ReversedPlant | None]([None])
        if _is_played_backwards(arrays, state):
            reverse = reversed_plant(arrays, int(forwards.end.max()))
            directions.append(reverse)
            backwards = _play_towards(reverse, arrays, copy_of(state), specialist)
            plays.append(_weighed(plant, arrays, state, backwards))
        best = min(play.least for play in plays)
        if _is_large(arrays) or best <= objective_bound(plant, state):
            return plays
        close = CLOSE_SHARE_FOR_DUE_DATES if arrays.objective[TARDINESS_WEIGHT] > 0.0 else CLOSE_SHARE
        others = [weights for weights in self._players(arrays) if weights is not specialist]
        for direction, first in zip(directions, tuple(plays), strict=True):
            for weights in others if first.least <= (1.0 + close) * best else ():
                plays.append(_weighed(plant, arrays, state, _play_towards(direction, arrays, copy_of(state), weights)))
        return plays

    def sample(self, arrays: ProblemArrays, state: State, seed: int, temperature: float) -> None:
        """Dispatch everything that is left in `state`, in place, by draws of one network.

        Which one comes by `seed`, and so does whether it plays forwards or, where only makespans count, backwards.
        Deadlines are due dates to it.
        """
        plant, arrays = arrays, with_urgent_due_dates(arrays)
        players = self._players(arrays)
        turn, weights = seed // len(players), players[seed % len(players)]
        backwards = turn % 2 and arrays.objective[TARDINESS_WEIGHT] == 0.0 and _is_played_backwards(arrays, state)
        direction = reversed_plant(arrays, 0) if backwards else None
        play = _play_towards(direction, arrays, copy_of(state), weights, seed, temperature)
        _write(state, justified(plant, [_weighed(plant, arrays, state, play)]))

    def _players(self, arrays: ProblemArrays) -> Sequence[Weights]:
        """Whose plays may be the best."""
        return self.networks if arrays.objective[TARDINESS_WEIGHT] > 0.0 else self._for_makespans

    def _specialist(self, arrays: ProblemArrays) -> Weights:
        """Whose play is most likely the best.

        The first network's where due dates count, else that of the first one that has learned makespans alone, or of
        the last.
        """
        return self.networks[0] if arrays.objective[TARDINESS_WEIGHT] > 0.0 else self._makespan_specialist


def copy_of(state: State) -> State:
    """A state of its own that is equal to `state`."""
    return State._make(array.copy() for array in state)


def _is_new(state: State) -> bool:
    return bool(state.totals[DISPATCHED] == 0)


def _is_large(arrays: ProblemArrays) -> bool:
    return len(arrays.pair_machine) > MAX_PAIRS


def _is_played_backwards(arrays: ProblemArrays, state: State) -> bool:
    return _is_new(state) and not _is_large(arrays) and is_reversible(arrays)


def _play(arrays: ProblemArrays, state: State, weights: Weights, seed: int = 0, temperature: float = 0.0) -> State:
    """Dispatch everything that is left in `state`, in place, by one network; gives `state`."""
    workspace = new_workspace(weights, len(arrays.machine_busy))
    play_policy(arrays, state, new_candidates(arrays), weights, workspace, seed, temperature)
    return state


def _play_towards(
    reverse: ReversedPlant | None,
    arrays: ProblemArrays,
    state: State,
    weights: Weights,
    seed: int = 0,
    temperature: float = 0.0,
) -> State:
    """The same backwards, if there is a reverse: play that, and dispatch in the order that comes of it."""
    if reverse is None:
        return _play(arrays, state, weights, seed, temperature)
    backwards = _play(reverse.arrays, new_state(reverse.arrays), weights, seed, temperature)
    dispatch_in(arrays, state, order_of(reverse, backwards))
    return state


def _weighed(plant: ProblemArrays, arrays: ProblemArrays, begun: State, play: State) -> Justification:
    """A play by `arrays` from the state `begun` on, as the plant itself counts it, justified where that is possible."""
    if arrays is not plant:
        bound_anew(plant, play)
    return justification(plant, play) if _is_new(begun) else unchanged(plant, play)


def _write(state: State, found: State) -> None:
    for place, values in zip(state, found, strict=True):
        place[:] = values


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
    # The plain loop takes rows in pairs: what an odd one is paired with does not matter.
    paired = min(count + count % 2, len(workspace.rows))
    multiply(workspace.rows[:paired], weights.first, workspace.hidden[:paired])
    rectify(hidden, weights.first_bias)
    mean_over_rows(hidden, workspace.mean)
    np.dot(workspace.mean, weights.context, workspace.shift)
    add(workspace.shift, weights.second_bias)
    multiply(workspace.hidden[:paired], weights.second, workspace.mixed[:paired])
    rectify(mixed, workspace.shift)
    np.dot(mixed, weights.score, logits)
    best = 0
    for row in range(count):
        if logits[row] > logits[best]:
            best = row
    return best


@compiled
def multiply(rows: Matrix, matrix: Matrix, product: Matrix) -> None:
    """rows @ matrix; shapes [row, feature], [feature, unit] and [row, unit]."""
    features, units = matrix.shape
    if rows.shape[0] >= ROWS_FOR_A_LIBRARY:
        np.dot(rows, matrix, product)
        return
    # Two rows and four features at a time: what a sum is read and written for is eight products instead of one.
    product[:] = np.float32(0.0)
    whole, paired = features - features % 4, rows.shape[0] - rows.shape[0] % 2
    for row in range(0, paired, 2):
        for feature in range(0, whole, 4):
            first, second = rows[row, feature], rows[row, feature + 1]
            third, fourth = rows[row, feature + 2], rows[row, feature + 3]
            other_first, other_second = rows[row + 1, feature], rows[row + 1, feature + 1]
            other_third, other_fourth = rows[row + 1, feature + 2], rows[row + 1, feature + 3]
            for unit in range(units):
                by_first, by_second = matrix[feature, unit], matrix[feature + 1, unit]
                by_third, by_fourth = matrix[feature + 2, unit], matrix[feature + 3, unit]
                product[row, unit] += first * by_first + second * by_second + third * by_third + fourth * by_fourth
                product[row + 1, unit] += (
                    other_first * by_first
                    + other_second * by_second
                    + other_third * by_third
                    + other_fourth * by_fourth
                )
        multiply_rest(rows, matrix, product, row, whole)
        multiply_rest(rows, matrix, product, row + 1, whole)
    for row in range(paired, rows.shape[0]):
        multiply_rest(rows, matrix, product, row, 0)


@compiled
def multiply_rest(rows: Matrix, matrix: Matrix, product: Matrix, row: int, begin: int) -> None:
    """Add the products of one row from the feature `begin` on."""
    for feature in range(begin, matrix.shape[0]):
        for unit in range(matrix.shape[1]):
            product[row, unit] += rows[row, feature] * matrix[feature, unit]


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
def add(row: Matrix, other: Matrix) -> None:
    """row + other in place; both shape [unit]."""
    for unit in range(len(row)):
        row[unit] += other[unit]
