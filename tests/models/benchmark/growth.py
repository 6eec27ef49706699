"""What a policy pass costs where many jobs wait for few machines, beside as many jobs on many machines.

    python -m tests.models.benchmark.growth [LARGEST]

Prints seconds of the processor for each pass, how they grow, and the most memory that the process has held.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from env.instances.generator import Plant, random_problem
from env.problem import Problem
from models.policy.artefact import PUBLISHED, load_predictor
from models.policy.predictor import Predictor

SIZES = (2_500, 5_000, 10_000, 20_000)
MACHINES = (3, 5_000)


def main(largest: int = SIZES[-1]) -> None:
    """The table."""
    predictor = load_predictor(PUBLISHED)
    predictor.schedule(waiting_plant(100, 5))
    sizes = [size for size in SIZES if size <= largest]
    print("| jobs |", " | ".join(f"{machines:,} machines" for machines in MACHINES), "| ratio |")
    print("|---|" + "---|" * (len(MACHINES) + 1))
    seconds: dict[int, list[float]] = {machines: [] for machines in MACHINES}
    for size in sizes:
        for machines in MACHINES:
            seconds[machines].append(pass_seconds(predictor, waiting_plant(size, machines)))
        few, many = (seconds[machines][-1] for machines in MACHINES)
        print(f"| {size:,} | {few:.2f} s | {many:.2f} s | {few / many:.2f} |", flush=True)
    for machines in MACHINES:
        if len(sizes) > 1:
            exponent = np.polyfit(np.log(sizes), np.log(seconds[machines]), 1)[0]
            print(f"{machines:,} machines: seconds grow with the jobs to the power of {exponent:.2f}")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB at most")


def waiting_plant(operations: int, machines: int) -> Problem:
    """A plant by machine types with so many operations, four to a job; always the same one."""
    plant = Plant(
        operations=(operations, operations),
        operations_per_job=(4, 4),
        machines=(machines, machines),
        type_share=1.0,
        calendar_share=0.0,
        changeover_share=0.0,
    )
    return random_problem(np.random.default_rng(1), plant)


def pass_seconds(predictor: Predictor, problem: Problem) -> float:
    """What the processor spends on one pass; waits for other processes do not count."""
    begun = time.process_time()
    predictor.schedule(problem)
    return time.process_time() - begun


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
