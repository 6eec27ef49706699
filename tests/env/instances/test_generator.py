from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from env.instances.generator import Plant, busiest_seconds, due_by_load, gap_of_rule, random_problem
from env.problem import Alternative, Job, Machine, Operation, Problem
from env.simulator.arrays import compile_problem
from env.simulator.rules import Rule, dispatch


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


def test_easy_problems_are_drawn_anew() -> None:
    """Every problem with a bound has the gap that is asked for, although most plants have less."""
    plant = Plant(operations=(20, 80), calendar_share=0.0, changeover_share=0.0)
    rng = np.random.default_rng(6)
    gaps = [gap_of_rule(compile_problem(random_problem(rng, plant))) for _ in range(40)]
    hard = replace(plant, least_gap=0.15)
    assert min(gaps) >= 0.0
    assert float(np.median(gaps)) < 0.15
    assert all(gap_of_rule(compile_problem(random_problem(rng, hard))) >= 0.15 for _ in range(20))
    with pytest.raises(ValueError, match="least_gap must be reached by some problems of the plant, was 99"):
        random_problem(rng, replace(plant, operations=(2, 2), least_gap=99.0))


def test_gap_of_rule_is_to_the_longest_job_or_the_busiest_machines() -> None:
    """Three jobs of 4 s on two equal machines take 8 s by any rule; no schedule can take less than 6."""
    either = tuple(Alternative(machine=machine, processing_seconds=4) for machine in (0, 1))
    jobs = tuple(Job(id=name, operations=(Operation(id=name, alternatives=either),)) for name in "ABC")
    problem = Problem(machines=(Machine(id=0), Machine(id=1), Machine(id=2)), jobs=jobs)
    assert gap_of_rule(compile_problem(problem)) == pytest.approx(8 / 6 - 1)


def test_due_dates_follow_the_load() -> None:
    """With a tardiness factor of 0.4 and a range of a half, dates lie within a quarter around 60 % of the makespan."""
    problem = random_problem(np.random.default_rng(3), Plant(operations=(200, 200), due_tightness=None))
    jobs = due_by_load(np.random.default_rng(0), problem.jobs, 100_000, (0.4, 0.4), (0.5, 0.5))
    dues = [{step.due_seconds for step in job.operations} for job in jobs]
    assert all(len(found) == 1 for found in dues)
    dates = [due for found in dues for due in found if due is not None]
    assert len(dates) == len(jobs)
    assert 45_000 <= min(dates) < 60_000 < max(dates) <= 75_000


def test_loaded_due_dates_can_be_met_by_some() -> None:
    """In a plant with dates by load every job has one; the composite rule meets some and misses others in most."""
    plant = Plant(operations=(100, 200), loaded_due_share=1.0, calendar_share=0.5)
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(20):
        problem = random_problem(rng, plant)
        assert all(step.due_seconds is not None for step in problem.operations)
        done = dispatch(problem, Rule.COMPOSITE).by_operation
        late = [done[step.id].end_seconds > (step.due_seconds or 0) for step in problem.operations]
        shares.append(sum(late) / len(late))
    assert sum(0.02 < share < 0.98 for share in shares) >= 12


def test_busiest_machine_carries_the_spread_work() -> None:
    """Two jobs of 4 s on either of two machines and one of 3 s on the first: 7 s and 4 s, and no job is longer."""
    either = (Alternative(machine=0, processing_seconds=4), Alternative(machine=1, processing_seconds=4))
    jobs = [Job(id=name, operations=(Operation(id=name, alternatives=either),)) for name in ("A", "B")]
    jobs.append(
        Job(id="C", operations=(Operation(id="C", alternatives=(Alternative(machine=0, processing_seconds=3),)),))
    )
    assert busiest_seconds(jobs, 2) == 7.0
