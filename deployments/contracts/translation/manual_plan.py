"""The planner's own plan in a request -> a schedule that the judge can look at.

A planner says where and when work begins; that it ends once its setup and processing have had their open
time is arithmetic. Whatever is wrong with the plan is left in it, for the judge to name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from deployments.contracts.requests.schedule_request import ManualRow
from deployments.contracts.requests.wire import first_second_from
from deployments.contracts.translation.open_hours import PlantHours
from env.problem import Alternative, Operation, Problem
from env.schedule import Assignment, Schedule, alternative_on, changeover_seconds


def planned_schedule(
    rows: Sequence[ManualRow] | None, problem: Problem, plant: PlantHours, start: datetime
) -> Schedule | None:
    """The rows with their ends, in seconds from `start`; a naive instant is by its clock. None without rows."""
    if rows is None:
        return None
    plan = _Plan(problem, plant)
    placed = [(first_second_from(start, _by_the_clock_of(start, row.start_datetime)), row) for row in rows]
    # In the order of their starts, because a changeover depends on what its machines did before.
    for second, row in sorted(placed, key=lambda each: (each[0], each[1].job_id)):
        plan.place(row.job_id, row.machine_id, second)
    return Schedule(assignments=tuple(plan.assignments))


def plan_warnings(rows: Sequence[ManualRow] | None, problem: Problem) -> tuple[str, ...]:
    """One sentence for each kind of row that makes the plan useless, whoever serves: PPO does not look at it."""
    if rows is None:
        return ()
    named = Counter(row.job_id for row in rows)
    jobs = {operation.id: None for operation in problem.operations}
    machines = {machine.id for machine in problem.machines}
    faults = (
        ("names jobs that the request does not have", [job for job in named if job not in jobs]),
        ("puts jobs on machines that are not at work", [row.job_id for row in rows if row.machine_id not in machines]),
        ("names jobs twice", [job for job, count in named.items() if count > 1]),
        ("leaves jobs out", [job for job in jobs if job not in named]),
    )
    return tuple(
        f"manual_schedule {fault}, {len(found):,} of them, first is {found[0]}: the planner's rule takes its place"
        for fault, found in faults
        if found
    )


class _Plan:
    """Assignments so far, and the last work of each machine."""

    def __init__(self, problem: Problem, plant: PlantHours) -> None:
        self.assignments: list[Assignment] = []
        self._plant = plant
        self._operations = {operation.id: operation for operation in problem.operations}
        self._index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
        self._problem = problem
        self._last: dict[int, tuple[int, str | None]] = {}

    def place(self, job_id: str, machine_id: int, start: int) -> None:
        operation = self._operations.get(job_id)
        choice = None if operation is None else alternative_on(operation, self._index_of.get(machine_id))
        # Work that nobody knows, or that its machine cannot do, has no duration: any will do for the judge.
        end = start + 1 if operation is None or choice is None else self._end(operation, choice, start)
        if operation is not None and choice is not None:
            self._last.update(dict.fromkeys(choice.machines, (end, operation.setup_group)))
        self.assignments.append(
            Assignment(operation_id=job_id, machine_id=machine_id, start_seconds=start, end_seconds=end)
        )

    def _end(self, operation: Operation, choice: Alternative, start: int) -> int:
        if operation.pin is not None and operation.pin.end_seconds is not None:
            return operation.pin.end_seconds
        work = self._setup_seconds(operation, choice, start) + choice.processing_seconds
        end = self._plant.of(choice.machines).finish(start, work)
        return start + work if end is None else end

    def _setup_seconds(self, operation: Operation, choice: Alternative, start: int) -> int:
        """By the rule that `Problem` states, for work that does not overlap; what does is rejected anyway."""
        own, group = choice.setup_seconds, operation.setup_group
        if not self._problem.changeovers or group is None or operation.pin is not None:
            return own
        longest = 0
        for machine in choice.machines:
            end, before = self._last.get(machine, (start, None))
            known = before if end <= start else None
            longest = max(longest, changeover_seconds(self._problem, machine, known, group, own))
        return longest


def _by_the_clock_of(start: datetime, moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=start.tzinfo)
