"""A policy and a budget -> the best schedule that it buys: policy pass, sampled plays, local search.

Each stage goes on from the best schedule so far, so no budget makes anything worse. A time budget ends
by the clock; a number of `iterations` in its place makes the result depend on the seed alone.
Where the makespan alone counts, the last part goes into tardiness, at the makespan that was found.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, Self

import numpy as np

from env.objective import change_count, objective_value, value_besides_changes, value_besides_deadlines
from env.problem import Problem, StabilityLimit
from env.schedule import Schedule
from env.simulator.arrays import TIE, ProblemArrays, compile_problem, has_deadlines
from env.simulator.calendar import NEVER
from env.simulator.episode import objective_bound
from env.simulator.reservation import TRIES, keeps_pins, played, played_around
from env.simulator.rules import finished_schedule
from env.simulator.simulation import new_state, reset
from env.simulator.state import State
from models.policy.predictor import Predictor
from models.search.local_search import (
    LocalSearch,
    deadline_search,
    has_earlier_plan,
    held_back,
    held_in_place,
    local_search,
    makespan_search,
    repaired,
    suits_graph,
    tardiness_search,
)

TEMPERATURE = 1.0
"""Of sampled passes; chosen on generated plants, where cooler samples differ too little from the greedy pass."""
MAX_SAMPLES = 4
SHARE_FOR_SAMPLES = 0.15
"""Of the budget: samples are good starting points, but local search makes more of the time."""
SHARE_FOR_REPLAN = 0.3
"""Of the budget where an earlier plan counts: so much goes into a plan that keeps nothing, which all others must bear
comparison with."""
SHARE_FOR_REPAIR = 0.5
"""Of what is left then, and again at each lower price: so much of it goes into few changes."""
PRICE_STEP = 0.25
MAX_PRICES = 4
"""What a change costs is lowered so often, by that factor, while few changes cost more of the plan than they may."""
REPAIRS = (repaired, held_in_place)
SHARE_FOR_DEADLINES = 0.7
"""Of the budget at most, while any deadline is missed: the part that comes first."""
SHARE_FOR_MAKESPAN = 0.3
"""Of the budget, where the makespan and deadlines count: what is found for the former alone may meet the latter."""
SHARE_FOR_TARDINESS = 0.2
"""Of the budget, where the makespan alone counts and work is late: the last part brings down tardiness as well."""
FIRST_MOVES = 8
CHUNKS = 100
MAX_CHUNK_SECONDS = 0.02
ITERATION_CHUNKS = 50
MIN_SEARCH_SECONDS = 0.002
MAX_RESERVATIONS = 100
"""Where iterations count instead of time."""
PROGRESS_SECONDS = 1.0
"""So often a search that somebody watches shows what it has found so far."""

_Begin = Callable[[Problem, ProblemArrays, State, int], LocalSearch | None]
_second_core = threading.Semaphore(max(0, len(os.sched_getaffinity(0)) - 1))


class SearchProgress(Protocol):
    """Whoever watches a search while it runs, and may end it before its time."""

    def is_stopped(self) -> bool:
        """Whether the best so far is to be the result; asked again and again, so it must be quick."""
        ...

    def improve(self, schedule: Schedule) -> None:
        """A better schedule was found; the first one is that of the policy pass."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best schedule, the stages that ran in order, and what they brought.

    `gains` are by how much each stage after the first lowered the objective, in seconds of it and missed deadlines
    apart: below 0 where a deadline cost them;
    `policy_makespan_seconds` is the makespan of the greedy policy pass; `cpu_seconds` what all of it cost, its threads
    together. `replanned` is the schedule that was found where leaving a place costs nothing, None where there is no
    earlier plan to keep.
    """

    schedule: Schedule
    method: tuple[str, ...]
    policy_makespan_seconds: int
    gains: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = field(default=0.0, compare=False)
    replanned: Schedule | None = None


def search(
    predictor: Predictor,
    problem: Problem,
    budget_ms: int,
    seed: int = 0,
    *,
    iterations: int | None = None,
    threads: int = 2,
    progress: SearchProgress | None = None,
) -> Found:
    """The best schedule within `budget_ms`, or within so many `iterations` of local search; 0: the policy pass.

    The pass itself is made whatever it costs. A second thread helps while no other search of this process
    has one; with `iterations` there is only one, so that the result depends on the seed alone. Where an
    earlier plan counts, repairing it competes as well. `progress` is shown what is found within a time budget, from a
    search on one thread. Raises `HorizonExceeded` when the calendar cannot hold the work.
    """
    begun, cpu_begun = time.perf_counter(), time.thread_time()
    arrays = compile_problem(problem)
    state = played(arrays, predictor.play)
    greedy = finished_schedule(problem, state)
    if iterations is None and budget_ms <= 0 and not has_earlier_plan(problem):
        # Nothing is to be compared with the pass, so nobody need know what it is worth.
        return Found(
            schedule=greedy,
            method=("policy",),
            policy_makespan_seconds=greedy.makespan_seconds,
            cpu_seconds=time.thread_time() - cpu_begun,
        )
    free = replace(problem, stability_seconds=0.0) if has_earlier_plan(problem) else problem
    best, replanned = _Best(free, arrays, greedy, state), None
    budget = None
    if iterations is not None or budget_ms > 0:
        budget = _Budget(begun, budget_ms / 1000.0, time.perf_counter() - begun, iterations, progress)
    if progress is not None:
        threads = 1
    if free is problem:
        best.show_to(progress)
    else:
        first, budget = (None, None) if budget is None else budget.split(SHARE_FOR_REPLAN)
        _make_better(predictor, best, seed, first, threads)
        replanned = best.schedule
        best = _keep_places(predictor, problem, best, seed, budget)
        best.show_to(progress)
    _make_better(predictor, best, seed, budget, threads)
    return Found(
        schedule=best.schedule,
        method=("policy", *best.gains),
        policy_makespan_seconds=greedy.makespan_seconds,
        gains=best.gains,
        cpu_seconds=time.thread_time() - cpu_begun + best.cpu_seconds_beside,
        replanned=replanned,
    )


@dataclass(frozen=True, slots=True, kw_only=False)
class _Budget:
    """When to stop: `seconds` after `begun`, or after `iterations` whatever time that takes; or when told to."""

    begun: float
    seconds: float
    pass_seconds: float
    iterations: int | None
    progress: SearchProgress | None = None

    @property
    def left_seconds(self) -> float:
        if self.progress is not None and self.progress.is_stopped():
            return 0.0
        return self.begun + self.seconds - time.perf_counter()

    def split(self, share: float) -> tuple[_Budget, _Budget]:
        """That share of what is left, and what comes after it: all that the first does not use, but for iterations."""
        if self.iterations is not None:
            first = round(share * self.iterations)
            return replace(self, iterations=first), replace(self, iterations=self.iterations - first)
        return replace(self, seconds=self.seconds - (1.0 - share) * self.left_seconds), self

    def allows_sampling(self, seconds: float) -> bool:
        """Whether so many seconds may go into samples."""
        return self.iterations is not None or seconds <= SHARE_FOR_SAMPLES * self.seconds


class _Limit(NamedTuple):
    """What a plan may come to at most: its end and its value apart from changes and deadlines, in seconds; changes."""

    makespan: float = math.inf
    value: float = math.inf
    changes: float = math.inf

    @classmethod
    def of(cls, problem: Problem, limit: StabilityLimit, replanned: Schedule) -> Self:
        """So much more than what the earlier plan promised, or than planning anew gives where that is worse.

        Were it only the latter, time to search would be reason enough to move everything.
        """
        plans = (_promised(problem, replanned), replanned)
        return cls(
            makespan=(1.0 + limit.makespan_share) * max(plan.makespan_seconds for plan in plans),
            value=(1.0 + limit.value_share) * max(value_besides_changes(problem, plan) for plan in plans),
        )

    def holds(self, problem: Problem, schedule: Schedule) -> bool:
        """Whether a plan is within the limit."""
        if math.isinf(self.makespan):
            return True
        is_good = schedule.makespan_seconds <= self.makespan and value_besides_changes(problem, schedule) <= self.value
        return is_good and change_count(problem, schedule) <= self.changes


def _promised(problem: Problem, replanned: Schedule) -> Schedule:
    """The earlier plan, whether it can be kept or not; work that it did not have is where the new one has it."""
    places = {operation.id: operation.earlier_place for operation in problem.operations}
    return Schedule(
        assignments=tuple(
            row
            if (place := places[row.operation_id]) is None or place.end_seconds is None
            else replace(row, start_seconds=place.start_seconds, end_seconds=place.end_seconds)
            for row in replanned.assignments
        )
    )


class _Best:
    """The best schedule so far by the objective, with the state that it came from.

    No other schedule beyond `limit` is kept. `sought` is the problem that searches are given, whose changes may cost
    less.
    """

    def __init__(self, problem: Problem, arrays: ProblemArrays, schedule: Schedule, state: State) -> None:
        self.problem = self.sought = problem
        self.arrays = arrays
        self.limit = _Limit()
        self.schedule = schedule
        self.state = state
        # Any plan that keeps its pins is better than one that does not.
        self.value = objective_value(problem, schedule) if keeps_pins(arrays, state) else math.inf
        self.besides_deadlines = value_besides_deadlines(problem, schedule)
        self.gains: dict[str, float] = {}
        self.cpu_seconds_beside = 0.0
        self.progress: SearchProgress | None = None

    def show_to(self, progress: SearchProgress | None) -> None:
        """Shows this schedule, and each better one from now on."""
        self.progress = progress
        if progress is not None and math.isfinite(self.value):
            progress.improve(self.schedule)

    def offer(self, stage: str, state: State | None) -> bool:
        """Keep a complete state if its schedule is better; says whether it was.

        The bound, cheap to tell, sorts out most that are not.
        """
        self.gains.setdefault(stage, 0.0)
        if state is None or objective_bound(self.arrays, state) >= self.value or state.end.max() >= NEVER:
            return False
        if not keeps_pins(self.arrays, state):
            return False
        schedule = finished_schedule(self.problem, state)
        value = objective_value(self.problem, schedule)
        if value >= self.value or not self.limit.holds(self.problem, schedule):
            return False
        besides_deadlines = value_besides_deadlines(self.problem, schedule)
        self.gains[stage] += self.besides_deadlines - besides_deadlines if math.isfinite(self.value) else 0.0
        self.schedule, self.state, self.value = schedule, state, value
        self.besides_deadlines = besides_deadlines
        if self.progress is not None:
            self.progress.improve(schedule)
        return True

    @property
    def misses_deadlines(self) -> bool:
        """Whether anything that can be moved ends after its deadline."""
        missed = self.state.end > self.arrays.operation_deadline
        return bool(np.any(missed & ~self.arrays.operation_pinned))

    @property
    def keeps_places(self) -> bool:
        """Whether leaving the places of an earlier plan costs anything."""
        return has_earlier_plan(self.problem)

    @property
    def counts_ties(self) -> bool:
        """Whether tardiness decides between schedules that are equal otherwise."""
        return bool(self.arrays.objective[TIE] > 0.0 and self.arrays.operation_has_due.any())

    @property
    def is_late(self) -> bool:
        """Whether anything ends after its due date."""
        arrays = self.arrays
        return bool(np.any(arrays.operation_has_due & (self.state.end > arrays.operation_due)))


def _make_better(predictor: Predictor, best: _Best, seed: int, budget: _Budget | None, threads: int) -> None:
    """All that the budget buys, nothing without one."""
    if budget is None:
        return
    _meet_pins(predictor, best, seed, budget)
    if not best.keeps_places:
        _sample(predictor, best, seed, budget)
    _improve(best, seed, budget, threads)


def _meet_pins(predictor: Predictor, best: _Best, seed: int, budget: _Budget) -> None:
    """Where the pass has missed a pin, go on until none is missed or the time is up."""
    number = 0
    while math.isinf(best.value) and (number < MAX_RESERVATIONS if budget.iterations else budget.left_seconds > 0.0):
        number += 1
        best.offer(
            "pins",
            played_around(best.arrays, predictor.play, best.state.start, TRIES + seed * MAX_RESERVATIONS + number),
        )


def _sample(predictor: Predictor, best: _Best, seed: int, budget: _Budget) -> None:
    """Sampled plays while they are worth their time: one takes hardly longer than the pass, mostly much less."""
    state = new_state(best.arrays)
    begun = time.perf_counter()
    for sample in range(MAX_SAMPLES):
        spent = time.perf_counter() - begun
        if not budget.allows_sampling(spent + (spent / sample if sample else budget.pass_seconds)):
            return
        reset(best.arrays, state)
        predictor.sample(best.arrays, state, seed * MAX_SAMPLES + sample, TEMPERATURE)
        if best.offer("samples", state):
            state = new_state(best.arrays)


def _keep_places(predictor: Predictor, problem: Problem, replanned: _Best, seed: int, budget: _Budget | None) -> _Best:
    """The best of the plan that keeps nothing and of repairs, made better with some of the budget.

    Where there is a limit, changes are cheap at first; only a plan that then leaves many places is held against one
    that leaves fewer of them at their full price.
    """
    found = [repair(predictor, problem, replanned.arrays) for repair in REPAIRS]
    repairs = [state for state in found if state is not None and state.end.max() < NEVER]
    rules = problem.stability_limit
    if rules is None or math.isinf(replanned.value):
        return _repair(problem, replanned, _Limit(), repairs, seed, budget)
    limit = _Limit.of(problem, rules, replanned.schedule)
    cheap = replace(problem, stability_seconds=rules.few_price_share * problem.stability_seconds)
    best = _repair(cheap, replanned, limit, repairs, seed, budget)
    few = rules.few_share * sum(operation.earlier_place is not None for operation in problem.operations)
    if change_count(problem, best.schedule) > few:
        return _repair(problem, best, limit, repairs, seed, budget)
    best.limit = limit._replace(changes=few)
    return best


def _repair(
    problem: Problem, before: _Best, limit: _Limit, repairs: list[State], seed: int, budget: _Budget | None
) -> _Best:
    """The best of a plan and of repairs by `problem`, whose changes have their price, within a limit.

    Search goes on from the best repair at that price, and at lower ones while what comes of it is beyond the limit.
    """
    best = _Best(problem, before.arrays, before.schedule, before.state)
    best.limit, best.gains, best.cpu_seconds_beside = limit, before.gains, before.cpu_seconds_beside
    for repair in repairs:
        best.offer("repair", repair)
    if not repairs or budget is None:
        return best
    state = min(repairs, key=lambda state: objective_value(problem, finished_schedule(problem, state)))
    for _ in range(MAX_PRICES):
        first, budget = budget.split(SHARE_FOR_REPAIR)
        improved = _improved_repair(best, state, seed, first)
        if improved is None:
            break
        state = improved
        best.offer("repair", state)
        if limit.holds(problem, finished_schedule(problem, state)):
            break
        best.sought = replace(best.sought, stability_seconds=PRICE_STEP * best.sought.stability_seconds)
    return best


def _improved_repair(best: _Best, state: State, seed: int, budget: _Budget) -> State | None:
    """Local search from a repair on, in which nothing begins before its earlier place; None where there is no time.

    Otherwise all that follows work which has left a machine would begin earlier, and each of it is a change.
    """
    if budget.iterations is None and budget.left_seconds < MIN_SEARCH_SECONDS:
        return None
    held = held_back(best.problem, best.arrays)
    found = local_search(best.sought, held, state, seed)
    if found is None:
        return None
    if budget.iterations is None:
        _run_until(found, budget)
    else:
        _run_iterations(found, budget.iterations)
    improved = new_state(held)
    found.realise(improved)
    return improved


def _improve(best: _Best, seed: int, budget: _Budget, threads: int) -> None:
    """Local search with what is left, first for deadlines, last for tardiness where that counts between equals."""
    if best.misses_deadlines:
        first, budget = budget.split(SHARE_FOR_DEADLINES)
        _search(best, deadline_search, seed, first, threads)
    if not best.counts_ties:
        _search_objective(best, seed, budget, threads)
        return
    first, last = budget.split(1.0 - SHARE_FOR_TARDINESS)
    _search_objective(best, seed, first, threads)
    _search(best, tardiness_search if best.is_late else local_search, seed, last, threads)


def _search_objective(best: _Best, seed: int, budget: _Budget, threads: int) -> None:
    """The search that suits the problem, after the one that would suit it without its deadlines, if that is another."""
    if has_deadlines(best.arrays) and suits_graph(best.sought, best.arrays):
        first, budget = budget.split(SHARE_FOR_MAKESPAN)
        _search(best, makespan_search, seed, first, threads)
    _search(best, local_search, seed, budget, threads)


def _search(best: _Best, begin: _Begin, seed: int, budget: _Budget, threads: int) -> None:
    """One local search, and a second one beside it while a core is free."""
    if budget.iterations is None and budget.left_seconds < MIN_SEARCH_SECONDS:
        return
    first = begin(best.sought, best.arrays, best.state, seed)
    if first is None:
        return
    if budget.iterations is not None:
        _run_iterations(first, budget.iterations)
        searches = [first]
    elif threads > 1 and _second_core.acquire(blocking=False):
        try:
            searches = _run_both(first, best, begin, seed, budget)
        finally:
            _second_core.release()
    else:
        _run_until(first, budget, show=(lambda: _offer_best_of(first, best)) if best.progress else None)
        searches = [first]
    for found in searches:
        _offer_best_of(found, best)


def _offer_best_of(found: LocalSearch, best: _Best) -> None:
    state = new_state(best.arrays)
    found.realise(state)
    best.offer(found.name, state)


def _run_both(first: LocalSearch, best: _Best, begin: _Begin, seed: int, budget: _Budget) -> list[LocalSearch]:
    second = begin(best.sought, best.arrays, best.state, seed + 1_000_003)
    assert second is not None
    with ThreadPoolExecutor(1) as threads:
        beside = threads.submit(_run_beside, second, budget, first)
        _run_until(first, budget, second)
        best.cpu_seconds_beside += beside.result()
    return [first, second]


def _run_beside(search: LocalSearch, budget: _Budget, other: LocalSearch) -> float:
    """In a thread of its own; the CPU seconds that it took."""
    begun = time.thread_time()
    _run_until(search, budget, other)
    return time.thread_time() - begun


def _run_iterations(search: LocalSearch, iterations: int) -> None:
    for chunk in range(ITERATION_CHUNKS):
        if search.is_done:
            return
        moves = iterations * (chunk + 1) // ITERATION_CHUNKS - iterations * chunk // ITERATION_CHUNKS
        search.run(moves, chunk / ITERATION_CHUNKS)


def _run_until(
    search: LocalSearch, budget: _Budget, *others: LocalSearch, show: Callable[[], None] | None = None
) -> None:
    """Run in chunks short enough to stop in time, until this or another is done; what a move costs is learned."""
    whole = budget.left_seconds
    shown_at = time.perf_counter()
    chunk_seconds = min(MAX_CHUNK_SECONDS, whole / CHUNKS)
    moves = FIRST_MOVES
    while (left := budget.left_seconds) > chunk_seconds and not any(each.is_done for each in (search, *others)):
        before = time.perf_counter()
        search.run(moves, 1.0 - left / whole)
        took = max(time.perf_counter() - before, 1e-7)
        moves = max(1, min(4 * moves, int(moves * chunk_seconds / took)))
        if show is not None and before - shown_at >= PROGRESS_SECONDS:
            show()
            shown_at = time.perf_counter()
