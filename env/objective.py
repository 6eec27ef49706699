"""What each objective weighs: one formula for reward, search, reports and publishing.

    value = makespan_weight * makespan + tardiness_weight * sum(w_i * T_i) / sum(w_i) + stability * changes

with the tardiness T_i of each operation past its own due date, in seconds. `tardiness` keeps a
hundredth of the makespan, so that of two schedules without a late operation the shorter one wins;
`balanced` counts an hour of mean tardiness as forty hours of makespan, which among 170 jobs of equal weight
makes one job that is an hour late as bad as a quarter of an hour of makespan. `changes` are the operations
that leave the place an earlier plan gave them, `stability` is the problem's `stability_seconds`.
"""

from __future__ import annotations

from env.problem import Objective, Problem
from env.schedule import Schedule

OBJECTIVE_WEIGHTS: dict[Objective, tuple[float, float]] = {
    Objective.MAKESPAN: (1.0, 0.0),
    Objective.TARDINESS: (0.01, 1.0),
    Objective.BALANCED: (1.0, 40.0),
}


def objective_value(problem: Problem, schedule: Schedule) -> float:
    """Value of a complete schedule in seconds; lower is better."""
    makespan_weight, tardiness_weight = OBJECTIVE_WEIGHTS[problem.objective]
    done = schedule.by_operation
    weighted = sum(
        operation.weight * max(0, done[operation.id].end_seconds - operation.due_seconds)
        for operation in problem.operations
        if operation.due_seconds is not None
    )
    total_weight = sum(operation.weight for operation in problem.operations)
    value = makespan_weight * schedule.makespan_seconds + tardiness_weight * weighted / total_weight
    return value + problem.stability_seconds * change_count(problem, schedule)


def change_count(problem: Problem, schedule: Schedule) -> int:
    """Operations of a complete schedule that are not on the machine and at the second an earlier plan gave them."""
    done = schedule.by_operation
    return sum(
        (problem.machines[place.machine].id, place.start_seconds)
        != (done[operation.id].machine_id, done[operation.id].start_seconds)
        for operation in problem.operations
        if (place := operation.earlier_place) is not None
    )
