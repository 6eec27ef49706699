"""The report as one HTML page that needs nothing else: no script, no font, no file; its charts are inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from importlib.resources import files

from deployments.rollout.analysis.confidence import MIN_OBSERVATIONS, Interval
from deployments.rollout.analysis.outcomes import COMPARED_FIGURES, MAKESPAN, Baseline
from deployments.rollout.analysis.triggers import Guardrail, GuardrailReading, GuardrailRule
from deployments.rollout.report.report import Difference, RolloutReport, StageSpan, TrendPoint
from deployments.rollout.report.tables import (
    ABSENT,
    arms_table,
    change,
    evidence_table,
    feedback_table,
    goals_table,
    guardrails_table,
    health_table,
    history_table,
    integrity_table,
    losses_table,
    realised_table,
    table,
    words,
)

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 26, 30
ROW_HEIGHT = 34
LABEL_WIDTH = 230
VALUE_WIDTH = 280

Show = Callable[[float], str]
NOTABLE = {MAKESPAN: 0.15} | {name: figure.notable for name, figure in COMPARED_FIGURES.items()}
"""Half the width of the forest plot, for each KPI in its own unit."""


def page_of(report: RolloutReport, *, title: str = "Gantry rollout report") -> str:
    """The whole page. Text that comes from people or requests is escaped."""
    style = files("deployments.rollout.report").joinpath("report.css").read_text(encoding="utf-8")
    sections = (
        _headline(report),
        _section("Goals", goals_table(report.goals)),
        _section("What the windows show", evidence_table(report)),
        _section("Makespan against the champion, by windows", _trends(report)),
        _section("Complete schedules", _completion(report)),
        _section("Differences by windows", _differences(report)),
        _section("Guardrails", guardrails_table(report)),
        _section("Is the experiment sound?", integrity_table(report)),
        _section("Arms by stage", arms_table(report.arms_by_stage, "stage")),
        _section("Arms by week", arms_table(report.arms_by_week, "week")),
        _section("Requests without a pair", losses_table(report)),
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
            counted="windows",
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
    scale = "Each line has its own scale: the edges are 15 % of makespan, 8 h of tardiness, 10 points."
    return f"{chart}<p>{scale}</p>" + table(
        ("stage", "against", "measure", "95 % interval, this stage alone"), by_stage
    )


def _difference_text(difference: Difference) -> str:
    interval = difference.interval
    if interval is None:
        needed = "" if difference.name == MAKESPAN else f" of {MIN_OBSERVATIONS}"
        return f"{ABSENT} ({difference.n}{needed} windows)"
    counted = f"{interval.n:,} windows, {difference.lists:,} lists"
    if difference.name == MAKESPAN:
        return f"{change(interval.lower)} to {change(interval.upper)}, {counted}"
    factor, unit = (1 / 3600.0, " h") if difference.name.endswith("_seconds") else (1.0, "")
    return f"{factor * interval.lower:+.2f} to {factor * interval.upper:+.2f}{unit}, {counted}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """One line of a forest plot, in units in which 1 is the width of a notable change; None: not enough data."""

    label: str
    interval: Interval | None
    scale: float
    text: str
    is_more_better: bool


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values between `low` and `high` to pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def interval_chart(
    points: Sequence[TrendPoint],
    stages: Sequence[StageSpan],
    *,
    title: str,
    show: Show,
    reference: float,
    limit: float,
    limit_label: str,
    lowest: float = -math.inf,
    counted: str = "plans",
) -> str:
    """Estimate and interval over time, shaded by stage; `reference` and `limit` are horizontal lines.

    What lies below `lowest` is drawn at the edge: early bounds would flatten all that comes later.
    """
    if not points:
        return f'<p class="absent">{escape(title)}: not enough data</p>'
    begin = min([points[0].at, *(span.begin for span in stages)])
    # A single moment still needs a width.
    end = max([points[-1].at, begin + timedelta(minutes=1), *(span.end for span in stages)])
    across = _Axis(0.0, (end - begin).total_seconds(), LEFT, WIDTH - RIGHT)
    values = [value for point in points for value in (point.interval.lower, point.interval.upper)]
    up = _Axis(*_range([max(value, lowest) for value in (*values, reference, limit)]), HEIGHT - BOTTOM, TOP)

    def x(at: datetime) -> float:
        return across.at((at - begin).total_seconds())

    band = [f"{x(point.at):.1f},{up.at(point.interval.upper):.1f}" for point in points]
    band += [f"{x(point.at):.1f},{up.at(point.interval.lower):.1f}" for point in reversed(points)]
    line = [f"{x(point.at):.1f},{up.at(point.interval.estimate):.1f}" for point in points]
    last = points[-1]
    parts = [
        *(_stage(span, x(span.begin), x(span.end)) for span in stages),
        *_grid(up, show),
        *_dates(begin, end, x),
        f'<polygon class="band" points="{" ".join(band)}"/>',
        f'<polyline class="estimate" points="{" ".join(line)}"/>',
        f'<circle class="dot" cx="{x(last.at):.1f}" cy="{up.at(last.interval.estimate):.1f}" r="3.5"/>',
        _horizontal(up.at(reference), "reference", ""),
        _horizontal(up.at(limit), "limit", limit_label),
    ]
    now = f"{show(last.interval.estimate)}, between {show(last.interval.lower)} and {show(last.interval.upper)}"
    caption = f"{title}: {now}, n {last.interval.n:,} {counted}"
    return f"<figure><figcaption>{escape(caption)}</figcaption>{_svg(WIDTH, HEIGHT, caption, parts)}</figure>"


def forest(rows: Sequence[ForestRow], title: str) -> str:
    """Paired differences, one a line, each on its own scale; left of the middle the challenger has less."""
    height = TOP + ROW_HEIGHT * len(rows) + 8
    across = _Axis(-1.0, 1.0, LABEL_WIDTH, WIDTH - VALUE_WIDTH)
    parts = [
        f'<line class="reference" x1="{across.at(0):.1f}" x2="{across.at(0):.1f}" y1="{TOP - 6}" y2="{height - 8}"/>',
        f'<text x="{across.at(0) - 10:.1f}" y="{TOP - 10}" text-anchor="end">challenger has less</text>',
        f'<text x="{across.at(0) + 10:.1f}" y="{TOP - 10}">challenger has more</text>',
    ]
    for number, row in enumerate(rows):
        middle = TOP + ROW_HEIGHT * number + ROW_HEIGHT / 2
        parts.append(f'<text x="0" y="{middle + 4:.1f}">{escape(row.label)}</text>')
        parts.append(
            f'<text class="value" x="{WIDTH}" y="{middle + 4:.1f}" text-anchor="end">{escape(row.text)}</text>'
        )
        if row.interval is not None:
            parts.append(_whisker(row, row.interval, across, middle))
    return _svg(WIDTH, height, title, parts)


def _whisker(row: ForestRow, interval: Interval, across: _Axis, middle: float) -> str:
    low, high, estimate = (
        across.at(value / row.scale) for value in (interval.lower, interval.upper, interval.estimate)
    )
    is_sure = interval.lower > 0.0 or interval.upper < 0.0
    is_better = (interval.estimate > 0.0) == row.is_more_better
    kind = ("better" if is_better else "worse") if is_sure else "open"
    return (
        f'<g class="{kind}"><line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
        f'<line x1="{low:.1f}" x2="{low:.1f}" y1="{middle - 5:.1f}" y2="{middle + 5:.1f}"/>'
        f'<line x1="{high:.1f}" x2="{high:.1f}" y1="{middle - 5:.1f}" y2="{middle + 5:.1f}"/>'
        f'<circle cx="{estimate:.1f}" cy="{middle:.1f}" r="4.5"/></g>'
    )


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>\n{body}\n</svg>"
    )


def _stage(span: StageSpan, begin: float, end: float) -> str:
    """The background of one stage; its name only where there is room for it."""
    width, name = max(end - begin, 0.0), span.stage.replace("_", " ")
    label = f'<text class="stage-name" x="{begin + 4:.1f}" y="{TOP - 8}">{escape(name)}</text>'
    room = label if width > 7.0 * len(name) else ""
    return (
        f'<rect class="stage {escape(span.stage)}" x="{begin:.1f}" y="{TOP}" width="{width:.1f}" '
        f'height="{HEIGHT - TOP - BOTTOM}"><title>{escape(name)}</title></rect>{room}'
    )


def _grid(up: _Axis, show: Show) -> list[str]:
    step = _step(up.high - up.low)
    first = math.ceil(up.low / step)
    parts = []
    for number in range(first, math.floor(up.high / step) + 1):
        y = up.at(number * step)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(show(number * step))}</text>')
    return parts


def _dates(begin: datetime, end: datetime, x: Callable[[datetime], float]) -> list[str]:
    """Five dates along the bottom; times as well when the whole chart is a few days."""
    pattern = "%d %b" if end - begin > timedelta(days=4) else "%d %b %H:%M"
    moments = [begin + (end - begin) * part / 4 for part in range(5)]
    anchors = ("start", "middle", "middle", "middle", "end")
    return [
        f'<text x="{x(at):.1f}" y="{HEIGHT - 10}" text-anchor="{anchor}">{at.strftime(pattern)}</text>'
        for at, anchor in zip(moments, anchors, strict=True)
    ]


def _horizontal(y: float, kind: str, label: str) -> str:
    text = f'<text class="limit-name" x="{WIDTH - RIGHT - 4}" y="{y - 5:.1f}" text-anchor="end">{escape(label)}</text>'
    return f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>{text if label else ""}'


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.01
    return low - margin, high + margin


def _step(span: float) -> float:
    """A round number that divides `span` into about five."""
    raw = span / 5.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw)
