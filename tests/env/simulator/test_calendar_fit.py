from __future__ import annotations

from datetime import UTC, datetime

import pytest

from env.judge.judge import violations
from env.problem import Alternative, Changeover, Closure, Job, Machine, Operation, Pin, Problem, WorkingHours
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch

HOUR = 3600


def _job(name: str, *steps: Operation) -> Job:
    return Job(id=name, operations=steps)


def _step(name: str, seconds: int, *machines: int, setup: int = 0, **fields: object) -> Operation:
    pairs = tuple(
        Alternative(machine=machine, processing_seconds=seconds, setup_seconds=setup) for machine in machines or (0,)
    )
    return Operation(id=name, alternatives=pairs, **fields)  # type: ignore[arg-type]


def _spans(plan: Schedule) -> dict[str, tuple[int, int]]:
    return {row.operation_id: (row.start_seconds, row.end_seconds) for row in plan.assignments}


def _solve(problem: Problem, rule: Rule = Rule.FIFO) -> dict[str, tuple[int, int]]:
    """Spans of a rule's schedule, once the judge has nothing against it."""
    plan = dispatch(problem, rule)
    assert violations(problem, plan) == ()
    return _spans(plan)


def test_setup_follows_the_sequence() -> None:
    """Red after nothing takes its own 7 s, red after red nothing, blue after red the listed 20 s."""
    jobs = (
        _job("R1", _step("R1", 10, setup=7, setup_group="red")),
        _job("R2", _step("R2", 11, setup=7, setup_group="red")),
        _job("B", _step("B", 12, setup=7, setup_group="blue")),
    )
    problem = Problem(
        machines=(Machine(id=0),), jobs=jobs, changeovers=(Changeover(before="red", after="blue", setup_seconds=20),)
    )
    assert _solve(problem, Rule.SPT) == {"R1": (0, 17), "R2": (17, 28), "B": (28, 60)}


def test_unlisted_changeover_takes_the_own_setup() -> None:
    """Blue after red is listed, red after blue is not: then red takes its own setup."""
    jobs = (
        _job("B", _step("B", 5, setup=1, setup_group="blue")),
        _job("R", _step("R", 10, setup=3, setup_group="red")),
    )
    problem = Problem(
        machines=(Machine(id=0),), jobs=jobs, changeovers=(Changeover(before="red", after="blue", setup_seconds=20),)
    )
    assert _solve(problem, Rule.SPT) == {"B": (0, 6), "R": (6, 19)}


def test_setup_of_a_machine_counts_before_that_of_all() -> None:
    """Blue after red takes 20 s on every machine but the second one, where it takes 4 s."""
    changes = (
        Changeover(before="red", after="blue", setup_seconds=20),
        Changeover(before="red", after="blue", setup_seconds=4, machine=1),
    )
    for machine, setup in ((0, 20), (1, 4)):
        works = (_step("R", 10, machine, setup_group="red"), _step("B", 12, machine, setup_group="blue"))
        jobs = tuple(_job(work.id, work) for work in works)
        problem = Problem(machines=(Machine(id=0), Machine(id=1)), jobs=jobs, changeovers=changes)
        assert _solve(problem, Rule.SPT) == {"R": (0, 10), "B": (10, 22 + setup)}


def test_work_that_takes_no_time_waits_for_its_machine() -> None:
    """It comes about at the instant at which the machine is free and open, and holds nobody up."""
    closed = (Closure(start_seconds=10, end_seconds=15),)
    jobs = (_job("A", _step("A", 10)), _job("Z", _step("Z", 0), _step("Y", 3)))
    problem = Problem(machines=(Machine(id=0, closures=closed),), jobs=jobs)
    assert _solve(problem, Rule.MWKR) == {"A": (0, 10), "Z": (15, 15), "Y": (15, 18)}
    assert _solve(problem, Rule.SPT) == {"Z": (0, 0), "Y": (0, 3), "A": (3, 18)}


def test_work_goes_around_pinned_work() -> None:
    """The pin holds the machine from 10 to 20: 8 s fit before it, 9 s go behind it."""
    jobs = (
        _job("P", _step("P", 10, pin=Pin(start_seconds=10))),
        _job("A", _step("A", 8)),
        _job("B", _step("B", 9)),
    )
    problem = Problem(machines=(Machine(id=0),), jobs=jobs)
    assert _solve(problem) == {"A": (0, 8), "P": (10, 20), "B": (20, 29)}


def test_pinned_work_changes_the_setup_behind_it() -> None:
    """Blue behind pinned red takes the listed changeover; the pinned work takes its own setup."""
    jobs = (
        _job("P", _step("P", 10, setup=2, setup_group="red", pin=Pin(start_seconds=0))),
        _job("B", _step("B", 5, setup=1, setup_group="blue")),
    )
    problem = Problem(
        machines=(Machine(id=0),), jobs=jobs, changeovers=(Changeover(before="red", after="blue", setup_seconds=30),)
    )
    assert _solve(problem) == {"P": (0, 12), "B": (12, 47)}


@pytest.mark.parametrize("end", [-20, 0, 7])
@pytest.mark.parametrize("load", [0, 15])
def test_setup_behind_begun_work_whatever_the_machine_did_since(end: int, load: int) -> None:
    """Blue behind red that ended before, at or after the start takes the changeover, also when load went between."""
    red = _step("R", 10, setup_group="red", pin=Pin(start_seconds=end - 10, end_seconds=end))
    blue = _step("B", 5, setup=1, setup_group="blue")
    problem = Problem(
        machines=(Machine(id=0, busy_seconds=load),),
        jobs=(_job("R", red), _job("B", blue)),
        changeovers=(Changeover(before="red", after="blue", setup_seconds=30),),
    )
    ready = max(0, end, load)
    assert _solve(problem) == {"R": (end - 10, end), "B": (ready, ready + 35)}


def test_running_work_began_before_the_start() -> None:
    """Work from -5 to 4 holds the machine and its job until 4."""
    frozen = _step("A1", 9, pin=Pin(start_seconds=-5, end_seconds=4))
    problem = Problem(machines=(Machine(id=0), Machine(id=1)), jobs=(_job("A", frozen, _step("A2", 3, 0, 1)),))
    assert _solve(problem) == {"A1": (-5, 4), "A2": (4, 7)}


def test_pinned_work_pauses_over_breaks() -> None:
    """Two hours pinned at 12:00 end at 14:45, because lunch takes three quarters of an hour."""
    hours = WorkingHours(origin=datetime(2026, 1, 5, 12, 0, tzinfo=UTC))
    problem = Problem(
        machines=(Machine(id=0),), jobs=(_job("P", _step("P", 2 * HOUR, pin=Pin(start_seconds=0))),), hours=hours
    )
    assert _solve(problem) == {"P": (0, int(2.75 * HOUR))}


def test_work_that_a_pin_waits_for_goes_first() -> None:
    """A2 is pinned at 10 and A1 before it takes 10 s: shortest-first would run B and miss the pin."""
    jobs = (
        _job("B", _step("B", 1)),
        _job("A", _step("A1", 10), _step("A2", 5, 1, pin=Pin(start_seconds=10))),
    )
    problem = Problem(machines=(Machine(id=0), Machine(id=1)), jobs=jobs)
    assert _solve(problem, Rule.SPT) == {"A1": (0, 10), "A2": (10, 15), "B": (10, 11)}


def test_several_machines_are_held_together() -> None:
    """The crane job needs both machines at once: it waits for the busy one, and the idle one waits with it."""
    both = Alternative(machine=0, processing_seconds=10, also_holds=(1,))
    problem = Problem(
        machines=(Machine(id=0), Machine(id=1, busy_seconds=4)),
        jobs=(_job("C", Operation(id="C", alternatives=(both,))), _job("B", _step("B", 5, 1))),
    )
    assert _solve(problem) == {"C": (9, 19), "B": (4, 9)}


def test_several_machines_work_only_while_all_are_open() -> None:
    """One machine closes from 3 to 5, the other from 6 to 8: ten seconds of common work end at 14."""
    machines = (
        Machine(id=0, closures=(Closure(start_seconds=3, end_seconds=5),)),
        Machine(id=1, closures=(Closure(start_seconds=6, end_seconds=8),)),
    )
    both = Alternative(machine=0, processing_seconds=10, also_holds=(1,))
    problem = Problem(machines=machines, jobs=(_job("C", Operation(id="C", alternatives=(both,))),))
    assert _solve(problem) == {"C": (0, 14)}


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_keeps_pins_and_setups(rule: Rule) -> None:
    """A plant with changeovers, a pin, frozen work and a shared crane is scheduled without a violation."""
    crane = Alternative(machine=1, processing_seconds=20, also_holds=(2,))
    jobs = (
        _job("A", _step("A1", 30, 0, setup=5, setup_group="red"), _step("A2", 10, 1, pin=Pin(start_seconds=100))),
        _job("B", _step("B1", 15, 0, 1, setup=5, setup_group="blue"), Operation(id="B2", alternatives=(crane,))),
        _job("C", _step("C1", 25, 0, 2, setup=5, setup_group="red"), _step("C2", 5, 1)),
        _job("D", _step("D1", 9, 2, pin=Pin(start_seconds=-3, end_seconds=6)), _step("D2", 12, 0, 1, 2)),
    )
    changeovers = (
        Changeover(before="red", after="blue", setup_seconds=12),
        Changeover(before="blue", after="red", setup_seconds=2),
    )
    _solve(Problem(machines=tuple(Machine(id=index) for index in range(3)), jobs=jobs, changeovers=changeovers), rule)
