"""Nothing slips past the judge: valid schedules pass, and each smallest corruption of one is named and measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env.feasibility import ViolationCode, judge, violations
from env.problem import Job, Machine, Problem, WorkingHours
from env.schedule import Schedule
from tests.env.mutations import MUTATIONS, Mutant, Victim
from tests.problems import DAY, HOUR, LUNCH, operation, schedule_of, solved_problems


def is_caught(mutant: Mutant) -> bool:
    """Whether the judge names the broken rule, the operation and the amount."""
    found = [
        (violation.code, violation.operation_id, violation.by_seconds)
        for violation in violations(mutant.problem, mutant.schedule)
    ]
    return (mutant.code, mutant.operation_id, mutant.by_seconds) in found


def known() -> tuple[Problem, Schedule]:
    """A job of two steps and an unbroken one, with room around them for every mutation."""
    steps = Job(id="J", operations=(operation("first", 0), operation("second", 1)))
    unbroken = Job(id="K", operations=(operation("unbroken", 0, 1, interruptible=False),))
    problem = Problem(
        jobs=(steps, unbroken),
        machines=(Machine(id=1), Machine(id=2)),
        hours=WorkingHours(origin=datetime(2025, 7, 21, 6, 0, tzinfo=UTC), breaks=(LUNCH,)),
    )
    return problem, schedule_of(
        ("first", 1, HOUR, 2 * HOUR), ("second", 2, 3 * HOUR, 4 * HOUR), ("unbroken", 1, 4 * HOUR, 5 * HOUR)
    )


def test_known_schedule_is_valid() -> None:
    """What the mutations below start from has nothing wrong with it."""
    assert violations(*known()) == ()


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_of_known_schedule_is_caught(name: str) -> None:
    """Each class of corruption can be made from the known schedule, and is caught on every operation it fits."""
    problem, schedule = known()
    victims = [Victim(problem=problem, schedule=schedule, assignment=each) for each in schedule.assignments]
    mutants = [mutant for mutant in map(MUTATIONS[name], victims) if mutant is not None]
    assert mutants
    assert [mutant for mutant in mutants if not is_caught(mutant)] == []


def test_every_code_is_the_answer_to_some_mutation() -> None:
    """No rule of the judge goes without a mutation that breaks it."""
    problem, schedule = known()
    victims = [Victim(problem=problem, schedule=schedule, assignment=each) for each in schedule.assignments]
    mutants = (mutation(victim) for mutation in MUTATIONS.values() for victim in victims)
    assert {mutant.code for mutant in mutants if mutant is not None} == set(ViolationCode)


@given(solved=solved_problems())
def test_valid_schedule_is_never_refused(solved: tuple[Problem, Schedule]) -> None:
    """A schedule that is valid by construction has no violation, on plants with every feature."""
    problem, schedule = solved
    assert violations(problem, schedule) == ()
    assert judge(problem, schedule).valid


@given(solved=solved_problems(), pick=st.integers(0, 11))
def test_mutation_of_random_schedule_is_caught(solved: tuple[Problem, Schedule], pick: int) -> None:
    """Each class of corruption that fits a random valid schedule is caught at its smallest amount."""
    problem, schedule = solved
    victim = Victim(
        problem=problem, schedule=schedule, assignment=schedule.assignments[pick % len(schedule.assignments)]
    )
    mutants = {name: mutation(victim) for name, mutation in MUTATIONS.items()}
    assert [name for name, mutant in mutants.items() if mutant is not None and not is_caught(mutant)] == []


@given(solved=solved_problems(), data=st.data())
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
