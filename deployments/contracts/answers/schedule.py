"""The answer of `POST /schedule`, and how measures and verdicts look on the wire. Times are hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from operator import is_, itemgetter

from pydantic import Field, TypeAdapter

from deployments.contracts.answers.calendar import CalendarAnswer, PauseAnswer
from deployments.contracts.answers.figures import Metrics
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import SECONDS_PER_HOUR, AnswerModel, hours_of, instants
from deployments.contracts.translation.open_hours import OpenHours, PlantHours
from deployments.contracts.translation.problem import Question
from env.judge.verdict import Anomaly, Verdict, Violation, amount, quantity
from env.objective import change_count
from env.problem import Job, Objective, Problem
from env.schedule import Assignment, Schedule, compare, setup_seconds_of

NOTICEABLE_SHARE = 0.01
"""Of the time that a plan takes from now on: longer for keeping places, and the answer says so."""


# Asked of each row, hence not a function of ours.
_is_absent = partial(is_, None)


class ScheduledJob(AnswerModel):
    """One job on its machine; `start_time` and `end_time` are hours from `schedule_start`."""

    job_id: str
    machine_id: int
    machine_name: str
    machine_ids: list[int] | None = Field(
        None, exclude_if=_is_absent, description="all machines that the job holds; only where it holds several"
    )
    start_time: float
    end_time: float
    start_datetime: datetime
    end_datetime: datetime
    setup_time_included: float
    working_hours: float = Field(description="of the setup and the job, without pauses")
    pauses: list[PauseAnswer] | None = Field(
        None, exclude_if=_is_absent, description="when the machine is closed in between; only where it is"
    )


_ROWS = TypeAdapter(list[ScheduledJob])


class DecisionAnswer(AnswerModel):
    """How the schedule came about; `arm` is the assigned arm, also when the other one had to serve."""

    arm: str
    stage: str
    model: str | None
    method: list[str]
    fallback_reason: str | None
    policy_makespan: float | None = Field(description="of the policy's first pass alone")
    gains: dict[str, float] = Field(
        description="hours by which each later stage lowered the objective, missed deadlines apart"
    )
    time_budget_ms: int = Field(description="what the request was given; less than it asked for under load")


class ViolationAnswer(AnswerModel):
    """One broken rule, by how many hours."""

    code: str
    job_id: str | None
    machine_id: int | None
    message: str
    by_hours: float


class AnomalyAnswer(AnswerModel):
    """One measure beyond its limit."""

    code: str
    message: str
    value: float
    limit: float


class SafetyAnswer(AnswerModel):
    """What the judge found."""

    valid: bool
    violations: list[ViolationAnswer]
    anomalies: list[AnomalyAnswer]
    safety_score: float


class ChangesAnswer(AnswerModel):
    """How many jobs differ from the schedule `previous_schedule_id`."""

    previous_schedule_id: str
    changed_jobs: int = Field(description="moved, added and removed jobs together")
    moved_jobs: int = Field(description="on another machine or at another time")
    added_jobs: int = Field(description="not in the previous schedule")
    removed_jobs: int = Field(description="only in the previous schedule")


class ScheduleAnswer(AnswerModel):
    """A complete, judged and durable schedule."""

    schedule_id: str
    request_id: str | None
    scheduled_jobs: list[ScheduledJob]
    metrics: Metrics
    generation_time: float = Field(description="seconds")
    algorithm_used: str = Field(description="the arm that served: ppo or manual")
    timestamp: datetime
    optimization_objective: str = Field(description="what was planned for, also where the request does not say it")
    zone: str = Field(description="the plant's time zone, by whose clock naive datetimes are read")
    calendar_used: CalendarAnswer
    warnings: list[str]
    changes: ChangesAnswer | None = Field(
        None, exclude_if=_is_absent, description="only where the request names previous_schedule_id"
    )
    decision: DecisionAnswer
    safety: SafetyAnswer


def scheduled_jobs_of(request: ScheduleRequest, question: Question, schedule: Schedule) -> list[ScheduledJob]:
    """Rows in the order of the request's jobs, with instants by the plant's clock."""
    problem, placed = question.problem, schedule.by_operation
    setups = setup_seconds_of(problem, schedule)
    names = {machine.id: machine.name for machine in problem.machines}
    together = machines_held(problem)
    rows = [placed[job.job_id] for job in request.jobs if job.job_id in placed]
    pauses = _pauses(question, schedule, rows, together)
    # Work begins where other work ends, and pauses where others do.
    seconds = {second for row in rows for second in (row.start_seconds, row.end_seconds)}
    seconds.update([second for found in pauses for pause in found for second in pause])
    moment = instants(question.start, seconds, question.zone)
    # All together: for each by itself pydantic is called through Python.
    return _ROWS.validate_python(
        [
            {
                "job_id": row.operation_id,
                "machine_id": row.machine_id,
                "machine_name": names[row.machine_id],
                "machine_ids": together.get(row.operation_id),
                "start_time": row.start_seconds / SECONDS_PER_HOUR,
                "end_time": row.end_seconds / SECONDS_PER_HOUR,
                "start_datetime": moment[row.start_seconds],
                "end_datetime": moment[row.end_seconds],
                "setup_time_included": setups[row.operation_id] / SECONDS_PER_HOUR,
                "working_hours": (row.end_seconds - row.start_seconds - sum([to - from_ for from_, to in paused]))
                / SECONDS_PER_HOUR,
                "pauses": [PauseAnswer(from_=moment[from_], to=moment[to]) for from_, to in paused] or None,
            }
            for row, paused in zip(rows, pauses, strict=True)
        ]
    )


def _pauses(
    question: Question, schedule: Schedule, rows: Sequence[Assignment], together: Mapping[str, list[int]]
) -> Sequence[Sequence[tuple[int, int]]]:
    """When the machines of each row are closed in between, as (from, to) in seconds."""
    problem = question.problem
    if problem.hours is None and not any(machine.closures for machine in problem.machines):
        return [()] * len(rows)
    index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
    span = (min((0, *(row.start_seconds for row in schedule.assignments))), schedule.makespan_seconds)
    plant = PlantHours(problem, start=question.start, zone=question.zone, span=span)

    @cache
    def hours_of_machines(*held: int) -> OpenHours:
        return plant.of(tuple(index_of[machine] for machine in held))

    return [
        hours_of_machines(*(together.get(row.operation_id) or (row.machine_id,))).pauses(
            row.start_seconds, row.end_seconds
        )
        for row in rows
    ]


def machines_held(problem: Problem) -> dict[str, list[int]]:
    """Operation id -> ids of all machines that it holds, for each operation that holds several."""
    return {
        operation.id: [problem.machines[machine].id for machine in choice.machines]
        for operation in problem.operations
        for choice in operation.alternatives
        if choice.also_holds
    }


def importance_warnings(problem: Problem, schedule: Schedule) -> tuple[str, ...]:
    """One sentence when important families end late in a schedule for the makespan, which weighs no due dates."""
    if problem.objective is not Objective.MAKESPAN:
        return ()
    done = schedule.by_operation
    late = [(job.id, seconds) for job in problem.jobs if (seconds := _important_lateness(job, done)) > 0]
    if not late:
        return ()
    count = "1 important family ends" if len(late) == 1 else f"{len(late):,} important families end"
    name, seconds = max(late, key=itemgetter(1))
    text = f"{count} after lcd_date, latest {name}, {amount(seconds)} after it: the objective is makespan, "
    return (text + "balanced and tardiness plan for due dates",)


def _important_lateness(job: Job, done: Mapping[str, Assignment]) -> int:
    """How long after its due date the latest work of an important family ends, 0 for any other family."""
    if not any(operation.is_important for operation in job.operations):
        return 0
    return max(
        done[operation.id].end_seconds - operation.due_seconds
        if operation.due_seconds is not None and operation.id in done
        else 0
        for operation in job.operations
    )


def stability_warnings(problem: Problem, schedule: Schedule, replanned: Schedule | None) -> tuple[str, ...]:
    """One sentence when keeping places of the earlier schedule costs more than `NOTICEABLE_SHARE`, or families' dates.

    `replanned` is the schedule that keeping nothing gave, None where there was nothing to keep.
    """
    if replanned is None:
        return ()
    losses = []
    later = schedule.makespan_seconds - replanned.makespan_seconds
    if later > NOTICEABLE_SHARE * replanned.makespan_seconds:
        losses.append(f"ends {amount(later)} later")
    late = _late_families(problem, schedule) - _late_families(problem, replanned)
    if late > 0:
        losses.append(f"has {quantity(late, 'more late family', 'more late families')}")
    movable = [operation for operation in problem.operations if operation.earlier_place and not operation.pin]
    kept = len(movable) - change_count(problem, schedule, movable)
    if not losses or not kept:
        return ()
    loss = " and ".join(losses)
    held = f"{kept:,} of the {quantity(len(movable), 'job')} that may move {'keeps' if kept == 1 else 'keep'}"
    remedy = "a lower stability_weight lets more of them move"
    return (f"the plan {loss} than one made anew, because {held} the place of previous_schedule_id: {remedy}",)


def _late_families(problem: Problem, schedule: Schedule) -> int:
    done = schedule.by_operation
    return sum(
        any(step.due_seconds is not None and done[step.id].end_seconds > step.due_seconds for step in job.operations)
        for job in problem.jobs
    )


def changes_of(request: ScheduleRequest, question: Question, schedule: Schedule) -> ChangesAnswer | None:
    """What the schedule changes against the earlier one, None when the request continues none."""
    if request.previous_schedule_id is None or question.earlier is None:
        return None
    found = compare(question.earlier, schedule)
    return ChangesAnswer(
        previous_schedule_id=request.previous_schedule_id,
        changed_jobs=found.change_count,
        moved_jobs=len(found.moved),
        added_jobs=len(found.added),
        removed_jobs=len(found.removed),
    )


def safety_of(verdict: Verdict) -> SafetyAnswer:
    """A verdict in the words of the wire."""
    return SafetyAnswer(
        valid=verdict.valid,
        violations=violations_of(verdict.violations),
        anomalies=anomalies_of(verdict.anomalies),
        safety_score=verdict.safety_score,
    )


def violations_of(violations: Iterable[Violation]) -> list[ViolationAnswer]:
    """Violations in the words of the wire."""
    return [
        ViolationAnswer(
            code=violation.code.value,
            job_id=violation.operation_id,
            machine_id=violation.machine_id,
            message=violation.message,
            by_hours=hours_of(violation.by_seconds),
        )
        for violation in violations
    ]


def anomalies_of(anomalies: Iterable[Anomaly]) -> list[AnomalyAnswer]:
    """Anomalies in the words of the wire."""
    return [
        AnomalyAnswer(code=anomaly.code.value, message=anomaly.message, value=anomaly.value, limit=anomaly.limit)
        for anomaly in anomalies
    ]
