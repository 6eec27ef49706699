"""The key figures of a schedule in the words of the wire: as answered, and as read back. Amounts are hours."""

from __future__ import annotations

from pydantic import Field

from deployments.contracts.requests.wire import SECONDS_PER_HOUR, AnswerModel
from deployments.persistence.decisions.records import DecisionRecord
from env.schedule import KeyFigures, Measures

# What a key figure is called on the wire; seconds become hours.
_NAMES = {
    "makespan": "makespan_seconds",
    "completion_rate": "completion_percent",
    "average_utilization": "utilisation_percent",
    "total_setup_time": "setup_seconds",
    "jobs_on_time": "on_time_percent",
    "important_jobs_on_time": "important_on_time_percent",
    "total_tardiness": "tardiness_seconds",
    "flow_time_mean": "flow_time_mean_seconds",
}
_PERCENT_DIGITS = 4
_MILLISECOND_DIGITS = 7
"""Of hours: 0.36 ms."""
FAMILIES_ON_TIME = (
    "per cent of the families, not of the jobs: one is on time when each of its jobs ends by its own lcd_date"
)
IMPORTANT_FAMILIES_ON_TIME = "the same of the families with an important job; 100 where there is none"


class Metrics(AnswerModel):
    """What planners read off a schedule: hours and per cent."""

    makespan: float
    total_jobs: int
    scheduled_jobs: int
    completion_rate: float
    average_utilization: float = Field(
        description="busy time / time that the machines that some job may use were open until the makespan"
    )
    total_setup_time: float
    important_jobs_on_time: float = Field(description=IMPORTANT_FAMILIES_ON_TIME)
    jobs_on_time: float = Field(description=FAMILIES_ON_TIME)
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
    jobs_on_time: float = Field(description=FAMILIES_ON_TIME)
    important_jobs_on_time: float = Field(description=IMPORTANT_FAMILIES_ON_TIME)
    total_tardiness: float
    safety_score: float
    flow_time_mean: float | None = Field(description="null for what was stored before it was measured")


def metrics_of(measures: Measures) -> Metrics:
    """Measures in the words of the wire."""
    counts = {"total_jobs": measures.operations, "scheduled_jobs": measures.scheduled_operations}
    return Metrics.model_validate(_in_words(measures.key_figures) | counts)


def figures_answer(figures: KeyFigures, safety_score: float) -> Figures:
    """The key figures of a schedule in the words of the wire."""
    return Figures.model_validate(_in_words(figures) | {"safety_score": safety_score})


def figures_of(record: DecisionRecord) -> Figures:
    """The key figures of a decision, which are kept also when its payload is not."""
    return figures_answer(record.figures, record.safety_score)


def difference_of(before: Figures, after: Figures) -> Figures:
    """What is after less what was before, to the millisecond; a figure that one of them lacks has none.

    Hours are floats, and their difference shows digits that neither of them has.
    """
    earlier, later = before.model_dump(), after.model_dump()
    known = {name for name in later if earlier[name] is not None and later[name] is not None}
    return Figures.model_validate(
        {name: to_the_millisecond(later[name] - earlier[name]) if name in known else None for name in later}
    )


def to_the_millisecond(hours: float) -> float:
    """A difference of hours without what floats add to it."""
    return round(hours, _MILLISECOND_DIGITS)


def _in_words(figures: KeyFigures) -> dict[str, float | None]:
    """Hours as they are, so that they are whole seconds again; shares of many parts in four digits."""
    named = {word: getattr(figures, name) for word, name in _NAMES.items()}
    known = {word: name for word, name in _NAMES.items() if named[word] is not None}
    in_hours = {word: named[word] / SECONDS_PER_HOUR for word, name in known.items() if name.endswith("_seconds")}
    shares = {word: round(named[word], _PERCENT_DIGITS) for word, name in known.items() if name.endswith("_percent")}
    return named | in_hours | shares
