from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.errors import HorizonExceeded
from env.feasibility import violations
from env.generator import Plant, random_problem, toy_problem
from env.observation import FEATURE_COUNT
from env.problem import Objective, Problem
from models.predictor import Predictor, Weights, new_workspace, score
from tests.problems import EVERY_FEATURE, problems

HIDDEN = 16


def random_predictor(seed: int = 0) -> Predictor:
    rng = np.random.default_rng(seed)
    shapes = ((FEATURE_COUNT, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN,))
    return Predictor(Weights(*(rng.normal(size=shape).astype(np.float32) for shape in shapes)))


@given(problems(features=EVERY_FEATURE), st.integers(0, 20))
@settings(max_examples=500)
def test_any_policy_makes_valid_schedules(problem: Problem, seed: int) -> None:
    """Whatever the weights are, the judge finds nothing critical: safety does not depend on learning."""
    try:
        plan = random_predictor(seed).schedule(problem)
    except HorizonExceeded:
        return
    assert [violation for violation in violations(problem, plan) if violation.is_critical] == []


def test_score_is_the_formula_of_the_network() -> None:
    """Two layers with the mean of all candidates between them, computed here by numpy."""
    predictor = random_predictor(3)
    weights = predictor.weights
    rows = np.random.default_rng(1).normal(size=(7, FEATURE_COUNT)).astype(np.float32)
    hidden = np.maximum(rows @ weights.first + weights.first_bias, 0)
    mixed = np.maximum(hidden @ weights.second + hidden.mean(0) @ weights.context + weights.second_bias, 0)
    workspace = new_workspace(weights, machines=1)
    workspace.rows[:7] = rows
    best = score(weights, workspace, 7)
    np.testing.assert_allclose(workspace.logits[:7], mixed @ weights.score, rtol=1e-4, atol=1e-4)
    assert best == int((mixed @ weights.score).argmax())


def test_same_problem_gives_the_same_schedule() -> None:
    """A policy pass is deterministic, also when many threads share the predictor."""
    predictor = random_predictor(1)
    problem = random_problem(np.random.default_rng(2), Plant(operations=(60, 80)))
    expected = predictor.schedule(problem)
    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(predictor.schedule, [problem] * 12))


@pytest.mark.parametrize("objective", Objective)
def test_every_objective_is_scheduled(objective: Objective) -> None:
    """The toy problem is scheduled completely for each objective."""
    plan = random_predictor().schedule(replace(toy_problem(), objective=objective))
    assert len(plan.assignments) == 4


def test_weights_for_other_features_are_refused() -> None:
    """A first layer of the wrong height cannot have seen this observation."""
    weights = random_predictor().weights
    with pytest.raises(ValueError, match=f"must take {FEATURE_COUNT} features, took {FEATURE_COUNT - 1}"):
        Predictor(weights._replace(first=weights.first[1:]))


def test_serving_a_policy_imports_neither_torch_nor_ray() -> None:
    """The floors below the deployments, and the use case, stay light."""
    program = (
        "import sys, env, models.predictor, models.artefact, deployments.scheduling; "
        "print(sorted({'torch', 'ray', 'stable_baselines3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
