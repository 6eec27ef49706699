"""What must end before pinned work has its place first, by every rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from env.judge.judge import violations
from env.problem import Alternative, Changeover, Closure, Job, Machine, Operation, Pin, Problem
from env.simulator.arrays import compile_problem
from env.simulator.calendar_fit import latest_begin
from env.simulator.compilation import compiled
from env.simulator.reservation import keeps_pins, latest_begins, played_around, with_reservations
from env.simulator.rules import Rule, dispatch, follow_rule, mean_times
from env.simulator.simulation import new_state
from env.simulator.state import State
from tests.problems import ANY_HOURS, HOUR, open_mask, operation, problems


def _job(name: str, *steps: Operation) -> Job:
    return Job(id=name, operations=steps)


@compiled
def _latest_begin(arrays, calendar, end, work, interruptible):  # type: ignore[no-untyped-def]
    return latest_begin(arrays, calendar, end, work, interruptible)


@given(problems(ANY_HOURS), st.integers(0, 3 * 86_400), st.integers(1, 9 * HOUR), st.booleans())
def test_latest_begin_is_the_last_from_which_the_work_fits(
    problem: Problem, end: int, work: int, interruptible: bool
) -> None:
    """Counted second by second: from it on the work ends in time, from the next open second on it does not."""
    arrays = compile_problem(problem)
    opened = open_mask(problem, 0)[:end]
    begin = int(_latest_begin(arrays, int(arrays.machine_calendar[0]), end, work, interruptible))
    seconds = np.flatnonzero(opened)
    if interruptible:
        assert begin == (seconds[-work] if len(seconds) >= work else -(2**60))
        return
    unbroken = seconds[work - 1 :] - seconds[: len(seconds) - work + 1] == work - 1 if len(seconds) >= work else []
    starts = seconds[: len(seconds) - work + 1][unbroken] if len(seconds) >= work else []
    assert begin == (starts[-1] if len(starts) else -(2**60))


@pytest.mark.parametrize("rule", Rule)
def test_work_that_would_block_what_a_pin_waits_for_goes_behind_it(rule: Rule) -> None:
    """The short first step of A is followed by one on the machine of a long job that every rule would begin at 0."""
    jobs = (
        _job("L", operation("L", 1, seconds=100, due_seconds=0, is_important=True)),
        _job(
            "A",
            operation("A1", 0, seconds=5),
            operation("A2", 1, seconds=10),
            operation("A3", 0, seconds=5, pin=Pin(start_seconds=15)),
        ),
    )
    problem = Problem(machines=(Machine(id=0), Machine(id=1)), jobs=jobs)
    plan = dispatch(problem, rule)
    assert violations(problem, plan) == ()
    assert plan.by_operation["L"].start_seconds == 15


def test_latest_begins_are_known_backwards_through_closed_time() -> None:
    """A3 is pinned at 40; the machine of A2 is closed from 20 to 35, so A2 must begin at 15 and A1 at 5."""
    closed = Machine(id=1, closures=(Closure(start_seconds=20, end_seconds=35),))
    jobs = (
        _job(
            "A",
            operation("A1", 0, seconds=10),
            operation("A2", 1, seconds=10),
            operation("A3", 0, seconds=1, pin=Pin(start_seconds=40)),
            operation("A4", 0, seconds=1),
        ),
    )
    arrays = compile_problem(Problem(machines=(Machine(id=0), closed), jobs=jobs))
    latest = np.zeros(4)
    latest_begins(arrays, latest)
    assert latest[:3].tolist() == [5, 15, 40]
    assert latest[3] >= 2**60


@pytest.mark.parametrize("rule", Rule)
def test_machine_that_is_free_later_may_be_the_right_one(rule: Rule) -> None:
    """Both A1 and B1 end first on machine 0, and only if one of them takes the slower machine both pins are met."""

    def first(name: str) -> Operation:
        choices = (Alternative(machine=0, processing_seconds=10), Alternative(machine=1, processing_seconds=18))
        return Operation(id=name, alternatives=choices)

    jobs = tuple(
        _job(name, first(f"{name}1"), operation(f"{name}2", machine, seconds=5, pin=Pin(start_seconds=18)))
        for name, machine in (("A", 2), ("B", 3))
    )
    problem = Problem(machines=tuple(Machine(id=index) for index in range(4)), jobs=jobs)
    assert violations(problem, dispatch(problem, rule)) == ()


def test_nothing_comes_between_a_reservation_and_the_work_it_is_changed_over_from() -> None:
    """Blue A1 must begin at 10 behind red; green work that fits before it would make its changeover longer."""
    matrix = (
        Changeover(before="red", after="blue", setup_seconds=0),
        Changeover(before="green", after="blue", setup_seconds=50),
    )
    one = Alternative(machine=0, processing_seconds=10, setup_seconds=0)
    jobs = (
        _job("R", Operation(id="R", alternatives=(one,), setup_group="red", pin=Pin(start_seconds=0))),
        _job("G", operation("G", 0, seconds=5, setup_group="green", is_important=True, due_seconds=0)),
        _job(
            "A",
            operation("A1", 0, seconds=10, setup_group="blue", release_seconds=20),
            operation("A2", 1, seconds=5, pin=Pin(start_seconds=30)),
        ),
    )
    problem = Problem(machines=(Machine(id=0), Machine(id=1)), jobs=jobs, changeovers=matrix)
    plan = dispatch(problem, Rule.PLANNER)
    assert violations(problem, plan) == ()
    assert plan.by_operation["A1"].start_seconds == 20


def test_pins_that_nobody_can_keep_are_left_as_they_were_played() -> None:
    """Two jobs need the same machine for the same second: there is no reservation, and nobody pretends so."""
    jobs = tuple(
        _job(
            name, operation(f"{name}1", 0, seconds=10), operation(f"{name}2", at, seconds=5, pin=Pin(start_seconds=10))
        )
        for name, at in (("A", 1), ("B", 2))
    )
    problem = Problem(machines=tuple(Machine(id=index) for index in range(3)), jobs=jobs)
    arrays = compile_problem(problem)
    means = mean_times(arrays)

    def play(plant, state: State) -> None:  # type: ignore[no-untyped-def]
        follow_rule(plant, state, int(Rule.FIFO), means)

    state = new_state(arrays)
    play(arrays, state)
    assert not keeps_pins(arrays, state)
    assert with_reservations(arrays, state.start, seed=0) is None
    assert played_around(arrays, play, state.start, seed=0) is None
    assert len(violations(problem, dispatch(problem, Rule.FIFO))) == 1
