from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from env.judge.judge import violations
from env.problem import Alternative, Changeover, Closure, Job, Machine, Operation, Pin, Problem, WorkingHours
from tests.cpsat import every_schedule, least_makespan, least_weighted_tardiness, weighted_tardiness
from tests.problems import MINUTE, one_machine, operation

GROUPS = ("red", "green", "blue")
JOB_LENGTHS = ((2, 2), (3, 2), (3, 3), (2, 2, 1), (2, 2, 2), (3, 1, 1), (3, 2, 1), (4, 3))
SEEDS = range(28)


def _singles(*operations: Operation) -> tuple[Job, ...]:
    """Each operation as a job of its own."""
    return tuple(Job(id=f"job of {each.id}", operations=(each,)) for each in operations)


def _machines(count: int) -> tuple[Machine, ...]:
    return tuple(Machine(id=index + 1) for index in range(count))


def _best(problem: Problem) -> tuple[int, float]:
    """Least makespan and least weighted tardiness of all dispatch sequences, once the judge accepts both plans."""
    plans = list(every_schedule(problem))
    short = min(plans, key=lambda plan: plan.makespan_seconds)
    punctual = min(plans, key=lambda plan: weighted_tardiness(problem, plan))
    assert violations(problem, short) == ()
    assert violations(problem, punctual) == ()
    return short.makespan_seconds, weighted_tardiness(problem, punctual)


def test_best_makespan_with_breaks_is_known() -> None:
    """From 12:00 two machines share 45, 30 and 30 minutes: one must work an hour, and lunch takes 45 minutes of it."""
    works = [operation(name, 0, 1, seconds=length * MINUTE) for name, length in (("A", 45), ("B", 30), ("C", 30))]
    hours = WorkingHours(origin=datetime(2026, 1, 5, 12, 0, tzinfo=UTC))
    problem = Problem(jobs=_singles(*works), machines=_machines(2), hours=hours)
    assert _best(problem)[0] == 105 * MINUTE


def test_best_makespan_with_a_closure_is_known() -> None:
    """One machine closes at 4 for long: only the work of 4 s belongs on it, the other two take 11 s elsewhere."""
    machines = (Machine(id=1, closures=(Closure(start_seconds=4, end_seconds=100),)), Machine(id=2))
    works = [operation(name, 0, 1, seconds=length) for name, length in (("A", 5), ("B", 6), ("C", 4))]
    assert _best(Problem(jobs=_singles(*works), machines=machines))[0] == 11


def test_best_makespan_with_a_release_waits_for_it() -> None:
    """A is released at 4 and needs 1 + 20 s; 25 is the least, and only a machine kept idle for A reaches it."""
    long = Job(id="A", operations=(operation("A1", 0, seconds=1, release_seconds=4), operation("A2", 1, seconds=20)))
    problem = Problem(jobs=(*_singles(operation("B", 0, seconds=10)), long), machines=_machines(2))
    assert _best(problem)[0] == 25


def test_best_weighted_tardiness_with_a_release_waits_for_it() -> None:
    """Heavy A, released at 1 and due at 2, goes first: B then ends 2 s late, while B first makes A 9 s late."""
    heavy = operation("A", seconds=1, release_seconds=1, due_seconds=2, weight=10.0)
    problem = one_machine(heavy, operation("B", seconds=10, due_seconds=10))
    assert _best(problem) == (11, 2.0)


def test_best_makespan_with_a_busy_machine_is_known() -> None:
    """10 s of old work and 14 s of new make 24 on two machines; 10 + 2 against 6 + 6 is even."""
    works = [operation(name, 0, 1, seconds=length) for name, length in (("A", 6), ("B", 6), ("C", 2))]
    machines = (Machine(id=1, busy_seconds=10), Machine(id=2))
    assert _best(Problem(jobs=_singles(*works), machines=machines))[0] == 12


def test_best_makespan_with_own_speeds_is_known() -> None:
    """A on the second machine takes 9 s and C on the first 8 s; each at home, B makes either machine end at 7."""
    lengths = {"A": (3, 9), "B": (4, 5), "C": (8, 2)}
    works = [
        Operation(
            id=name,
            alternatives=tuple(Alternative(machine=each, processing_seconds=length[each]) for each in range(2)),
        )
        for name, length in lengths.items()
    ]
    assert _best(Problem(jobs=_singles(*works), machines=_machines(2)))[0] == 7


@pytest.mark.parametrize(("interruptible", "best"), [(False, 26), (True, 23)])
def test_best_makespan_around_a_closure_depends_on_interruption(interruptible: bool, best: int) -> None:
    """Closed from 10 to 20, 13 s of work end at 23 if work may pause; whole, 7 s fit before and 6 s follow."""
    works = [operation(name, seconds=length, interruptible=interruptible) for name, length in (("A", 6), ("B", 7))]
    problem = one_machine(*works, closures=(Closure(start_seconds=10, end_seconds=20),))
    assert _best(problem)[0] == best


def test_best_makespan_with_whole_work_fills_the_opening() -> None:
    """Of 5, 6, 5 and 4 s only 6 + 4 (or 5 + 5) fill the 10 s before the closure; the other 10 s end at 30."""
    lengths = (("A", 5), ("B", 6), ("C", 5), ("D", 4))
    works = [operation(name, seconds=length, interruptible=False) for name, length in lengths]
    problem = one_machine(*works, closures=(Closure(start_seconds=10, end_seconds=20),))
    assert _best(problem)[0] == 30


def test_best_makespan_with_a_setup_matrix_changes_once() -> None:
    """Four times 10 s, 5 s for the first setup and one cheap change from blue to red: 47 s."""
    works = [
        Operation(
            id=name,
            alternatives=(Alternative(machine=0, processing_seconds=10, setup_seconds=5),),
            setup_group=group,
        )
        for name, group in (("R1", "red"), ("B1", "blue"), ("R2", "red"), ("B2", "blue"))
    ]
    changeovers = (
        Changeover(before="red", after="blue", setup_seconds=20),
        Changeover(before="blue", after="red", setup_seconds=2),
    )
    assert _best(Problem(jobs=_singles(*works), machines=_machines(1), changeovers=changeovers))[0] == 47


def test_best_makespan_with_a_pin_puts_the_longest_work_before_it() -> None:
    """Pinned from 10 to 20, the machine has time for one of 5, 6 and 7 s before: with 7 there, 5 + 6 s end at 31."""
    pinned = operation("P", seconds=10, pin=Pin(start_seconds=10))
    works = [operation(name, seconds=length) for name, length in (("A", 5), ("B", 6), ("C", 7))]
    assert _best(one_machine(pinned, *works))[0] == 31


def test_best_makespan_with_several_machines_keeps_the_second_busy() -> None:
    """Work that holds both machines begins or ends the plan, so the second works 10 + 9 s without a gap."""
    both = Operation(id="AB", alternatives=(Alternative(machine=0, processing_seconds=10, also_holds=(1,)),))
    works = (operation("C", 0, seconds=5), operation("D", 1, seconds=9), operation("E", 0, seconds=3))
    assert _best(Problem(jobs=_singles(works[0], both, *works[1:]), machines=_machines(2)))[0] == 19


def _random_problem(seed: int) -> Problem:
    """Up to seven operations; the seed decides which of closures, changeovers and several machines there are."""
    rng = np.random.default_rng(seed)
    has_closures, has_changeovers, has_several = seed % 3 == 1, seed % 2 == 1, seed % 5 == 2
    machine_count = max(int(rng.integers(1, 4)), 2 if has_several else 1)
    lengths = JOB_LENGTHS[int(rng.integers(len(JOB_LENGTHS)))]
    return Problem(
        jobs=tuple(
            Job(
                id=f"J{job}",
                operations=tuple(
                    _random_operation(rng, f"J{job}-{step}", machine_count, not has_closures, has_several)
                    for step in range(length)
                ),
            )
            for job, length in enumerate(lengths)
        ),
        machines=tuple(_random_machine(rng, index, has_closures) for index in range(machine_count)),
        changeovers=_random_changeovers(rng) if has_changeovers else (),
    )


def _random_operation(
    rng: np.random.Generator, id: str, machine_count: int, interruptible: bool, has_several: bool
) -> Operation:
    eligible = rng.permutation(machine_count)[: int(rng.integers(1, 3))].tolist()
    alternatives = []
    for machine in eligible:
        others = [other for other in range(machine_count) if other != machine]
        also = (int(rng.choice(others)),) if has_several and rng.random() < 0.4 else ()
        processing, setup = int(rng.integers(1, 13)), int(rng.integers(0, 4))
        alternatives.append(
            Alternative(machine=machine, processing_seconds=processing, setup_seconds=setup, also_holds=also)
        )
    return Operation(
        id=id,
        alternatives=tuple(alternatives),
        release_seconds=int(rng.choice((0, 0, 3, 8))),
        due_seconds=int(rng.integers(2, 26)) if rng.random() < 0.7 else None,
        weight=float(rng.integers(1, 6)),
        interruptible=interruptible,
        setup_group=str(rng.choice(GROUPS)) if rng.random() < 0.8 else None,
    )


def _random_machine(rng: np.random.Generator, index: int, has_closures: bool) -> Machine:
    if not has_closures:
        return Machine(id=index + 1, busy_seconds=int(rng.choice((0, 0, 5))))
    starts = np.cumsum(rng.integers(3, 20, size=2))
    return Machine(
        id=index + 1,
        closures=tuple(
            Closure(start_seconds=start, end_seconds=start + int(rng.integers(1, 7))) for start in starts.tolist()
        ),
    )


def _random_changeovers(rng: np.random.Generator) -> tuple[Changeover, ...]:
    return tuple(
        Changeover(before=before, after=after, setup_seconds=int(rng.integers(0, 10)))
        for before in GROUPS
        for after in GROUPS
        if rng.random() < 0.6
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_best_dispatch_sequence_equals_the_optimum_of_cp_sat(seed: int) -> None:
    """Of a small random problem the best dispatch sequences have the makespan and weighted tardiness of CP-SAT."""
    problem = _random_problem(seed)
    assert _best(problem) == (least_makespan(problem), least_weighted_tardiness(problem))


def test_random_problems_have_every_feature() -> None:
    """The seeds bring closures, busy machines, changeovers and several machines."""
    problems = [_random_problem(seed) for seed in SEEDS]
    pairs = [pair for problem in problems for operation in problem.operations for pair in operation.alternatives]
    assert any(machine.closures for problem in problems for machine in problem.machines)
    assert any(machine.busy_seconds for problem in problems for machine in problem.machines)
    assert any(problem.changeovers for problem in problems)
    assert any(pair.also_holds for pair in pairs)
    assert {len(problem.machines) for problem in problems} == {1, 2, 3}
