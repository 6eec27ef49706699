from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.instances.generator import ORIGIN, Plant, random_problem, toy_problem
from env.judge.judge import violations
from env.objective import objective_value
from env.problem import Closure, Job, Machine, Objective, Problem, WorkingHours
from env.simulator.arrays import TIE, ProblemArrays, compile_problem
from env.simulator.calendar import NEVER
from env.simulator.rules import Rule, finished_schedule, follow_rule, mean_times
from env.simulator.simulation import new_state
from env.simulator.state import State
from models.search.graph import NOBODY, Graph, has_graph, link_plan, measure, new_graph, restore_order, take_plan
from models.search.local_search import AnnealingSearch, TabuSearch, local_search
from models.search.tabu import BEST, link_behind, unlink
from tests import problems as plants
from tests.models.policy.test_predictor import random_predictor
from tests.problems import HOUR, WITH_INSTANTS, problems, with_deadlines

GRAPHS = Plant(operations=(10, 60), calendar_share=0, changeover_share=0)


def played(problem: Problem, rule: Rule = Rule.FIFO) -> tuple[ProblemArrays, State]:
    """The arrays of a problem and the state in which a rule leaves it."""
    arrays = compile_problem(problem)
    state = new_state(arrays)
    follow_rule(arrays, state, int(rule), mean_times(arrays))
    return arrays, state


def value_after(problem: Problem, moves: int, seed: int = 0) -> tuple[float, float]:
    """Objective before the search, and of the simulator's schedule of the best plan after it."""
    arrays, state = played(problem)
    before = objective_value(problem, finished_schedule(problem, state))
    search = local_search(problem, arrays, state, seed)
    assert search is not None
    for step in range(10):
        search.run(moves // 10, step / 10)
    search.realise(state)
    return before, objective_value(problem, finished_schedule(problem, state))


ANY_PROBLEM = problems(features=WITH_INSTANTS)


def tie_of(problem: Problem, state: State) -> float:
    """What the objective counts of tardiness between schedules that are equal otherwise, which annealing leaves out."""
    arrays = compile_problem(problem)
    late = np.where(arrays.operation_has_due, np.maximum(0, state.end - arrays.operation_due), 0)
    return float(arrays.objective[TIE] * (arrays.operation_weight * late).sum())


@given(ANY_PROBLEM | ANY_PROBLEM.flatmap(with_deadlines), st.sampled_from(list(Objective)), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_annealing_values_its_plan_as_the_simulator_does(problem: Problem, objective: Objective, seed: int) -> None:
    """After any number of moves made and taken back, the best value is that of the schedule which is dispatched."""
    problem = replace(problem, objective=objective)
    arrays, state = played(problem)
    if state.end.max() >= NEVER:
        return
    same_job = arrays.operation_job[1:] == arrays.operation_job[:-1]
    if np.any((state.start[1:] < state.end[:-1])[same_job]):
        assert has_graph(arrays) or local_search(problem, arrays, state, seed) is None
        return
    search = AnnealingSearch(problem, arrays, state, seed)
    search.run(200, 0.5)
    search.realise(state)
    found = objective_value(problem, finished_schedule(problem, state)) - tie_of(problem, state)
    assert found == pytest.approx(search.search.figures[0], rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_tabu_search_knows_work_that_takes_no_time(seed: int) -> None:
    """With every third operation over at once, the graph has its plan's makespan, and what it finds is dispatched."""
    rng = np.random.default_rng(seed)
    problem = with_instants(random_problem(rng, GRAPHS), rng)
    arrays, state = played(problem)
    search = TabuSearch(arrays, state, seed)
    assert search.search.totals[BEST] == state.end.max()
    search.run(1_000, 0.0)
    search.realise(state)
    assert state.end.max() == search.search.totals[BEST]
    assert violations(problem, finished_schedule(problem, state)) == ()


def with_instants(problem: Problem, rng: np.random.Generator) -> Problem:
    """The problem with about a third of its operations taking no time."""
    jobs = tuple(
        replace(
            job,
            operations=tuple(
                step
                if rng.random() < 2 / 3
                else replace(
                    step,
                    alternatives=tuple(
                        replace(option, processing_seconds=0, setup_seconds=0) for option in step.alternatives
                    ),
                )
                for step in job.operations
            ),
        )
        for job in problem.jobs
    )
    return replace(problem, jobs=jobs)


@pytest.mark.parametrize("seed", range(5))
def test_tabu_search_measures_the_makespan_of_the_simulator(seed: int) -> None:
    """The best makespan of the graph is that of the schedule which is dispatched."""
    problem = random_problem(np.random.default_rng(seed), GRAPHS)
    arrays, state = played(problem)
    search = TabuSearch(arrays, state, seed)
    search.run(300, 0.0)
    search.realise(state)
    assert state.end.max() == search.search.totals[BEST]


def test_open_seconds_stand_for_hours_of_all_machines() -> None:
    """With one calendar for all, the graph counts open seconds, and what it gains the simulator gains."""
    plain = random_problem(np.random.default_rng(3), GRAPHS)
    problem = replace(plain, hours=WorkingHours(origin=ORIGIN))
    arrays, state = played(problem)
    assert has_graph(arrays)
    search = TabuSearch(arrays, state, 0)
    before = state.end.max()
    search.run(500, 0.0)
    search.realise(state)
    assert state.end.max() <= before
    graph = new_graph(arrays)
    assert take_plan(graph, state) == search.search.totals[BEST]


def longest_path(graph: Graph) -> int:
    """The makespan of a measured graph, by looking at every operation."""
    return int((graph.nodes["head"] + graph.nodes["duration"]).max())


def test_graph_measures_heads_and_tails_of_the_toy() -> None:
    """By hand: each job waits for nobody, so head, duration and tail add up to 5 on every operation."""
    arrays, state = played(toy_problem())
    graph = new_graph(arrays)
    assert take_plan(graph, state) == measure(graph) == longest_path(graph) == 5
    assert (graph.nodes["head"] + graph.nodes["duration"] + graph.nodes["tail"]).tolist() == [5, 5, 5, 5]
    assert graph.nodes["head"].tolist() == [0, 3, 0, 3]


@given(st.integers(0, 10**6), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_moves_leave_a_graph_as_measured_anew(seed: int, moves: int) -> None:
    """However many moves: nothing precedes what it waits for, heads and tails are those of the plan from scratch."""
    arrays, state = played(random_problem(np.random.default_rng(seed), GRAPHS))
    search = TabuSearch(arrays, state, seed)
    search.run(moves, 0.0)
    moved, fresh = search.search.graph, new_graph(arrays)
    order = moved.order.copy()
    assert moved.place[order].tolist() == list(range(len(order)))
    for operation, node in enumerate(moved.nodes):
        assert node["before"] < 0 or moved.place[node["before"]] < moved.place[operation]
        assert node["is_first"] or moved.place[operation - 1] < moved.place[operation]
    assert link_plan(fresh, moved.nodes["chosen"].copy(), order) == longest_path(moved)
    for field in ("before", "after", "head", "tail"):
        assert moved.nodes[field].tolist() == fresh.nodes[field].tolist()
    assert moved.longest.tolist() == fresh.longest.tolist()
    assert not moved.is_reached.any()


def test_cycle_is_found() -> None:
    """By hand: when both machines of the toy take a second step before a first one, both wait forever."""
    arrays, state = played(toy_problem())
    graph = new_graph(arrays)
    take_plan(graph, state)
    unlink(graph, 3)
    link_behind(graph, 3, NOBODY)
    assert restore_order(graph, 3) == (0, 3)
    assert graph.order.tolist() == [2, 3, 0, 1]
    unlink(graph, 1)
    link_behind(graph, 1, NOBODY)
    assert restore_order(graph, 1) == (-1, -1)
    assert not graph.is_reached.any()


@pytest.mark.parametrize("seed", range(8))
def test_tabu_search_finds_the_optimum_of_small_shops(seed: int) -> None:
    """On shops of about five operations the best of all orders and machines is found."""
    shop = Plant(operations=(4, 5), operations_per_job=(1, 3), machines=(2, 3), calendar_share=0, changeover_share=0)
    problem = random_problem(np.random.default_rng(seed), shop)
    _, found = value_after(problem, 2_000)
    assert found == _shortest(problem)


def _shortest(problem: Problem) -> int:
    """The shortest makespan of all semi-active schedules, by trying every order of dispatch and every machine."""
    job_of = [job for job, steps in enumerate(problem.jobs) for _ in steps.operations]
    best = 10**12
    for order in set(itertools.permutations(job_of)):
        for choice in itertools.product(*(operation.alternatives for operation in problem.operations)):
            machines, jobs, steps = [0] * len(problem.machines), [0] * len(problem.jobs), [0] * len(problem.jobs)
            first = np.cumsum([0, *(len(job.operations) for job in problem.jobs)])
            for job in order:
                pair = choice[first[job] + steps[job]]
                steps[job] += 1
                end = max(machines[pair.machine], jobs[job]) + pair.duration_seconds
                machines[pair.machine] = jobs[job] = end
            best = min(best, max(jobs))
    return best


@pytest.mark.parametrize("objective", list(Objective))
def test_search_improves_a_first_in_first_out_plan(objective: Objective) -> None:
    """On plants with calendars, setups by sequence and due dates something is always gained over FIFO."""
    plant = Plant(operations=(40, 60), calendar_share=1, changeover_share=1, objectives=(objective,))
    for seed in range(3):
        before, after = value_after(random_problem(np.random.default_rng(seed), plant), 3_000)
        assert after < before


@pytest.mark.parametrize("objective", list(Objective))
def test_search_that_cannot_find_better_ends_at_once(objective: Objective) -> None:
    """Two jobs on two machines of their own, one of them late whatever is done: no move is tried in vain."""
    jobs = (
        Job(id="A", operations=(plants.operation("A", 0, seconds=HOUR, due_seconds=HOUR // 2),)),
        Job(id="B", operations=(plants.operation("B", 1, seconds=2 * HOUR),)),
    )
    problem = Problem(jobs=jobs, machines=(Machine(id=0), Machine(id=1)), objective=objective)
    arrays = compile_problem(problem)
    state = new_state(arrays)
    random_predictor().play(arrays, state)
    found = local_search(problem, arrays, state, seed=0)
    assert found is not None
    assert found.is_done


@pytest.mark.parametrize("closures", [(), (Closure(start_seconds=HOUR // 2, end_seconds=5 * HOUR),)])
def test_search_ends_when_the_only_machine_never_waits(closures: tuple[Closure, ...]) -> None:
    """Three jobs that only one machine can do, which works without a gap: no other order ends earlier."""
    jobs = tuple(Job(id=name, operations=(plants.operation(name, 0, seconds=HOUR),)) for name in "ABC")
    problem = Problem(jobs=jobs, machines=(Machine(id=0, closures=closures), Machine(id=1)))
    for objective in Objective:
        arrays = compile_problem(replace(problem, objective=objective))
        state = new_state(arrays)
        random_predictor().play(arrays, state)
        found = local_search(replace(problem, objective=objective), arrays, state, seed=0)
        assert found is not None
        assert found.is_done, objective


def test_tabu_search_ends_when_the_busiest_machine_never_waits() -> None:
    """Machine 0 alone does the first hour of each of three jobs; what follows takes half an hour elsewhere."""
    jobs = tuple(
        Job(
            id=name,
            operations=(
                plants.operation(f"{name}1", 0, seconds=HOUR),
                plants.operation(f"{name}2", 1, seconds=HOUR // 2),
            ),
        )
        for name in "ABC"
    )
    arrays = compile_problem(Problem(jobs=jobs, machines=(Machine(id=0), Machine(id=1)), objective=Objective.MAKESPAN))
    state = new_state(arrays)
    random_predictor().play(arrays, state)
    search = TabuSearch(arrays, state, seed=0)
    assert search.bound == 3 * HOUR + HOUR // 2
    assert search.is_done


@given(problems(features=WITH_INSTANTS) | problems(features=WITH_INSTANTS).flatmap(with_deadlines), st.integers(0, 20))
@settings(max_examples=150, deadline=None)
def test_no_plan_is_worth_less_than_what_ends_a_search(problem: Problem, seed: int) -> None:
    """Whatever a plant has, no plan of a search lies below the bound at which it would end."""
    arrays = compile_problem(problem)
    state = new_state(arrays)
    random_predictor(seed).play(arrays, state)
    search = AnnealingSearch(problem, arrays, state, seed)
    search.run(200, 0.5)
    assert search.search.figures[0] >= search._nothing - 1e-3
