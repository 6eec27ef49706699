from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.errors import HorizonExceeded
from env.instances.generator import Plant, random_problem
from env.judge.judge import violations
from env.objective import objective_value
from env.problem import Job, Machine, Objective, Pin, Problem
from env.schedule import Schedule
from env.simulator.arrays import ProblemArrays, compile_problem
from env.simulator.simulation import new_state
from env.simulator.state import State
from models.policy.artefact import load_predictor
from models.policy.predictor import Predictor
from models.search.anytime import MAX_SAMPLES, search
from models.search.local_search import tardiness_search
from tests.models.policy.test_predictor import random_predictor
from tests.problems import HOUR, WITH_INSTANTS, operation, problems, with_deadlines, with_operation

MIXED = Plant(operations=(10, 40), objectives=tuple(Objective))


ANY_PROBLEM = problems(features=WITH_INSTANTS)


@given(
    ANY_PROBLEM | ANY_PROBLEM.flatmap(with_deadlines),
    st.sampled_from(list(Objective)),
    st.integers(0, 300),
    st.integers(0, 20),
)
@settings(max_examples=200, deadline=None)
def test_search_is_valid_and_never_worse_than_the_policy_pass(
    problem: Problem, objective: Objective, iterations: int, seed: int
) -> None:
    """Whatever a plant has and wants, the result is valid and at least as good as the greedy pass alone."""
    problem = replace(problem, objective=objective)
    predictor = random_predictor(seed)
    try:
        greedy = predictor.schedule(problem)
    except HorizonExceeded:
        return
    found = search(predictor, problem, 0, seed, iterations=iterations)
    assert [violation for violation in violations(problem, found.schedule) if violation.is_critical] == []
    assert objective_value(problem, found.schedule) <= objective_value(problem, greedy)
    assert found.policy_makespan_seconds == greedy.makespan_seconds


def test_no_budget_is_one_policy_pass() -> None:
    """With a budget of 0 the greedy schedule is served, and nothing else is claimed."""
    problem = random_problem(np.random.default_rng(1), MIXED)
    found = search(random_predictor(), problem, 0)
    assert (found.method, found.gains) == (("policy",), {})
    assert found.schedule == random_predictor().schedule(problem)


@pytest.mark.parametrize("objective", list(Objective))
def test_iterations_and_seed_determine_the_schedule(objective: Objective) -> None:
    """The same problem, iterations and seed give the same schedule, whatever the clock says."""
    problem = random_problem(np.random.default_rng(2), replace(MIXED, objectives=(objective,)))
    first, second = (search(random_predictor(), problem, 0, seed=3, iterations=500) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("objective", "stages"), [(Objective.MAKESPAN, ("tabu", "tardiness")), (Objective.TARDINESS, ("annealing",))]
)
def test_stages_account_for_the_whole_gain(objective: Objective, stages: tuple[str, ...]) -> None:
    """What the stages say they gained is the difference between the policy pass and the answer."""
    plain = Plant(
        operations=(30, 40), objectives=(objective,), calendar_share=0, changeover_share=0, due_tightness=(1.0, 1.5)
    )
    problem = random_problem(np.random.default_rng(7), plain)
    greedy = random_predictor().schedule(problem)
    found = search(random_predictor(), problem, 0, iterations=2_000)
    assert found.method == ("policy", "samples", *stages)
    assert all(gain >= 0 for gain in found.gains.values())
    gained = objective_value(problem, greedy) - objective_value(problem, found.schedule)
    assert sum(found.gains.values()) == pytest.approx(gained)
    assert gained > 0


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("budget_ms", [0, 50])
def test_deadline_that_costs_nothing_is_met(objective: Objective, budget_ms: int) -> None:
    """Nine hours of work on one machine: the job that must end with the first hour goes first, in every objective."""
    others = [Job(id=f"B{place}", operations=(operation(f"B{place}", due_seconds=HOUR),)) for place in range(8)]
    bound = Job(id="A", operations=(operation("A", deadline_seconds=HOUR),))
    problem = Problem(jobs=(*others, bound), machines=(Machine(id=1),), objective=objective)
    assert search(load_predictor(), problem, budget_ms).schedule.by_operation["A"].end_seconds == HOUR


@pytest.mark.parametrize("objective", list(Objective))
def test_deadline_goes_before_everything_else(objective: Objective) -> None:
    """A's deadline makes the makespan five hours longer and an important job late: it is met all the same.

    Without it B's two hours go first, and the other machine takes B's next four hours beside A's four.
    """
    strict = operation("A", 0, seconds=4 * HOUR, release_seconds=HOUR, deadline_seconds=5 * HOUR)
    bound = Job(id="A", operations=(strict,))
    first = operation("B1", 0, seconds=2 * HOUR, due_seconds=2 * HOUR, is_important=True, weight=12.0)
    second = operation("B2", 1, seconds=4 * HOUR, due_seconds=6 * HOUR)
    problem = Problem(
        jobs=(bound, Job(id="B", operations=(first, second))),
        machines=(Machine(id=0), Machine(id=1)),
        objective=objective,
    )
    free = with_operation(problem, "A", deadline_seconds=None)
    assert search(load_predictor(), free, 0, iterations=500).schedule.makespan_seconds == 6 * HOUR
    found = search(load_predictor(), problem, 0, iterations=500)
    assert found.schedule.by_operation["A"].end_seconds == 5 * HOUR
    assert found.schedule.makespan_seconds == 11 * HOUR


def test_deadline_that_cannot_be_met_hinders_nothing_else() -> None:
    """Of two hours on one machine one deadline is out of reach; the other one is met, and the rest is as short."""
    jobs = tuple(
        Job(id=name, operations=(operation(name, deadline_seconds=end),))
        for name, end in (("A", HOUR // 2), ("B", HOUR), ("C", 3 * HOUR))
    )
    problem = Problem(jobs=jobs, machines=(Machine(id=0),))
    found = search(load_predictor(), problem, 0, iterations=500).schedule
    ends = {name: found.by_operation[name].end_seconds for name in "ABC"}
    assert ends["B"] == HOUR
    assert found.makespan_seconds == 3 * HOUR


def test_running_work_past_its_deadline_takes_no_time_from_the_search() -> None:
    """A deadline that pinned work misses is nothing to search for."""
    late = operation(
        "A", 0, seconds=3 * HOUR, pin=Pin(start_seconds=-HOUR, end_seconds=2 * HOUR), deadline_seconds=HOUR
    )
    problem = Problem(
        jobs=(Job(id="A", operations=(late,)), Job(id="B", operations=(operation("B"),))), machines=(Machine(id=0),)
    )
    assert "deadlines" not in search(load_predictor(), problem, 0, iterations=100).method


def test_of_equally_long_schedules_the_less_tardy_counts() -> None:
    """One hour and two hours on one machine make three in any order; the job that is due first goes first."""
    jobs = (
        Job(id="A", operations=(operation("A", seconds=2 * HOUR),)),
        Job(id="B", operations=(operation("B", due_seconds=HOUR),)),
    )
    problem = Problem(jobs=jobs, machines=(Machine(id=0),), objective=Objective.MAKESPAN)
    found = search(load_predictor(), problem, 0, iterations=100).schedule
    assert found.by_operation["B"].end_seconds == HOUR


@pytest.mark.parametrize("seed", range(4))
def test_last_part_lowers_tardiness_and_never_the_rest(seed: int) -> None:
    """The search for tardiness leaves makespan and deadlines as they were, and less of the work late or as late."""
    plant = Plant(operations=(40, 60), calendar_share=0.5, changeover_share=0.5)
    problem = random_problem(np.random.default_rng(seed), plant)
    for job in problem.jobs:
        problem = with_operation(problem, job.operations[-1].id, due_seconds=0)
    arrays = compile_problem(problem)
    state = new_state(arrays)
    random_predictor().play(arrays, state)
    last = tardiness_search(problem, arrays, state, seed)
    assert last is not None
    makespan, tardiness = state.end.max(), state.tardiness_bound[0]
    for step in range(10):
        last.run(300, step / 10)
    last.realise(state)
    assert state.end.max() <= makespan
    assert state.tardiness_bound[0] < tardiness


def test_search_uses_its_time_and_no_more() -> None:
    """A second is used up and hardly exceeded; twice as much as asked for would be a bound on any machine."""
    problem = random_problem(np.random.default_rng(4), Plant(operations=(100, 120), objectives=(Objective.BALANCED,)))
    search(random_predictor(), problem, 0, iterations=10)
    begun = time.perf_counter()
    search(random_predictor(), problem, 1_000)
    assert 0.5 < time.perf_counter() - begun < 2.0


@pytest.mark.parametrize(("budget_ms", "iterations", "samples"), [(0, 5, MAX_SAMPLES), (1, None, 0), (0, None, 0)])
def test_samples_are_drawn_as_long_as_they_are_worth_their_time(
    budget_ms: int, iterations: int | None, samples: int
) -> None:
    """All of them where time does not count; none where the pass alone takes longer than their share."""
    predictor = Counting(random_predictor(1).networks)
    search(
        predictor,
        random_problem(np.random.default_rng(4), Plant(operations=(60, 80))),
        budget_ms,
        iterations=iterations,
    )
    assert predictor.samples == samples


class Counting(Predictor):
    """Counts the samples that are drawn from it."""

    samples = 0

    def sample(self, arrays: ProblemArrays, state: State, seed: int, temperature: float) -> None:
        self.samples += 1
        super().sample(arrays, state, seed, temperature)


class Watched:
    """Keeps every schedule that a search shows, and ends it after so many."""

    def __init__(self, most: int | None = None) -> None:
        self.schedules: list[Schedule] = []
        self._most = most

    def is_stopped(self) -> bool:
        return self._most is not None and len(self.schedules) >= self._most

    def improve(self, schedule: Schedule) -> None:
        self.schedules.append(schedule)


def test_search_shows_each_better_schedule() -> None:
    """The first one is the policy's pass, each later one is better, and the last one is the result."""
    problem = replace(
        random_problem(np.random.default_rng(0), Plant(operations=(80, 90))), objective=Objective.MAKESPAN
    )
    watched = Watched()
    found = search(random_predictor(), problem, 3_000, progress=watched)
    values = [objective_value(problem, schedule) for schedule in watched.schedules]
    assert watched.schedules[0] == random_predictor().schedule(problem)
    assert len(values) > 1
    assert values == sorted(values, reverse=True)
    assert watched.schedules[-1] == found.schedule


def test_search_that_is_stopped_ends_long_before_its_time() -> None:
    """What was found until then is the result."""
    problem = random_problem(np.random.default_rng(1), MIXED)
    watched = Watched(most=1)
    begun = time.perf_counter()
    found = search(random_predictor(), problem, 60_000, progress=watched)
    assert time.perf_counter() - begun < 20.0
    assert found.schedule == watched.schedules[-1]
