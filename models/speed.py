"""What a policy pass, a rule and the judge cost, and how that grows with the plant."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from env.dispatching_rules import Rule, dispatch
from env.feasibility import judge
from env.generator import ORIGIN, Plant, random_problem
from env.problem import Problem, WorkingHours
from models.predictor import Predictor

SIZES = (170, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
MACHINES = 150
SMALLEST_PLANT_MACHINES = 22
FAMILY_LENGTH = 4
_ENOUGH_SECONDS = 1.0
_MOST_REPEATS = 30


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
    while sum(times) < _ENOUGH_SECONDS and len(times) < _MOST_REPEATS:
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(times)
