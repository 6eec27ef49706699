"""What a policy pass, a rule and the judge cost, how that grows with the plant, and how fast plans are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from env.instances.generator import ORIGIN, Plant, random_problem
from env.judge.judge import judge
from env.problem import Problem, WorkingHours
from env.simulator.arrays import compile_problem
from env.simulator.compilation import compiled
from env.simulator.rules import Rule, dispatch, follow_rule, mean_times
from env.simulator.simulation import new_state
from models.policy.predictor import Predictor
from models.search.graph import Graph, measure_heads, new_graph, take_plan

REPEATS = 2_000
SIZES = (170, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
MACHINES = 150
SMALLEST_PLANT_MACHINES = 22
FAMILY_LENGTH = 4
_ENOUGH_SECONDS = 1.0
_MAX_REPEATS = 30


def decodes_per_second(problem: Problem, seconds: float) -> float:
    """Plans of `problem` timed a second on one core: all starts and the makespan, along an order that is known.

    Tabu search keeps such an order, in which nothing comes before what it waits for. This is the whole walk;
    after a move the search walks only from where something changed, and repairs order and tails besides.
    The problem must be one that a disjunctive graph describes.
    """
    arrays = compile_problem(problem)
    state = new_state(arrays)
    follow_rule(arrays, state, int(Rule.MWKR), mean_times(arrays))
    graph = new_graph(arrays)
    take_plan(graph, state)
    decode(graph, 1)
    count, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        decode(graph, REPEATS)
        count += REPEATS
    return count / spent


@compiled
def decode(graph: Graph, times: int) -> int:
    """The makespan, measured so many times."""
    makespan = 0
    for _ in range(times):
        makespan = measure_heads(graph, 0)
    return makespan


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median milliseconds of each step for one plant."""

    operations: int
    machines: int
    calendar: bool
    policy_ms: float
    rule_ms: float
    judge_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Timings of growing plants, and what is measured once. None where it was not measured."""

    model: str
    timings: tuple[Timing, ...]
    warm_process_ms: float | None
    decodes_per_second: float | None

    @property
    def growth_exponent(self) -> float | None:
        """Slope of log(policy pass) over log(operations), continuous operation; None for a single size."""
        return growth_exponent(self.timings)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `speed_of_json` reads them back."""
        return asdict(self)


def speed_of_json(document: Mapping[str, Any]) -> Speed:
    """The inverse of `Speed.as_json`."""
    return Speed(**{**document, "timings": tuple(Timing(**timing) for timing in document["timings"])})


def plants(largest: int = SIZES[-1]) -> list[tuple[int, bool]]:
    """Sizes and whether the plant has a calendar, smallest first."""
    return [(size, calendar) for size in SIZES if size <= largest for calendar in (False, True)]


def time_plant(operations: int, calendar: bool, predictor: Predictor) -> Timing:
    """Timings on one generated plant of that many operations, on one thread if that is all that BLAS may take."""
    problem = plant_of(operations, calendar)
    schedule = predictor.schedule(problem)
    return Timing(
        operations=len(problem.operations),
        machines=len(problem.machines),
        calendar=calendar,
        policy_ms=median_ms(lambda: predictor.schedule(problem)),
        rule_ms=median_ms(lambda: dispatch(problem, Rule.PLANNER)),
        judge_ms=median_ms(lambda: judge(problem, schedule)),
    )


def plant_of(operations: int, calendar: bool) -> Problem:
    """A plant by machine types, of exactly that many operations; always the same one."""
    machines = SMALLEST_PLANT_MACHINES if operations <= SIZES[0] else MACHINES
    plant = Plant(
        operations=(2 * operations, 2 * operations),
        operations_per_job=(FAMILY_LENGTH, FAMILY_LENGTH),
        machines=(machines, machines),
        type_share=1.0,
        calendar_share=0.0,
        changeover_share=0.0,
    )
    problem = random_problem(np.random.default_rng(operations), plant)
    jobs, left = [], operations
    for job in problem.jobs:
        if left > 0:
            jobs.append(replace(job, operations=job.operations[:left]))
            left -= len(jobs[-1].operations)
    return replace(problem, jobs=tuple(jobs), hours=WorkingHours(origin=ORIGIN) if calendar else None)


def growth_exponent(timings: Sequence[Timing]) -> float | None:
    """Slope of log(policy pass) over log(operations), continuous operation; None for a single size."""
    steady = [timing for timing in timings if not timing.calendar]
    if len(steady) < 2:
        return None
    sizes = np.log([timing.operations for timing in steady])
    return float(np.polyfit(sizes, np.log([timing.policy_ms for timing in steady]), 1)[0])


def median_ms(run: Callable[[], object]) -> float:
    """Median milliseconds of a call, repeated for about a second."""
    times: list[float] = []
    while sum(times) < _ENOUGH_SECONDS and len(times) < _MAX_REPEATS:
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(times)
