from __future__ import annotations

import numpy as np
import pytest

from env.generator import Plant, random_problem


def test_same_seed_gives_the_same_problem() -> None:
    """A problem depends on nothing but the generator's state and the plant."""
    first, second = (random_problem(np.random.default_rng(5)) for _ in range(2))
    assert first == second


def test_problems_stay_within_their_plant() -> None:
    """Sizes and durations of two hundred draws keep to the plant's ranges."""
    plant = Plant(operations=(20, 100), machines=(4, 12), duration_seconds=(300, 7_200), setup_seconds=(0, 600))
    rng = np.random.default_rng(0)
    for _ in range(200):
        problem = random_problem(rng, plant)
        pairs = [pair for step in problem.operations for pair in step.alternatives]
        assert 4 <= len(problem.machines) <= 12
        assert len(problem.operations) <= 2 * 100
        assert max(pair.setup_seconds for pair in pairs) <= 600
        assert max(pair.processing_seconds for pair in pairs) <= 7_200 * 1.5


def test_plants_differ_in_kind() -> None:
    """Flexibility, calendars and due dates are switched on in some problems and off in others."""
    rng = np.random.default_rng(1)
    drawn = [random_problem(rng) for _ in range(60)]
    flexible = [max(len(step.alternatives) for step in problem.operations) > 1 for problem in drawn]
    dated = [problem.operations[0].due_seconds is not None for problem in drawn]
    with_hours = [problem.hours is not None for problem in drawn]
    for switch in (flexible, dated, with_hours):
        assert 0 < sum(switch) < len(switch)


def test_plant_refuses_an_empty_range() -> None:
    """A range must not end before it begins."""
    with pytest.raises(ValueError, match="machines must be a range of positive numbers"):
        Plant(machines=(5, 4))
