"""The report as one HTML page that needs nothing else: no script, no font, no file from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from deployments.rollout.analysis.confidence import MIN_OBSERVATIONS
from deployments.rollout.analysis.outcomes import COMPARED_FIGURES, Baseline
from deployments.rollout.analysis.triggers import Guardrail, GuardrailReading, GuardrailRule
from deployments.rollout.ramp.comparison import MAKESPAN
from deployments.rollout.report.charts import ForestRow, forest, interval_chart
from deployments.rollout.report.report import Difference, RolloutReport
from deployments.rollout.report.tables import (
    ABSENT,
    arms_table,
    change,
    feedback_table,
    goals_table,
    guardrails_table,
    health_table,
    history_table,
    integrity_table,
    realised_table,
    table,
    words,
)

NOTABLE = {MAKESPAN: 0.15} | {name: figure.notable for name, figure in COMPARED_FIGURES.items()}
"""Half the width of the forest plot, for each KPI in its own unit."""


def page_of(report: RolloutReport, *, title: str = "Gantry rollout report") -> str:
    """The whole page. Text that comes from people or requests is escaped."""
    style = files("deployments.rollout.report").joinpath("report.css").read_text(encoding="utf-8")
    sections = (
        _headline(report),
        _section("Goals", goals_table(report.goals)),
        _section("Makespan against the champion, in pairs", _trends(report)),
        _section("Complete schedules", _completion(report)),
        _section("Paired differences", _differences(report)),
        _section("Guardrails", guardrails_table(report)),
        _section("Is the experiment sound?", integrity_table(report)),
        _section("Arms by stage", arms_table(report.arms_by_stage, "stage")),
        _section("Arms by week", arms_table(report.arms_by_week, "week")),
        _section("Health", health_table(report)),
        _section("What really happened", realised_table(report)),
        _section("Feedback", feedback_table(report)),
        _section("History", history_table(report)),
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>\n{style}</style></head>\n<body><main><h1>{escape(title)}</h1>\n{''.join(sections)}</main></body></html>\n"
    )


def _headline(report: RolloutReport) -> str:
    state, gate = report.state, report.gate
    stage = state.stage.value.replace("_", " ")
    held = "" if state.held_stage is None else f" in {state.held_stage.value}"
    since = "the whole ramp" if report.since is None else f"since {report.since:%d %b %Y %H:%M} UTC"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in gate.texts)
    return (
        f'<section class="headline"><div><span class="verdict {gate.verdict.value.lower()}">{gate.verdict.value}</span>'
        f"<ul>{reasons}</ul></div><dl><dt>Stage</dt><dd>{escape(stage + held)}, {100 * state.share:g} % to "
        f"{escape(state.challenger)}</dd><dt>Champion</dt><dd>{escape(state.champion)}</dd>"
        f"<dt>Ramp, version</dt><dd>{state.ramp}, {state.version}</dd>"
        f"<dt>As of</dt><dd>{report.at:%d %b %Y %H:%M} UTC, figures of {since}</dd></dl></section>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>\n"


def _trends(report: RolloutReport) -> str:
    charts = [
        interval_chart(
            points,
            report.stages,
            title=f"Against the {baseline.value}",
            show=change,
            reference=0.0,
            limit=_limit(report.guardrails, Guardrail.MAKESPAN),
            limit_label="rollback",
        )
        for baseline, points in report.makespan_trend.items()
        if points or baseline is Baseline.RULE
    ]
    return f"{''.join(charts)}<p>Below the middle line the challenger is shorter. The band holds at every moment.</p>"


def _completion(report: RolloutReport) -> str:
    return interval_chart(
        report.completion_trend,
        report.stages,
        title="Complete schedules",
        show=lambda value: f"{100 * value:.0f} %",
        reference=1.0,
        limit=_limit(report.guardrails, Guardrail.COMPLETION),
        limit_label="rollback",
        lowest=0.85,
    )


def _limit(readings: Sequence[GuardrailReading], guardrail: Guardrail) -> float:
    return next(
        reading.limit for reading in readings if reading.guardrail is guardrail and reading.rule is GuardrailRule.BOUND
    )


def _differences(report: RolloutReport) -> str:
    kinds = {difference.baseline for difference in report.differences if difference.n} or {Baseline.RULE}
    shown = [difference for difference in report.differences if difference.baseline in kinds]
    rows = [
        ForestRow(
            label=f"{words(difference.name)}, {difference.baseline.value}",
            interval=difference.interval,
            scale=NOTABLE[difference.name],
            text=_difference_text(difference),
            is_more_better=difference.name != MAKESPAN and COMPARED_FIGURES[difference.name].is_more_better,
        )
        for difference in shown
    ]
    chart = forest(rows, "challenger less champion, 95 % intervals that hold at every moment")
    by_stage = (
        (
            (difference.stage or "").replace("_", " "),
            difference.baseline.value,
            words(difference.name),
            _difference_text(difference),
        )
        for difference in report.differences_by_stage
        if difference.interval is not None or difference.name == MAKESPAN
    )
    scale = (
        "Each line has its own scale: the edges are 15 % of makespan, 8 h of tardiness, 10 points, 5 of jobs placed."
    )
    return f"{chart}<p>{scale}</p>" + table(
        ("stage", "against", "measure", "95 % interval, this stage alone"), by_stage
    )


def _difference_text(difference: Difference) -> str:
    interval = difference.interval
    if interval is None:
        return f"{ABSENT} ({difference.n} of {MIN_OBSERVATIONS})"
    if difference.name == MAKESPAN:
        return f"{change(interval.lower)} to {change(interval.upper)}, n {interval.n:,}"
    factor, unit = (1 / 3600.0, " h") if difference.name.endswith("_seconds") else (1.0, "")
    return f"{factor * interval.lower:+.2f} to {factor * interval.upper:+.2f}{unit}, n {interval.n:,}"
