"""The report: from stored rows to everything that an operations manager and a statistician ask, as plain data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from deployments.rollout.analysis.confidence import Interval, MeanSequence, RateSequence, window_interval
from deployments.rollout.analysis.e_processes import EvidenceReading
from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.outcomes import (
    COMPARED_FIGURES,
    MAKESPAN,
    Alarm,
    Baseline,
    Evaluation,
    MissingPair,
    Outcome,
    PairedObservation,
    pairs_of,
)
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.analysis.sample_ratio import AssignedUnit, ExperimentIntegrity, audit
from deployments.rollout.analysis.triggers import GuardrailReading, Limits, Trigger
from deployments.rollout.analysis.windows import WindowObservation
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.comparison import DISPLAY_ALPHA, WindowComparison, replay
from deployments.rollout.ramp.gate import PromotionGate, judge_gate
from deployments.rollout.ramp.state import MANUAL, RAMP, RampConfiguration, RolloutState, Stage, Transition
from deployments.rollout.report.arm_figures import (
    ArmFigures,
    Rating,
    RealisedArm,
    RealisedEffect,
    RealisedJob,
    Satisfaction,
    figures_of,
    planned_figures,
    realised_arms,
    realised_effects,
    satisfaction,
    week_of,
)
from deployments.rollout.report.goals import (
    Goal,
    GoalMeasures,
    GoalReading,
    measures_of,
    read_goals,
    satisfaction_goal,
    throughput_of,
)
from deployments.rollout.report.trends import Charts, TrendPoint, as_change, charts_of, thinned, trend_of


class Replay:
    """`events` of any ramp and in any order, by their time: the guardrails take those of `ramp`."""

    def __init__(self, events: Iterable[Event], *, ramp: int, limits: Limits) -> None:
        self.guardrails = Guardrails(ramp=ramp, limits=limits)
        self._counts: list[tuple[Evaluation, int, int]] = []
        self._incomplete = RateSequence(prior=limits.incomplete_prior)
        for event in sorted((event for event in events if event.ramp == ramp), key=lambda event: event.at):
            self._take(event)

    def _take(self, event: Event) -> None:
        self.guardrails.observe(event)
        if isinstance(event, Evaluation) and not event.is_forced:
            self._take_completion(event)

    def _take_completion(self, event: Evaluation) -> None:
        if event.outcome not in (Outcome.OK, Outcome.INCOMPLETE):
            return
        self._incomplete.add(event.outcome is Outcome.INCOMPLETE)
        self._counts.append((event, self._incomplete.trials, self._incomplete.events))

    def completions(self) -> tuple[TrendPoint, ...]:
        """The completion rate over time. Its bounds are searched for, so only at the points that are shown."""
        return tuple(
            TrendPoint(at=event.at, stage=event.stage, interval=self._completion(trials, incomplete))
            for event, trials, incomplete in thinned(self._counts)
        )

    def _completion(self, trials: int, incomplete: int) -> Interval:
        found = RateSequence(prior=self._incomplete.prior, trials=trials, events=incomplete).interval(DISPLAY_ALPHA)
        assert found is not None
        return Interval(estimate=1 - found.estimate, lower=1 - found.upper, upper=1 - found.lower, n=found.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Everything that a report is made of: rows as they are stored, of the current ramp or of more.

    `evaluations` are those of both arms; pairs are made of them. `since` starts the period of the figures by arm,
    None: all. `uptime_percent` is of `uptime_checks` probes, None where nobody measures it.
    """

    at: datetime
    state: RolloutState
    configuration: RampConfiguration
    goals: Sequence[Goal]
    since: datetime | None = None
    transitions: Sequence[Transition] = ()
    evaluations: Sequence[Evaluation] = ()
    missing: Sequence[MissingPair] = ()
    recomputations: Sequence[Recomputation] = ()
    alarms: Sequence[Alarm] = ()
    assignments: Sequence[AssignedUnit] = ()
    jobs: Sequence[RealisedJob] = ()
    ratings: Sequence[Rating] = ()
    uptime_percent: float | None = None
    uptime_checks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One KPI against one kind of baseline by `n` windows of `lists` pairs; no interval: not enough data.

    `stage` is None for the sequence that runs through all stages. For makespan the interval is of the relative
    change (-0.05: five per cent shorter), else in the KPI's unit.
    """

    stage: str | None
    name: str
    baseline: Baseline
    n: int
    interval: Interval | None
    lists: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLosses:
    """Accepted requests of one stage that were assigned to one arm, and those of them without a pair by cause."""

    stage: str
    arm: ArmRole
    accepted: int
    lost: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsSoFar:
    """How much there is: windows that have closed with their pairs, those that are open, and pairs that came late."""

    closed: int
    lists: int
    open: int
    late: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpan:
    """A stage from `begin` to `end`; the last one ends with the report."""

    stage: str
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the evaluations of the period ended, and how many pairs are missing."""

    outcomes: dict[str, int]
    forced: int
    missing_pairs: int
    pairs: int
    missing_reasons: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport:
    """All of it; `as_json` is what the route answers, `report.page` shows it."""

    at: datetime
    since: datetime | None
    state: RolloutState
    gate: PromotionGate
    goals: tuple[GoalReading, ...]
    margins: tuple[EvidenceReading, ...]
    stages: tuple[StageSpan, ...]
    arms_by_stage: tuple[ArmFigures, ...]
    arms_by_week: tuple[ArmFigures, ...]
    differences: tuple[Difference, ...]
    differences_by_stage: tuple[Difference, ...]
    makespan_trend: dict[Baseline, tuple[TrendPoint, ...]]
    completion_trend: tuple[TrendPoint, ...]
    guardrails: tuple[GuardrailReading, ...]
    triggers: tuple[Trigger, ...]
    integrity: ExperimentIntegrity
    health: Health
    windows: WindowsSoFar
    losses: tuple[StageLosses, ...]
    realised: tuple[RealisedArm, ...]
    realised_effects: tuple[RealisedEffect, ...]
    satisfaction: tuple[Satisfaction, ...]
    charts: Charts
    transitions: tuple[Transition, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is null."""
        document = {item.name: _plain(getattr(self, item.name)) for item in fields(self) if item.name != "charts"}
        document["gate"] = self.gate.as_json()
        document["integrity"]["findings"] = list(self.integrity.findings)
        document["transitions"] = [transition.as_json() for transition in self.transitions]
        return document


def report_of(records: Records) -> RolloutReport:
    """The report on the ramp that `records.state` is in, and on its arms over all ramps that they were compared in."""
    ramp, state = records.state.ramp, records.state
    records = replace(records, evaluations=_with_arms(records))
    pairs = _pairs(records, _of_one_challenger(records.evaluations))
    guarded = _replayed(records)
    comparison = WindowComparison(
        challenger=state.challenger, champion=state.champion, limits=records.configuration.limits
    )
    events: list[Event] = [*pairs, *_missing(records), *records.recomputations]
    closed = replay(comparison, events, records.transitions, now=records.at)
    integrity = audit(row for row in records.assignments if row.ramp == ramp)
    evidence = comparison.evidence(state.serving_stage, guarded.guardrails, integrity.findings)
    in_period = [e for e in records.evaluations if (e.ramp == ramp if records.since is None else e.at >= records.since)]
    return RolloutReport(
        at=records.at,
        since=records.since,
        state=state,
        gate=_gate(records, evidence),
        goals=_goals(records, in_period, closed),
        margins=() if evidence.margins is None else evidence.margins.readings(),
        stages=_spans(records),
        arms_by_stage=figures_of(in_period, lambda evaluation: evaluation.stage),
        arms_by_week=figures_of(records.evaluations, lambda evaluation: week_of(evaluation.at)),
        differences=_differences([observation for _, observation in closed]),
        differences_by_stage=_differences_by_stage([observation for _, observation in closed]),
        makespan_trend={baseline: trend_of(closed, baseline) for baseline in Baseline},
        completion_trend=guarded.completions(),
        guardrails=guarded.guardrails.readings(),
        triggers=guarded.guardrails.triggers,
        integrity=integrity,
        health=_health(records, in_period, pairs),
        windows=WindowsSoFar(
            closed=comparison.windows.windows,
            lists=comparison.lists,
            open=len({each.window for each in comparison.partial}),
            late=comparison.late,
        ),
        losses=_losses(comparison),
        realised=realised_arms(_since(records.jobs, records.since)),
        realised_effects=realised_effects(records.jobs, planned_figures(pairs)),
        satisfaction=satisfaction(_since(records.ratings, records.since)),
        charts=charts_of(closed, comparison.windows, records.configuration.limits),
        transitions=tuple(records.transitions),
    )


def _replayed(records: Records) -> Replay:
    """What the controller was told of, once more."""
    events: list[Event] = [evaluation for evaluation in records.evaluations if evaluation.arm is ArmRole.PPO]
    events += [*_pairs(records, records.evaluations), *records.missing, *records.alarms]
    return Replay(events, ramp=records.state.ramp, limits=records.configuration.limits)


def _with_arms(records: Records) -> list[Evaluation]:
    """The evaluations with the arm that their unit was given, which stands in the rows of the assignment."""
    given = {(row.ramp, row.stage, row.unit): row.arm for row in records.assignments}
    return [replace(e, assigned=e.assigned or given.get((e.ramp, e.stage, e.unit))) for e in records.evaluations]


def _of_one_challenger(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Without those of another policy that bore its name before: the published one changes with a version.

    A request that asked for its arm may name any policy, so it tells nothing.
    """
    own = (e for e in evaluations if e.arm is ArmRole.PPO and e.model and not e.is_forced)
    newest = max(own, key=lambda e: e.at, default=None)
    return [e for e in evaluations if e.arm is ArmRole.MANUAL or newest is None or e.model in (None, newest.model)]


def _pairs(records: Records, evaluations: Sequence[Evaluation]) -> tuple[PairedObservation, ...]:
    """Without those of two policies with a time budget from before 0.3.0: there, rows do not tell the effort."""
    is_duel = records.state.champion != MANUAL
    return pairs_of(each for each in evaluations if not (is_duel and each.budget_ms and not each.strata))


def _missing(records: Records) -> Iterator[MissingPair]:
    """Missing pairs with the arm that their request was assigned, by the rows of the assignment where there are."""
    assigned = {e.decision_id: e.assigned for e in records.evaluations if e.assigned is not None}
    for each in records.missing:
        yield replace(each, assigned=assigned.get(each.decision_id) or each.assigned)


def _losses(comparison: WindowComparison) -> tuple[StageLosses, ...]:
    found = []
    for stage in RAMP:
        losses = comparison.losses(stage)
        found += [
            StageLosses(
                stage=stage.value,
                arm=arm,
                accepted=losses.accepted[arm],
                lost={cause.value: count for cause, count in losses.lost[arm].items() if count},
            )
            for arm in ArmRole
            if losses.accepted[arm]
        ]
    return tuple(found)


def _gate(records: Records, evidence: Any) -> PromotionGate:
    state = records.state
    # A stage that was rolled back is judged like shadow: what would have to be shown again.
    stage = state.serving_stage if state.serving_stage.is_on_ramp else Stage.SHADOW
    seconds = state.seconds_in_stage(records.at)
    return judge_gate(
        stage,
        seconds,
        records.configuration,
        evidence,
        is_paused=state.stage is Stage.PAUSED,
        held_back=state.held_back,
    )


def _goals(
    records: Records, in_period: Sequence[Evaluation], closed: Sequence[tuple[datetime, WindowObservation]]
) -> tuple[GoalReading, ...]:
    measured = measures_of([evaluation for evaluation in in_period if evaluation.arm is ArmRole.PPO])
    measured |= throughput_of([each.log_ratio for _, each in closed if each.baseline is Baseline.RULE])
    measured |= satisfaction_goal(satisfaction(_since(records.ratings, records.since)))
    if records.uptime_percent is not None:
        measured["uptime_percent"] = GoalMeasures(value=records.uptime_percent, n=records.uptime_checks)
    return read_goals(records.goals, measured)


def _spans(records: Records) -> tuple[StageSpan, ...]:
    rows = sorted(records.transitions, key=lambda row: row.version)
    ends = [row.at for row in rows[1:]] + [max(records.at, rows[-1].at)] if rows else []
    return tuple(
        StageSpan(stage=row.to_stage.value, begin=row.at, end=end) for row, end in zip(rows, ends, strict=True)
    )


def _differences_by_stage(closed: Sequence[WindowObservation]) -> tuple[Difference, ...]:
    """Each stage by itself, in the order of the ramp; kinds of baseline without any window are left out."""
    found: list[Difference] = []
    for stage in RAMP:
        of_stage = [each for each in closed if each.stage == stage.value]
        found += [difference for difference in _differences(of_stage, stage.value) if difference.n]
    return tuple(found)


def _differences(closed: Sequence[WindowObservation], stage: str | None = None) -> tuple[Difference, ...]:
    found = []
    for baseline in Baseline:
        windows = [each for each in closed if each.baseline is baseline]
        makespan = window_interval([each.log_ratio for each in windows], DISPLAY_ALPHA)
        intervals = {MAKESPAN: None if makespan is None else as_change(makespan)}
        for place, (name, figure) in enumerate(COMPARED_FIGURES.items()):
            sequence = MeanSequence(deviation_floor=figure.deviation_floor)
            for each in windows:
                sequence.add(each.differences[place])
            # Of two complete plans none has more jobs placed: zero by construction is no finding.
            intervals |= {} if name == "completion_percent" else {name: sequence.interval(DISPLAY_ALPHA)}
        lists = sum(each.lists for each in windows)
        found += [
            Difference(stage=stage, name=name, baseline=baseline, n=len(windows), interval=interval, lists=lists)
            for name, interval in intervals.items()
        ]
    return tuple(found)


def _health(records: Records, in_period: Sequence[Evaluation], pairs: Sequence[PairedObservation]) -> Health:
    challenger = [evaluation for evaluation in in_period if evaluation.arm is ArmRole.PPO]
    missing = _since(records.missing, records.since)
    return Health(
        outcomes={
            outcome.value: sum(e.outcome is outcome for e in challenger if not e.is_forced) for outcome in Outcome
        },
        forced=sum(evaluation.is_forced for evaluation in challenger),
        missing_pairs=len(missing),
        pairs=len(_since(pairs, records.since)),
        missing_reasons=dict(Counter(pair.reason for pair in missing)),
    )


def _since(rows: Sequence[Any], since: datetime | None) -> list[Any]:
    return [row for row in rows if since is None or row.at >= since]


def _plain(value: Any) -> Any:
    """Dataclasses as objects, enumerations by value, instants as text, endless numbers as null."""
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value):
            return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        case _:
            return value
