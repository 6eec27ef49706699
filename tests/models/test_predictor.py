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
from env.objective import objective_value
from env.observation import FEATURE_COUNT
from env.problem import Objective, Problem
from env.problem_arrays import compile_problem
from env.simulation import new_state
from models.predictor import Predictor, Weights, new_workspace, score
from tests.problems import EVERY_FEATURE, problems

HIDDEN = 16


def random_predictor(seed: int = 0) -> Predictor:
    rng = np.random.default_rng(seed)
    shapes = ((FEATURE_COUNT, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN,))
    return Predictor([Weights(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))])


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
    (weights,) = predictor.networks
    rows = np.random.default_rng(1).normal(size=(7, FEATURE_COUNT)).astype(np.float32)
    hidden = np.maximum(rows @ weights.first + weights.first_bias, 0)
    mixed = np.maximum(hidden @ weights.second + hidden.mean(0) @ weights.context + weights.second_bias, 0)
    workspace = new_workspace(weights, machines=1)
    workspace.rows[:7] = rows
    best = score(weights, workspace, 7)
    np.testing.assert_allclose(workspace.logits[:7], mixed @ weights.score, rtol=1e-4, atol=1e-4)
    assert best == int((mixed @ weights.score).argmax())


@given(problems(features=EVERY_FEATURE))
@settings(max_examples=100)
def test_several_networks_are_as_good_as_the_best_of_them(problem: Problem) -> None:
    """The schedule is that of the network with the best objective, the first of equal ones."""
    alone = [random_predictor(seed) for seed in range(3)]
    try:
        schedules = [predictor.schedule(problem) for predictor in alone]
    except HorizonExceeded:
        return
    values = [objective_value(problem, schedule) for schedule in schedules]
    found = Predictor([predictor.networks[0] for predictor in alone]).schedule(problem)
    assert objective_value(problem, found) == pytest.approx(min(values))


def test_networks_take_turns_in_samples() -> None:
    """By the seed: an even one is drawn by the first of two networks, an odd one by the second."""
    alone = [random_predictor(seed) for seed in range(2)]
    both = Predictor([predictor.networks[0] for predictor in alone])
    arrays = compile_problem(random_problem(np.random.default_rng(2), Plant(operations=(60, 80))))
    for seed in range(4):
        expected, found = new_state(arrays), new_state(arrays)
        alone[seed % 2].sample(arrays, expected, seed, 1.0)
        both.sample(arrays, found, seed, 1.0)
        np.testing.assert_array_equal(found.start, expected.start)


def test_a_policy_without_a_network_is_refused() -> None:
    """It could not decide anything."""
    with pytest.raises(ValueError, match="must have a network"):
        Predictor([])


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
    weights = random_predictor().networks[0]
    with pytest.raises(ValueError, match=f"must take {FEATURE_COUNT} features, took {FEATURE_COUNT - 1}"):
        Predictor([weights._replace(first=weights.first[1:])])


def test_serving_a_policy_imports_neither_torch_nor_ray() -> None:
    """The floors below the deployments, and the use case, stay light."""
    program = (
        "import sys, env, models.predictor, models.artefact, deployments.scheduling; "
        "print(sorted({'torch', 'ray', 'stable_baselines3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
