"""The report as one HTML page that needs nothing else: no script, no font, no file from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from deployments.rollout.comparison import IS_MORE_BETTER, MAKESPAN
from deployments.rollout.confidence import LEAST_OBSERVATIONS, Interval
from deployments.rollout.goals import GoalReading
from deployments.rollout.outcomes import Baseline
from deployments.rollout.report import ArmFigures, Difference, Report
from deployments.rollout.report_charts import ForestRow, forest, interval_chart
from deployments.rollout.sample_ratio import E_THRESHOLD, SplitReading
from deployments.rollout.triggers import Guardrail, Reading, Rule

ABSENT = "not enough data"
NOTABLE = {
    MAKESPAN: 0.15,
    "tardiness_seconds": 8 * 3600.0,
    "utilisation_percent": 10.0,
    "on_time_percent": 10.0,
    "important_on_time_percent": 10.0,
    "completion_percent": 5.0,
}
"""Half the width of the forest plot, for each KPI in its own unit."""


def page_of(report: Report, *, title: str = "Gantry rollout report") -> str:
    """The whole page. Text that comes from people or requests is escaped."""
    style = files("deployments.rollout").joinpath("report.css").read_text(encoding="utf-8")
    sections = (
        _headline(report),
        _section("Goals", _goals(report.goals)),
        _section("Makespan against the champion, in pairs", _trends(report)),
        _section("Complete schedules", _completion(report)),
        _section("Paired differences", _differences(report)),
        _section("Guardrails", _guardrails(report)),
        _section("Is the experiment sound?", _integrity(report)),
        _section("Arms by stage", _arms(report.arms_by_stage, "stage")),
        _section("Arms by week", _arms(report.arms_by_week, "week")),
        _section("Health", _health(report)),
        _section("What really happened", _realised(report)),
        _section("Feedback", _feedback(report)),
        _section("History", _history(report)),
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>\n{style}</style></head>\n<body><main><h1>{escape(title)}</h1>\n{''.join(sections)}</main></body></html>\n"
    )


def _headline(report: Report) -> str:
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


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; the first column is text, the others are figures."""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return f'<p class="absent">{ABSENT}</p>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _goals(goals: Sequence[GoalReading]) -> str:
    rows = []
    for reading in goals:
        goal = reading.goal
        sign = ("at least" if goal.target == 100.0 else "above") if goal.is_more_better else "below"
        target = "none" if goal.target == 0.0 else f"{sign} {goal.target:g} {goal.unit}"
        value = ABSENT if reading.value is None else f"{reading.value:.2f} {goal.unit}"
        state = f'<span class="state {_slug(reading.state.value)}">{reading.state.value}</span>'
        rows.append((escape(goal.label), target, value, _bounds(reading.interval, goal.unit), f"{reading.n:,}", state))
    return _table(("goal", "target", "value", "95 % interval", "n", "state"), rows)


def _bounds(interval: Interval | None, unit: str) -> str:
    return "-" if interval is None else f"{interval.lower:.2f} to {interval.upper:.2f} {unit}"


def _trends(report: Report) -> str:
    charts = [
        interval_chart(
            points,
            report.stages,
            title=f"against the {baseline.value}",
            show=_change,
            reference=0.0,
            limit=_limit(report.guardrails, Guardrail.MAKESPAN),
            limit_label="rollback",
        )
        for baseline, points in report.makespan_trend.items()
        if points or baseline is Baseline.RULE
    ]
    return f"{''.join(charts)}<p>Below the middle line the challenger is shorter. The band holds at every moment.</p>"


def _completion(report: Report) -> str:
    return interval_chart(
        report.completion_trend,
        report.stages,
        title="complete schedules",
        show=lambda value: f"{100 * value:.0f} %",
        reference=1.0,
        limit=_limit(report.guardrails, Guardrail.COMPLETION),
        limit_label="rollback",
        lowest=0.85,
    )


def _limit(readings: Sequence[Reading], guardrail: Guardrail) -> float:
    return next(reading.limit for reading in readings if reading.guardrail is guardrail and reading.rule is Rule.BOUND)


def _differences(report: Report) -> str:
    kinds = {difference.baseline for difference in report.differences if difference.n} or {Baseline.RULE}
    shown = [difference for difference in report.differences if difference.baseline in kinds]
    rows = [
        ForestRow(
            label=f"{_words(difference.name)}, {difference.baseline.value}",
            interval=difference.interval,
            scale=NOTABLE[difference.name],
            text=_difference_text(difference),
            is_more_better=IS_MORE_BETTER.get(difference.name, False),
        )
        for difference in shown
    ]
    chart = forest(rows, "challenger less champion, 95 % intervals that hold at every moment")
    by_stage = (
        (
            (difference.stage or "").replace("_", " "),
            difference.baseline.value,
            _words(difference.name),
            _difference_text(difference),
        )
        for difference in report.differences_by_stage
        if difference.interval is not None or difference.name == MAKESPAN
    )
    scale = (
        "Each line has its own scale: the edges are 15 % of makespan, 8 h of tardiness, 10 points, 5 of jobs placed."
    )
    return f"{chart}<p>{scale}</p>" + _table(
        ("stage", "against", "measure", "95 % interval, this stage alone"), by_stage
    )


def _difference_text(difference: Difference) -> str:
    interval = difference.interval
    if interval is None:
        return f"{ABSENT} ({difference.n} of {LEAST_OBSERVATIONS})"
    if difference.name == MAKESPAN:
        return f"{_change(interval.lower)} to {_change(interval.upper)}, n {interval.n:,}"
    factor, unit = (1 / 3600.0, " h") if difference.name.endswith("_seconds") else (1.0, "")
    return f"{factor * interval.lower:+.2f} to {factor * interval.upper:+.2f}{unit}, n {interval.n:,}"


def _guardrails(report: Report) -> str:
    rows = []
    for reading in report.guardrails:
        kind = "" if reading.baseline is None else f", {reading.baseline.value}"
        state = f'<span class="state {_slug(reading.condition.value)}">{reading.condition.value}</span>'
        value = "-" if reading.value is None else _figure(reading, reading.value)
        limit = _figure(reading, reading.limit)
        name = escape(_words(reading.guardrail.value) + kind)
        rows.append((name, reading.rule.value, value, limit, f"{reading.n:,}", state))
    fired = "".join(
        f"<li>{escape(trigger.reason)}, {trigger.at:%d %b %Y %H:%M} UTC</li>" for trigger in report.triggers
    )
    return _table(("guardrail", "rule", "value", "limit", "n", "state"), rows) + (f"<ul>{fired}</ul>" if fired else "")


def _figure(reading: Reading, value: float) -> str:
    if reading.rule in (Rule.EVENT, Rule.CUSUM):
        return f"{value:.4g}"
    return _change(value) if reading.guardrail is Guardrail.MAKESPAN else f"{100 * value:.2f} %"


def _integrity(report: Report) -> str:
    found = report.integrity
    rows = [_split(split) for split in (found.explicit, found.windows)]
    table = _table(("units", "challenger", "expected", "of", f"e-value (limit {E_THRESHOLD:,.0f})", "state"), rows)
    texts = found.findings or ("every stored bucket recomputes, and no unit had both arms within a stage",)
    return table + "".join(f"<p>{escape(text)}</p>" for text in texts)


def _split(split: SplitReading) -> tuple[str, ...]:
    if split.units == 0:
        return (split.kind, "0", "-", "0", "-", f'<span class="state not-enough-data">{ABSENT}</span>')
    state = "mismatch" if split.is_mismatch else "fair"
    shown = f'<span class="state {state}">{state}</span>'
    return (split.kind, str(split.challenger), f"{split.expected:.1f}", str(split.units), f"{split.e_value:.3g}", shown)


def _arms(figures: Sequence[ArmFigures], group: str) -> str:
    headers = (group, "arm", "n", "served", "makespan h", "tardiness h", "utilisation %", "on time %", "important %")
    rows = []
    for arm in figures:
        kpis, latency = arm.kpis, arm.latency_ms
        planned = ["-"] * 5
        if kpis is not None:
            planned = [f"{kpis[name] / 3600:.2f}" for name in ("makespan_seconds", "tardiness_seconds")]
            shares = ("utilisation_percent", "on_time_percent", "important_on_time_percent")
            planned += [f"{kpis[name]:.1f}" for name in shares]
        p95 = "-" if latency is None else f"{latency['p95']:,.0f}"
        ends = ", ".join(f"{count} {name}" for name, count in sorted(arm.outcomes.items()))
        name = escape(arm.group.replace("_", " "))
        rows.append((name, arm.arm.value, f"{arm.evaluations:,}", f"{arm.served:,}", *planned, p95, ends))
    return _table((*headers, "p95 ms", "outcomes"), rows)


def _health(report: Report) -> str:
    health = report.health
    expected = health.pairs + health.missing_pairs
    share = f"{100 * health.missing_pairs / expected:.1f} %" if expected else ABSENT
    reasons = ", ".join(f"{count} {escape(reason)}" for reason, count in sorted(health.missing_reasons.items()))
    rows = [(name, f"{count:,}") for name, count in health.outcomes.items()]
    rows += [("forced, in no statistic", f"{health.forced:,}"), ("pairs", f"{health.pairs:,}")]
    rows += [("missing pairs", f"{health.missing_pairs:,} ({share}){': ' if reasons else ''}{reasons}")]
    return _table(("challenger's evaluations", "count"), rows)


def _realised(report: Report) -> str:
    rows = [
        (
            escape(arm.stage.replace("_", " ")),
            arm.arm.value,
            str(arm.windows),
            f"{arm.jobs:,}",
            f"{arm.excluded:,}",
            "-" if arm.on_time_percent is None else f"{arm.on_time_percent:.1f}",
            "-" if arm.delay_hours is None else f"{arm.delay_hours:+.2f}",
        )
        for arm in report.realised
    ]
    headers = ("stage", "arm", "windows", "jobs", "begun under the other arm", "on time %", "delay h")
    effects = "".join(
        f"<li>{_words(effect.name)}, challenger less champion: "
        + (
            f"{ABSENT} ({effect.windows} of {LEAST_OBSERVATIONS} windows)"
            if effect.interval is None
            else f"{effect.interval.lower:+.2f} to {effect.interval.upper:+.2f} over {effect.windows} windows"
        )
        + "</li>"
        for effect in report.realised_effects
    )
    return f"{_table(headers, rows)}<ul>{effects}</ul>"


def _feedback(report: Report) -> str:
    rows = [
        (
            rated.arm.value,
            f"{rated.ratings:,}",
            f"{rated.mean:.2f}",
            f"{100 * rated.satisfied.estimate:.0f} % ({100 * rated.satisfied.lower:.0f} to "
            f"{100 * rated.satisfied.upper:.0f} %)",
        )
        for rated in report.satisfaction
    ]
    return _table(("arm", "ratings", "mean of 1 to 5", "satisfied (4 or 5)"), rows)


def _history(report: Report) -> str:
    rows = [
        (
            f"{row.at:%d %b %Y %H:%M}",
            str(row.version),
            "-" if row.from_stage is None else row.from_stage.value.replace("_", " "),
            row.to_stage.value.replace("_", " "),
            row.action.value + (", forced" if row.is_forced else ""),
            escape(row.actor),
            escape(row.reason),
        )
        for row in reversed(report.transitions)
    ]
    return _table(("at, UTC", "version", "from", "to", "action", "actor", "reason"), rows)


def _change(value: float) -> str:
    return "0 %" if value == 0.0 else f"{100 * value:+.1f} %"


def _words(name: str) -> str:
    named = {
        MAKESPAN: "makespan",
        "completion_percent": "jobs placed",
        "important_on_time_percent": "important on time",
    }
    return named.get(name, name.removesuffix("_seconds").removesuffix("_percent").replace("_", " "))


def _slug(text: str) -> str:
    return text.replace(" ", "-")
