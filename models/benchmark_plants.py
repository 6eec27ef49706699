"""The benchmark set `plants`: our own plants with calendars, setups by sequence and due dates.

Fixed for ever by its seed, which neither training nor validation uses, so that reports can be compared.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from env.generator import Plant, random_problem
from env.problem import Objective, Problem

SEED = 20_270_311
COUNT = 40
KIND = Plant(
    operations=(170, 2_000),
    operations_per_job=(2, 8),
    machines=(10, 150),
    jobs_per_machine=(1.0, 6.0),
    due_tightness=(1.2, 6.0),
    calendar_share=1.0,
    changeover_share=1.0,
    objectives=(Objective.TARDINESS,),
)


def benchmark_plants(count: int = COUNT) -> list[Problem]:
    """The first `count` plants of the set; each has 170 to 2,000 operations, and every one of them a due date."""
    rng = np.random.default_rng(SEED)
    low, high = KIND.operations
    found: list[Problem] = []
    while len(found) < count:
        problem = random_problem(rng, KIND)
        has_due_dates = all(operation.due_seconds is not None for operation in problem.operations)
        if has_due_dates and low <= len(problem.operations) <= high:
            found.append(replace(problem, name=f"plant-{len(found) + 1:02}"))
    return found
