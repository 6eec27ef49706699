"""One schedule and some time -> a better schedule: a plan repaired, and two searches behind one interface."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from env.problem import Problem
from env.simulator.arrays import Integers, ProblemArrays
from env.simulator.reservation import around_earlier_places, dispatch_by_start, keeps_pins
from env.simulator.simulation import NOBODY, State, dispatch, new_state
from models.policy.predictor import Predictor
from models.search.annealing import BEST as BEST_PLAN
from models.search.annealing import Annealing, anneal, new_annealing
from models.search.graph import has_graph, new_graph, take_plan
from models.search.solution import new_plan, new_rules, realise
from models.search.tabu import BEST, Tabu, improve, new_tabu


def has_earlier_plan(problem: Problem) -> bool:
    """Whether there is anything to keep and a reason to keep it."""
    return problem.stability_seconds > 0.0 and any(operation.earlier_place for operation in problem.operations)


def repaired(predictor: Predictor, problem: Problem, arrays: ProblemArrays) -> State | None:
    """A complete state in which work begins no earlier than in the earlier plan, on its machines, in its order.

    None when shifting right would run into pinned work.
    """
    places = [operation.earlier_place for operation in problem.operations]
    earlier_start = _earlier_starts(problem)
    held = held_back(problem, arrays)
    state = new_state(held)
    kept = [operation for operation, place in enumerate(places) if place is not None]
    for operation in sorted(kept, key=lambda operation: (earlier_start[operation], operation)):
        pair = _pair_at_its_place(problem, arrays, operation)
        if pair is not None and state.job_next[arrays.operation_job[operation]] == operation:
            dispatch(held, state, pair, operation)
    predictor.play(held, state)
    return state if keeps_pins(arrays, state) else None


def held_in_place(predictor: Predictor, problem: Problem, arrays: ProblemArrays) -> State | None:
    """A complete state in which all work stays that can, and nothing else moves than what must make room.

    None when that would run into pinned work.
    """
    pairs = [_pair_at_its_place(problem, arrays, operation) for operation in range(len(problem.operations))]
    pair = np.array([NOBODY if found is None else found for found in pairs], dtype=np.int64)
    return around_earlier_places(arrays, pair, _earlier_starts(problem), predictor.play)


def held_back(problem: Problem, arrays: ProblemArrays) -> ProblemArrays:
    """The arrays of a plant in which nothing may begin before its earlier place."""
    return arrays._replace(operation_release=np.maximum(arrays.operation_release, _earlier_starts(problem)))


def _earlier_starts(problem: Problem) -> Integers:
    """Shape [operation], 0 without an earlier place."""
    places = [operation.earlier_place for operation in problem.operations]
    return np.array([0 if place is None else place.start_seconds for place in places], dtype=np.int64)


def _pair_at_its_place(problem: Problem, arrays: ProblemArrays, operation: int) -> int | None:
    """The operation's pair on the machine of its earlier place, None when that machine may not do it any more."""
    place = problem.operations[operation].earlier_place
    first, last = int(arrays.pair_first[operation]), int(arrays.pair_first[operation + 1])
    machines = arrays.pair_machine[first:last].tolist()
    return first + machines.index(place.machine) if place is not None and place.machine in machines else None


class LocalSearch(Protocol):
    """A search that can be continued."""

    name: str

    def run(self, moves: int, progress: float) -> None:
        """Try so many moves; `progress`, from 0 to 1, is how much of the whole search is done. Releases the lock."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing better can exist."""
        ...

    def realise(self, state: State) -> None:
        """Play the best plan in the simulator; fills `state`."""
        ...


def local_search(problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> LocalSearch | None:
    """The search that suits the problem, from a complete state on; None where it would begin with a missed pin."""
    if has_graph(arrays) and not has_earlier_plan(problem):
        return TabuSearch(arrays, state, seed)
    if not arrays.operation_urgent.any():
        return AnnealingSearch(problem, arrays, state, seed)
    # The search times plans by their order alone, so that has to keep the pins as well.
    timed = new_state(arrays)
    dispatch_by_start(arrays, timed, state.chosen_pair, np.lexsort((state.end, state.start)))
    return AnnealingSearch(problem, arrays, timed, seed) if keeps_pins(arrays, timed) else None


class TabuSearch:
    """Makespans, on the disjunctive graph."""

    name = "tabu"

    def __init__(self, arrays: ProblemArrays, state: State, seed: int) -> None:
        self.arrays = arrays
        graph = new_graph(arrays)
        self.search: Tabu = new_tabu(graph, take_plan(graph, state), seed)
        self.bound = _makespan_bound(arrays, graph.nodes["release"])

    def run(self, moves: int, progress: float) -> None:
        """See `LocalSearch`; tabu search does not mind how far it is."""
        del progress
        improve(self.search, moves, self.bound)

    @property
    def is_done(self) -> bool:
        """Whether the makespan equals its lower bound."""
        return bool(self.search.totals[BEST] <= self.bound)

    def realise(self, state: State) -> None:
        """See `LocalSearch`."""
        order = self.search.best_order
        realise(self.search.best_chosen, order, self.arrays, state)


class AnnealingSearch:
    """Every constraint and every objective."""

    name = "annealing"

    def __init__(self, problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> None:
        self.arrays = arrays
        self.rules = new_rules(arrays)
        self.search: Annealing = new_annealing(new_plan(problem, arrays, state), self.rules, seed)

    def run(self, moves: int, progress: float) -> None:
        """See `LocalSearch`; the temperature falls with the progress."""
        anneal(self.search, self.rules, moves, 1.0 - progress)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to lose."""
        return bool(self.search.figures[BEST_PLAN] <= 0.0)

    def realise(self, state: State) -> None:
        """See `LocalSearch`."""
        realise(self.search.best_chosen, self.search.best_order, self.arrays, state)


def _makespan_bound(arrays: ProblemArrays, release: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    """No schedule is shorter, in open seconds: the longest job, and all work spread evenly over the machines."""
    longest = int((release + arrays.operation_remaining).max())
    work = int(arrays.operation_shortest.sum() + arrays.machine_busy.sum())
    return max(longest, -(-work // len(arrays.machine_busy)))
