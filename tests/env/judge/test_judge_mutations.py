"""Nothing slips past the judge: valid schedules pass, and each smallest corruption of one is named and measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from env.judge.judge import ViolationCode, judge, violations
from env.problem import Job, Machine, Pin, Problem, WorkingHours
from env.schedule import Schedule
from tests.construction import chosen_alternative
from tests.env.judge.mutations import MUTATIONS, counts, mutants_of, table
from tests.env.judge.victims import Victim
from tests.problems import (
    DAY,
    EVERY_FEATURE,
    HOUR,
    LUNCH,
    open_mask,
    operation,
    schedule_of,
    solved_problems,
    with_operation,
)


def known() -> tuple[Problem, Schedule]:
    """Steps, unbroken work that holds two machines, work that runs and work that is finished."""
    steps = Job(id="J", operations=(operation("first", 0), operation("second", 1)))
    unbroken = Job(id="K", operations=(operation("unbroken", 0, interruptible=False),))
    runs, finished = Pin(start_seconds=-HOUR, end_seconds=2 * HOUR), Pin(start_seconds=-HOUR, end_seconds=0)
    running = Job(id="L", operations=(operation("running", 1, seconds=3 * HOUR, pin=runs),))
    over = Job(id="M", operations=(operation("finished", 0, pin=finished),))
    problem = Problem(
        jobs=(steps, unbroken, running, over),
        machines=(Machine(id=1), Machine(id=2)),
        hours=WorkingHours(origin=datetime(2025, 7, 21, 6, 0, tzinfo=UTC), breaks=(LUNCH,)),
    )
    both = replace(unbroken.operations[0].alternatives[0], also_holds=(1,), setup_seconds=10)
    return with_operation(problem, "unbroken", alternatives=(both,)), schedule_of(
        ("first", 1, HOUR, 2 * HOUR),
        ("second", 2, 3 * HOUR, 4 * HOUR),
        ("unbroken", 1, 4 * HOUR + 60, 5 * HOUR + 70),
        ("running", 2, -HOUR, 2 * HOUR),
        ("finished", 1, -HOUR, 0),
    )


def test_known_schedule_is_valid() -> None:
    """What the mutations below start from has nothing wrong with it."""
    assert violations(*known()) == ()


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_of_known_schedule_is_caught(name: str) -> None:
    """Each class of corruption can be made from the known schedule, and is caught on every operation it fits."""
    mutants = [mutant for made, mutant in mutants_of(*known()) if made == name]
    assert mutants
    assert [mutant for mutant in mutants if not mutant.is_caught] == []


def test_every_code_is_the_answer_to_some_mutation() -> None:
    """No rule of the judge goes without a mutation that breaks it."""
    assert {mutant.code for _, mutant in mutants_of(*known())} == set(ViolationCode)


@given(solved=solved_problems(EVERY_FEATURE))
def test_valid_schedule_is_never_refused(solved: tuple[Problem, Schedule]) -> None:
    """A schedule that is valid by construction has no violation, on plants with every feature."""
    problem, schedule = solved
    assert violations(problem, schedule) == ()
    assert judge(problem, schedule).valid


@given(solved=solved_problems(EVERY_FEATURE))
def test_mutation_of_random_schedule_is_caught(solved: tuple[Problem, Schedule]) -> None:
    """Each class of corruption that fits a random valid schedule is caught at its smallest amount."""
    assert [name for name, mutant in mutants_of(*solved) if not mutant.is_caught] == []


def test_table_counts_every_class() -> None:
    """The printed table has a line for each class and one for all, and nothing in it was missed."""
    made, caught = counts(schedules=3)
    lines = table(made, caught).splitlines()
    assert len(lines) == 1 + len(MUTATIONS) + 1
    assert made == caught
    assert lines[-1].split()[-1] == f"{made.total():,}"


@given(solved=solved_problems(EVERY_FEATURE), pick=st.integers(0, 11), start=st.integers(-3, 3), end=st.integers(-3, 3))
def test_accepted_work_takes_no_closed_time(solved: tuple[Problem, Schedule], pick: int, start: int, end: int) -> None:
    """However a row is nudged: if the judge accepts it, its first and its last second are open by the definition."""
    problem, schedule = solved
    row = schedule.assignments[pick % len(schedule.assignments)]
    nudged = replace(row, start_seconds=row.start_seconds + start, end_seconds=row.end_seconds + end)
    rows = Schedule(assignments=tuple(nudged if each is row else each for each in schedule.assignments))
    if not judge(problem, rows).valid:
        return
    for each in problem.operations:
        placed = rows.by_operation[each.id]
        if each.pin is None or each.pin.end_seconds is None:
            machines = chosen_alternative(problem, each, placed).machines
            opened = np.flatnonzero(open_mask(problem, *machines)[placed.start_seconds : placed.end_seconds])
            assert (opened[0], opened[-1]) == (0, placed.end_seconds - placed.start_seconds - 1)


@given(solved=solved_problems(EVERY_FEATURE), data=st.data())
def test_order_of_assignments_does_not_matter(solved: tuple[Problem, Schedule], data: st.DataObject) -> None:
    """A spoilt schedule gets the same violations in the same order, however its rows are shuffled."""
    problem, schedule = solved
    victim = Victim(problem=problem, schedule=schedule, assignment=schedule.assignments[0])
    spoilt = MUTATIONS["operation repeated in place"](victim)
    assert spoilt is not None
    shuffled = Schedule(assignments=tuple(data.draw(st.permutations(spoilt.schedule.assignments))))
    assert violations(problem, shuffled) == violations(problem, spoilt.schedule)


@given(solved=solved_problems(), days=st.integers(1, 5))
def test_verdict_does_not_depend_on_where_second_zero_lies(solved: tuple[Problem, Schedule], days: int) -> None:
    """The same plan told from an earlier origin, with releases and closures moved along, stays valid."""
    problem, schedule = solved
    later = days * DAY
    machines = tuple(
        replace(
            machine,
            busy_seconds=0,
            closures=tuple(
                replace(each, start_seconds=each.start_seconds + later, end_seconds=each.end_seconds + later)
                for each in machine.closures
            ),
        )
        for machine in problem.machines
    )
    hours = problem.hours and replace(problem.hours, origin=problem.hours.origin - timedelta(seconds=later))
    rows = (
        (each.operation_id, each.machine_id, each.start_seconds + later, each.end_seconds + later)
        for each in schedule.assignments
    )
    assert violations(replace(problem, machines=machines, hours=hours), schedule_of(*rows)) == ()
