"""The key figures of a schedule in the words of the wire: as answered, and as read back. Amounts are hours."""

from __future__ import annotations

from pydantic import Field

from deployments.contracts.requests.wire import AnswerModel, hours_of
from deployments.persistence.decisions.records import DecisionRecord
from env.schedule import KeyFigures, Measures


class Metrics(AnswerModel):
    """What planners read off a schedule: hours and per cent."""

    makespan: float
    total_jobs: int
    scheduled_jobs: int
    completion_rate: float
    average_utilization: float = Field(description="busy time / time the machines were open until the makespan")
    total_setup_time: float
    important_jobs_on_time: float = Field(description="per cent of the families with an important job")
    jobs_on_time: float = Field(description="per cent of the families")
    total_tardiness: float
    flow_time_mean: float | None = Field(
        description="mean over the families that are scheduled as a whole: last end less the later of "
        "schedule_start and first release"
    )


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
    flow_time_mean: float | None = Field(description="null for what was stored before it was measured")


def metrics_of(measures: Measures) -> Metrics:
    """Measures in the words of the wire."""
    return Metrics(
        makespan=hours_of(measures.makespan_seconds),
        total_jobs=measures.operations,
        scheduled_jobs=measures.scheduled_operations,
        completion_rate=measures.completion_percent,
        average_utilization=measures.utilisation_percent,
        total_setup_time=hours_of(measures.setup_seconds),
        important_jobs_on_time=measures.important_on_time_percent,
        jobs_on_time=measures.on_time_percent,
        total_tardiness=hours_of(measures.tardiness_seconds),
        flow_time_mean=_hours_or_none(measures.flow_time_mean_seconds),
    )


def figures_answer(figures: KeyFigures, safety_score: float) -> Figures:
    """The key figures of a schedule in the words of the wire."""
    return Figures(
        makespan=hours_of(figures.makespan_seconds),
        completion_rate=figures.completion_percent,
        average_utilization=figures.utilisation_percent,
        total_setup_time=hours_of(figures.setup_seconds),
        jobs_on_time=figures.on_time_percent,
        important_jobs_on_time=figures.important_on_time_percent,
        total_tardiness=hours_of(figures.tardiness_seconds),
        safety_score=safety_score,
        flow_time_mean=_hours_or_none(figures.flow_time_mean_seconds),
    )


def figures_of(record: DecisionRecord) -> Figures:
    """The key figures of a decision, which are kept also when its payload is not."""
    return figures_answer(record.figures, record.safety_score)


def difference_of(before: Figures, after: Figures) -> Figures:
    """What is after less what was before; a figure that one of them lacks has none."""
    earlier, later = before.model_dump(), after.model_dump()
    known = {name for name in later if earlier[name] is not None and later[name] is not None}
    return Figures.model_validate({name: later[name] - earlier[name] if name in known else None for name in later})


def _hours_or_none(seconds: float | None) -> float | None:
    return None if seconds is None else hours_of(seconds)
