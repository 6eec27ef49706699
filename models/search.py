"""A policy and a time budget -> the best schedule found: the greedy pass, then sampled passes.

How many passes a budget buys is computed, not timed, so that the same request gives the same schedule
on every replica, however busy it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from env.dispatching_rules import finished_schedule
from env.problem import Problem
from env.problem_arrays import compile_problem
from env.reward import objective_bound
from env.schedule import Schedule
from env.simulation import new_state, reset
from models.predictor import Predictor

MICROSECONDS_PER_DISPATCH = 25.0
"""What one dispatch of a sampled pass is taken to cost."""
TEMPERATURE = 0.5
MOST_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best schedule, the stages that ran in order, and the makespan of the greedy policy pass."""

    schedule: Schedule
    method: tuple[str, ...]
    policy_makespan_seconds: int


def search(predictor: Predictor, problem: Problem, budget_ms: int, seed: int = 0) -> Found:
    """The best of the greedy pass and of as many sampled passes as the budget buys; never worse than the former.

    Raises `HorizonExceeded` when the calendar cannot hold the work.
    """
    arrays = compile_problem(problem)
    state = new_state(arrays)
    predictor.play(arrays, state)
    best = greedy = finished_schedule(problem, state)
    best_value = objective_bound(arrays, state)
    samples = sample_count(len(problem.operations), budget_ms)
    for sample in range(samples):
        reset(arrays, state)
        predictor.play(arrays, state, seed * MOST_SAMPLES + sample, TEMPERATURE)
        value = objective_bound(arrays, state)
        if value < best_value:
            best, best_value = finished_schedule(problem, state), value
    return Found(
        schedule=best,
        method=("policy", "samples") if samples else ("policy",),
        policy_makespan_seconds=greedy.makespan_seconds,
    )


def sample_count(operations: int, budget_ms: int) -> int:
    """Sampled passes that a budget buys for a problem of that size, at most `MOST_SAMPLES`."""
    return min(MOST_SAMPLES, int(1000.0 * budget_ms / (MICROSECONDS_PER_DISPATCH * operations)))
