"""How many deadlines that can be met the search meets. The whole of it: `python -m tests.models.search.deadlines`.

A deadline is planted where a known schedule ends, with some slack, so it can be met. On small plants others are drawn
at random, and CP-SAT says which of those can be met. The first argument is the budget in milliseconds (default: what a
request has by default).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from deployments.contracts.requests.schedule_request import DEFAULT_BUDGET_MS
from env.errors import UnsupportedProblem
from env.instances.generator import Plant, random_problem
from env.objective import missed_seconds
from env.problem import Job, Objective, Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from models.policy.artefact import load_predictor
from models.policy.predictor import Predictor
from models.search.anytime import search
from tests.cpsat import proven_minimum

OPERATIONS = 12
SMALL_PROBLEMS, LARGE_PROBLEMS = 200, 100
MIN_LARGE_MET = 98
SLACK_SHARE = 0.05
"""Of the makespan: the most that a planted deadline leaves, none at the least."""
SHARES = (0.2, 0.5)
"""Of the jobs of a large plant that have a deadline, by turns; of a small one it may be each of them as well."""
EVERY_JOB = 1.0
PROOF_SECONDS = 3.0
SMALL = Plant(operations=(OPERATIONS, OPERATIONS), calendar_share=0.3, changeover_share=0.2, loaded_due_share=0.5)
LARGE = Plant(
    operations=(165, 175),
    machines=(20, 24),
    jobs_per_machine=(1.5, 5.0),
    calendar_share=0.3,
    changeover_share=0.2,
    loaded_due_share=0.5,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Problems whose deadlines can all be met, those that a policy pass alone and that the search met them in."""

    problems: int = 0
    met_by_pass: int = 0
    met: int = 0

    def and_of(self, predictor: Predictor, problem: Problem, budget_ms: int, iterations: int | None = None) -> Outcome:
        """With one more problem."""
        found = search(predictor, problem, budget_ms, iterations=iterations).schedule
        return Outcome(
            problems=self.problems + 1,
            met_by_pass=self.met_by_pass + (missed_seconds(problem, predictor.schedule(problem)) == 0),
            met=self.met + (missed_seconds(problem, found) == 0),
        )


def planted(rng: Generator, plant: Plant, predictor: Predictor, share: float) -> Problem:
    """A problem with deadlines that a rule, or a short search for the makespan, meets."""
    problem = random_problem(rng, replace(plant, objectives=tuple(Objective)))
    if rng.random() < 0.5:
        known = dispatch(problem, Rule(int(rng.integers(len(Rule)))))
    else:
        known = search(predictor, replace(problem, objective=Objective.MAKESPAN), 0, iterations=2_000).schedule
    slack = SLACK_SHARE * known.makespan_seconds

    def deadline(job: Job) -> int:
        return known.by_operation[job.operations[-1].id].end_seconds + round(slack * rng.random())

    return _with_deadlines(rng, problem, share, deadline)


def drawn(rng: Generator, plant: Plant, share: float) -> Problem:
    """A problem whose deadlines are some multiple of the work of each job; perhaps nobody can meet them."""
    problem = random_problem(rng, replace(plant, objectives=tuple(Objective)))
    known = dispatch(problem, Rule.COMPOSITE)
    return _with_deadlines(rng, problem, share, lambda job: round(_end_of(known, job) * rng.uniform(0.5, 1.2)))


def _end_of(schedule: Schedule, job: Job) -> int:
    return schedule.by_operation[job.operations[-1].id].end_seconds


def _with_deadlines(rng: Generator, problem: Problem, share: float, deadline: Callable[[Job], int]) -> Problem:
    return replace(
        problem,
        jobs=tuple(
            replace(job, operations=(*job.operations[:-1], replace(job.operations[-1], deadline_seconds=deadline(job))))
            if rng.random() < share
            else job
            for job in problem.jobs
        ),
    )


def can_be_met(problem: Problem) -> bool:
    """Whether CP-SAT knows within `PROOF_SECONDS` that all deadlines can be met."""
    bound = [operation.deadline_seconds is not None for operation in problem.operations]
    late = replace(
        problem,
        jobs=tuple(
            replace(
                job,
                operations=tuple(
                    replace(each, due_seconds=each.deadline_seconds, deadline_seconds=None) for each in job.operations
                ),
            )
            for job in problem.jobs
        ),
    )
    try:
        return proven_minimum(late, 0, [int(each) for each in bound], PROOF_SECONDS) == 0
    except (TimeoutError, UnsupportedProblem):
        return False


def small_problems(predictor: Predictor, count: int) -> Iterator[Problem]:
    """So many of `OPERATIONS` operations, planted and drawn by turns; the latter are those that CP-SAT can meet."""
    seed, found = 0, 0
    while found < count:
        rng, share = np.random.default_rng(seed), (*SHARES, EVERY_JOB)[seed % (len(SHARES) + 1)]
        is_planted = found % 2 == 0
        problem = planted(rng, SMALL, predictor, share) if is_planted else drawn(rng, SMALL, share)
        seed += 1
        if len(problem.operations) == OPERATIONS and (is_planted or can_be_met(problem)):
            found += 1
            yield problem


def large_problems(predictor: Predictor, count: int, shares: Sequence[float] = SHARES) -> Iterator[Problem]:
    """So many of about 170 operations with planted deadlines for these shares of the jobs, by turns."""
    for seed in range(count):
        yield planted(np.random.default_rng(seed), LARGE, predictor, shares[seed % len(shares)])


def _shown(name: str, problems: Iterator[Problem], predictor: Predictor, budget_ms: int) -> Outcome:
    outcome = Outcome()
    for problem in problems:
        outcome = outcome.and_of(predictor, problem, budget_ms)
    print(f"{name}: all deadlines met in {outcome.met} of {outcome.problems} ({outcome.met_by_pass} by the pass alone)")
    return outcome


def main() -> int:
    """0 where the search meets what it must."""
    budget_ms = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_BUDGET_MS
    predictor = load_predictor()
    print(f"budget {budget_ms} ms")
    small = _shown(f"{OPERATIONS} operations", small_problems(predictor, SMALL_PROBLEMS), predictor, budget_ms)
    large = _shown("170 operations", large_problems(predictor, LARGE_PROBLEMS), predictor, budget_ms)
    # More than anybody asks for: nearly no room is left, and often no search finds it.
    _shown("170, each job bound", large_problems(predictor, LARGE_PROBLEMS, [EVERY_JOB]), predictor, budget_ms)
    return 0 if small.met == small.problems and large.met >= MIN_LARGE_MET else 1


if __name__ == "__main__":
    sys.exit(main())
