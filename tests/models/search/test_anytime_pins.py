"""Pins that can be kept are kept, also where a plain pass of the policy would miss them."""

from __future__ import annotations

import numpy as np
import pytest

from env.judge.judge import judge
from env.simulator.arrays import compile_problem
from env.simulator.reservation import keeps_pins
from env.simulator.rules import Rule, dispatch
from env.simulator.simulation import new_state
from models.policy.artefact import load_predictor
from models.policy.predictor import Predictor
from models.search.anytime import search
from tests.models.search.pinned_plants import pinned_plant

MISSED_BY_A_PASS = (10, 17, 19, 21, 37, 39, 59, 63, 64, 73, 76, 83, 97, 99)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor()


@pytest.mark.parametrize("seed", MISSED_BY_A_PASS)
def test_pins_of_a_valid_schedule_are_met(predictor: Predictor, seed: int) -> None:
    """A plain pass misses one, the schedule keeps all: by policy, search and the planner's rule."""
    problem = pinned_plant(predictor, seed)
    arrays = compile_problem(problem)
    state = new_state(arrays)
    predictor.play(arrays, state)
    assert not keeps_pins(arrays, state)
    assert judge(problem, search(predictor, problem, 0).schedule).valid
    assert judge(problem, search(predictor, problem, 0, iterations=300).schedule).valid
    assert judge(problem, dispatch(problem, Rule.PLANNER)).valid


def test_search_only_improves_what_keeps_its_pins(predictor: Predictor) -> None:
    """A few moves of search from a schedule around reservations give one that is no worse, and as valid."""
    problem = pinned_plant(predictor, MISSED_BY_A_PASS[0])
    values = [search(predictor, problem, 0, iterations=moves).schedule.makespan_seconds for moves in (1, 2_000)]
    assert np.isfinite(values).all()
    assert judge(problem, search(predictor, problem, 0, iterations=2_000).schedule).valid
