from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from env.errors import UnsupportedProblem
from env.instances.generator import toy_problem
from env.judge.judge import violations
from env.objective import objective_value
from env.problem import Changeover, Closure, Job, Machine, Objective, Operation, Pin, Problem, WorkingHours
from env.simulator.rules import Rule, dispatch
from models.benchmark.cpsat import objective_weights, solve
from tests.cpsat import every_schedule, least_makespan, least_weighted_tardiness, weighted_tardiness
from tests.problems import DAY, HOUR, MINUTE, one_machine, operation

LATE_EVENING = WorkingHours(origin=datetime(2026, 1, 5, 22, 0, tzinfo=UTC))
SECONDS = 60.0


def _evening_problem(seed: int) -> Problem:
    """Five operations of up to four hours before, in and behind the supper and the night of the default plant."""
    rng = np.random.default_rng(seed)

    def step(id: str) -> Operation:
        return replace(
            operation(id, *range(int(rng.integers(1, 3))), seconds=int(rng.integers(1, 9)) * 30 * MINUTE),
            due_seconds=int(rng.integers(-1, 12)) * HOUR,
            release_seconds=int(rng.choice([0, 80 * MINUTE])),
            weight=float(rng.integers(1, 5)),
            setup_group=str(rng.choice(["red", "blue"])),
        )

    changes = (Changeover(before="red", after="blue", setup_seconds=20 * MINUTE),)
    return Problem(
        jobs=tuple(
            Job(id=name, operations=tuple(map(step, (f"{name}{index}" for index in range(count)))))
            for name, count in {"A": 2, "B": 2, "C": 1}.items()
        ),
        machines=(Machine(id=1, busy_seconds=int(rng.choice([0, HOUR]))), Machine(id=2)),
        hours=LATE_EVENING,
        changeovers=changes if seed % 2 else (),
    )


@pytest.mark.parametrize("seed", range(6))
def test_optimum_with_breaks_is_that_of_every_dispatch_sequence(seed: int) -> None:
    """Breaks delay the makespan and due dates by the wall clock, as in the best of all dispatch sequences."""
    problem = _evening_problem(seed)
    plans = list(every_schedule(problem))
    assert least_makespan(problem) == min(plan.makespan_seconds for plan in plans)
    assert least_weighted_tardiness(problem) == min(weighted_tardiness(problem, plan) for plan in plans)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("objective", list(Objective))
def test_solver_finds_the_optimum_of_each_objective(seed: int, objective: Objective) -> None:
    """What it proves to be best for an objective is the best of all dispatch sequences, and valid."""
    problem = replace(_evening_problem(seed), objective=objective)
    (found,) = solve(problem, [SECONDS], workers=1)
    assert found.is_proven
    assert found.schedule is not None
    assert violations(problem, found.schedule) == ()
    best = min(objective_value(problem, plan) for plan in every_schedule(problem))
    assert objective_value(problem, found.schedule) == pytest.approx(best)


def test_incumbents_are_those_of_their_budgets() -> None:
    """A budget that is over before the model is built has no schedule; the toy's optimum is proven well before 60 s."""
    none, proven = solve(toy_problem(), [1e-9, SECONDS])
    assert (none.schedule, none.is_proven, none.seconds) == (None, False, 1e-9)
    assert proven.schedule is not None
    assert proven.schedule.makespan_seconds == 5
    assert proven.is_proven
    assert proven.seconds < SECONDS


@pytest.mark.parametrize("hinted", [False, True])
def test_lean_model_gives_valid_schedules_and_claims_no_proof(hinted: bool) -> None:
    """With too many breaks to count, the solver still decides machines and order of a valid schedule."""
    works = [
        replace(operation(str(index), 0, 1, seconds=(100 + 9 * index) * HOUR), due_seconds=(9 - index) * DAY)
        for index in range(4)
    ]
    jobs = tuple(Job(id=each.id, operations=(each,)) for each in works)
    problem = Problem(
        jobs=jobs, machines=(Machine(id=1), Machine(id=2)), hours=LATE_EVENING, objective=Objective.TARDINESS
    )
    hint = dispatch(problem, Rule.COMPOSITE) if hinted else None
    (found,) = solve(problem, [SECONDS], hint=hint, workers=1)
    assert found.schedule is not None
    assert (found.is_exact, found.is_proven) == (False, False)
    assert violations(problem, found.schedule) == ()
    assert objective_value(problem, found.schedule) <= objective_value(problem, dispatch(problem, Rule.COMPOSITE))


def test_weights_keep_the_proportions_of_the_objective() -> None:
    """Balanced: an hour of mean tardiness weighs as forty of makespan; halves are counted in thousandths."""
    problem = one_machine(operation("A", weight=1.5), operation("B", weight=0.5))
    makespan, tardiness = objective_weights(replace(problem, objective=Objective.BALANCED))
    assert makespan * 40 * 1.5 / 2.0 == pytest.approx(tardiness[0])
    assert tardiness[0] == 3 * tardiness[1]
    assert objective_weights(problem) == (1, [0, 0])


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (one_machine(operation("A", pin=Pin(start_seconds=0))), "needs no pinned work"),
        (one_machine(operation("A", deadline_seconds=9)), "needs no deadlines"),
        (replace(one_machine(operation("A")), stability_seconds=1.0), "needs no earlier plan"),
        (one_machine(operation("A", interruptible=False), hours=LATE_EVENING), "needs one calendar for all machines"),
        (
            one_machine(
                operation("A", interruptible=False),
                closures=(Closure(start_seconds=1, end_seconds=2),),
                busy_seconds=1,
            ),
            "needs no busy machines",
        ),
    ],
)
def test_problem_beyond_the_model_is_refused(problem: Problem, message: str) -> None:
    """Whatever the model cannot say is named instead of being left out."""
    with pytest.raises(UnsupportedProblem, match=message):
        solve(problem, [1.0])
