"""All classes of corruption, and the table of how many the judge catches: `python -m tests.env.judge.mutations`.

A mutation changes one assignment by the smallest amount, or moves one requirement of the problem to the
other side of it, and knows what the judge must say about it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

from hypothesis import given, seed, settings

from env.problem import Problem
from env.schedule import Schedule
from tests.env.judge.feature_mutations import FEATURE_MUTATIONS
from tests.env.judge.plain_mutations import PLAIN_MUTATIONS
from tests.env.judge.victims import Mutant, Victim
from tests.problems import EVERY_FEATURE, solved_problems

TABLE_SCHEDULES = 200

MUTATIONS = PLAIN_MUTATIONS | FEATURE_MUTATIONS
"""Name -> mutation."""


def mutants_of(problem: Problem, schedule: Schedule) -> Iterable[tuple[str, Mutant]]:
    """Each class of corruption by name, made of each assignment that has a place for it."""
    for assignment in schedule.assignments:
        victim = Victim(problem=problem, schedule=schedule, assignment=assignment)
        for name, mutation in MUTATIONS.items():
            mutant = mutation(victim)
            if mutant is not None:
                yield name, mutant


def counts(schedules: int) -> tuple[Counter[str], Counter[str]]:
    """Mutants and caught ones by class, over so many random valid schedules with every feature."""
    made: Counter[str] = Counter()
    caught: Counter[str] = Counter()

    @seed(0)
    @given(solved=solved_problems(EVERY_FEATURE))
    @settings(max_examples=schedules, database=None, deadline=None)
    def count(solved: tuple[Problem, Schedule]) -> None:
        for name, mutant in mutants_of(*solved):
            made[name] += 1
            caught[name] += mutant.is_caught

    count()
    return made, caught


def table(made: Counter[str], caught: Counter[str]) -> str:
    """One line for each class, and one for all."""
    width = max(map(len, MUTATIONS))
    lines = [f"{name:<{width}} {made[name]:>8,} {caught[name]:>8,}" for name in MUTATIONS]
    head = f"{'class':<{width}} {'mutants':>8} {'caught':>8}"
    return "\n".join((head, *lines, f"{f'all {len(MUTATIONS)}':<{width}} {made.total():>8,} {caught.total():>8,}"))


if __name__ == "__main__":
    made, caught = counts(TABLE_SCHEDULES)
    print(table(made, caught))
    sys.exit(made != caught or len(made) < len(MUTATIONS))
