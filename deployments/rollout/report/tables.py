"""The tables of the report as HTML: plain functions from figures to text, which escape what people wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from deployments.rollout.analysis.confidence import MIN_OBSERVATIONS, Interval
from deployments.rollout.analysis.outcomes import MAKESPAN
from deployments.rollout.analysis.sample_ratio import E_THRESHOLD, SplitReading
from deployments.rollout.analysis.triggers import Guardrail, GuardrailReading, GuardrailRule
from deployments.rollout.ramp.gate import odds, odds_text
from deployments.rollout.report.arm_figures import ArmFigures
from deployments.rollout.report.goals import GoalReading
from deployments.rollout.report.report import RolloutReport

PLANNED = {
    "makespan_seconds": "makespan h",
    "tardiness_seconds": "tardiness h",
    "utilisation_percent": "utilisation %",
    "on_time_percent": "families on time %",
    "important_on_time_percent": "important families on time %",
    "flow_time_mean_seconds": "flow time h",
}
"""The planned KPIs of an arm that the tables show, and their headings."""
ABSENT = "not enough data"


def goals_table(goals: Sequence[GoalReading]) -> str:
    """Each goal with its target, what was measured and how it stands."""
    rows = []
    for reading in goals:
        goal = reading.goal
        target = escape(goal.condition)
        value = ABSENT if reading.value is None else f"{reading.value:.2f} {goal.unit}"
        state = f'<span class="state {_slug(reading.state.value)}">{reading.state.value}</span>'
        rows.append((escape(goal.label), target, value, _bounds(reading.interval, goal.unit), f"{reading.n:,}", state))
    return table(("goal", "target", "value", "95 % interval", "n", "state"), rows)


def _bounds(interval: Interval | None, unit: str) -> str:
    return "-" if interval is None else f"{interval.lower:.2f} to {interval.upper:.2f} {unit}"


def guardrails_table(report: RolloutReport) -> str:
    """Every rule as it stands, and below what has fired."""
    rows = []
    for reading in report.guardrails:
        kind = "" if reading.baseline is None else f", {reading.baseline.value}"
        state = f'<span class="state {_slug(reading.condition.value)}">{reading.condition.value}</span>'
        value = "-" if reading.value is None else _figure(reading, reading.value)
        limit = _figure(reading, reading.limit)
        name = escape(words(reading.guardrail.value) + kind)
        rows.append((name, reading.rule.value, value, limit, f"{reading.n:,}", state))
    fired = "".join(
        f"<li>{escape(trigger.reason)}, {trigger.at:%d %b %Y %H:%M} UTC</li>" for trigger in report.triggers
    )
    return table(("guardrail", "rule", "value", "limit", "n", "state"), rows) + (f"<ul>{fired}</ul>" if fired else "")


def _figure(reading: GuardrailReading, value: float) -> str:
    if reading.rule in (GuardrailRule.EVENT, GuardrailRule.CUSUM, GuardrailRule.RUN, GuardrailRule.EVIDENCE):
        return f"{value:.4g}"
    return change(value) if reading.guardrail is Guardrail.MAKESPAN else f"{100 * value:.2f} %"


def integrity_table(report: RolloutReport) -> str:
    """The split among the units, and what makes the experiment doubtful."""
    found = report.integrity
    rows = [_split(split) for split in (found.explicit, found.windows, found.requests)]
    splits = table(("units", "challenger", "expected", "of", f"e-value (limit {E_THRESHOLD:,.0f})", "state"), rows)
    texts = found.findings or ("Every stored bucket recomputes, and no unit had both arms within a stage",)
    return splits + "".join(f"<p>{escape(text)}</p>" for text in texts)


def _split(split: SplitReading) -> tuple[str, ...]:
    if split.units == 0:
        return (split.kind, "0", "-", "0", "-", f'<span class="state not-enough-data">{ABSENT}</span>')
    state = "mismatch" if split.is_mismatch else "fair"
    shown = f'<span class="state {state}">{state}</span>'
    return (split.kind, str(split.challenger), f"{split.expected:.1f}", str(split.units), f"{split.e_value:.3g}", shown)


def _planned(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 3600:.2f}" if name.endswith("_seconds") else f"{value:.1f}"


def arms_table(figures: Sequence[ArmFigures], group: str) -> str:
    """Outcomes of each arm, and planned KPIs on the lists that both have planned; `group` names the first column."""
    headers = (group, "arm", "n", "served", *PLANNED.values())
    rows = []
    for arm in figures:
        kpis, latency = arm.kpis or {}, arm.latency_ms
        planned = [_planned(name, kpis.get(name)) for name in PLANNED]
        p95 = "-" if latency is None else f"{latency['p95']:,.0f}"
        ends = ", ".join(f"{count} {name}" for name, count in sorted(arm.outcomes.items()))
        name = escape(arm.group.replace("_", " "))
        rows.append((name, arm.arm.value, f"{arm.evaluations:,}", f"{arm.served:,}", *planned, p95, ends))
    return table((*headers, "p95 ms", "outcomes"), rows)


def evidence_table(report: RolloutReport) -> str:
    """How each question of the gate stands, and each margin, in words, and how much there is to tell it by."""
    rows = []
    for reading in dict.fromkeys((*report.gate.readings, *report.margins)):
        found, needed = (f"{odds_text(odds(log_e))} to 1" for log_e in (reading.log_e, reading.log_threshold))
        missing = "-" if reading.windows_missing is None else f"{reading.windows_missing:.0f}"
        state = "answered" if reading.is_answered else "open"
        shown = f'<span class="state {"met" if reading.is_answered else "undecided"}">{state}</span>'
        rows.append((reading.question, f"{found} against {reading.null}", needed, f"{reading.n:,}", missing, shown))
    so_far = report.windows
    counted = (
        f"<p>{so_far.closed:,} windows (plant, line, day) of {so_far.lists:,} lists have closed, {so_far.open:,} are "
        f"open; {so_far.late:,} pairs came after the close and counted in the open day.</p>"
    )
    return table(("question", "evidence", "needed", "windows or days", "missing", "state"), rows) + counted


def losses_table(report: RolloutReport) -> str:
    """Accepted requests by stage and assigned arm, and why some of them have no pair."""
    rows = []
    for each in report.losses:
        lost = sum(each.lost.values())
        causes = ", ".join(f"{count:,} {cause}" for cause, count in sorted(each.lost.items()))
        share = f"{100 * lost / each.accepted:.1f} %"
        rows.append((each.stage, each.arm.value, f"{each.accepted:,}", f"{lost:,} ({share})", causes or "-"))
    return table(("stage", "assigned arm", "requests", "without a pair", "causes"), rows)


def health_table(report: RolloutReport) -> str:
    """How the evaluations of the challenger ended, and how many pairs are missing."""
    health = report.health
    expected = health.pairs + health.missing_pairs
    share = f"{100 * health.missing_pairs / expected:.1f} %" if expected else ABSENT
    reasons = ", ".join(f"{count} {escape(reason)}" for reason, count in sorted(health.missing_reasons.items()))
    rows = [(name, f"{count:,}") for name, count in health.outcomes.items()]
    rows += [("forced, in no statistic", f"{health.forced:,}"), ("pairs", f"{health.pairs:,}")]
    rows += [("missing pairs", f"{health.missing_pairs:,} ({share}){': ' if reasons else ''}{reasons}")]
    return table(("challenger's evaluations", "count"), rows)


def realised_table(report: RolloutReport) -> str:
    """What really happened, by the arm that served."""
    rows = [
        (
            escape(arm.stage.replace("_", " ")),
            arm.arm.value,
            str(arm.windows),
            f"{arm.jobs:,}",
            f"{arm.excluded:,}",
            "-" if arm.on_time_percent is None else f"{arm.on_time_percent:.1f}",
            "-" if arm.lead_time_hours is None else f"{arm.lead_time_hours:.2f}",
        )
        for arm in report.realised
    ]
    headers = ("stage", "arm", "windows", "jobs", "begun under the other arm", "jobs on time %", "lead time h")
    effects = "".join(
        f"<li>{words(effect.name)}, challenger less champion"
        f"{'' if effect.with_switches else ', without the first third of a window after the arm has changed'}: "
        + (
            f"{ABSENT} ({effect.windows} of {MIN_OBSERVATIONS} windows)"
            if effect.interval is None
            else f"{effect.interval.lower:+.2f} to {effect.interval.upper:+.2f} over {effect.windows} windows"
        )
        + "</li>"
        for effect in report.realised_effects
    )
    return f"{table(headers, rows)}<ul>{effects}</ul>"


def feedback_table(report: RolloutReport) -> str:
    """Ratings, by the arm that served."""
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
    return table(("arm", "ratings", "mean of 1 to 5", "satisfied (4 or 5)"), rows)


def history_table(report: RolloutReport) -> str:
    """The transitions, newest first."""
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
    return table(("at, UTC", "version", "from", "to", "action", "actor", "reason"), rows)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; the first column is text, the others are figures."""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return f'<p class="absent">{ABSENT}</p>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def change(value: float) -> str:
    """A relative change in per cent."""
    return "0 %" if value == 0.0 else f"{100 * value:+.1f} %"


def words(name: str) -> str:
    """A measure or guardrail as people call it."""
    named = {
        MAKESPAN: "makespan",
        "completion_percent": "jobs placed",
        "important_on_time_percent": "important families on time",
    }
    return named.get(name, name.removesuffix("_seconds").removesuffix("_percent").replace("_", " "))


def _slug(text: str) -> str:
    return text.replace(" ", "-")
