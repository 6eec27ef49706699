"""Charts of the report as inline SVG: plain functions from data to text, colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from deployments.rollout.analysis.confidence import Interval
from deployments.rollout.report.report import StageSpan, TrendPoint

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 26, 30
ROW_HEIGHT = 34
LABEL_WIDTH = 230
VALUE_WIDTH = 200

Show = Callable[[float], str]


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
    caption = f"{title}: {now}, n {last.interval.n:,}"
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
