"""Compiles the core, or fetches it from the cache, before anyone waits for it.

As a program, `python -m models.search.warm_up [DESCRIPTOR]`, it writes a line to the descriptor after each function
that was compiled: how many are, and of how many at most.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from env.instances.generator import Plant, random_problem, toy_problem
from env.problem import EarlierPlace, Job, Operation, Pin, Problem
from env.simulator.arrays import ProblemArrays, compile_problem
from env.simulator.compilation import remove_unused_caches, watched_compilation
from env.simulator.observation import FEATURE_COUNT
from env.simulator.reservation import played_around
from env.simulator.rules import Rule, dispatch, follow_rule, mean_times
from env.simulator.state import State
from models.policy.predictor import Predictor, Weights
from models.search.anytime import search

_ANY_WIDTH = 8
_A_FEW_MOVES = 100


def warm_rules() -> None:
    """The dispatching rules: all of them are one compiled function, and what makes room for pins is another."""
    dispatch(toy_problem(), Rule.PLANNER)
    arrays = compile_problem(_pinned_toy())
    means = mean_times(arrays)

    def play(plant: ProblemArrays, state: State) -> None:
        follow_rule(plant, state, int(Rule.PLANNER), means)

    played_around(arrays, play, np.zeros(len(arrays.operation_job), dtype=np.int64), seed=0)


def warm_policy(predictor: Predictor) -> None:
    """Everything that any search runs; five small problems compile it for all kinds and sizes.

    Whatever were left out would be compiled by a replica in the middle of a request, and the compiler
    would stay in its memory. The policy already solves the toy problem, so it takes another one to
    have the local search make moves.
    """
    for problem in (toy_problem(), _continued_toy(), _hopeless_toy(), _small_plant(), _pinned_toy()):
        search(predictor, problem, 0, iterations=_A_FEW_MOVES)


def compile_core() -> None:
    """Everything that serving runs compiled, into the cache; needs no trained policy. Old caches are removed."""
    warm_rules()
    warm_policy(_untrained())
    remove_unused_caches(time.time())


def _continued_toy() -> Problem:
    """The toy problem with an earlier plan that had everything begin at 0."""
    toy = toy_problem()

    def placed(step: Operation) -> Operation:
        return replace(step, earlier_place=EarlierPlace(machine=step.alternatives[0].machine, start_seconds=0))

    jobs = tuple(Job(id=job.id, operations=tuple(map(placed, job.operations))) for job in toy.jobs)
    return replace(toy, jobs=jobs, stability_seconds=1.0)


def _pinned_toy() -> Problem:
    """The toy problem with the last step of its first job pinned to where an hour leaves it all the time it needs."""
    toy = toy_problem()
    *steps, last = toy.jobs[0].operations
    pinned = replace(last, alternatives=last.alternatives[:1], pin=Pin(start_seconds=3_600))
    return replace(toy, jobs=(replace(toy.jobs[0], operations=(*steps, pinned)), *toy.jobs[1:]))


def _hopeless_toy() -> Problem:
    """The toy problem with deadlines that nobody can meet."""
    toy = toy_problem()
    jobs = tuple(
        Job(id=job.id, operations=tuple(replace(step, deadline_seconds=1) for step in job.operations))
        for job in toy.jobs
    )
    return replace(toy, jobs=jobs)


def _small_plant() -> Problem:
    """One that leaves something to search for: the policy does not meet its lower bound."""
    shop = Plant(operations=(24, 24), operations_per_job=(4, 4), machines=(4, 4), calendar_share=0, changeover_share=0)
    return random_problem(np.random.default_rng(0), shop)


def _untrained() -> Predictor:
    square = np.zeros((_ANY_WIDTH, _ANY_WIDTH), dtype=np.float32)
    row = np.zeros(_ANY_WIDTH, dtype=np.float32)
    first = np.zeros((FEATURE_COUNT, _ANY_WIDTH), dtype=np.float32)
    weights = Weights(first=first, first_bias=row, second=square, context=square, second_bias=row, score=row)
    return Predictor([weights])


def _main(arguments: Sequence[str]) -> None:
    def tell(count: int, total: int) -> None:
        # Who started this process may have ended; the cache is filled all the same.
        with suppress(OSError):
            os.write(int(arguments[0]), f"{count} {total}\n".encode())

    with watched_compilation(tell if arguments else lambda _count, _total: None):
        compile_core()


if __name__ == "__main__":
    _main(sys.argv[1:])
