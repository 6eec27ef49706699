"""The benchmark set `plants`: our own plants with calendars, setups by sequence and due dates.

Fixed for ever by its seed, which neither training nor validation uses, so that reports can be compared.
Due dates are spread around a share of the makespan that a rule needs, which the plant's load and calendar
are part of.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from env.dispatching_rules import Rule, dispatch
from env.generator import Plant, due_by_load, random_problem
from env.problem import Objective, Problem

SEED = 20_270_311
COUNT = 40
KIND = Plant(
    operations=(170, 2_000),
    operations_per_job=(2, 8),
    machines=(10, 150),
    jobs_per_machine=(1.0, 6.0),
    due_tightness=None,
    calendar_share=1.0,
    changeover_share=1.0,
    objectives=(Objective.TARDINESS,),
)
TARDINESS_FACTOR = (0.2, 0.6)
DUE_DATE_RANGE = (0.4, 1.0)


def benchmark_plants(count: int = COUNT) -> list[Problem]:
    """The first `count` plants of the set; each has 170 to 2,000 operations, and every one of them a due date."""
    rng = np.random.default_rng(SEED)
    low, high = KIND.operations
    found: list[Problem] = []
    while len(found) < count:
        problem = random_problem(rng, KIND)
        if low <= len(problem.operations) <= high:
            found.append(replace(_with_due_dates(rng, problem), name=f"plant-{len(found) + 1:02}"))
    return found


def _with_due_dates(rng: Generator, problem: Problem) -> Problem:
    makespan = dispatch(problem, Rule.COMPOSITE).makespan_seconds
    return replace(problem, jobs=due_by_load(rng, problem.jobs, makespan, TARDINESS_FACTOR, DUE_DATE_RANGE))
