"""One schedule and a stretch of time -> a better schedule: the two searches behind one interface.

Where a disjunctive graph tells the whole truth, tabu search on it is far ahead of everything else;
every other problem is annealed under the simulator's own arithmetic. Both go on from where they were
when they are called again, and both are reproducible: what they do depends on the seed and on how
many moves they may make, never on the clock.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from env.problem import Problem
from env.problem_arrays import ProblemArrays
from env.simulation import State
from models.annealing import BEST as BEST_PLAN
from models.annealing import Annealing, anneal, new_annealing
from models.disjunctive_graph import has_graph, new_graph, take_plan
from models.plan import new_plan, new_rules, realise
from models.repair import has_earlier_plan
from models.tabu_search import BEST, Tabu, improve, new_tabu


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
    """The search that suits the problem, from a complete state on; None where the state breaks a pin's sequence."""
    if has_graph(arrays) and not has_earlier_plan(problem):
        return TabuSearch(arrays, state, seed)
    same_job = arrays.operation_job[1:] == arrays.operation_job[:-1]
    if np.any((state.start[1:] < state.end[:-1])[same_job]):
        return None
    return AnnealingSearch(problem, arrays, state, seed)


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
