"""Plants with pins taken from a valid schedule, and how many are met: `python -m tests.models.search.pinned_plants`.

Such pins can be kept, so whoever misses one has looked in the wrong place. Exit 1 below 99.5 % without a budget
or below 100 % with two seconds.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import numpy as np

from env.instances.generator import Plant, random_problem
from env.judge.judge import judge, violations
from env.problem import Objective, Operation, Pin, Problem
from env.schedule import alternative_on, setup_seconds_of
from models.policy.artefact import load_predictor
from models.policy.predictor import Predictor
from models.search.anytime import search

KIND = Plant(operations=(10, 170), objectives=tuple(Objective), calendar_share=0.5, changeover_share=0.3)
MAX_PINS = 10
MIN_SHARE_AT_ONCE = 0.995
BUDGET_MS = 2_000


def pinned_plant(predictor: Predictor, seed: int, *, moves: int = 0) -> Problem:
    """A plant with one to ten pins of a schedule that the policy makes of it, with so many moves of search."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, KIND)
    schedule = search(predictor, problem, 0, seed, iterations=moves or None).schedule
    assert violations(problem, schedule) == ()
    setups, rows = setup_seconds_of(problem, schedule), schedule.by_operation
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    ids = [operation.id for operation in problem.operations]
    chosen = set(rng.choice(ids, size=min(int(rng.integers(1, MAX_PINS + 1)), len(ids)), replace=False).tolist())

    def pinned(operation: Operation) -> Operation:
        if operation.id not in chosen:
            return operation
        row = rows[operation.id]
        choice = alternative_on(operation, index_of[row.machine_id])
        assert choice is not None
        taken = replace(choice, setup_seconds=setups[operation.id])
        return replace(operation, alternatives=(taken,), pin=Pin(start_seconds=row.start_seconds))

    jobs = tuple(replace(job, operations=tuple(map(pinned, job.operations))) for job in problem.jobs)
    return replace(problem, jobs=jobs)


def main(arguments: list[str]) -> int:
    """Prints how many plants miss a pin, pins of a policy pass and of a search apart."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plants", type=int, default=500)
    plants = parser.parse_args(arguments).plants
    predictor, is_good = load_predictor(), True
    for moves in (0, 2_000):
        problems = [pinned_plant(predictor, seed, moves=moves) for seed in range(plants)]
        missed = [each for each in problems if not judge(each, search(predictor, each, 0, threads=1).schedule).valid]
        lost = [
            each for each in missed if not judge(each, search(predictor, each, BUDGET_MS, threads=1).schedule).valid
        ]
        share = 1.0 - len(missed) / plants
        print(
            f"pins of a schedule after {moves:,} moves: {plants} plants, {100 * share:.1f} % met without a budget, ",
            end="",
        )
        print(f"{plants - len(lost)} with {BUDGET_MS / 1000:g} s")
        is_good = is_good and share >= MIN_SHARE_AT_ONCE and not lost
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
