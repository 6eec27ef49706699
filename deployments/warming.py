"""Compiles the core, or fetches it from the cache, before anyone waits for it."""

from __future__ import annotations

import numpy as np

from env.dispatching_rules import Rule, dispatch
from env.generator import toy_problem
from env.observation import FEATURE_COUNT
from models.predictor import Predictor, Weights

_ANY_WIDTH = 8


def warm_rules() -> None:
    """The dispatching rules: all of them are one compiled function."""
    dispatch(toy_problem(), Rule.PLANNER)


def warm_policy(predictor: Predictor) -> None:
    """The inference path; one pass of any size compiles it for all sizes."""
    predictor.schedule(toy_problem())


def compile_core() -> None:
    """Everything that serving runs compiled, into the cache; needs no trained policy."""
    warm_rules()
    warm_policy(_untrained())


def _untrained() -> Predictor:
    square = np.zeros((_ANY_WIDTH, _ANY_WIDTH), dtype=np.float32)
    row = np.zeros(_ANY_WIDTH, dtype=np.float32)
    first = np.zeros((FEATURE_COUNT, _ANY_WIDTH), dtype=np.float32)
    return Predictor(Weights(first=first, first_bias=row, second=square, context=square, second_bias=row, score=row))
