"""Compiles the core, or fetches it from the cache, before anyone waits for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from env.instances.generator import Plant, random_problem, toy_problem
from env.problem import EarlierPlace, Job, Operation, Problem
from env.simulator.observation import FEATURE_COUNT
from env.simulator.rules import Rule, dispatch
from models.policy.predictor import Predictor, Weights
from models.search.anytime import search

_ANY_WIDTH = 8
_A_FEW_MOVES = 100


def warm_rules() -> None:
    """The dispatching rules: all of them are one compiled function."""
    dispatch(toy_problem(), Rule.PLANNER)


def warm_policy(predictor: Predictor) -> None:
    """Everything that any search runs; three small problems compile it for all kinds and sizes.

    Whatever were left out would be compiled by a replica in the middle of a request, and the compiler
    would stay in its memory. The policy already solves the toy problem, so it takes another one to
    have the local search make moves.
    """
    for problem in (toy_problem(), _continued_toy(), _small_plant()):
        search(predictor, problem, 0, iterations=_A_FEW_MOVES)


def compile_core() -> None:
    """Everything that serving runs compiled, into the cache; needs no trained policy."""
    warm_rules()
    warm_policy(_untrained())


def _continued_toy() -> Problem:
    """The toy problem with an earlier plan that had everything begin at 0."""
    toy = toy_problem()

    def placed(step: Operation) -> Operation:
        return replace(step, earlier_place=EarlierPlace(machine=step.alternatives[0].machine, start_seconds=0))

    jobs = tuple(Job(id=job.id, operations=tuple(map(placed, job.operations))) for job in toy.jobs)
    return replace(toy, jobs=jobs, stability_seconds=1.0)


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
