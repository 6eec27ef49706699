"""One schedule and some time -> a better schedule: a plan repaired, and searches behind one interface."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from env.problem import Problem
from env.simulator.arrays import (
    LATE_SECONDS,
    MAKESPAN_WEIGHT,
    MISSED,
    TARDINESS_WEIGHT,
    Integers,
    ProblemArrays,
    has_deadlines,
)
from env.simulator.calendar import NEVER
from env.simulator.calendar_fit import calendar_span
from env.simulator.reservation import around_earlier_places, dispatch_by_start, keeps_pins
from env.simulator.simulation import dispatch, new_state
from env.simulator.state import MAKESPAN_BOUND, NOBODY, State
from models.policy.predictor import Predictor
from models.search.annealing import BEST as BEST_PLAN
from models.search.annealing import HELD, MEAN_LOSS, Annealing, anneal, new_annealing
from models.search.graph import has_graph, new_graph, take_plan
from models.search.solution import STABILITY, Solution, new_plan, new_rules, realise
from models.search.tabu import BEST, Tabu, improve, new_tabu

FIRST_WARMTH, LAST_WARMTH = 1.4, 0.8
"""Of a round of the search for deadlines; the temperature is then that share of a mean duration. Hotter than where a
good plan is made better, since a plan that misses deadlines is often far from one that meets all."""
FIRST_ROUND = 20
"""Moves of it for each operation."""
FLOAT_SECONDS = 1e-6
"""By so much sums of the same numbers in another order differ at most."""
LATE_SHARE = 0.02
"""Of a mean duration: what missing a deadline at all counts beside how late it is."""


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


def suits_graph(problem: Problem, arrays: ProblemArrays) -> bool:
    """Whether tabu search on the disjunctive graph finds what counts, deadlines apart."""
    return has_graph(arrays) and not has_earlier_plan(problem)


def local_search(problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> LocalSearch | None:
    """The search that suits the problem, from a complete state on; None where it would begin with a missed pin."""
    if suits_graph(problem, arrays) and not has_deadlines(arrays):
        return makespan_search(problem, arrays, state, seed)
    timed = _timed_by_order(arrays, state)
    return None if timed is None else AnnealingSearch(problem, arrays, timed, seed)


def makespan_search(problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> LocalSearch:
    """Tabu search on the disjunctive graph, which the problem must suit; it knows no deadlines."""
    del problem
    return TabuSearch(arrays, state, seed)


def deadline_search(problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> LocalSearch | None:
    """Fewer missed deadlines for a complete state; None where it would begin with a missed pin."""
    timed = _timed_by_order(arrays, state)
    return None if timed is None else DeadlineSearch(problem, arrays, timed, seed)


def tardiness_search(problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> LocalSearch | None:
    """Less weighted tardiness for a complete state of a makespan problem, holding all that counts before it.

    None where it would begin with a missed pin.
    """
    timed = _timed_by_order(arrays, state)
    return None if timed is None else TardinessSearch(problem, arrays, timed, seed)


def _timed_by_order(arrays: ProblemArrays, state: State) -> State | None:
    """A complete state as annealing times it: by its order alone. None where that misses a pin."""
    timed = new_state(arrays)
    dispatch_by_start(arrays, timed, state.chosen_pair, np.lexsort((state.end, state.start)))
    return timed if keeps_pins(arrays, timed) else None


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
    _nothing = 0.0
    _wide = 0.0

    def __init__(self, problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> None:
        self.arrays = arrays
        self.rules = new_rules(arrays)
        self.search: Annealing = new_annealing(self._plan(problem, state), self.rules, seed, wide=self._wide)

    def run(self, moves: int, progress: float) -> None:
        """See `LocalSearch`; the temperature falls with the progress."""
        anneal(self.search, self.rules, moves, 1.0 - progress)

    def _plan(self, problem: Problem, state: State) -> Solution:
        """The plan of a complete state, in which a deadline that is met stays met."""
        self._nothing = _value_bound(self.arrays)
        plan, deadline = new_plan(problem, self.arrays, state), self.arrays.operation_deadline
        latest_end = plan.tasks["latest_end"]
        plan.tasks["latest_end"] = np.where(state.end <= deadline, np.minimum(latest_end, deadline), latest_end)
        return plan

    @property
    def is_done(self) -> bool:
        """Whether no plan is worth less, but for what floats leave of what has gone."""
        return bool(self.search.figures[BEST_PLAN] <= self._nothing + FLOAT_SECONDS)

    def realise(self, state: State) -> None:
        """See `LocalSearch`."""
        realise(self.search.best_chosen, self.search.best_order, self.arrays, state)


class DeadlineSearch(AnnealingSearch):
    """Deadlines alone, until all are met but those of pinned work: they are due dates here, and all else is forgotten.

    Since nothing tells how long that takes, the temperature falls in rounds, each twice as long as the one before.
    """

    name = "deadlines"
    _wide = 0.5

    def __init__(self, problem: Problem, arrays: ProblemArrays, state: State, seed: int) -> None:
        super().__init__(problem, arrays, state, seed)
        self.search.figures[MEAN_LOSS] = (state.end - state.start).mean()
        self._round, self._moves = FIRST_ROUND * len(state.end), 0

    def run(self, moves: int, progress: float) -> None:
        """See `LocalSearch`."""
        del progress
        anneal(self.search, self.rules, moves, FIRST_WARMTH - (FIRST_WARMTH - LAST_WARMTH) * self._moves / self._round)
        self._moves += moves
        if self._moves >= self._round:
            self._round, self._moves = 2 * self._round, 0

    def _plan(self, problem: Problem, state: State) -> Solution:
        plan, arrays = new_plan(problem, self.arrays, state), self.arrays
        plan.figures[[MAKESPAN_WEIGHT, STABILITY, MISSED]] = 0.0
        plan.figures[TARDINESS_WEIGHT], plan.figures[LATE_SECONDS] = 1.0, LATE_SHARE * arrays.time_scale[0]
        self._nothing = 0.5 * plan.figures[LATE_SECONDS]
        plan.tasks["due"] = arrays.operation_deadline
        plan.tasks["has_due"] = (arrays.operation_deadline < NEVER) & ~arrays.operation_pinned
        plan.tasks["weight"] = 1.0
        return plan


class TardinessSearch(AnnealingSearch):
    """Tardiness alone: nothing may end after the makespan found, nor a deadline or an earlier plan be given up."""

    name = "tardiness"

    def _plan(self, problem: Problem, state: State) -> Solution:
        plan = super()._plan(problem, state)
        self._nothing = 0.0
        plan.figures[MAKESPAN_WEIGHT] = 0.0
        plan.figures[TARDINESS_WEIGHT] = 1.0 / self.arrays.operation_weight.sum()
        if plan.figures[STABILITY] > 0.0:
            plan.figures[STABILITY] = HELD
        plan.tasks["latest_end"] = np.minimum(plan.tasks["latest_end"], state.end.max())
        return plan


def _value_bound(arrays: ProblemArrays) -> float:
    """No plan is worth less, in seconds of the objective: each job alone, as if nobody else were there, and for the
    makespan what only one machine can do as well."""
    state, weights = new_state(arrays), arrays.objective
    makespan = max(int(state.totals[MAKESPAN_BOUND]), _busiest_machine_end(arrays))
    bound = weights[MAKESPAN_WEIGHT] * makespan
    bound += weights[TARDINESS_WEIGHT] * state.tardiness_bound[0] + weights[MISSED] * state.missed_bound[0]
    return float(bound)


def _makespan_bound(arrays: ProblemArrays, release: Integers) -> int:
    """No schedule is shorter, in open seconds: the longest job, all work spread evenly over the machines, and what only
    one machine can do, one after the other."""
    longest = int((release + arrays.operation_remaining).max())
    work = int(arrays.operation_shortest.sum() + arrays.machine_busy.sum())
    alone = _work_of_one_machine(arrays, release)
    busiest = max(
        (max(each.first, int(arrays.machine_busy[each.machine])) + each.work + each.after for each in alone), default=0
    )
    return max(longest, -(-work // len(arrays.machine_busy)), busiest)


def _busiest_machine_end(arrays: ProblemArrays) -> int:
    """No schedule ends earlier than any machine with what only it can do, by its calendar."""
    latest = 0
    for each in _work_of_one_machine(arrays, arrays.operation_release):
        calendar = int(arrays.machine_calendar[each.machine])
        for ready, work in ((each.first, each.work), (0, each.work + int(arrays.machine_busy[each.machine]))):
            _, end = calendar_span(arrays, calendar, ready, work, True)
            latest = max(latest, int(end) + each.after)
    return latest


class _WorkOfOneMachine(NamedTuple):
    """What no other machine can do, in seconds: its first release, its sum, and the least that follows any of it."""

    machine: int
    first: int
    work: int
    after: int


def _work_of_one_machine(arrays: ProblemArrays, release: Integers) -> list[_WorkOfOneMachine]:
    """For each machine that has such work, pinned work apart."""
    bound_to_one = (np.diff(arrays.pair_first) == 1) & ~arrays.operation_pinned
    operation = arrays.pair_operation[arrays.held_pair]
    operation, machine = operation[bound_to_one[operation]], arrays.held_machine[bound_to_one[operation]]
    # Pinned work is where it is, however long it would take otherwise.
    after = np.where(arrays.operation_urgent, 0, arrays.operation_remaining - arrays.operation_shortest)
    count = len(arrays.machine_busy)
    work = np.zeros(count, dtype=np.int64)
    first, least_after = (np.full(count, NEVER, dtype=np.int64) for _ in range(2))
    np.add.at(work, machine, arrays.operation_shortest[operation])
    np.minimum.at(first, machine, release[operation])
    np.minimum.at(least_after, machine, after[operation])
    return [
        _WorkOfOneMachine(each, int(first[each]), int(work[each]), int(least_after[each]))
        for each in np.unique(machine).tolist()
    ]
