"""The answer of `GET /v1/schedules/{id}/explanation`: where the time of each late job went. Amounts are hours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from deployments.contracts.amounts import hours_of, in_zone, instant
from deployments.contracts.request import JobRequest
from deployments.contracts.revisiting import Revisited
from deployments.contracts.translation import Question
from deployments.contracts.wire import AnswerModel
from env.explanation import LateOperation, Step, explain, sentence
from env.problem import Machine


class JobAhead(AnswerModel):
    """A job that had the machine first, and for how much of the wait."""

    job_id: str
    hours: float


class StepAnswer(AnswerModel):
    """Where the time of one job went: its amounts (load is part of machine) add up to the time from ready to end."""

    job_id: str
    family_id: str | None
    machine_id: int
    machine_name: str
    ready_datetime: datetime = Field(description="when the job ahead of it in its family had ended")
    start_datetime: datetime
    end_datetime: datetime
    material_hours: float = Field(description="waiting for release_at")
    machine_hours: float = Field(description="waiting for a machine that was busy; includes load_hours")
    load_hours: float = Field(description="waiting for the current_load of a machine")
    closed_hours: float = Field(description="breaks and other closed hours, while waiting and while working")
    idle_hours: float = Field(description="machine open and free: gap too short, job pinned, or left so by the plan")
    setup_hours: float
    processing_hours: float
    behind: list[JobAhead] = Field(description="the last jobs that it waited behind, at most ten, in order of time")
    behind_count: int = Field(description="how many jobs it waited behind in all")


class LateJobAnswer(StepAnswer):
    """A job that ends after its lcd_date.

    `previous_sequence_hours` and the amounts of the row, less `available_hours`, are `late_hours`.
    """

    previous_job_id: str | None = Field(description="the job ahead of it in its family; it has a row of its own")
    previous_sequence_hours: float = Field(description="from the start of the account until that job had ended")
    lcd_date: datetime
    late_hours: float
    available_hours: float = Field(description="from the start of the account until lcd_date; may be negative")
    message: str


class ExplanationAnswer(AnswerModel):
    """Every late job, and the jobs ahead of them in their families that are not late themselves.

    The account of a family begins at schedule_start, or at the start of work that was running before.
    """

    schedule_id: str
    late_jobs: list[LateJobAnswer]
    jobs_ahead: list[StepAnswer]


def explanation_answer(schedule_id: str, decision: Revisited) -> ExplanationAnswer:
    """Why jobs are late in the schedule of `decision`."""
    question = decision.question
    explanation = explain(question.problem, decision.schedule)
    machines = {machine.id: machine for machine in question.problem.machines}
    jobs = {job.job_id: job for job in decision.request.jobs}
    return ExplanationAnswer(
        schedule_id=schedule_id,
        late_jobs=[_late_job(late, question, machines, jobs) for late in explanation.late],
        jobs_ahead=[StepAnswer(**_step(step, question, machines, jobs)) for step in explanation.ahead],
    )


def _late_job(
    late: LateOperation, question: Question, machines: Mapping[int, Machine], jobs: Mapping[str, JobRequest]
) -> LateJobAnswer:
    lcd_date = jobs[late.step.operation_id].lcd_date
    assert lcd_date is not None, "only what has a due date can be late"
    return LateJobAnswer(
        **_step(late.step, question, machines, jobs),
        previous_job_id=late.previous_id,
        previous_sequence_hours=hours_of(late.previous_seconds),
        # As it was sent: a date such as 0001-01-01 does not survive a change of zone.
        lcd_date=in_zone(lcd_date, question.zone),
        late_hours=hours_of(late.lateness_seconds),
        available_hours=hours_of(late.available_seconds),
        message=sentence(late, machines[late.step.machine_id], question.problem.hours),
    )


def _step(
    step: Step, question: Question, machines: Mapping[int, Machine], jobs: Mapping[str, JobRequest]
) -> dict[str, Any]:
    def when(seconds: int) -> datetime:
        return instant(question.start, seconds, question.zone)

    return {
        "job_id": step.operation_id,
        "family_id": jobs[step.operation_id].family_id,
        "machine_id": step.machine_id,
        "machine_name": machines[step.machine_id].name,
        "ready_datetime": when(step.ready_seconds),
        "start_datetime": when(step.start_seconds),
        "end_datetime": when(step.end_seconds),
        "material_hours": hours_of(step.material_seconds),
        "machine_hours": hours_of(step.machine_seconds),
        "load_hours": hours_of(step.load_seconds),
        "closed_hours": hours_of(step.closed_seconds + step.paused_seconds),
        "idle_hours": hours_of(step.idle_seconds),
        "setup_hours": hours_of(step.setup_seconds),
        "processing_hours": hours_of(step.processing_seconds),
        "behind": [JobAhead(job_id=ahead.operation_id, hours=hours_of(ahead.seconds)) for ahead in step.ahead],
        "behind_count": step.ahead_count,
    }
