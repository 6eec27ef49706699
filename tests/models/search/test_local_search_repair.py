from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.instances.generator import Plant, random_problem
from env.judge.judge import violations
from env.objective import change_count, objective_value, value_besides_changes
from env.problem import (
    Alternative,
    Closure,
    EarlierPlace,
    Job,
    Machine,
    Objective,
    Operation,
    Pin,
    Problem,
    StabilityLimit,
)
from env.schedule import Schedule
from env.simulator.arrays import compile_problem
from env.simulator.rules import finished_schedule
from models.search.anytime import search
from models.search.local_search import has_earlier_plan, held_in_place, repaired
from tests.models.policy.test_predictor import random_predictor

SMALL = Plant(operations=(10, 40), changeover_share=0.0)


def continued(problem: Problem, plan: Schedule, stability_seconds: float) -> Problem:
    """`problem` asked again, with `plan` as its earlier plan."""
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    rows = plan.by_operation

    def placed(step: Operation) -> Operation:
        row = rows[step.id]
        return replace(
            step, earlier_place=EarlierPlace(machine=index_of[row.machine_id], start_seconds=row.start_seconds)
        )

    jobs = tuple(Job(id=job.id, operations=tuple(map(placed, job.operations))) for job in problem.jobs)
    return replace(problem, jobs=jobs, stability_seconds=stability_seconds)


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_undisturbed_plan_is_kept(seed: int) -> None:
    """Where nothing happened and changes are dear, the earlier plan comes back without a single change."""
    problem = random_problem(np.random.default_rng(seed), SMALL)
    plan = random_predictor(seed).schedule(problem)
    asked = continued(problem, plan, stability_seconds=1e9)
    found = search(random_predictor(seed + 1), asked, 0)
    assert found.method == ("policy", "repair")
    assert change_count(asked, found.schedule) == 0
    assert found.schedule.makespan_seconds == plan.makespan_seconds


def test_breakdown_moves_only_what_it_must() -> None:
    """Machine 0 fails from 5 to 15: its second job waits, its first and the whole other machine stay."""

    def job(name: str, machine: int, start: int) -> Job:
        step = Operation(
            id=name,
            alternatives=(Alternative(machine=machine, processing_seconds=5),),
            earlier_place=EarlierPlace(machine=machine, start_seconds=start),
        )
        return Job(id=name, operations=(step,))

    problem = Problem(
        machines=(Machine(id=0, closures=(Closure(start_seconds=5, end_seconds=15),)), Machine(id=1)),
        jobs=(job("A", 0, 0), job("B", 0, 5), job("C", 1, 0), job("D", 1, 8)),
        stability_seconds=100.0,
    )
    found = search(random_predictor(), problem, 0).schedule
    assert {row.operation_id: row.start_seconds for row in found.assignments} == {"A": 0, "B": 15, "C": 0, "D": 8}
    assert change_count(problem, found) == 1


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_repair_after_a_breakdown_is_valid(seed: int) -> None:
    """A closure in the middle of the plan and a new job: the judge has nothing against the repair."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, SMALL)
    plan = random_predictor(seed).schedule(problem)
    asked = continued(problem, plan, stability_seconds=600.0)
    begin = int(rng.integers(1, plan.makespan_seconds))
    broken = replace(asked.machines[0], closures=(Closure(start_seconds=begin, end_seconds=begin + 7_200),))
    new = Job(id="new", operations=(Operation(id="new", alternatives=asked.operations[0].alternatives),))
    disturbed = replace(asked, machines=(broken, *asked.machines[1:]), jobs=(*asked.jobs, new))
    found = search(random_predictor(seed), disturbed, 5).schedule
    assert violations(disturbed, found) == ()
    assert objective_value(disturbed, found) <= objective_value(disturbed, random_predictor(seed).schedule(disturbed))


def test_cheap_changes_let_the_plan_improve() -> None:
    """The earlier plan left the machine idle for 90 s; at a small price per change the job moves forward."""
    step = Operation(
        id="A",
        alternatives=(Alternative(machine=0, processing_seconds=10),),
        earlier_place=EarlierPlace(machine=0, start_seconds=90),
    )
    problem = Problem(machines=(Machine(id=0),), jobs=(Job(id="A", operations=(step,)),), stability_seconds=1.0)
    assert search(random_predictor(), problem, 0).schedule.makespan_seconds == 10
    dear = replace(problem, stability_seconds=1_000.0)
    assert search(random_predictor(), dear, 0).schedule.makespan_seconds == 100


def test_repair_that_would_miss_a_pin_is_not_offered() -> None:
    """A1 shifted right would end after A2 is pinned: there is no repair."""
    first = Operation(
        id="A1",
        alternatives=(Alternative(machine=0, processing_seconds=10),),
        earlier_place=EarlierPlace(machine=0, start_seconds=5),
    )
    pinned = Operation(id="A2", alternatives=(Alternative(machine=1, processing_seconds=5),), pin=Pin(start_seconds=12))
    problem = Problem(
        machines=(Machine(id=0), Machine(id=1)), jobs=(Job(id="A", operations=(first, pinned)),), stability_seconds=1.0
    )
    assert repaired(random_predictor(), problem, compile_problem(problem)) is None
    assert violations(problem, search(random_predictor(), problem, 0).schedule) == ()


def test_only_what_loses_its_place_leaves_it() -> None:
    """Machine 0 is closed for B: it goes into a gap of machine 1, takes B2 along, and everything else stays."""

    def step(name: str, earlier: tuple[int, int], *machines: int) -> Operation:
        place = EarlierPlace(machine=earlier[0], start_seconds=earlier[1])
        choices = tuple(Alternative(machine=machine, processing_seconds=5) for machine in machines)
        return Operation(id=name, alternatives=choices, earlier_place=place)

    problem = Problem(
        machines=(Machine(id=0, closures=(Closure(start_seconds=5, end_seconds=100),)), Machine(id=1), Machine(id=2)),
        jobs=(
            Job(id="A", operations=(step("A", (0, 0), 0),)),
            Job(id="B", operations=(step("B1", (0, 5), 0, 1), step("B2", (2, 10), 2))),
            Job(id="C", operations=(step("C1", (1, 0), 1), step("C2", (1, 20), 1))),
            Job(id="D", operations=(step("D", (2, 20), 2),)),
        ),
        stability_seconds=1e6,
    )
    found = search(random_predictor(), problem, 0).schedule
    rows = {row.operation_id: (row.machine_id, row.start_seconds) for row in found.assignments}
    stayed = {"A": (0, 0), "C1": (1, 0), "C2": (1, 20), "D": (2, 20)}
    assert rows == stayed | {"B1": (1, 5), "B2": (2, 10)}
    state = held_in_place(random_predictor(), problem, compile_problem(problem))
    assert state is not None
    assert change_count(problem, finished_schedule(problem, state)) == 1


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_work_held_in_place_is_valid(seed: int) -> None:
    """After a closure and with a new step in a job: the judge has nothing against it, and few leave their place."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, Plant(operations=(10, 40), changeover_share=0.3))
    plan = random_predictor(seed).schedule(problem)
    asked = continued(problem, plan, stability_seconds=600.0)
    begin = int(rng.integers(1, plan.makespan_seconds))
    broken = replace(asked.machines[0], closures=(Closure(start_seconds=begin, end_seconds=begin + 7_200),))
    new = Operation(id="new", alternatives=asked.operations[0].alternatives)
    first = replace(asked.jobs[0], operations=(new, *asked.jobs[0].operations))
    disturbed = replace(asked, machines=(broken, *asked.machines[1:]), jobs=(first, *asked.jobs[1:]))
    state = held_in_place(random_predictor(seed), disturbed, compile_problem(disturbed))
    assert state is not None
    assert violations(disturbed, finished_schedule(disturbed, state)) == ()


LIMIT = StabilityLimit(makespan_share=0.2, value_share=0.5, few_share=0.1, few_price_share=0.25)


@given(st.integers(0, 10**6), st.sampled_from((0, 400)))
@settings(max_examples=40, deadline=None)
def test_calm_stays_within_its_limit(seed: int, iterations: int) -> None:
    """After a closure no price makes the plan worse than the limit allows, by end and by value, and it is valid."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, replace(SMALL, objectives=tuple(Objective)))
    plan = random_predictor(seed).schedule(problem)
    asked = replace(continued(problem, plan, stability_seconds=1e9), stability_limit=LIMIT)
    begin = int(rng.integers(1, plan.makespan_seconds))
    broken = replace(asked.machines[0], closures=(Closure(start_seconds=begin, end_seconds=begin + 72_000),))
    disturbed = replace(asked, machines=(broken, *asked.machines[1:]))
    found = search(random_predictor(seed), disturbed, 0, seed, iterations=iterations or None)
    assert violations(disturbed, found.schedule) == ()
    assert found.replanned is not None
    assert found.schedule.makespan_seconds <= 1.2 * max(found.replanned.makespan_seconds, plan.makespan_seconds)
    values = [value_besides_changes(disturbed, each) for each in (found.replanned, plan)]
    assert value_besides_changes(disturbed, found.schedule) <= 1.5 * max(values)


def test_few_moves_are_cheap() -> None:
    """A move that saves 60 s is made at a quarter of 100 s while one move is few, and not at the whole price."""
    step = Operation(
        id="A",
        alternatives=(Alternative(machine=0, processing_seconds=10),),
        earlier_place=EarlierPlace(machine=0, start_seconds=60, end_seconds=70),
    )
    problem = Problem(machines=(Machine(id=0),), jobs=(Job(id="A", operations=(step,)),), stability_seconds=100.0)
    for few_share, end in ((1.0, 10), (0.5, 70)):
        asked = replace(problem, stability_limit=replace(LIMIT, few_share=few_share))
        assert search(random_predictor(), asked, 0).schedule.makespan_seconds == end


@pytest.mark.parametrize("stability_seconds", [0.0, 5.0])
def test_plan_without_places_is_not_repaired(stability_seconds: float) -> None:
    """Without an earlier plan there is nothing to keep, whatever a change would cost."""
    problem = replace(random_problem(np.random.default_rng(0), SMALL), stability_seconds=stability_seconds)
    assert not has_earlier_plan(problem)
