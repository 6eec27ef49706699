"""The benchmark set `plants`: our own plants with calendars, setups by sequence and due dates.

Fixed for ever by its seed, which neither training nor validation uses, so that reports can be compared.
Due dates follow the usual design for tardiness (Potts and Van Wassenhove 1982): spread by a range around
a share of the makespan that a rule needs, which the plant's load and calendar are part of.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from env.dispatching_rules import Rule, dispatch
from env.generator import Plant, random_problem
from env.problem import Job, Objective, Problem

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
    """A due date for each job, of all of its operations."""
    mean = (1.0 - rng.uniform(*TARDINESS_FACTOR)) * dispatch(problem, Rule.COMPOSITE).makespan_seconds
    spread = rng.uniform(*DUE_DATE_RANGE)
    dues = np.round(mean * (1.0 + spread * rng.uniform(-0.5, 0.5, size=len(problem.jobs))))
    jobs = (_due(job, int(due)) for job, due in zip(problem.jobs, dues, strict=True))
    return replace(problem, jobs=tuple(jobs))


def _due(job: Job, seconds: int) -> Job:
    return replace(job, operations=tuple(replace(step, due_seconds=seconds) for step in job.operations))
