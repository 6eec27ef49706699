"""The report: figures that can be recounted by hand, and a page that needs nothing else."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from deployments.rollout.analysis.confidence import Interval
from deployments.rollout.analysis.outcomes import (
    DIFFERENCE_NAMES,
    MAKESPAN,
    Baseline,
    CorruptionKind,
    Outcome,
    pairs_of,
)
from deployments.rollout.analysis.windows import closes_at
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.gate import GateVerdict
from deployments.rollout.ramp.stages import rollback
from deployments.rollout.ramp.state import Order, Stage
from deployments.rollout.report.goals import GoalState
from deployments.rollout.report.page import MAX_STRATA, evidence_chart, page_of
from deployments.rollout.report.report import Records, RolloutReport, StageLosses, report_of
from deployments.rollout.report.tables import evidence_table
from deployments.rollout.report.trends import MAX_TREND_POINTS, StratumFinding, thinned
from tests.deployments.rollout.events import alarm
from tests.deployments.rollout.records import START, TransitionLog
from tests.deployments.shipped_policy import CONFIGURATION, GOALS

LEDGER = TransitionLog()
REPORT = report_of(LEDGER.records())


class Reader(HTMLParser):
    """Collects tags and text, and checks that every element that is opened is closed."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_figures_by_arm_are_means_over_the_same_lists() -> None:
    """What the table says of PPO in limited can be recounted from the rows, and manual's has the same requests."""
    rows = [e for e in LEDGER.evaluations if e.arm is ArmRole.PPO and e.stage == "limited"]
    figures = next(f for f in REPORT.arms_by_stage if (f.group, f.arm) == ("limited", ArmRole.PPO))
    manual = next(f for f in REPORT.arms_by_stage if (f.group, f.arm) == ("limited", ArmRole.MANUAL))
    makespans = [e.figures.makespan_seconds for e in rows if e.figures is not None]
    both = {pair.decision_id for pair in pairs_of(LEDGER.evaluations)}
    compared = [e for e in LEDGER.evaluations if e.stage == "limited" and e.decision_id in both]
    of_manual = [e.figures.makespan_seconds for e in compared if e.arm is ArmRole.MANUAL and e.figures is not None]
    assert manual.kpis is not None
    assert manual.kpis["makespan_seconds"] == pytest.approx(sum(of_manual) / len(of_manual))
    assert len(of_manual) == len(makespans) < manual.evaluations
    assert figures.evaluations == len(rows)
    assert figures.served == sum(e.is_served for e in rows)
    assert figures.kpis is not None
    assert figures.kpis["makespan_seconds"] == pytest.approx(sum(makespans) / len(makespans))
    assert [f.group for f in REPORT.arms_by_stage] == ["shadow"] * 2 + ["limited"] * 2 + ["expanded"] * 2


def test_differences_are_those_of_the_windows() -> None:
    """The estimate is the mean over closed windows of the means over their lists; the better one is seen as such."""
    windows: dict[str, list[float]] = defaultdict(list)
    for pair in pairs_of(LEDGER.evaluations):
        if pair.baseline is Baseline.RULE and closes_at(pair.unit) <= REPORT.at:
            windows[pair.unit].append(pair.log_makespan_ratio)
    means = [sum(ratios) / len(ratios) for ratios in windows.values()]
    makespan = next(d for d in REPORT.differences if (d.name, d.baseline) == (MAKESPAN, Baseline.RULE))
    assert (makespan.n, makespan.lists) == (len(means), sum(map(len, windows.values())))
    assert makespan.interval is not None
    assert makespan.interval.upper < 0
    assert makespan.interval.estimate == pytest.approx(math.expm1(sum(means) / len(means)))
    assert {difference.name for difference in REPORT.differences} == {MAKESPAN, *DIFFERENCE_NAMES} - {
        "completion_percent"
    }, "of two complete plans none has more jobs placed"


def test_differences_are_told_for_each_stage_too() -> None:
    """The windows of the stages add up to all; but for makespan, fewer than a hundred have no interval."""
    by_stage = [d for d in REPORT.differences_by_stage if (d.name, d.baseline) == (MAKESPAN, Baseline.RULE)]
    whole = next(d for d in REPORT.differences if (d.name, d.baseline) == (MAKESPAN, Baseline.RULE))
    assert [d.stage for d in by_stage] == ["shadow", "limited", "expanded"]
    assert sum(d.n for d in by_stage) == whole.n
    assert all(d.interval is None for d in REPORT.differences_by_stage if d.name != MAKESPAN and d.n < 100)


def test_losses_are_told_by_stage_and_cause() -> None:
    """Every request of a stage has a pair or a cause why not."""
    lost = sum(sum(each.lost.values()) for each in REPORT.losses)
    assert sum(each.accepted for each in REPORT.losses) - lost == len(pairs_of(LEDGER.evaluations))
    assert lost == len(LEDGER.missing)
    assert (REPORT.windows.closed, REPORT.windows.open, REPORT.windows.late) == (39, 1, 0)
    text = read(page_of(REPORT)).text
    assert "to 1 against no improvement" in text
    assert "tardiness within 2 % of the champion's or 15 min by days" in text
    assert "to 1 against a greater loss" in text
    assert "39 windows (plant, line, day) of" in text
    assert "dropped" in text


def test_margins_stand_in_every_stage() -> None:
    """Also where the gate does not ask for them yet, once."""
    young = report_of(TransitionLog(days=8).records())
    assert len(young.gate.readings) == 2
    text = read(page_of(young)).text
    assert text.count("utilisation within 1 point by days") == 1
    assert evidence_table(REPORT).count("utilisation within 1 point by days") == 1


def test_verdict_is_that_of_the_gate() -> None:
    """Better in pairs, healthy, long enough: PROMOTE; a trigger changes it to ROLLBACK."""
    assert REPORT.gate.verdict is GateVerdict.PROMOTE
    broken = report_of(LEDGER.records(alarms=[alarm(99_999, CorruptionKind.CHECKSUM)]))
    assert broken.gate.verdict is GateVerdict.ROLLBACK
    assert "checksum mismatch" in broken.gate.texts[0]
    assert len(broken.triggers) == 1


def test_broken_assignment_is_invalid() -> None:
    """A row whose bucket does not recompute makes the whole comparison doubtful."""
    records = LEDGER.records()
    rows = [replace(LEDGER.assignments[0], bucket=0.123), *LEDGER.assignments[1:]]
    found = report_of(replace(records, assignments=rows))
    assert found.gate.verdict is GateVerdict.INVALID
    assert "does not recompute" in found.gate.texts[0]


def test_goals_are_read_from_the_challenger() -> None:
    """Utilisation is met, makespan and every single completion are missed, eleven ratings are not enough."""
    states = {reading.goal.name: reading.state for reading in REPORT.goals}
    assert states["utilisation_percent"] is GoalState.MET
    assert states["makespan_hours"] is GoalState.MISSED
    assert states["completion_percent"] is GoalState.MISSED
    assert states["satisfaction_percent"] is GoalState.NOT_ENOUGH_DATA
    assert states["uptime_percent"] is GoalState.MET


def test_trends_run_through_the_stages() -> None:
    """Intervals over time narrow, start as soon as windows refute anything and end with what the table says."""
    points = REPORT.makespan_trend[Baseline.RULE]
    assert points[0].interval.n < 15
    assert points[-1].interval == next(d.interval for d in REPORT.differences)
    assert {point.stage for point in points} == {"shadow", "limited", "expanded"}
    assert len(REPORT.completion_trend) == MAX_TREND_POINTS
    spans = [(span.stage, (span.end - span.begin).days) for span in REPORT.stages]
    assert spans == [("shadow", 10), ("limited", 10), ("expanded", 20)]


def test_thinning_keeps_both_ends() -> None:
    """However long the rollout, the chart has a bounded number of points."""
    many = REPORT.completion_trend * 9
    assert len(thinned(many)) == MAX_TREND_POINTS
    assert (thinned(many)[0], thinned(many)[-1]) == (many[0], many[-1])
    assert thinned(many[:3]) == many[:3]


def test_period_bounds_figures_and_not_sequences() -> None:
    """The weekly report counts a week, while the intervals keep all that they have learned."""
    weekly = report_of(LEDGER.records(since=START + timedelta(days=33)))
    assert [figures.group for figures in weekly.arms_by_stage] == ["expanded"] * 2
    assert sum(weekly.health.outcomes.values()) < sum(REPORT.health.outcomes.values()) / 5
    assert weekly.differences == REPORT.differences
    assert len({figures.group for figures in weekly.arms_by_week}) == 6


def test_forced_requests_are_in_no_statistic() -> None:
    """They are counted as forced, and nothing else changes."""
    first = next(e for e in LEDGER.evaluations if e.arm is ArmRole.PPO)
    forced = replace(first, decision_id="forced", is_forced=True, outcome=Outcome.CRITICAL)
    found = report_of(replace(LEDGER.records(), evaluations=[*LEDGER.evaluations, forced]))
    assert found.health.forced == 1
    assert (found.gate, found.differences, found.arms_by_stage) == (
        REPORT.gate,
        REPORT.differences,
        REPORT.arms_by_stage,
    )


def test_report_without_rows_says_so_everywhere() -> None:
    """A new rollout: HOLD with everything that is missing, and no figure that nobody measured."""
    first = LEDGER.transitions[0]
    records = Records(at=START, state=first.state, configuration=CONFIGURATION, goals=GOALS, transitions=[first])
    empty = report_of(records)
    assert empty.gate.verdict is GateVerdict.HOLD
    assert len(empty.gate.texts) == 4
    assert all(difference.interval is None for difference in empty.differences)
    assert {reading.state for reading in empty.goals} == {GoalState.NOT_ENOUGH_DATA}
    text = read(page_of(empty)).text
    assert text.count("not enough data") > 15
    assert "HOLD" in text


def test_report_after_a_rollback_still_tells() -> None:
    """The stage is rolled back, the verdict says what would have to be shown again."""
    row = rollback(LEDGER.state, Order(actor="guardrail", reason="crash_rate", at=START + timedelta(days=40)))
    assert row is not None
    found = report_of(replace(LEDGER.records(), state=row.state, transitions=[*LEDGER.transitions, row]))
    assert found.state.stage is Stage.ROLLED_BACK
    assert "rolled back" in read(page_of(found)).text


def test_json_is_json() -> None:
    """No number that JSON does not know, and everything that the contract names."""
    document = json.loads(json.dumps(REPORT.as_json(), allow_nan=False))
    assert document["gate"]["verdict"] == "PROMOTE"
    assert document["differences"][0]["interval"]["n"] == document["differences"][0]["n"]
    assert document["arms_by_stage"][0]["arm"] == "manual"
    assert document["integrity"]["findings"] == []
    assert document["transitions"][1]["to"] == "limited"
    assert document["makespan_trend"]["planner"][0]["interval"]["n"] < 15
    assert document["windows"] == {"closed": 39, "lists": REPORT.windows.lists, "open": 1, "late": 0}


def test_page_needs_nothing_else() -> None:
    """No script, no link, no file from anywhere; every chart is well-formed and has a name."""
    page = page_of(REPORT)
    reader = read(page)
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "img", "iframe", "a"}
    assert not re.search(r"https?://|url\(|@import", page)
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 6
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.attrib["aria-label"]
        assert "nan" not in chart
        assert "inf" not in chart


def test_page_shows_what_the_report_says() -> None:
    """Verdict, stage, intervals and history are there in words."""
    text = read(page_of(REPORT)).text
    for expected in ("PROMOTE", "expanded, 50 % to full_production@3", "rollback", "Every stored bucket recomputes"):
        assert expected in text
    assert "the pairs are better" in text
    assert re.search(r"not enough data \(\d+ of 100 windows\)", text)


def test_page_escapes_what_people_wrote() -> None:
    """A reason or a model's name cannot become markup."""
    row = LEDGER.transitions[-1]
    bad = "<script>alert('x')</script>"
    records = replace(
        LEDGER.records(),
        state=replace(LEDGER.state, challenger=bad),
        transitions=[*LEDGER.transitions[:-1], replace(row, reason=bad, actor=bad)],
    )
    report = report_of(records)
    assert isinstance(report, RolloutReport)
    page = page_of(report, title=bad)
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_losses_of_stored_rows_belong_to_the_arm_of_their_unit() -> None:
    """Rows of evaluations do not say which arm was assigned; those of decisions do."""
    records = LEDGER.records()
    stored = replace(
        records,
        evaluations=[replace(each, assigned=None) for each in records.evaluations],
        missing=[replace(each, assigned=None) for each in records.missing],
    )
    assert report_of(stored).losses == REPORT.losses
    assert {each.arm for each in REPORT.losses} == set(ArmRole)


def test_forced_request_that_names_another_policy_changes_no_pair() -> None:
    """The newest row tells which policy the challenger is, but for one that a request asked for by name."""
    log = TransitionLog(days=3)
    before = report_of(log.records())
    last = max((e for e in log.evaluations if e.arm is ArmRole.PPO), key=lambda e: e.at)
    later = {"decision_id": "forced", "at": last.at + timedelta(minutes=1), "is_forced": True}
    log.evaluations.append(replace(last, **later, model="other@7"))
    after = report_of(log.records())
    assert before.health.pairs > 0
    assert (after.health.pairs, after.windows) == (before.health.pairs, before.windows)


def test_two_policies_with_a_time_budget_are_not_paired_by_rows() -> None:
    """Rows do not tell effort, by which such pairs are refused live; without a budget they count."""
    log = TransitionLog(days=3)
    duel = replace(log.records(), state=replace(log.state, champion="full_production@2"))
    assert report_of(duel).health.pairs == 0
    unlimited = [replace(each, budget_ms=0) for each in log.evaluations]
    assert report_of(replace(duel, evaluations=unlimited)).health.pairs == report_of(log.records()).health.pairs


def _with_kinds() -> RolloutReport:
    """The ledger with lists of two kinds, in one of which the challenger's plans are a fifth longer."""
    ledger = TransitionLog()
    for place, each in enumerate(ledger.evaluations):
        is_bad = int(each.decision_id.split("-")[-1]) % 4 == 0
        figures = each.figures
        if figures is not None and is_bad and each.arm is ArmRole.PPO:
            figures = replace(figures, makespan_seconds=figures.makespan_seconds * 1.2)
        kinds = ("plant <p>", "lists with setups" if is_bad else "lists without setups")
        ledger.evaluations[place] = replace(each, strata=kinds, figures=figures)
    return report_of(ledger.records())


def test_charts_draw_what_the_gate_decides_on() -> None:
    """The last point of the evidence is the gate's, and so is the line at which it is answered."""
    better = next(reading for reading in REPORT.gate.readings if reading.question == "better")
    charts = REPORT.charts
    assert charts.evidence[-1].log10_e["better"] == pytest.approx(better.log_e / math.log(10.0))
    assert charts.thresholds["better"] == pytest.approx(better.log_threshold / math.log(10.0))
    assert {name: round(10.0 ** charts.thresholds[name]) for name in ("not better by 2 %", "harm")} == {
        "not better by 2 %": 20,
        "harm": 200,
    }
    rule = next(difference for difference in REPORT.differences if difference.name == MAKESPAN)
    assert len(charts.changes[Baseline.RULE]) == rule.n
    assert charts.strata == ()
    assert "charts" not in REPORT.as_json()


def test_kinds_of_lists_are_told_with_their_own_windows() -> None:
    """The kind that is worse is named by its own windows, first in the picture, and its name is escaped."""
    report = _with_kinds()
    found = {each.name: each for each in report.charts.strata}
    assert [name for name, each in found.items() if each.is_worse] == ["lists with setups"]
    bad, good = (found[f"lists {kind} setups"].interval for kind in ("with", "without"))
    assert bad is not None
    assert good is not None
    assert good.upper < 0.0 < 0.05 < bad.lower
    page = page_of(report)
    drawn = [page.index(name) for name in (">lists with setups<", ">plant &lt;p&gt;<", ">lists without setups<")]
    assert drawn == sorted(drawn)
    assert "plant <p>" not in page


def test_pictures_have_titles_and_scale() -> None:
    """Every chart says in words what it shows; the evidence is drawn on decades, losses to scale by cause and arm."""
    page = page_of(_with_kinds())
    charts = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)">\s*<title>([^<]+)</title>', page)
    assert len(charts) == page.count("<svg")
    told = " ".join(label for label, _ in charts)
    assert "Odds to 1 over days: shorter plans" in told
    assert "Requests without a pair in expanded, by cause and assigned arm" in told
    assert all(f">{decade}</text>" in page for decade in ("0.1", "1", "10", "100", "1,000"))
    of_stage = [each for each in REPORT.losses if each.stage == "expanded"]
    shares = {each.arm.value: each.lost.get("dropped", 0) / each.accepted for each in of_stage}
    for arm, share in shares.items():
        assert f"{100 * share:.2f} % of {arm}" in page


def test_kinds_of_lists_of_which_little_is_known_drive_out_none() -> None:
    """Of more kinds than are drawn, the one that is named and the longest are; new plants come last."""
    few = [StratumFinding(name=f"plant {n:02}", n=1, interval=None, is_worse=False) for n in range(MAX_STRATA)]
    interval = Interval(estimate=0.05, lower=0.03, upper=0.07, n=40)
    known = StratumFinding(name="large lists", n=40, interval=interval, is_worse=False)
    named = replace(known, name="small lists", interval=replace(interval, estimate=0.04), is_worse=True)
    page = page_of(replace(REPORT, charts=replace(REPORT.charts, strata=(*few, known, named))))
    drawn = re.findall(r">(small lists|large lists|plant \d\d)<", page)
    assert drawn == ["small lists", "large lists", *(each.name for each in few[:-2])]
    assert "2 more are shorter, or have too few windows." in page


def test_evidence_of_harm_is_named_by_its_limit() -> None:
    """Whoever rolls back from 5 % on reads 5 % beside the line."""
    records = LEDGER.records()
    limits = replace(CONFIGURATION.limits, makespan_increase=0.05)
    page = page_of(report_of(replace(records, configuration=replace(CONFIGURATION, limits=limits))))
    assert ">longer by over 5 %<" in page
    assert ">longer by over 10 %<" in page_of(REPORT)


def test_evidence_beyond_a_million_keeps_its_scale() -> None:
    """Where days are alike the odds that are needed are huge: their line stays below what has passed it."""
    charts = REPORT.charts
    points = tuple(replace(each, log10_e=each.log10_e | {"better": 12.8}) for each in charts.evidence)
    charts = replace(charts, evidence=points, thresholds=charts.thresholds | {"better": 11.3})
    drawn = evidence_chart(charts, REPORT.stages, 0.1)
    line = re.search(r'class="evidence line-0" points="[\d.]+,([\d.]+)', drawn)
    needed = re.search(r'class="answered line-0"[^>]* y1="([\d.]+)"', drawn)
    assert line is not None
    assert needed is not None
    assert float(line[1]) < float(needed[1])
    scale = re.findall(r'text-anchor="end">([^<]+)</text>', drawn)[:-1]
    assert scale == ["0.1", "100", "100,000", "10⁸", "10¹¹"]


def test_losses_are_drawn_of_the_present_stage() -> None:
    """In shadow of a new ramp nobody wants to see those of the stage that an earlier ramp got to."""
    again = replace(LEDGER.state, stage=Stage.SHADOW, ramp=2)
    told = (StageLosses(stage="shadow", arm=ArmRole.PPO, accepted=10, lost={"late": 1}), *REPORT.losses)
    page = page_of(replace(REPORT, state=again, losses=told))
    assert "Requests without a pair in shadow, by cause and assigned arm" in page
    assert "Requests without a pair in expanded, by cause and assigned arm" in page_of(REPORT)


def test_charts_without_any_window_say_so() -> None:
    """Nothing is drawn of nothing, and nothing is divided by it."""
    page = page_of(report_of(replace(LEDGER.records(), evaluations=[], missing=[])))
    assert "Evidence over time: not enough data" in page
    assert "no stored window says which kinds of lists it has" in page
    assert "by cause and assigned arm" not in page
