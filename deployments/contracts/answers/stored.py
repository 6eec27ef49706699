"""Stored decisions as they are read back, plans in force, and the questions that they answered. Times are hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError, from_json

from deployments.contracts.answers.figures import Figures, figures_answer, figures_of
from deployments.contracts.parsing import read_leniently
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import SECONDS_PER_HOUR, AnswerModel, Text, WireModel
from deployments.contracts.translation.fixed_work import EarlierRow, as_schedule, earlier_rows
from deployments.contracts.translation.problem import Question
from deployments.errors import NotFound
from deployments.persistence.decisions.plan_run import PlanRun, RunState
from deployments.persistence.decisions.records import (
    DecisionRecord,
    EvaluationRecord,
    PlanInForce,
    ReleaseAction,
    ReleaseRecord,
)
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.state import Stage
from env.judge.judge import judge
from env.judge.verdict import quantity
from env.schedule import Schedule

MAX_REASON_LENGTH = 300


def _telling(reason: str) -> str:
    if not reason.strip():
        raise PydanticCustomError("blank", "must say why")
    return reason


Reason = Annotated[str, StringConstraints(strict=True, max_length=1000), AfterValidator(_telling)]


class AssignmentAnswer(AnswerModel):
    """What the arm was derived from, so that anyone can derive it again."""

    unit: str
    bucket: float
    seed: str
    hash_version: int
    stage: str
    share: float
    version: int = Field(description="of the rollout, 0 when it was not known")
    is_forced: bool = Field(description="whether the request chose its arm itself")
    job_list_sha256: str | None


class StoredDecision(AnswerModel):
    """One line of the list of decisions."""

    schedule_id: str
    created_at: datetime
    client: str | None = Field(
        None,
        exclude_if=lambda name: name is None,
        description="whose it is; told to keys across clients alone",
    )
    request_id: str | None
    plant_id: str | None
    line_id: str | None
    arm: str
    algorithm_used: str
    model: str | None
    fallback_reason: str | None
    optimization_objective: str
    time_budget_ms: int
    total_jobs: int
    total_machines: int
    generation_time: float
    metrics: Figures


class StoredDecisionPage(AnswerModel):
    """Decisions, newest first; `next_cursor` is null on the last page."""

    schedules: list[StoredDecision]
    next_cursor: str | None


class EvaluationAnswer(AnswerModel):
    """What one arm made of the request, served or not."""

    arm: str
    is_served: bool
    status: str
    outcome: str | None
    reason: str | None
    model: str | None
    baseline: str = Field(description="where a manual plan came from: rule or planner")
    violation_count: int
    violations: Any = Field(description="the first ones")
    proposal_ms: float | None
    judge_ms: float | None


class StoredDecisionDetail(StoredDecision):
    """One decision with everything that was kept of it."""

    assignment: AssignmentAnswer
    arms: dict[str, Figures | None] = Field(description="figures by arm; null for an arm that made no schedule")
    evaluations: list[EvaluationAnswer] = Field(description="what each arm made of the request, as far as it is known")
    request: Any = Field(description="the body of the request, null when it was not to be kept")
    answer: Any = Field(description="the body of the answer, null when it was not to be kept")


class BestSoFarAnswer(AnswerModel):
    """The best plan that was found so far."""

    makespan: float = Field(description="hours from schedule_start")
    gap: float = Field(description="by which share the makespan is above a proven lower bound: what can be gained yet")
    total_tardiness: float = Field(description="hours")
    found_after: float = Field(description="seconds of search until it was found")
    improvements: int = Field(description="how many plans before it were worse")


class PlanRunAnswer(AnswerModel):
    """A plan that nobody waits for, asked for by `Prefer: respond-async`."""

    schedule_id: str = Field(description="of the run, and of the decision that it comes to")
    state: RunState = Field(description="queued or running; done, stopped or failed in the end")
    time_budget_ms: int = Field(description="how long it is searched")
    created_at: datetime
    best: BestSoFarAnswer | None = Field(description="the best so far; null before the first")
    reason: str | None = Field(description="why it failed, or was stopped without a plan")


class PlannedRunAnswer(StoredDecisionDetail):
    """The decision that a plan came to which nobody waited for; `answer` is what would have been answered."""

    state: RunState = Field(description="done, or stopped before its time with the best so far")


class ReleaseRequest(WireModel):
    """Makes a schedule the plan in force of its plant and line, unless another one is than the caller believes."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(description="why; kept with who did it")
    expected: Text | None = Field(description="the schedule_id that is in force now; null: nothing is released yet")


class ReleaseAnswer(AnswerModel):
    """One step of the plan in force: a release, or one that was taken back."""

    plant_id: str = Field(description="the plant")
    line_id: str | None = Field(description="the line of the plant, null: it is planned without lines")
    version: int = Field(description="counts the steps of this plant and line from 1 on")
    action: Literal["release", "undo"] = Field(description="what was done: `undo` takes the release in force back")
    schedule_id: str | None = Field(description="in force from then on; null: nothing that was released")
    previous_schedule_id: str | None = Field(description="in force until then; null: nothing that was released")
    is_what_if: bool = Field(description="whether `schedule_id` was made as a what-if copy")
    actor: str = Field(description="who did it: the name of the key, or of its client")
    reason: str = Field(description="why, in the actor's words")
    created_at: datetime = Field(description="when it was done")


class ReleasePage(AnswerModel):
    """The steps of a plan in force, newest first."""

    releases: list[ReleaseAnswer] = Field(description="releases and what was taken back, newest first")
    next_cursor: str | None = Field(description="`cursor` of the next page, null on the last one")


class PlanAnswer(AnswerModel):
    """The plan in force of a plant and line."""

    plant_id: str = Field(description="the plant")
    line_id: str | None = Field(description="the line of the plant, null: it is planned without lines")
    schedule_id: str = Field(description="the schedule that is in force")
    is_released: bool = Field(description="false: nothing is released, so this is the newest one that is no what-if")
    release: ReleaseAnswer | None = Field(description="who put it in force, when and why; null unless it is released")
    note: str = Field(description="how the plan came to be in force, in a sentence")
    schedule: StoredDecisionDetail = Field(description="the schedule with its request and its answer")


def release_answer(record: ReleaseRecord) -> ReleaseAnswer:
    """One step in the words of the wire."""
    return ReleaseAnswer(
        plant_id=record.plant_id,
        line_id=record.line_id,
        version=record.version,
        action="undo" if record.action is ReleaseAction.UNDO else "release",
        schedule_id=record.decision_id,
        previous_schedule_id=record.previous_id,
        is_what_if=record.is_what_if,
        actor=record.actor,
        reason=record.reason,
        created_at=record.created_at,
    )


def plan_answer(plan: PlanInForce) -> PlanAnswer:
    """The plan in force, its bodies included."""
    decision, release = plan.decision, plan.release
    assert decision.plant_id is not None, "a plan is of a plant"
    note = "nothing is released here: this is the newest schedule that is no what-if"
    if decision.stage == Stage.SHADOW:
        note += ", made in shadow, where the floor sees only what is released"
    if release is not None:
        kind = "a what-if copy, released" if release.is_what_if else "released"
        note = f"{kind} by {release.actor}"
        if release.action is ReleaseAction.UNDO:
            note = f"in force again since {release.actor} took the release after it back"
    return PlanAnswer(
        plant_id=decision.plant_id,
        line_id=decision.line_id,
        schedule_id=decision.decision_id,
        is_released=release is not None,
        release=None if release is None else release_answer(release),
        note=note,
        schedule=stored_decision_detail(decision),
    )


def stored_decision(record: DecisionRecord, *, names_client: bool = False) -> StoredDecision:
    """One line of the list."""
    return StoredDecision(**_summary(record), client=record.client if names_client else None)


def stored_decision_detail(record: DecisionRecord, *, names_client: bool = False) -> StoredDecisionDetail:
    """One decision, its bodies included when they were kept."""
    arms: dict[str, Figures | None] = dict.fromkeys(arm.value for arm in ArmRole)
    arms |= {evaluation.arm: _figures(evaluation) for evaluation in record.evaluations}
    return StoredDecisionDetail(
        **_summary(record),
        client=record.client if names_client else None,
        assignment=AssignmentAnswer(
            unit=record.unit,
            bucket=record.bucket,
            seed=record.seed,
            hash_version=record.hash_version,
            stage=record.stage,
            share=record.share,
            version=record.rollout_version,
            is_forced=record.is_forced,
            job_list_sha256=record.job_list_sha256,
        ),
        arms=arms | {record.algorithm_used: figures_of(record)},
        evaluations=[evaluation_answer(evaluation) for evaluation in record.evaluations],
        request=None if record.request is None else from_json(record.request),
        answer=None if record.answer is None else from_json(record.answer),
    )


def plan_run_answer(run: PlanRun) -> PlanRunAnswer:
    """How a run stands, by its row alone."""
    best = run.best
    return PlanRunAnswer(
        schedule_id=run.run_id,
        state=run.state,
        time_budget_ms=run.budget_ms,
        created_at=run.created_at,
        best=None
        if best is None
        else BestSoFarAnswer(
            makespan=best.makespan_seconds / SECONDS_PER_HOUR,
            gap=best.gap,
            total_tardiness=best.tardiness_seconds / SECONDS_PER_HOUR,
            found_after=best.found_seconds,
            improvements=best.improvements,
        ),
        reason=run.reason,
    )


def planned_run_answer(record: DecisionRecord, run: PlanRun, *, names_client: bool = False) -> PlannedRunAnswer:
    """The decision of a run. It counts whatever the row says that did not hear of it."""
    state = RunState.STOPPED if run.state is RunState.STOPPED else RunState.DONE
    return PlannedRunAnswer(**dict(stored_decision_detail(record, names_client=names_client)), state=state)


def evaluation_answer(evaluation: EvaluationRecord) -> EvaluationAnswer:
    """One arm of a decision in the words of the wire."""
    return EvaluationAnswer(
        arm=evaluation.arm,
        is_served=evaluation.is_served,
        status=evaluation.status,
        outcome=evaluation.outcome,
        reason=evaluation.reason,
        model=evaluation.model,
        baseline=evaluation.baseline,
        violation_count=evaluation.violation_count,
        violations=from_json(evaluation.violations),
        proposal_ms=evaluation.proposal_ms,
        judge_ms=evaluation.judge_ms,
    )


def _summary(record: DecisionRecord) -> dict[str, Any]:
    return {
        "schedule_id": record.decision_id,
        "created_at": record.created_at,
        "request_id": record.request_id,
        "plant_id": record.plant_id,
        "line_id": record.line_id,
        "arm": record.arm,
        "algorithm_used": record.algorithm_used,
        "model": record.model,
        "fallback_reason": record.fallback_reason,
        "optimization_objective": record.objective,
        "time_budget_ms": record.time_budget_ms,
        "total_jobs": record.job_count,
        "total_machines": record.machine_count,
        "generation_time": record.generation_ms / 1000,
        "metrics": figures_of(record),
    }


def _figures(evaluation: EvaluationRecord) -> Figures | None:
    """The key figures of one arm, None when it made no schedule."""
    if evaluation.figures is None or evaluation.safety_score is None:
        return None
    return figures_answer(evaluation.figures, evaluation.safety_score)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuestion:
    """A decision as it was made; the judge accepts `schedule` for `question`."""

    request: ScheduleRequest
    question: Question
    schedule: Schedule


def kept_request(record: DecisionRecord) -> ScheduleRequest:
    """The request of a decision. Raises `NotFound` when it was not kept, or cannot be read."""
    if record.request is None:
        raise _not_kept(record)
    try:
        # As it was read when it was sent: what was understood then is understood for ever.
        return read_leniently(ScheduleRequest, from_json(record.request)).model
    except ValidationError as error:
        raise unreadable(record, f"its request has {quantity(error.error_count(), 'fault')}") from error
    except ValueError as error:
        raise unreadable(record, f"its request is no JSON: {error}") from error


def kept_rows(record: DecisionRecord) -> tuple[EarlierRow, ...]:
    """The rows of a decision's answer. Raises `NotFound` when they were not kept, or cannot be read."""
    if record.answer is None:
        raise _not_kept(record)
    try:
        return earlier_rows(record.answer)
    except ValueError as error:
        raise unreadable(record, str(error)) from error


def stored_question(record: DecisionRecord, request: ScheduleRequest, question: Question) -> StoredQuestion:
    """The decision `record`, whose request is `request` and asked `question`.

    Raises `NotFound` when the answer was not kept, cannot be read, or is no valid schedule of the question any more.
    """
    schedule = as_schedule(kept_rows(record), question.start)
    if not judge(question.problem, schedule).valid:
        raise unreadable(record, "the judge does not accept its schedule any more")
    return StoredQuestion(request=request, question=question, schedule=schedule)


def unreadable(record: DecisionRecord, reason: str) -> NotFound:
    """What to say of a decision that version, settings or plant data have left behind."""
    return NotFound(f"schedule {record.decision_id!r} cannot be read as it was made: {reason[:MAX_REASON_LENGTH]}")


def _not_kept(record: DecisionRecord) -> NotFound:
    return NotFound(f"schedule {record.decision_id!r} was made with save_to_database false: its payload was not kept")
