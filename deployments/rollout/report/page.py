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
from deployments.rollout.ramp.gate import odds_text
from deployments.rollout.report.report import (
    Difference,
    RolloutReport,
    StageLosses,
    StageSpan,
)
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
from deployments.rollout.report.trends import Charts, StratumFinding, TrendPoint

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 26, 30
ROW_HEIGHT = 34
LABEL_WIDTH = 230
VALUE_WIDTH = 280
EVIDENCE_RIGHT = 142
MAX_LABEL = 34

MAX_MARK = 0.3
MAX_STRATA = 24
"""Kinds of lists that are drawn: of more, those that the gate names and those that are longest."""
LIMIT_OF_LOSSES = 0.02
BAR_HEIGHT, BAR_GAP, CAUSE_HEIGHT = 12, 4, 40
EVIDENCE_NAMES = {"better": "shorter plans", "not better by 2 %": "not shorter by 2 %", "harm": "longer by over {:g} %"}
"""What each question is called; that of harm by its limit in per cent."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Show = Callable[[float], str]
NOTABLE = {MAKESPAN: 0.15} | {name: figure.notable for name, figure in COMPARED_FIGURES.items()}
"""Half the width of the forest plot, for each KPI in its own unit."""


def page_of(report: RolloutReport, *, title: str = "Gantry rollout report") -> str:
    """The whole page. Text that comes from people or requests is escaped."""
    style = files("deployments.rollout.report").joinpath("report.css").read_text(encoding="utf-8")
    sections = (
        _headline(report),
        _section("Goals", goals_table(report.goals)),
        _section("What the windows show", evidence_table(report) + _evidence(report)),
        _section("Makespan against the champion, by windows", _trends(report)),
        _section("Complete schedules", _completion(report)),
        _section("Differences by windows", _differences(report)),
        _section("Kinds of lists", _strata(report.charts.strata)),
        _section("Guardrails", guardrails_table(report)),
        _section("Is the experiment sound?", integrity_table(report)),
        _section("Arms by stage", arms_table(report.arms_by_stage, "stage")),
        _section("Arms by week", arms_table(report.arms_by_week, "week")),
        _section("Requests without a pair", _losses(report) + losses_table(report)),
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
    back = f"<dt>Stay on the champion</dt><dd>{escape(', '.join(state.held_back))}</dd>" if state.held_back else ""
    since = "the whole ramp" if report.since is None else f"since {report.since:%d %b %Y %H:%M} UTC"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in gate.texts)
    return (
        f'<section class="headline"><div><span class="verdict {gate.verdict.value.lower()}">{gate.verdict.value}</span>'
        f"<ul>{reasons}</ul></div><dl><dt>Stage</dt><dd>{escape(stage + held)}, {100 * state.share:g} % to "
        f"{escape(state.challenger)}</dd><dt>Champion</dt><dd>{escape(state.champion)}</dd>{back}"
        f"<dt>Ramp, version</dt><dd>{state.ramp}, {state.version}</dd>"
        f"<dt>As of</dt><dd>{report.at:%d %b %Y %H:%M} UTC, figures of {since}</dd></dl></section>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>\n"


def _evidence(report: RolloutReport) -> str:
    return evidence_chart(report.charts, report.stages, _limit(report.guardrails, Guardrail.MAKESPAN))


def _losses(report: RolloutReport) -> str:
    stage = report.state.serving_stage
    return losses_chart(report.losses, stage.value if stage.is_on_ramp else None)


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
            marks=report.charts.changes[baseline],
        )
        for baseline, points in report.makespan_trend.items()
        if points or baseline is Baseline.RULE
    ]
    note = "Below the middle line the challenger is shorter. Each ring is a window; the band holds at every moment."
    return f"{''.join(charts)}<p>{note}</p>"


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


def _strata(strata: Sequence[StratumFinding]) -> str:
    if not strata:
        return f'<p class="absent">{ABSENT}: no stored window says which kinds of lists it has</p>'
    worst = sorted(strata, key=_place_of)
    rows = [
        ForestRow(
            label=_shortened(each.name),
            interval=each.interval,
            scale=NOTABLE[MAKESPAN],
            text=_stratum_text(each),
            is_more_better=False,
        )
        for each in worst[:MAX_STRATA]
    ]
    more = f" {len(strata) - MAX_STRATA} more are shorter, or have too few windows." if len(strata) > MAX_STRATA else ""
    scale = f"The edges are 15 % of makespan. A kind that is shown to be worse by more than 2 % holds promotion.{more}"
    return f"{forest(rows, 'makespan by kinds of lists, challenger less champion, 95 % intervals')}<p>{scale}</p>"


def _place_of(stratum: StratumFinding) -> tuple[bool, float]:
    """Those that the gate names first, then the longest; those of which too little is known last."""
    return not stratum.is_worse, math.inf if stratum.interval is None else -stratum.interval.estimate


def _stratum_text(stratum: StratumFinding) -> str:
    if stratum.interval is None:
        return f"{ABSENT} ({stratum.n} windows)"
    named = ", worse" if stratum.is_worse else ""
    return f"{change(stratum.interval.lower)} to {change(stratum.interval.upper)}, {stratum.n:,} windows{named}"


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_LABEL else f"{name[: MAX_LABEL - 1]}…"


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
    marks: Sequence[tuple[datetime, float]] = (),
) -> str:
    """Estimate and interval over time, shaded by stage; `reference` and `limit` are horizontal lines.

    `marks` are single observations; one that lies further out than `MAX_MARK` is drawn there. What lies below
    `lowest` is drawn at the edge: early bounds would flatten all that comes later.
    """
    if not points:
        return f'<p class="absent">{escape(title)}: not enough data</p>'
    begin = min([points[0].at, *(span.begin for span in stages)])
    # A single moment still needs a width.
    end = max([points[-1].at, begin + timedelta(minutes=1), *(span.end for span in stages)])
    across = _Axis(0.0, (end - begin).total_seconds(), LEFT, WIDTH - RIGHT)
    values = [value for point in points for value in (point.interval.lower, point.interval.upper)]
    values += [min(max(value, -MAX_MARK), MAX_MARK) for _, value in marks]
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
        *(f'<circle class="mark" cx="{x(at):.1f}" cy="{up.at(value):.1f}" r="2.5"/>' for at, value in marks),
        f'<polygon class="band" points="{" ".join(band)}"/>',
        f'<polyline class="estimate" points="{" ".join(line)}"/>',
        f'<circle class="dot" cx="{x(last.at):.1f}" cy="{up.at(last.interval.estimate):.1f}" r="3.5"/>',
        _horizontal(up.at(reference), "reference", ""),
        _horizontal(up.at(limit), "limit", limit_label),
    ]
    now = f"{show(last.interval.estimate)}, between {show(last.interval.lower)} and {show(last.interval.upper)}"
    caption = f"{title}: {now}, n {last.interval.n:,} {counted}"
    return f"<figure><figcaption>{escape(caption)}</figcaption>{_svg(WIDTH, HEIGHT, caption, parts)}</figure>"


def evidence_chart(charts: Charts, stages: Sequence[StageSpan], harm_limit: float) -> str:
    """The odds of each question over time on a logarithmic scale, and the line at which each is answered.

    `harm_limit` is the relative change beyond which plans do harm.
    """
    points = charts.evidence
    names = {name: label.format(100.0 * harm_limit) for name, label in EVIDENCE_NAMES.items()}
    if not points:
        return f'<p class="absent">Evidence over time: {ABSENT}</p>'
    begin = min([points[0].at, *(span.begin for span in stages)])
    end = max([points[-1].at, begin + timedelta(minutes=1), *(span.end for span in stages)])
    across = _Axis(0.0, (end - begin).total_seconds(), LEFT, WIDTH - EVIDENCE_RIGHT)
    highest = max([*charts.thresholds.values(), *(max(point.log10_e.values()) for point in points)])
    # A line that lies far above its threshold is cut, a threshold never.
    seen = max(9.0, *(math.ceil(threshold + 1.0) for threshold in charts.thresholds.values()))
    up = _Axis(-1.0, min(math.ceil(highest + 0.3), seen), HEIGHT - BOTTOM, TOP)

    def x(at: datetime) -> float:
        return across.at((at - begin).total_seconds())

    decades = range(math.ceil(up.low), math.floor(up.high) + 1, math.ceil(up.high / 5.0))
    parts = [_stage(span, x(span.begin), x(span.end)) for span in stages]
    parts += [_level(up.at(decade), across.end, "grid", _decade(decade)) for decade in decades]
    parts += _dates(begin, end, x)
    labels = _spread([up.at(points[-1].log10_e[name]) for name in names])
    for number, ((name, label), y) in enumerate(zip(names.items(), labels, strict=True)):
        line = " ".join(f"{x(point.at):.1f},{up.at(point.log10_e[name]):.1f}" for point in points)
        parts.append(_level(up.at(charts.thresholds[name]), across.end, f"answered line-{number}", ""))
        parts.append(f'<polyline class="evidence line-{number}" points="{line}"/>')
        parts.append(f'<text class="name-{number}" x="{across.end + 8:.1f}" y="{y + 4:.1f}">{escape(label)}</text>')
    last = ", ".join(
        f"{label} {_odds(10.0 ** min(points[-1].log10_e[name], 300.0))} (answered at {_odds(10.0**threshold)})"
        for (name, label), threshold in zip(names.items(), charts.thresholds.values(), strict=True)
    )
    caption = f"Odds to 1 over days: {last}"
    note = "<p>Dashed: where the question of that colour is answered. Below 1 nothing speaks for it.</p>"
    return f"<figure><figcaption>{escape(caption)}</figcaption>{_svg(WIDTH, HEIGHT, caption, parts)}</figure>{note}"


def _odds(value: float) -> str:
    return odds_text(value) if value >= 1.0 else f"{value:.1g}"


def _decade(exponent: int) -> str:
    """A power of ten that has room beside an axis."""
    return _odds(10.0**exponent) if exponent < 6 else f"10{str(exponent).translate(_RAISED)}"


def _level(y: float, end: float, kind: str, label: str) -> str:
    text = f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>' if label else ""
    return f'<line class="{kind}" x1="{LEFT}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>{text}'


def _spread(heights: Sequence[float], gap: float = 14.0) -> list[float]:
    """Heights of labels, moved apart so that none covers another."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    found, least = list(heights), -math.inf
    for place in order:
        found[place] = least = max(heights[place], least + gap)
    over = max(0.0, max(found) - (HEIGHT - BOTTOM))
    return [height - over for height in found]


def losses_chart(losses: Sequence[StageLosses], stage: str | None = None) -> str:
    """Requests of `stage` that have no pair, in per cent by cause and assigned arm; None: of the highest stage.

    An earlier ramp of the same arms may have been further.
    """
    of_stage = [each for each in losses if each.stage == (losses[-1].stage if stage is None else stage)]
    causes = sorted({cause for each in of_stage for cause, count in each.lost.items() if count})
    if not causes:
        return ""
    shares = {each.arm: {cause: each.lost.get(cause, 0) / each.accepted for cause in causes} for each in of_stage}
    across = _Axis(0.0, max(LIMIT_OF_LOSSES, *(max(of.values()) for of in shares.values())), LABEL_WIDTH, WIDTH - 150)
    height = TOP + CAUSE_HEIGHT * len(causes) + 8
    parts = []
    for row, cause in enumerate(causes):
        top = TOP + CAUSE_HEIGHT * row + 6
        parts.append(f'<text x="0" y="{top + BAR_HEIGHT + 6}">{escape(cause)}</text>')
        for place, (arm, of_arm) in enumerate(shares.items()):
            y, width = top + place * (BAR_HEIGHT + BAR_GAP), across.at(of_arm[cause]) - across.start
            parts.append(
                f'<rect class="arm-{arm.value}" x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}"/>'
            )
            text = f"{100 * of_arm[cause]:.2f} % of {arm.value}"
            parts.append(
                f'<text class="value" x="{across.start + width + 6:.1f}" y="{y + BAR_HEIGHT - 2}">{text}</text>'
            )
    limit = across.at(LIMIT_OF_LOSSES)
    parts.append(f'<line class="limit" x1="{limit:.1f}" x2="{limit:.1f}" y1="{TOP - 4}" y2="{height - 6}"/>')
    parts.append(f'<text class="limit-name" x="{limit:.1f}" y="{TOP - 10}" text-anchor="middle">2 %, all causes</text>')
    caption = f"Requests without a pair in {of_stage[0].stage}, by cause and assigned arm"
    return f"<figure><figcaption>{escape(caption)}</figcaption>{_svg(WIDTH, height, caption, parts)}</figure>"


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
