"""The answer of `GET /v1/schedules/{id}/compare/{other}`: what the other schedule would change."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from deployments.contracts.amounts import hours_of
from deployments.contracts.freezing import EarlierRow, as_schedule
from deployments.contracts.stored import Figures, figures_of
from deployments.contracts.wire import AnswerModel
from deployments.persistence.records import DecisionRecord
from env.comparison import Move, compare

Rows = tuple[EarlierRow, ...]


class Place(AnswerModel):
    """Where and when one schedule has a job."""

    machine_id: int
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
        row.job_id: Place(machine_id=row.machine_id, start_datetime=row.start_datetime, end_datetime=row.end_datetime)
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
    earlier = before.model_dump()
    difference = {name: value - earlier[name] for name, value in after.model_dump().items()}
    return FiguresBesideFigures(before=before, after=after, difference=Figures(**difference))
