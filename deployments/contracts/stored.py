"""Stored decisions as they are read back. Times are hours, `generation_time` is seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field
from pydantic_core import from_json

from deployments.contracts.amounts import hours_of
from deployments.contracts.wire import AnswerModel
from deployments.persistence.records import DecisionRecord
from deployments.rollout.assignment import Arm


class Figures(AnswerModel):
    """Key figures of one arm's schedule."""

    makespan: float
    completion_rate: float
    average_utilization: float
    total_setup_time: float
    jobs_on_time: float
    important_jobs_on_time: float
    total_tardiness: float
    safety_score: float


class AssignmentAnswer(AnswerModel):
    """What the arm was derived from, so that anyone can derive it again."""

    unit: str
    bucket: float
    seed: str
    hash_version: int
    stage: str
    share: float


class StoredDecision(AnswerModel):
    """One line of the list of decisions."""

    schedule_id: str
    created_at: datetime
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


class StoredDecisionDetail(StoredDecision):
    """One decision with everything that was kept of it."""

    assignment: AssignmentAnswer
    arms: dict[str, Figures | None] = Field(description="figures by arm; null for an arm that made no schedule")
    request: Any = Field(description="the body of the request, null when it was not to be kept")
    answer: Any = Field(description="the body of the answer, null when it was not to be kept")


def stored_decision(record: DecisionRecord) -> StoredDecision:
    """One line of the list."""
    return StoredDecision(**_summary(record))


def stored_decision_detail(record: DecisionRecord) -> StoredDecisionDetail:
    """One decision, its bodies included when they were kept."""
    arms: dict[str, Figures | None] = dict.fromkeys(arm.value for arm in Arm)
    return StoredDecisionDetail(
        **_summary(record),
        assignment=AssignmentAnswer(
            unit=record.unit,
            bucket=record.bucket,
            seed=record.seed,
            hash_version=record.hash_version,
            stage=record.stage,
            share=record.share,
        ),
        arms=arms | {record.algorithm_used: figures_of(record)},
        request=None if record.request is None else from_json(record.request),
        answer=None if record.answer is None else from_json(record.answer),
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


def figures_of(record: DecisionRecord) -> Figures:
    """The key figures of a decision, which are kept also when its payload is not."""
    return Figures(
        makespan=hours_of(record.makespan_seconds),
        completion_rate=record.completion_percent,
        average_utilization=record.utilisation_percent,
        total_setup_time=hours_of(record.setup_seconds),
        jobs_on_time=record.on_time_percent,
        important_jobs_on_time=record.important_on_time_percent,
        total_tardiness=hours_of(record.tardiness_seconds),
        safety_score=record.safety_score,
    )
