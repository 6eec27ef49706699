from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.errors import HorizonExceeded
from env.instances.generator import Plant, random_problem, toy_problem
from env.judge.judge import judge, violations
from env.judge.judge import open_seconds as judged_open_seconds
from env.objective import objective_value
from env.problem import Alternative, Closure, Job, Machine, Objective, Operation, Problem, WorkingHours
from env.simulator.arrays import compile_problem
from env.simulator.calendar import NEVER, horizon_for, open_seconds
from env.simulator.calendar_fit import span
from env.simulator.candidates import find_candidates, new_candidates
from env.simulator.episode import objective_bound
from env.simulator.rules import Rule, dispatch
from env.simulator.simulation import bound_anew, is_complete, new_state, operation_of, reset
from env.simulator.simulation import dispatch as dispatch_pair
from tests.problems import WITH_INSTANTS, one_machine, operation, problems, with_deadlines, with_operation

HOUR = 3600
MONDAY_MORNING = datetime(2026, 1, 5, 6, 30, tzinfo=UTC)
MIXED = Plant(operations=(10, 40), objectives=tuple(Objective), calendar_share=0.5)


def _span(table: list[tuple[int, int]], ready: int, work: int, interruptible: bool = True) -> tuple[int, int]:
    starts, ends = (np.array(column, dtype=np.int64) for column in zip(*table, strict=True))
    before = np.concatenate([[0], np.cumsum(ends - starts)[:-1]]).astype(np.int64)
    return span(starts, ends, before, 0, len(starts), ready, work, interruptible)


@pytest.mark.parametrize(
    ("ready", "work", "interruptible", "expected"),
    [
        (0, 10, True, (0, 10)),
        (0, 11, True, (0, 21)),
        (5, 5, True, (5, 10)),
        (9, 2, True, (9, 21)),
        (10, 1, True, (20, 21)),
        (15, 25, True, (20, 50)),
        (0, 45, True, (0, 60)),
        (0, 10, False, (0, 10)),
        (0, 11, False, (20, 31)),
        (25, 11, False, (40, 51)),
        (0, 46, True, (NEVER, NEVER)),
        (60, 1, True, (NEVER, NEVER)),
        (0, 21, False, (NEVER, NEVER)),
    ],
)
def test_work_spans_openings(ready: int, work: int, interruptible: bool, expected: tuple[int, int]) -> None:
    """Openings 0-10, 20-35, 40-60: interruptible work pauses between them, other work waits for one that fits."""
    assert _span([(0, 10), (20, 35), (40, 60)], ready, work, interruptible) == expected


def test_toy_problem_reaches_its_optimum() -> None:
    """Every non-delay rule finds the optimum of 5 s, because both machines work without a pause."""
    assert {dispatch(toy_problem(), rule).makespan_seconds for rule in Rule} == {5}


def test_work_pauses_over_lunch() -> None:
    """From 12:30, two hours of work end at 15:15: 15 minutes before lunch, 1 h 45 min after it."""
    hours = WorkingHours(origin=datetime(2026, 1, 5, 12, 30, tzinfo=UTC))
    plan = dispatch(one_machine(operation("A", seconds=2 * HOUR), hours=hours), Rule.FIFO)
    assert (plan.assignments[0].start_seconds, plan.assignments[0].end_seconds) == (0, int(2.75 * HOUR))


def test_current_load_counts_open_time() -> None:
    """A machine busy for four hours from 06:30 takes new work at 10:45, because tea takes a quarter of an hour."""
    machine = Machine(id=0, busy_seconds=4 * HOUR)
    job = Job(id="A", operations=(operation("A"),))
    problem = Problem(machines=(machine,), jobs=(job,), hours=WorkingHours(origin=MONDAY_MORNING))
    assert dispatch(problem, Rule.SPT).assignments[0].start_seconds == int(4.25 * HOUR)


def test_release_holds_back_later_operations() -> None:
    """Material for the second operation arrives late; the machine waits for it."""
    job = Job(id="A", operations=(operation("A1"), operation("A2", release_seconds=5 * HOUR)))
    plan = dispatch(Problem(machines=(Machine(id=0),), jobs=(job,)), Rule.FIFO)
    assert [row.start_seconds for row in plan.assignments] == [0, 5 * HOUR]


def test_work_that_fits_no_opening_is_reported() -> None:
    """Five hours without a pause fit between no two breaks of the default plant."""
    hours = WorkingHours(origin=MONDAY_MORNING)
    with pytest.raises(HorizonExceeded, match="operation 'A' must fit into the openings"):
        dispatch(one_machine(operation("A", seconds=5 * HOUR, interruptible=False), hours=hours), Rule.FIFO)


def test_horizon_is_that_of_one_machine() -> None:
    """More work than two hundred years hold in a row, of which each machine has little: nobody works in a row."""
    seconds, count = 10_000 * HOUR, 120
    jobs = tuple(
        Job(id=str(place), operations=(operation(str(place), place, seconds=seconds),)) for place in range(count)
    )
    machines = tuple(Machine(id=place) for place in range(count))
    problem = Problem(machines=machines, jobs=jobs, hours=WorkingHours(origin=MONDAY_MORNING))
    with pytest.raises(HorizonExceeded):
        horizon_for(problem.hours, 0, count * seconds)
    plan = dispatch(problem, Rule.FIFO)
    assert {row.end_seconds for row in plan.assignments} == {plan.makespan_seconds}
    assert plan.makespan_seconds < 10 * 365 * 24 * HOUR
    assert judge(problem, plan).valid


def test_horizon_of_one_machine_is_refused_when_it_is_too_long() -> None:
    """As much work on a single machine is more than two hundred years hold."""
    jobs = [operation(str(place), 0, seconds=10_000 * HOUR) for place in range(120)]
    with pytest.raises(HorizonExceeded, match=r"must hold 1200000\.0 h of work within 200 years"):
        compile_problem(one_machine(*jobs, hours=WorkingHours(origin=MONDAY_MORNING)))


def test_closure_of_one_machine_moves_work_to_the_other() -> None:
    """Work that either of two machines could begin at once goes to the one that does not close on it."""
    machines = (Machine(id=0, closures=(Closure(start_seconds=10, end_seconds=9 * HOUR),)), Machine(id=1))
    job = Job(id="A", operations=(operation("A", 0, 1),))
    assert dispatch(Problem(machines=machines, jobs=(job,)), Rule.FIFO).assignments[0].machine_id == 1


def test_reset_gives_the_same_episode() -> None:
    """A state that is reset after an episode plays the same episode again, and it is worth as much."""
    problem = random_problem(np.random.default_rng(3), replace(MIXED, objectives=(Objective.TARDINESS,)))
    for job in problem.jobs:
        problem = with_operation(problem, job.operations[-1].id, due_seconds=0)
    arrays = compile_problem(problem)
    state, found = new_state(arrays), new_candidates(arrays)
    ends, values = [], []
    for _ in range(2):
        reset(arrays, state)
        while not is_complete(state):
            find_candidates(arrays, state, found)
            dispatch_pair(arrays, state, found.pair[0], operation_of(arrays, found.pair[0]))
        ends.append(state.end.copy())
        values.append(objective_bound(arrays, state))
    assert (ends[0] == ends[1]).all()
    assert values[0] == values[1]
    assert state.tardiness_bound[0] > 0.0


@given(problems(features=WITH_INSTANTS), st.sampled_from(Rule))
@settings(max_examples=1_500)
def test_every_rule_makes_a_valid_schedule(problem: Problem, rule: Rule) -> None:
    """Calendars, closures, releases, setups, pins, shared machines: the judge agrees with every start and end."""
    try:
        plan = dispatch(problem, rule)
    except HorizonExceeded:
        return
    assert [violation for violation in violations(problem, plan) if violation.is_critical] == []


@given(st.integers(0, 10**6), st.sampled_from(Rule))
@settings(max_examples=60)
def test_every_rule_solves_generated_plants(seed: int, rule: Rule) -> None:
    """Generated plants can always be scheduled, and the bound ends at the objective itself."""
    problem = random_problem(np.random.default_rng(seed), MIXED)
    plan = dispatch(problem, rule)
    assert violations(problem, plan) == ()
    assert open_seconds(problem, plan.makespan_seconds) == judged_open_seconds(problem, plan.makespan_seconds)


@given(
    problems(features=WITH_INSTANTS).flatmap(with_deadlines), st.sampled_from(list(Objective)), st.sampled_from(Rule)
)
@settings(max_examples=200)
def test_bound_counts_missed_deadlines(problem: Problem, objective: Objective, rule: Rule) -> None:
    """What a rule dispatches is worth in the simulator what the objective says, missed deadlines included."""
    problem = replace(problem, objective=objective)
    try:
        plan = dispatch(problem, rule)
    except HorizonExceeded:
        return
    arrays = compile_problem(problem)
    state = new_state(arrays)
    state.end[:] = [plan.by_operation[operation.id].end_seconds for operation in problem.operations]
    state.job_next[:] = arrays.job_first[1:]
    state.totals[:] = len(state.end), state.end.max()
    bound_anew(arrays, state)
    assert objective_bound(arrays, state) == pytest.approx(objective_value(problem, plan), rel=1e-12, abs=1e-6)


def test_rules_take_deadlines_for_due_dates() -> None:
    """By its deadline B goes before A, which is due later."""
    jobs = (
        Job(id="A", operations=(operation("A", due_seconds=2 * HOUR),)),
        Job(id="B", operations=(operation("B", due_seconds=9 * HOUR, deadline_seconds=HOUR),)),
    )
    for objective in Objective:
        problem = Problem(machines=(Machine(id=0),), jobs=jobs, objective=objective)
        for rule in (Rule.EDD, Rule.PLANNER, Rule.ATCS):
            assert dispatch(problem, rule).by_operation["B"].end_seconds == HOUR


@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_bound_rises_to_the_objective(seed: int) -> None:
    """The lower bound of the objective never falls and is exact at the end."""
    problem = random_problem(np.random.default_rng(seed), MIXED)
    arrays = compile_problem(problem)
    state, found = new_state(arrays), new_candidates(arrays)
    rng = np.random.default_rng(seed)
    bound = objective_bound(arrays, state)
    while not is_complete(state):
        find_candidates(arrays, state, found)
        pair = found.pair[rng.integers(found.filled[0])]
        dispatch_pair(arrays, state, pair, operation_of(arrays, pair))
        assert objective_bound(arrays, state) >= bound - 1e-6
        bound = objective_bound(arrays, state)
    from env.simulator.rules import finished_schedule

    assert bound == pytest.approx(objective_value(problem, finished_schedule(problem, state)))


def test_own_speed_decides_between_machines() -> None:
    """Shortest processing time takes the faster of two machines."""
    alternatives = (
        Alternative(machine=0, processing_seconds=20),
        Alternative(machine=1, processing_seconds=5, setup_seconds=5),
    )
    job = Job(id="A", operations=(Operation(id="A", alternatives=alternatives),))
    row = dispatch(Problem(machines=(Machine(id=0), Machine(id=1)), jobs=(job,)), Rule.SPT).assignments[0]
    assert (row.machine_id, row.end_seconds) == (1, 10)
