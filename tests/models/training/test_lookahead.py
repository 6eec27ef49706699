from __future__ import annotations

import numpy as np
import pytest

from env.instances.generator import Plant, random_problem
from env.problem import Objective
from env.simulator.arrays import compile_problem
from env.simulator.candidates import find_candidates, new_candidates
from env.simulator.simulation import dispatch, new_state
from models.training.lookahead import copy_state, look_ahead, regrets, softened_objective
from tests.models.policy.test_predictor import random_predictor

SMALL = Plant(operations=(12, 25), objectives=tuple(Objective))


@pytest.mark.parametrize("seed", [1, 2, 3, 6])
def test_regret_of_a_choice_is_what_playing_on_loses(seed: int) -> None:
    """At the first decision with a choice, as dispatching each candidate and going on greedily shows."""
    problem = random_problem(np.random.default_rng(seed), SMALL)
    arrays, predictor = compile_problem(problem), random_predictor(seed)
    found = look_ahead(arrays, predictor.networks[0], len(arrays.operation_job), 100, 0.0, seed)
    state, candidates = new_state(arrays), new_candidates(arrays)
    find_candidates(arrays, state, candidates)
    while candidates.filled[0] == 1:
        dispatch(arrays, state, candidates.pair[0], arrays.pair_operation[candidates.pair[0]])
        find_candidates(arrays, state, candidates)
    count = found.counts[0]
    assert count == candidates.filled[0]
    objectives = []
    for index in range(count):
        ahead = new_state(arrays)
        copy_state(state, ahead)
        dispatch(arrays, ahead, candidates.pair[index], arrays.pair_operation[candidates.pair[index]])
        predictor.play(arrays, ahead)
        objectives.append(softened_objective(arrays, ahead))
    losses = np.array(objectives) - min(objectives)
    regret = found.regret[:count]
    assert losses.max() > 0.0
    assert regret.max() > 0.0
    assert regret * losses.max() == pytest.approx(losses * regret.max(), abs=1e-3)


def test_regrets_are_shares_of_the_least_objective() -> None:
    """Two decisions, whose best lead to 5 and to 10, so that all losses are counted in fives."""
    value = np.array([5.0, 6.0, 10.0, np.nan, 10.0, 15.0])
    expected = np.array([0.0, 0.2, 0.0, np.nan, 0.0, 1.0])
    assert regrets(value, np.array([2, 4]), 1.0) == pytest.approx(expected, nan_ok=True)
    assert regrets(value, np.array([2, 4]), 10.0) == pytest.approx(expected / 2, nan_ok=True)


def test_copied_state_is_equal_and_independent() -> None:
    """Every array is copied: a new array of the state that were forgotten would show here."""
    arrays = compile_problem(random_problem(np.random.default_rng(3), SMALL))
    state, copied = new_state(arrays), new_state(arrays)
    random_predictor().play(arrays, state)
    copy_state(state, copied)
    for name, array in state._asdict().items():
        assert np.array_equal(array, getattr(copied, name)), name
        assert array is not getattr(copied, name)


def test_untried_candidates_have_no_regret() -> None:
    """With two tries a decision has two regrets, and NaN for the rest."""
    arrays = compile_problem(random_problem(np.random.default_rng(5), SMALL))
    found = look_ahead(arrays, random_predictor().networks[0], 10, 2, 0.2, 1)
    ends = np.cumsum(found.counts)
    assert len(ends) > 0
    for end, count in zip(ends, found.counts, strict=True):
        assert (~np.isnan(found.regret[end - count : end])).sum() == min(2, count)
