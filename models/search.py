"""A policy and a time budget -> the best schedule found: the greedy pass, then sampled passes.

How many passes a budget buys is computed, not timed, so that the same request gives the same schedule
on every replica, however busy it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from env.calendar_tables import NEVER
from env.dispatching_rules import finished_schedule
from env.objective import objective_value
from env.problem import Problem
from env.problem_arrays import ProblemArrays, compile_problem
from env.reward import objective_bound
from env.schedule import Schedule
from env.simulation import State, new_state, reset
from models.predictor import Predictor
from models.repair import has_earlier_plan, repaired

MICROSECONDS_PER_DISPATCH = 25.0
"""What one dispatch of a sampled pass is taken to cost."""
TEMPERATURE = 1.0
"""Of sampled passes; chosen on generated plants, where cooler samples differ too little from the greedy pass."""
MOST_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best schedule, the stages that ran in order, and the makespan of the greedy policy pass."""

    schedule: Schedule
    method: tuple[str, ...]
    policy_makespan_seconds: int


def search(predictor: Predictor, problem: Problem, budget_ms: int, seed: int = 0) -> Found:
    """The best of the greedy pass and of as many sampled passes as the budget buys; never worse than the former.

    Where an earlier plan counts, repairing it competes as well. Raises `HorizonExceeded` when the
    calendar cannot hold the work.
    """
    arrays = compile_problem(problem)
    state = new_state(arrays)
    predictor.play(arrays, state)
    greedy = finished_schedule(problem, state)
    best, method = _Best(problem, greedy), ["policy"]
    samples = sample_count(len(problem.operations), budget_ms)
    for sample in range(samples):
        reset(arrays, state)
        predictor.play(arrays, state, seed * MOST_SAMPLES + sample, TEMPERATURE)
        best.offer(arrays, state)
    if samples:
        method.append("samples")
    if has_earlier_plan(problem):
        method.append("repair")
        shifted = repaired(predictor, problem, arrays)
        if shifted is not None:
            best.offer(arrays, shifted)
    return Found(schedule=best.schedule, method=tuple(method), policy_makespan_seconds=greedy.makespan_seconds)


def sample_count(operations: int, budget_ms: int) -> int:
    """Sampled passes that a budget buys for a problem of that size, at most `MOST_SAMPLES`."""
    return min(MOST_SAMPLES, int(1000.0 * budget_ms / (MICROSECONDS_PER_DISPATCH * operations)))


class _Best:
    """The best schedule so far by the objective."""

    def __init__(self, problem: Problem, schedule: Schedule) -> None:
        self.problem = problem
        self.schedule = schedule
        self.value = objective_value(problem, schedule)

    def offer(self, arrays: ProblemArrays, state: State) -> None:
        """Keep a complete state's schedule if it is better. The bound, cheap to tell, sorts out most that are not."""
        if objective_bound(arrays, state) < self.value and state.end.max() < NEVER:
            schedule = finished_schedule(self.problem, state)
            value = objective_value(self.problem, schedule)
            if value < self.value:
                self.schedule, self.value = schedule, value
