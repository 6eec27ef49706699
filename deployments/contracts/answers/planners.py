"""What planners ask about a schedule and say of it: comparison, explanation, feedback. Amounts are hours."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from deployments.contracts.answers.chart import gantt_html, gantt_svg
from deployments.contracts.answers.figures import Figures, difference_of, figures_of
from deployments.contracts.answers.plan_files import (
    KeptAnswer,
    PlanSheet,
    dispatch_html,
    plan_csv,
    plan_ics,
    plan_xlsx,
    sheet_of,
)
from deployments.contracts.answers.stored import StoredQuestion, kept_request, kept_rows, stored_question, unreadable
from deployments.contracts.requests.schedule_request import JobRequest, ScheduleRequest
from deployments.contracts.requests.wire import (
    INTEGRAL,
    AnswerModel,
    FreeText,
    Instant,
    Text,
    WireModel,
    hours_of,
    in_zone,
    instant,
)
from deployments.contracts.translation.fixed_work import EarlierRow, as_schedule
from deployments.contracts.translation.problem import Question, start_of, translate
from deployments.errors import InvalidRequest, NotFound
from deployments.persistence.decisions.records import DecisionRecord, FeedbackRecord
from env.errors import InvalidProblem
from env.insight.explanation import ExplainedStep, LateOperation, Outage, explain, sentence
from env.problem import Machine, WorkingHours
from env.schedule import Move, compare

Rows = tuple[EarlierRow, ...]
MAX_COMPLETIONS = 20_000
FIRST_YEAR, LAST_YEAR = 1970, 2200
Rating = Annotated[StrictInt, Field(ge=1, le=5), INTEGRAL]


class Place(AnswerModel):
    """Where and when one schedule has a job."""

    machine_id: int
    machine_name: str
    start_datetime: datetime
    end_datetime: datetime


class MovedJob(AnswerModel):
    """A job of both schedules, on another machine or at another time. Shifts are hours, positive when later."""

    job_id: str
    before: Place
    after: Place
    machine_changed: bool
    start_shift_hours: float
    end_shift_hours: float


class FiguresBesideFigures(AnswerModel):
    """Key figures of both, in hours and per cent; makespan counts from each one's own schedule_start."""

    before: Figures
    after: Figures
    difference: Figures = Field(description="after less before")


class ComparisonAnswer(AnswerModel):
    """What `other_id` (after) would change against `schedule_id` (before)."""

    schedule_id: str
    other_id: str
    metrics: FiguresBesideFigures
    change_count: int = Field(description="jobs that were moved, added or removed")
    unchanged_count: int
    moved_jobs: list[MovedJob]
    added_jobs: list[str]
    removed_jobs: list[str]


def comparison_answer(before: DecisionRecord, after: DecisionRecord, rows: Rows, other_rows: Rows) -> ComparisonAnswer:
    """The two decisions side by side; `rows` and `other_rows` are those of their answers."""
    # Any instant does, as long as it is the same for both: schedules may begin at different times.
    start = rows[0].start_datetime
    found = compare(as_schedule(rows, start), as_schedule(other_rows, start))
    places, other_places = _places(rows), _places(other_rows)
    return ComparisonAnswer(
        schedule_id=before.decision_id,
        other_id=after.decision_id,
        metrics=_figures(figures_of(before), figures_of(after)),
        change_count=found.change_count,
        unchanged_count=found.kept_count,
        moved_jobs=[
            _moved(move, places[move.before.operation_id], other_places[move.after.operation_id])
            for move in found.moved
        ],
        added_jobs=list(found.added),
        removed_jobs=list(found.removed),
    )


def _places(rows: Rows) -> dict[str, Place]:
    return {
        row.job_id: Place(
            machine_id=row.machine_id,
            machine_name=row.machine_name,
            start_datetime=row.start_datetime,
            end_datetime=row.end_datetime,
        )
        for row in rows
    }


def _moved(move: Move, before: Place, after: Place) -> MovedJob:
    return MovedJob(
        job_id=move.before.operation_id,
        before=before,
        after=after,
        machine_changed=move.changes_machine,
        start_shift_hours=hours_of(move.start_shift_seconds),
        end_shift_hours=hours_of(move.end_shift_seconds),
    )


def _figures(before: Figures, after: Figures) -> FiguresBesideFigures:
    return FiguresBesideFigures(before=before, after=after, difference=difference_of(before, after))


class JobAhead(AnswerModel):
    """A job that had the machine first, and for how much of the wait."""

    job_id: str
    hours: float


class OutageAnswer(AnswerModel):
    """When one machine could not work, such as a breakdown: the whole of it."""

    model_config = ConfigDict(serialize_by_alias=True)

    machine_id: int
    machine_name: str
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    reason: str


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
    unavailable: list[OutageAnswer] | None = Field(
        None,
        exclude_if=lambda found: found is None,
        description="the last closures of its machines alone, at most ten, in its wait or work; only where any are",
    )


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


def explanation_answer(schedule_id: str, decision: StoredQuestion) -> ExplanationAnswer:
    """Why jobs are late in the schedule of `decision`."""
    question = decision.question
    explanation = explain(question.problem, decision.schedule)
    machines = {machine.id: machine for machine in question.problem.machines}
    jobs = {job.job_id: job for job in decision.request.jobs}
    # A plant that never closes has a clock all the same.
    clock = question.problem.hours or WorkingHours(origin=question.start, zone=question.zone.key, breaks=())
    return ExplanationAnswer(
        schedule_id=schedule_id,
        late_jobs=[_late_job(late, question, machines, jobs, clock) for late in explanation.late],
        jobs_ahead=[StepAnswer(**_step(step, question, machines, jobs)) for step in explanation.ahead],
    )


def _late_job(
    late: LateOperation,
    question: Question,
    machines: Mapping[int, Machine],
    jobs: Mapping[str, JobRequest],
    clock: WorkingHours,
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
        message=sentence(late, machines[late.step.machine_id], clock),
    )


def _step(
    step: ExplainedStep, question: Question, machines: Mapping[int, Machine], jobs: Mapping[str, JobRequest]
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
        "unavailable": [_outage(outage, when) for outage in step.outages] or None,
    }


def _outage(outage: Outage, when: Callable[[int], datetime]) -> OutageAnswer:
    closure = outage.closure
    return OutageAnswer(
        machine_id=outage.machine.id,
        machine_name=outage.machine.name,
        from_=when(closure.start_seconds),
        to=when(closure.end_seconds),
        reason=closure.reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuedWork(ABC):
    """Work on `record`, by the plant's clock `zone`; `earlier` is the decision that it continues, once looked for."""

    record: DecisionRecord
    zone: ZoneInfo
    earlier: DecisionRecord | None = None
    is_earlier_known: bool = False

    def answer(self) -> bytes | str:
        """What was asked for; or the id of the decision that must be looked for first. Raises `NotFound`."""
        request = kept_request(self.record)
        if request.previous_schedule_id is not None and not self.is_earlier_known:
            return request.previous_schedule_id
        return self._made(request)

    @abstractmethod
    def _made(self, request: ScheduleRequest) -> bytes: ...

    def _question(self, request: ScheduleRequest) -> Question:
        """What was asked when it was decided. Raises `InvalidProblem` where it would be refused now."""
        rows = None if self.earlier is None or self.earlier.answer is None else kept_rows(self.earlier)
        return translate(request, zone=self.zone, now=self.record.created_at, earlier=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationWork(ContinuedWork):
    """Work: why jobs of `record` are late, as JSON."""

    def _made(self, request: ScheduleRequest) -> bytes:
        try:
            question = self._question(request)
        except InvalidProblem as error:
            # The request was good when it was decided; that it is refused now is no fault of whoever asks.
            raise unreadable(self.record, str(error)) from error
        found = explanation_answer(self.record.decision_id, stored_question(self.record, request, question))
        return found.model_dump_json().encode()


class PlanFile(StrEnum):
    """A file that a plan is had as."""

    GANTT_SVG = "gantt.svg"
    GANTT_HTML = "gantt.html"
    PLAN_CSV = "plan.csv"
    PLAN_XLSX = "plan.xlsx"
    PLAN_ICS = "plan.ics"
    DISPATCH_CSV = "dispatch.csv"
    DISPATCH_HTML = "dispatch.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFileWork(ContinuedWork):
    """Work: the schedule of `record` as a file; of `machine_id` alone where it is given."""

    file: PlanFile
    machine_id: int | None = None

    def _made(self, request: ScheduleRequest) -> bytes:
        record = self.record
        kept_rows(record)
        question: Question | None = None
        # Where it would be refused now, the plan is shown without closed hours.
        with suppress(InvalidProblem):
            question = self._question(request)
        start = start_of(request, zone=self.zone, now=record.created_at) if question is None else question.start
        line = f", line {record.line_id}" if record.line_id else ""
        sheet = sheet_of(
            KeptAnswer.model_validate_json(record.answer or b""),
            request,
            question,
            start=start,
            zone=self.zone,
            name=record.decision_id,
            title=f"{record.plant_id or 'plan'}{line}: plan of {start:%a %d %b %Y %H:%M}",
        )
        if self.machine_id is not None and all(self.machine_id != machine.id for machine in sheet.machines):
            raise NotFound(f"schedule {record.decision_id!r} has no machine {self.machine_id}")
        return self._written(sheet)

    def _written(self, sheet: PlanSheet) -> bytes:
        match self.file:
            case PlanFile.GANTT_SVG:
                return gantt_svg(sheet)
            case PlanFile.GANTT_HTML:
                return gantt_html(sheet)
            case PlanFile.PLAN_CSV:
                return plan_csv(sheet)
            case PlanFile.PLAN_XLSX:
                return plan_xlsx(sheet)
            case PlanFile.PLAN_ICS:
                return plan_ics(sheet, self.record.created_at)
            case PlanFile.DISPATCH_CSV:
                return plan_csv(sheet, is_dispatch=True, machine_id=self.machine_id)
            case PlanFile.DISPATCH_HTML:
                return dispatch_html(sheet, self.machine_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonWork:
    """Work: what `after` would change of `before`."""

    before: DecisionRecord
    after: DecisionRecord

    def answer(self) -> bytes:
        """The JSON. Raises `NotFound`."""
        before, after = self.before, self.after
        return comparison_answer(before, after, kept_rows(before), kept_rows(after)).model_dump_json().encode()


class ActualCompletion(WireModel):
    """When a job of the schedule was really done."""

    job_id: Text
    completed_at: Instant


class FeedbackRequest(WireModel):
    """What a planner or the shop floor has to say; at least one of the three."""

    model_config = ConfigDict(extra="forbid")

    rating: Rating | None = Field(None, description="1 useless to 5 as I would have done it")
    comment: FreeText | None = None
    actual_completions: list[ActualCompletion] = Field(
        default_factory=list, max_length=MAX_COMPLETIONS, description="naive instants are by the plant's clock"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rating is None and not self.comment and not self.actual_completions:
            raise PydanticCustomError("empty", "must have a rating, a comment or actual_completions")
        return self


class FeedbackAnswer(AnswerModel):
    """The feedback is on disk, and reaches the database as decisions do."""

    feedback_id: str
    schedule_id: str
    rating: int | None
    comment: str | None
    actual_completions: int = Field(description="how many were taken")
    timestamp: datetime
    warnings: list[str]


def feedback_record(
    feedback: FeedbackRequest,
    decision: DecisionRecord,
    *,
    author: str,
    feedback_id: str,
    now: datetime,
    zone: ZoneInfo,
) -> FeedbackRecord:
    """The feedback as it is stored.

    Raises `InvalidRequest` for jobs that the schedule does not have, `NotFound` when its jobs cannot be read.
    """
    _refuse_strangers(feedback, decision)
    completions = [
        {"job_id": each.job_id, "completed_at": in_zone(each.completed_at, zone).astimezone(UTC).isoformat()}
        for each in feedback.actual_completions
    ]
    return FeedbackRecord(
        feedback_id=feedback_id,
        decision_id=decision.decision_id,
        client=decision.client,
        created_at=now,
        rating=feedback.rating,
        comment=feedback.comment,
        actual_completions=json.dumps(completions, ensure_ascii=False),
        author=author,
    )


def feedback_answer(record: FeedbackRecord, feedback: FeedbackRequest, warnings: tuple[str, ...]) -> FeedbackAnswer:
    """What is said back."""
    return FeedbackAnswer(
        feedback_id=record.feedback_id,
        schedule_id=record.decision_id,
        rating=record.rating,
        comment=record.comment,
        actual_completions=len(feedback.actual_completions),
        timestamp=record.created_at,
        warnings=list(warnings),
    )


def _refuse_strangers(feedback: FeedbackRequest, decision: DecisionRecord) -> None:
    """Each job once, at an instant that a calendar knows, and of this schedule as far as its answer was kept."""
    known = None if decision.answer is None else {row.job_id for row in kept_rows(decision)}
    seen: set[str] = set()
    reasons = []
    for index, each in enumerate(feedback.actual_completions):
        field = f"actual_completions[{index}]"
        if each.job_id in seen:
            reasons.append((f"{field}.job_id", f"must be unique, was {each.job_id!r} again"))
        elif known is not None and each.job_id not in known:
            reasons.append((f"{field}.job_id", f"must be a job of the schedule, was {each.job_id!r}"))
        if not FIRST_YEAR < each.completed_at.year < LAST_YEAR:
            written = each.completed_at.isoformat()
            reasons.append(
                (f"{field}.completed_at", f"must be after {FIRST_YEAR} and before {LAST_YEAR}, was {written}")
            )
        seen.add(each.job_id)
    if reasons:
        raise InvalidRequest(tuple(reasons))
