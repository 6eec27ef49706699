"""What each objective weighs: one formula for reward, search, reports and publishing.

    value = makespan_weight * makespan + (tardiness_weight + tie_weight) * sum(w_i * L_i) / sum(w_i)
        + stability * changes + MISSED_WEIGHT * sum(M_i)

with L_i = 0 for an operation that is on time, else its tardiness past its own due date plus `late_seconds`.
`tardiness` keeps a hundredth of the makespan, so that of two schedules without a late operation the shorter
one wins; `balanced` counts an hour of mean tardiness as forty hours of makespan, which among 170 jobs of equal
weight makes one job that is an hour later as bad as a quarter of an hour of makespan. It counts being late at
all as two hours: by tardiness alone a few minutes late cost next to nothing, and many are a few minutes late.
On generated plants about a tenth fewer jobs are late for it, at the price of at most 1.1 % of makespan.
`changes` are the operations that leave the place an earlier plan gave them, `stability` is the problem's
`stability_seconds`.

`M_i` is 0 for an operation that meets its deadline, else how late it ends plus `MISSED_SECONDS` for missing it at
all. No objective gives up a deadline for anything else: the least that a miss costs is more than all else together
within fifty years. `makespan` counts tardiness by `tie_weight` alone, which only decides between schedules that
are equally long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from env.problem import Objective, Operation, Problem
from env.schedule import Schedule


class ObjectiveWeights(NamedTuple):
    """What a second of makespan and of mean weighted tardiness weigh, and the seconds that being late at all counts.

    `tie` is the weight of tardiness where only schedules that are equal otherwise are compared by it.
    """

    makespan: float
    tardiness: float
    late_seconds: int
    tie: float = 0.0


MISSED_SECONDS = 10_000
"""Added to how late an operation misses its deadline: it is better to miss few of them by more."""
MISSED_WEIGHT = 1e7
"""Of the sum over all missed deadlines. Small enough for a float to keep the seconds of the rest beside it."""
TIE_WEIGHT = 1e-6
"""A mean tardiness of eleven days weighs as much as a second of makespan."""
OBJECTIVE_WEIGHTS: dict[Objective, ObjectiveWeights] = {
    Objective.MAKESPAN: ObjectiveWeights(1.0, 0.0, 0, TIE_WEIGHT),
    Objective.TARDINESS: ObjectiveWeights(0.01, 1.0, 0),
    Objective.BALANCED: ObjectiveWeights(1.0, 40.0, 7_200),
}


def objective_value(problem: Problem, schedule: Schedule) -> float:
    """Value of a complete schedule in seconds; lower is better."""
    return value_besides_deadlines(problem, schedule) + MISSED_WEIGHT * missed_seconds(problem, schedule)


def value_besides_deadlines(problem: Problem, schedule: Schedule) -> float:
    """The same without what missed deadlines cost, which would drown everything else."""
    changes = problem.stability_seconds * change_count(problem, schedule) if problem.stability_seconds else 0.0
    return value_besides_changes(problem, schedule) + changes


def value_besides_changes(problem: Problem, schedule: Schedule) -> float:
    """The same without what leaving earlier places costs either: what the plan itself is worth."""
    weights = OBJECTIVE_WEIGHTS[problem.objective]
    done = schedule.by_operation
    weighted = sum(
        operation.weight * (done[operation.id].end_seconds - operation.due_seconds + weights.late_seconds)
        for operation in problem.operations
        if operation.due_seconds is not None and done[operation.id].end_seconds > operation.due_seconds
    )
    total_weight = sum(operation.weight for operation in problem.operations)
    value = weights.makespan * schedule.makespan_seconds
    value += (weights.tardiness + weights.tie) * weighted / total_weight
    return value


def missed_seconds(problem: Problem, schedule: Schedule) -> int:
    """What the objective counts of the missed deadlines of a complete schedule, 0 where all are met."""
    done = schedule.by_operation
    return sum(
        done[operation.id].end_seconds - operation.deadline_seconds + MISSED_SECONDS
        for operation in problem.operations
        if operation.deadline_seconds is not None and done[operation.id].end_seconds > operation.deadline_seconds
    )


def relative_gain(reference: float, value: float) -> float:
    """By which share of the larger one `value` lies below `reference`, both above 0; positive is better.

    Between -1 and 1, and with the sign turned when the two change places, so that neither the plants where a rule
    fails nor those where next to nothing is late decide a mean alone.
    """
    return (reference - value) / max(reference, value)


def change_count(problem: Problem, schedule: Schedule, operations: Iterable[Operation] | None = None) -> int:
    """Operations of a complete schedule that are not on the machine and at the second an earlier plan gave them.

    Of `operations`, where they are given.
    """
    done = schedule.by_operation
    return sum(
        (problem.machines[place.machine].id, place.start_seconds)
        != (done[operation.id].machine_id, done[operation.id].start_seconds)
        for operation in (problem.operations if operations is None else operations)
        if (place := operation.earlier_place) is not None
    )
