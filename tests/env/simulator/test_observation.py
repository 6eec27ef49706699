from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from env.instances.generator import Plant, random_problem
from env.problem import Alternative, Job, Machine, Operation, Problem
from env.simulator.episode import begin, observe
from env.simulator.observation import FEATURE_COUNT, FEATURE_NAMES


def _rows(problem: Problem) -> np.ndarray:
    episode = begin(problem)
    rows = np.zeros((len(episode.found.pair), FEATURE_COUNT + 1), dtype=np.float32)
    observe(episode, rows)
    return rows


def _scaled(problem: Problem, factor: int) -> Problem:
    """The same plant with all durations `factor` times as long, and no dates."""

    def scaled(step: Operation) -> Operation:
        pairs = tuple(
            Alternative(
                machine=pair.machine,
                processing_seconds=factor * pair.processing_seconds,
                setup_seconds=factor * pair.setup_seconds,
            )
            for pair in step.alternatives
        )
        return replace(step, alternatives=pairs)

    return replace(
        problem, jobs=tuple(Job(id=job.id, operations=tuple(map(scaled, job.operations))) for job in problem.jobs)
    )


def test_every_feature_has_a_name_of_its_own() -> None:
    """The manifest compares names, so they must be unique."""
    assert len(set(FEATURE_NAMES)) == FEATURE_COUNT


def test_observation_does_not_depend_on_the_unit_of_time() -> None:
    """A plant whose work takes seven times as long looks the same."""
    plant = Plant(operations=(20, 60), due_tightness=None, calendar_share=0.0)
    problem = random_problem(np.random.default_rng(4), plant)
    np.testing.assert_allclose(_rows(problem), _rows(_scaled(problem, 7)), rtol=1e-5, atol=1e-5)


def test_rows_beyond_the_candidates_are_zero() -> None:
    """Whatever is no candidate is all zero, its flag included."""
    rows = _rows(random_problem(np.random.default_rng(8), Plant(operations=(20, 30))))
    candidates = rows[:, FEATURE_COUNT] > 0.5
    assert candidates.any()
    assert not rows[~candidates].any()


def test_queues_and_rivals_are_seen() -> None:
    """Two jobs want machine 0: A for 4 s, before 6 s on machine 1, and B for 10 s. The unit is their mean, 20 / 3 s."""
    problem = Problem(
        machines=(Machine(id=0, name="left"), Machine(id=1, name="right")),
        jobs=(
            Job(id="A", operations=(_step("A0", 0, 4), _step("A1", 1, 6))),
            Job(id="B", operations=(_step("B0", 0, 10, due_seconds=12),)),
        ),
    )
    first, second = (dict(zip(FEATURE_NAMES, row.tolist(), strict=True)) for row in _rows(problem)[:2, :-1])
    unit = 20 / 3
    assert first["duration"] == pytest.approx(4 / unit)
    assert first["queue of the machine"] == pytest.approx(np.log1p(10 / unit))
    assert second["queue of the machine"] == pytest.approx(np.log1p(4 / unit))
    assert first["queue of the next machines"] == pytest.approx(-np.log1p(4 / unit))
    assert first["duration of the next operation"] == pytest.approx(6 / unit)
    assert second["duration of the next operation"] == 0.0
    assert first["criticality of the rivals kept waiting"] == pytest.approx((4 + 10 - 10) / 10)
    assert second["criticality of the rivals kept waiting"] == pytest.approx((10 + 10 - 10) / 10)
    assert first["lateness of the rivals kept waiting"] == pytest.approx(np.log1p(2 / unit))
    assert second["lateness of the rivals kept waiting"] == 0.0


def _step(name: str, machine: int, seconds: int, due_seconds: int | None = None) -> Operation:
    return Operation(
        id=name, alternatives=(Alternative(machine=machine, processing_seconds=seconds),), due_seconds=due_seconds
    )
