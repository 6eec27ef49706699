"""A plan as a Gantt chart: SVG for print and mail, and one HTML page to zoom in, by a small script of our own.

Both show dates, closed hours, setups as darker heads, due dates and what is late, light and dark.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from deployments.contracts.answers.plan_files import PlannedMachine, PlannedRow, PlanSheet, Span, due_words, writable
from deployments.contracts.requests.wire import in_zone, seconds_after
from env.judge.verdict import amount
from env.problem import SECONDS_PER_HOUR

TEMPLATE = Path(__file__).resolve().parents[2] / "templates" / "gantt.html"
WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 1600, 160, 14, 96, 24, 16
MAX_DAYS = 4000
"""So many lines of days are drawn: of a plan of decades none is told from the next."""
HUES = 12
_CHARACTER = 6.3
_DAY_SECONDS = 24 * SECONDS_PER_HOUR
_MIN_DAY_WIDTH = 78
_MIN_HOUR_WIDTH = 34
_STEPS_IN_HOURS = (1, 2, 3, 4, 6, 12)
_BLOCK = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #5d6b7a; } .paper { fill: #ffffff; } .band { fill: #f6f8fa; }
.ink, .title { fill: #1d2733; } .title { font-size: 16px; font-weight: 600; } .in { font-size: 11px; fill: #14202b; }
.line { stroke: #e3e8ee; } .day { stroke: #8a97a6; } .hatch { stroke: #c3ccd6; stroke-width: 1.4; }
.load { fill: #aeb9c5; } .setup { fill: #000000; fill-opacity: .4; } .due { fill: #1f5fbf; }
.bar:hover { stroke: #1d2733; stroke-width: 2; } .pause { fill: #ffffff; fill-opacity: .6; }
"""
_DARK_STYLE = """
text { fill: #9aa7b5; } .paper { fill: #14191f; } .band { fill: #1c232b; } .ink, .title { fill: #e4e9ef; }
.in { fill: #f3f6f9; } .line { stroke: #2b343e; } .day { stroke: #5b6875; } .hatch { stroke: #3a4652; }
.load { fill: #4a5866; } .setup { fill-opacity: .5; } .due { fill: #7fb0f5; }
.bar:hover { stroke: #e4e9ef; } .pause { fill: #14191f; }
"""
_HATCH = (
    '<pattern id="closed" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern>'
)
_LEGEND = (
    ("f0", "work, a colour a family"),
    ("setup", "setup"),
    ("late", "ends late"),
    ("due", "due"),
    ("closed", "closed"),
    ("load", "earlier work"),
)


def gantt_svg(sheet: PlanSheet) -> bytes:
    """The picture, 1,600 units wide; each bar says what it is when pointed at."""
    return "\n".join(_svg(sheet)).encode()


def _svg(sheet: PlanSheet) -> Iterator[str]:
    first, last = sheet.span
    scale = (WIDTH - LEFT - RIGHT) / (last - first)
    height = TOP + ROW * len(sheet.machines) + 10
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    yield f"<title>{_text(sheet.title)}</title>"
    yield f"<style>{_STYLE}{_hues(52, 72)}@media (prefers-color-scheme: dark) {{{_DARK_STYLE}{_hues(36, 42)}}}</style>"
    yield f'<defs>{_HATCH}</defs>\n<rect class="paper" width="{WIDTH}" height="{height}"/>'
    yield f'<text class="title" x="10" y="22">{_text(sheet.title)}</text>'
    yield f'<text x="10" y="41">{_text(facts_of(sheet))}</text>'
    yield from _legend()
    yield from _rows(sheet, scale)
    yield from _axis(sheet, scale, height)
    families = _family_indices(sheet)
    for line, (_, rows) in enumerate(sheet.on_machines()):
        y = TOP + ROW * line + (ROW - BAR) // 2
        for row in rows:
            yield _bar(sheet, row, families[row.family_id or row.job_id], y, scale)
        yield from _due_marks(rows, sheet.span, y, scale)
    yield "</svg>\n"


def facts_of(sheet: PlanSheet) -> str:
    """What the plan is worth, in a sentence."""
    first, last = sheet.span
    due = sum(row.due is not None for row in sheet.rows)
    late = f"{sheet.late_count:,} of {due:,} jobs with a due date end late" if due else "no job has a due date"
    length = amount(last) if sheet.is_dated else f"{last:,}"
    zone = (f", by the clock of {sheet.zone.key}",) if sheet.is_dated else ()
    span = f"{sheet.when(first)} to {sheet.when(last)}"
    parts = (f"{len(sheet.rows):,} jobs on {len(sheet.machines):,} machines", f"makespan {length}", late, span)
    return "; ".join(("; ".join(parts) + "".join(zone), *sheet.notes))


def _hues(saturation: int, lightness: int) -> str:
    """A colour for each class f0, f1, ...; red says late, and nothing else."""
    degrees = [(hue * 137 + 205) % 360 for hue in range(HUES)]
    colours = [
        f".f{hue} {{ fill: hsl({45 if degree < 22 or degree > 338 else degree}, {saturation}%, {lightness}%); }}"
        for hue, degree in enumerate(degrees)
    ]
    late = "#d6453c" if lightness > 50 else "#e2584e"
    return "\n".join(
        [
            *colours,
            f".late {{ fill: {late}; }} .onlate {{ fill: #ffffff; font-size: 11px; "
            "stroke: #a3271f; stroke-width: 2.5px; paint-order: stroke; }}\n",
        ]
    )


def _legend() -> Iterator[str]:
    x = 10
    for kind, words in _LEGEND:
        fill = ' fill="url(#closed)"' if kind == "closed" else f' class="{kind}"'
        if kind == "setup":
            yield f'<rect class="f0" x="{x}" y="52" width="14" height="10"/>'
        if kind == "due":
            yield f'<path class="due" d="M{x + 2} 53h10l-5 8z"/>'
        else:
            yield f'<rect{fill} x="{x}" y="52" width="14" height="10"/>'
        yield f'<text x="{x + 20}" y="61">{words}</text>'
        x += 40 + round(len(words) * _CHARACTER)


def _rows(sheet: PlanSheet, scale: float) -> Iterator[str]:
    """Names, lines, closed hours and earlier work of the machines."""
    first, last = sheet.span
    for line, machine in enumerate(sheet.machines):
        y = TOP + ROW * line
        yield f'<line class="line" x1="0" y1="{y + ROW}" x2="{WIDTH}" y2="{y + ROW}"/>'
        name = f"{_text(_shortened(machine.label))}<title>{_text(machine.label)}</title>"
        yield f'<text class="ink" x="10" y="{y + 16}">{name}</text>'
        for from_, to in _visible(machine, scale):
            yield (
                f'<rect fill="url(#closed)" x="{LEFT + (from_ - first) * scale:.1f}" y="{y + 1}" '
                f'width="{(to - from_) * scale:.1f}" height="{ROW - 2}"/>'
            )
        if machine.loaded_until > 0:
            wide = (min(last, machine.loaded_until)) * scale
            x = LEFT - first * scale
            yield f'<rect class="load" x="{x:.1f}" y="{y + 8}" width="{wide:.1f}" height="{BAR - 8}"/>'


def _visible(machine: PlannedMachine, scale: float) -> Iterator[Span]:
    return (span for span in machine.closed if (span[1] - span[0]) * scale > 0.4)


def _axis(sheet: PlanSheet, scale: float, height: int) -> Iterator[str]:
    """Days above, hours or numbers below, as far apart as they can be read."""
    first, last = sheet.span
    yield f'<line class="day" x1="0" y1="{TOP}" x2="{WIDTH}" y2="{TOP}"/>'
    if not sheet.is_dated:
        for at in _numbers(last, scale):
            x = LEFT + (at - first) * scale
            yield f'<line class="line" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height}"/>'
            yield f'<text x="{x + 3:.1f}" y="{TOP - 6}">{at:,}</text>'
        return
    days = days_of(sheet)
    skip = max(1, -(-_MIN_DAY_WIDTH // max(1, round(_DAY_SECONDS * scale))))
    step = next((hours for hours in _STEPS_IN_HOURS if hours * SECONDS_PER_HOUR * scale >= _MIN_HOUR_WIDTH), None)
    for number, (day, label) in enumerate(days):
        if number % skip == 0:
            x = LEFT + (max(day, first) - first) * scale
            if day >= first:
                yield f'<line class="day" x1="{x:.1f}" y1="{TOP - 26}" x2="{x:.1f}" y2="{height}"/>'
            following = days[number + skip][0] if number + skip < len(days) else last
            if (min(following, last) - max(day, first)) * scale > len(label) * _CHARACTER:
                yield f'<text class="ink" x="{x + 4:.1f}" y="{TOP - 17}">{label}</text>'
        if step is not None:
            yield from _hours(sheet, day, step, scale, height)


def _numbers(last: int, scale: float) -> range:
    rough = 90 / scale
    power = 10 ** (len(str(max(1, int(rough)))) - 1)
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough) if rough > 1 else 1
    return range(0, last + 1, step)


def _hours(sheet: PlanSheet, day: int, step: int, scale: float, height: int) -> Iterator[str]:
    first, last = sheet.span
    for at in range(day + step * SECONDS_PER_HOUR, day + _DAY_SECONDS, step * SECONDS_PER_HOUR):
        if first <= at <= last:
            x = LEFT + (at - first) * scale
            yield f'<line class="line" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height}"/>'
            yield f'<text x="{x:.1f}" y="{TOP - 4}" text-anchor="middle">{sheet.moment(at):%H:%M}</text>'


def days_of(sheet: PlanSheet) -> list[tuple[int, str]]:
    """The second at which each day begins by the plant's clock, the first of them before the plan, and its name."""
    if not sheet.is_dated:
        return []
    first, last = sheet.span
    day = sheet.moment(first).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    days: list[tuple[int, str]] = []
    while len(days) < MAX_DAYS:
        second = round(seconds_after(sheet.start, in_zone(day, sheet.zone)))
        if second > last:
            break
        days.append((second, f"{day:%a %d %b}" if len(days) % 365 else f"{day:%a %d %b %Y}"))
        day += timedelta(days=1)
    return days


def _bar(sheet: PlanSheet, row: PlannedRow, family: int, y: int, scale: float) -> str:
    first, _ = sheet.span
    x, wide = LEFT + (row.start - first) * scale, max(0.8, (row.end - row.start) * scale)
    kind = "late" if row.late_seconds else f"f{family % HUES}"
    parts = [
        f"<g><title>{_text(told(sheet, row))}</title>"
        f'<rect class="bar {kind}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{BAR}"/>'
    ]
    for from_, to in row.pauses:
        if (to - from_) * scale > 0.6:
            left, width = LEFT + (from_ - first) * scale, (to - from_) * scale
            place = f'x="{left:.1f}" y="{y + 1}" width="{width:.1f}" height="{BAR - 2}"'
            parts.append(f'<rect class="pause" {place}/><rect fill="url(#closed)" {place}/>')
    if row.setup * scale > 0.8:
        parts.append(
            f'<rect class="setup" x="{x:.1f}" y="{y}" width="{min(wide, row.setup * scale):.1f}" height="{BAR}"/>'
        )
    if len(row.job_id) * _CHARACTER + 6 < wide:
        colour = "onlate" if row.late_seconds else "in"
        parts.append(f'<text class="{colour}" x="{x + 3:.1f}" y="{y + 12}">{_text(row.job_id)}</text>')
    return "".join([*parts, "</g>"])


def _due_marks(rows: list[PlannedRow], span: Span, y: int, scale: float) -> Iterator[str]:
    """Late ones last, so that they are seen; one for all of a kind at the same place."""
    first, last = span
    marks = {
        (row.late_seconds > 0, round(LEFT + (row.due - first) * scale, 1))
        for row in rows
        if row.due is not None and first <= row.due <= last
    }
    for is_late, x in sorted(marks):
        yield f'<path class="{"late" if is_late else "due"}" d="M{x - 4:.1f} {y - 4}h8l-4 7z"/>'


def told(sheet: PlanSheet, row: PlannedRow) -> str:
    """What is to be known of a bar."""
    lines = [row.job_id + (" (important)" if row.is_important else "")]
    if row.family_id is not None:
        lines.append(f"family {row.family_id}" + ("" if row.sequence is None else f", step {row.sequence}"))
    lines.append(row.machine_name or f"machine {row.machine_ids[0]}")
    lines.append(f"{sheet.when(row.start)} to {sheet.when(row.end)}")
    lines.append(f"setup {amount(row.setup)}, work {amount(row.working_seconds - row.setup)}")
    if row.due is not None:
        late = f": {amount(row.late_seconds)} late" if row.late_seconds else ""
        lines.append(f"due {due_words(sheet, row.due)}{late}")
    return "\n".join(lines)


def _family_indices(sheet: PlanSheet) -> dict[str, int]:
    names = dict.fromkeys(row.family_id or row.job_id for row in sheet.rows)
    return {name: index for index, name in enumerate(names)}


def gantt_html(sheet: PlanSheet) -> bytes:
    """The page: everything in one file, and its policy lets nothing in but its own style and script."""
    text = TEMPLATE.read_text(encoding="utf-8")
    # Once, so that what a name looks like is never taken for a place.
    parts = re.split("(__POLICY__|__TITLE__|__FACTS__|__DATA__)", text)
    filled = {
        "__POLICY__": escape(page_policy()),
        "__TITLE__": _text(sheet.title),
        "__FACTS__": _text(facts_of(sheet)),
        "__DATA__": _script_data(sheet),
    }
    return "".join(filled.get(part, part) for part in parts).encode()


@cache
def page_policy() -> str:
    """The Content-Security-Policy of the page: by the hashes of its own style and script, and nothing else."""
    blocks = _BLOCK.findall(TEMPLATE.read_text(encoding="utf-8"))
    hashes = {kind: b64encode(sha256(content.encode()).digest()).decode() for kind, content in blocks}
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )


def _script_data(sheet: PlanSheet) -> str:
    """What the script draws, as JSON that no name ends early."""
    families = _family_indices(sheet)
    lanes = {machine.id: index for index, machine in enumerate(sheet.machines)}
    calendars = {closed: index for index, closed in enumerate(dict.fromkeys(each.closed for each in sheet.machines))}
    named = {row.family_id for row in sheet.rows}
    document = {
        "dated": sheet.is_dated,
        "zone": sheet.zone.key,
        "origin": sheet.start.timestamp(),
        "span": sheet.span,
        "days": days_of(sheet),
        "calendars": list(calendars),
        "machines": [[each.id, each.label, calendars[each.closed], each.loaded_until] for each in sheet.machines],
        "families": [name if name in named else None for name in families],
        "rows": [
            [
                row.job_id,
                families[row.family_id or row.job_id],
                row.sequence,
                [lanes[machine_id] for machine_id in row.machine_ids],
                row.start,
                row.end,
                row.setup,
                row.pauses,
                row.due,
                row.is_important,
            ]
            for row in sheet.rows
        ],
    }
    text = writable(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _shortened(name: str) -> str:
    room = int((LEFT - 20) / _CHARACTER)
    return name if len(name) <= room else f"{name[: room - 1]}…"


def _text(text: str) -> str:
    return escape(writable(text))
