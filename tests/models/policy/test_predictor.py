from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.policy.justification
import models.policy.predictor
from env.errors import HorizonExceeded
from env.instances.generator import Plant, random_problem, toy_problem
from env.judge.judge import violations
from env.objective import objective_value
from env.problem import Job, Machine, Objective, Problem
from env.simulator.arrays import compile_problem
from env.simulator.observation import FEATURE_COUNT, FEATURE_NAMES
from env.simulator.simulation import new_state
from models.policy.predictor import CLOSE_SHARE, Predictor, Weights, new_workspace, score
from tests.problems import WITH_INSTANTS, operation, problems

HIDDEN = 16


def random_predictor(seed: int = 0) -> Predictor:
    rng = np.random.default_rng(seed)
    shapes = ((FEATURE_COUNT, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN,))
    return Predictor([Weights(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))])


@given(problems(features=WITH_INSTANTS), st.integers(0, 20))
@settings(max_examples=500)
def test_any_policy_makes_valid_schedules(problem: Problem, seed: int) -> None:
    """Whatever the weights are, the judge finds nothing critical: safety does not depend on learning."""
    try:
        plan = random_predictor(seed).schedule(problem)
    except HorizonExceeded:
        return
    assert [violation for violation in violations(problem, plan) if violation.is_critical] == []


@pytest.mark.parametrize("count", [1, 7, 60])
def test_score_is_the_formula_of_the_network(count: int) -> None:
    """Two layers with the mean of all candidates between them, computed here by numpy; few rows and many."""
    predictor = random_predictor(3)
    (weights,) = predictor.networks
    rows = np.random.default_rng(1).normal(size=(count, FEATURE_COUNT)).astype(np.float32)
    hidden = np.maximum(rows @ weights.first + weights.first_bias, 0)
    mixed = np.maximum(hidden @ weights.second + hidden.mean(0) @ weights.context + weights.second_bias, 0)
    workspace = new_workspace(weights, machines=1)
    workspace.rows[:count] = rows
    best = score(weights, workspace, count)
    np.testing.assert_allclose(workspace.logits[:count], mixed @ weights.score, rtol=1e-4, atol=1e-4)
    assert best == int((mixed @ weights.score).argmax())


@given(problems(features=WITH_INSTANTS), st.sampled_from(Objective))
@settings(max_examples=200)
def test_a_pass_is_about_as_good_as_each_play(problem: Problem, objective: Objective) -> None:
    """No network alone, in a single play forwards, has a better schedule than the pass.

    Unless the first play forwards was so far behind that the others did not try.
    """
    problem = replace(problem, objective=objective)
    alone = [random_predictor(seed) for seed in range(3)]
    policy = Predictor([predictor.networks[0] for predictor in alone])
    try:
        first = objective_value(problem, policy.schedule_once(problem))
        others = [objective_value(problem, predictor.schedule_once(problem)) for predictor in alone]
    except HorizonExceeded:
        return
    found = objective_value(problem, policy.schedule(problem)) / (1.0 + 1e-9)
    assert found <= first
    assert found <= min(others) or found < first / (1.0 + CLOSE_SHARE)


def test_a_pass_plays_backwards_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work at the end of a job, which a network that prefers short work keeps for last, is begun in time.

    Forwards, job A goes first because its first step is the shorter one; B then has its long step to do after that.
    """
    monkeypatch.setattr(models.policy.justification, "can_be_justified", lambda arrays: False)
    predictor = prefers_short_work()
    assert predictor.schedule_once(two_jobs()).makespan_seconds == 150
    assert predictor.schedule(two_jobs()).makespan_seconds == 130


def two_jobs() -> Problem:
    """Both begin on machine 0; the one that takes it longer has long work elsewhere afterwards."""
    jobs = [
        Job(id=name, operations=(operation(f"{name}0", 0, seconds=first), operation(f"{name}1", machine, seconds=last)))
        for name, machine, first, last in (("A", 1, 20, 10), ("B", 2, 30, 100))
    ]
    return Problem(jobs=tuple(jobs), machines=tuple(Machine(id=index, name=f"M{index}") for index in range(3)))


def prefers_short_work() -> Predictor:
    """A policy whose score falls with the duration and knows nothing else."""
    first = np.zeros((FEATURE_COUNT, HIDDEN), dtype=np.float32)
    first[FEATURE_NAMES.index("duration"), 0] = 1.0
    none, square = np.zeros(HIDDEN, dtype=np.float32), np.zeros((HIDDEN, HIDDEN), dtype=np.float32)
    second = np.eye(HIDDEN, dtype=np.float32)
    return Predictor([Weights(first, none, second, square, none, np.full(HIDDEN, -1.0, dtype=np.float32))])


@pytest.mark.parametrize(("objective", "place"), [(Objective.MAKESPAN, 1), (Objective.TARDINESS, 0)])
def test_a_large_plant_is_played_by_the_specialist(
    monkeypatch: pytest.MonkeyPatch, objective: Objective, place: int
) -> None:
    """The last network for makespans, the first where due dates count."""
    monkeypatch.setattr(models.policy.predictor, "MAX_PAIRS", 20)
    networks = [random_predictor(seed).networks[0] for seed in range(2)]
    plant = Plant(operations=(60, 80), objectives=(objective,))
    problem = random_problem(np.random.default_rng(2), plant)
    # That the last one is for due dates makes it nobody's choice for makespans.
    third = random_predictor(9).networks[0]
    both, alone = Predictor([*networks, third], for_due_dates=[2]), Predictor([networks[place]])
    assert both.schedule(problem) == alone.schedule(problem)
    assert both.schedule_once(problem) == alone.schedule_once(problem)


def test_makespans_are_not_played_by_a_network_for_due_dates() -> None:
    """Of two networks the first of which has learned nothing else; where due dates count, both play."""
    networks = [random_predictor(seed).networks[0] for seed in range(2)]
    problem = random_problem(np.random.default_rng(3), Plant(operations=(60, 80), due_tightness=(1.0, 2.0)))
    both, alone = Predictor(networks, for_due_dates=[0]), Predictor(networks[1:])
    assert both.schedule(problem) == alone.schedule(problem) != Predictor(networks).schedule(problem)
    late = replace(problem, objective=Objective.TARDINESS)
    assert both.schedule(late) == Predictor(networks).schedule(late)
    only = Predictor(networks[:1], for_due_dates=[0])
    assert only.schedule(problem) == Predictor(networks[:1]).schedule(problem)


def test_networks_take_turns_in_samples() -> None:
    """By the seed: an even one is drawn by the first of two networks, an odd one by the second."""
    networks = [random_predictor(seed).networks[0] for seed in range(2)]
    arrays = compile_problem(random_problem(np.random.default_rng(2), Plant(operations=(60, 80))))
    for seed in range(4):
        expected, found = new_state(arrays), new_state(arrays)
        Predictor([networks[seed % 2]] * 2).sample(arrays, expected, seed, 1.0)
        Predictor(networks).sample(arrays, found, seed, 1.0)
        np.testing.assert_array_equal(found.start, expected.start)


@pytest.mark.parametrize(
    ("seed", "objective", "makespan"),
    [
        (0, Objective.MAKESPAN, 150),
        (1, Objective.MAKESPAN, 130),
        (1, Objective.TARDINESS, 150),
    ],
)
def test_samples_are_played_backwards_in_turn(
    monkeypatch: pytest.MonkeyPatch, seed: int, objective: Objective, makespan: int
) -> None:
    """Every other one of a network's, unless due dates count."""
    monkeypatch.setattr(models.policy.justification, "can_be_justified", lambda arrays: False)
    arrays = compile_problem(replace(two_jobs(), objective=objective))
    state = new_state(arrays)
    prefers_short_work().sample(arrays, state, seed, 0.0)
    assert state.end.max() == makespan


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


@pytest.mark.system
def test_serving_a_policy_imports_neither_torch_nor_ray() -> None:
    """The floors below the deployments, and the use case, stay light."""
    program = (
        "import sys, env, models.policy.predictor, models.policy.artefact, deployments.scheduling.use_case; "
        "print(sorted({'torch', 'ray', 'stable_baselines3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_network_that_joins_takes_no_play_away() -> None:
    """Behind a network for makespans, whatever it has learned: no plan becomes longer."""
    networks = [random_predictor(seed).networks[0] for seed in range(3)]
    before = Predictor(networks[:2], for_makespans=[1])
    after = Predictor(networks, for_makespans=[1, 2])
    for seed in range(10):
        problem = random_problem(np.random.default_rng(seed), Plant(operations=(60, 80)))
        assert after.schedule(problem).makespan_seconds <= before.schedule(problem).makespan_seconds
