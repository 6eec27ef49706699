from __future__ import annotations

from deployments.commands.bench import benchmark_sets as room
from deployments.commands.bench.benchmark_sets import benchmark_plants
from env.instances.generator import VALIDATION_SEED
from env.problem import Objective


def test_plants_are_what_the_set_promises() -> None:
    """Sizes, calendars, setups by sequence and due dates of every plant; equal ones each time."""
    plants = benchmark_plants(6)
    assert plants == benchmark_plants(6)
    for plant in plants:
        assert 170 <= len(plant.operations) <= 2_000
        assert plant.hours is not None
        assert plant.changeovers
        assert all(operation.due_seconds is not None for operation in plant.operations)
        assert plant.objective is Objective.TARDINESS
    assert len({plant.name for plant in plants}) == 6


def test_seed_is_nobody_elses() -> None:
    """Neither validation nor a training run that counts its seeds from 0 draws these plants."""
    assert room.SEED != VALIDATION_SEED
    assert room.SEED > 1_000_000
