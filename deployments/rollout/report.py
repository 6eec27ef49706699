"""The report: from stored rows to everything that an operations manager and a statistician ask, as plain data.

Sequences run through the whole ramp; figures by arm, health and feedback are those of the period that was asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from deployments.rollout.arm_figures import ArmFigures, figures_of, week_of
from deployments.rollout.assignment import Arm
from deployments.rollout.comparison import COMPARED, MAKESPAN, Comparison
from deployments.rollout.confidence import Interval
from deployments.rollout.configuration import RAMP, RampConfiguration, Stage
from deployments.rollout.gate import Gate, judge
from deployments.rollout.goals import GOALS, Goal, GoalReading, Measured, measures_of, read_goals
from deployments.rollout.guardrails import Event
from deployments.rollout.outcomes import (
    Alarm,
    Baseline,
    Evaluation,
    MissingPair,
    Outcome,
    PairedObservation,
)
from deployments.rollout.realised import (
    Rating,
    RealisedArm,
    RealisedEffect,
    RealisedJob,
    Satisfaction,
    realised_arms,
    realised_effects,
    satisfaction,
)
from deployments.rollout.report_replay import Replay, TrendPoint, as_change, pairs_of, thinned
from deployments.rollout.sample_ratio import AssignedUnit, Integrity, audit
from deployments.rollout.state import RolloutState, Transition
from deployments.rollout.triggers import Reading, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Everything that a report is made of: rows as they are stored, of the current ramp or of more.

    `evaluations` are those of both arms; pairs are made of them. `since` starts the period of the figures by arm,
    None: all. `uptime_percent` is of `uptime_checks` probes, None where nobody measures it.
    """

    at: datetime
    state: RolloutState
    configuration: RampConfiguration
    since: datetime | None = None
    transitions: Sequence[Transition] = ()
    evaluations: Sequence[Evaluation] = ()
    missing: Sequence[MissingPair] = ()
    alarms: Sequence[Alarm] = ()
    assignments: Sequence[AssignedUnit] = ()
    jobs: Sequence[RealisedJob] = ()
    ratings: Sequence[Rating] = ()
    uptime_percent: float | None = None
    uptime_checks: int = 0
    goals: Sequence[Goal] = GOALS


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One KPI in pairs against one kind of baseline; without an interval there is not enough data.

    `stage` is None for the sequence that runs through the whole ramp. For makespan the interval is of the relative
    change (-0.05: five per cent shorter), else in the KPI's unit.
    """

    stage: str | None
    name: str
    baseline: Baseline
    n: int
    interval: Interval | None


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
class Report:
    """All of it; `as_json` is what the route answers, `report_page` shows it."""

    at: datetime
    since: datetime | None
    state: RolloutState
    gate: Gate
    goals: tuple[GoalReading, ...]
    stages: tuple[StageSpan, ...]
    arms_by_stage: tuple[ArmFigures, ...]
    arms_by_week: tuple[ArmFigures, ...]
    differences: tuple[Difference, ...]
    differences_by_stage: tuple[Difference, ...]
    makespan_trend: dict[Baseline, tuple[TrendPoint, ...]]
    completion_trend: tuple[TrendPoint, ...]
    guardrails: tuple[Reading, ...]
    triggers: tuple[Trigger, ...]
    integrity: Integrity
    health: Health
    realised: tuple[RealisedArm, ...]
    realised_effects: tuple[RealisedEffect, ...]
    satisfaction: tuple[Satisfaction, ...]
    transitions: tuple[Transition, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is null."""
        document = _plain(self)
        assert isinstance(document, dict)
        document["gate"] = self.gate.as_json()
        document["integrity"]["findings"] = list(self.integrity.findings)
        document["transitions"] = [transition.as_json() for transition in self.transitions]
        return document


def report_of(records: Records) -> Report:
    """The report on the ramp that `records.state` is in."""
    ramp = records.state.ramp
    pairs = pairs_of(records.evaluations)
    replay = _replayed(records, pairs)
    integrity = audit(row for row in records.assignments if row.ramp == ramp)
    evidence = replay.comparison.evidence(records.state.serving_stage, replay.guardrails, integrity.findings)
    in_period = [e for e in records.evaluations if records.since is None or e.at >= records.since]
    return Report(
        at=records.at,
        since=records.since,
        state=records.state,
        gate=_gate(records, evidence),
        goals=_goals(records, in_period, replay.comparison),
        stages=_spans(records),
        arms_by_stage=figures_of(in_period, lambda evaluation: evaluation.stage),
        arms_by_week=figures_of(records.evaluations, lambda evaluation: week_of(evaluation.at)),
        differences=_differences(replay.comparison),
        differences_by_stage=_differences_by_stage(ramp, pairs),
        makespan_trend={baseline: thinned(points) for baseline, points in replay.makespans.items()},
        completion_trend=replay.completions(),
        guardrails=replay.guardrails.readings(),
        triggers=replay.guardrails.triggers,
        integrity=integrity,
        health=_health(records, in_period, pairs),
        realised=realised_arms(_since(records.jobs, records.since)),
        realised_effects=realised_effects(records.jobs),
        satisfaction=satisfaction(_since(records.ratings, records.since)),
        transitions=tuple(records.transitions),
    )


def _replayed(records: Records, pairs: Sequence[PairedObservation]) -> Replay:
    """What the controller was told of, once more."""
    events: list[Event] = [evaluation for evaluation in records.evaluations if evaluation.arm is Arm.PPO]
    events += [*pairs, *records.missing, *records.alarms]
    return Replay(events, ramp=records.state.ramp, limits=records.configuration.limits)


def _gate(records: Records, evidence: Any) -> Gate:
    state = records.state
    # A stage that was rolled back is judged like shadow: what would have to be shown again.
    stage = state.serving_stage if state.serving_stage.is_on_ramp else Stage.SHADOW
    seconds = state.seconds_in_stage(records.at)
    return judge(stage, seconds, records.configuration, evidence, is_paused=state.stage is Stage.PAUSED)


def _goals(records: Records, in_period: Sequence[Evaluation], comparison: Comparison) -> tuple[GoalReading, ...]:
    measured = measures_of([evaluation for evaluation in in_period if evaluation.arm is Arm.PPO])
    found = comparison.interval(Baseline.RULE, MAKESPAN)
    if found is not None:
        estimate, upper, lower = (100.0 * math.expm1(-v) for v in (found.estimate, found.lower, found.upper))
        gain = Interval(estimate=estimate, lower=lower, upper=upper, n=found.n)
        measured["throughput_percent"] = Measured(value=estimate, n=found.n, interval=gain)
    for rated in satisfaction(_since(records.ratings, records.since)):
        if rated.arm is Arm.PPO:
            low, mean, high = (
                100.0 * v for v in (rated.satisfied.lower, rated.satisfied.estimate, rated.satisfied.upper)
            )
            interval = Interval(estimate=mean, lower=low, upper=high, n=rated.ratings)
            measured["satisfaction_percent"] = Measured(value=mean, n=rated.ratings, interval=interval)
    if records.uptime_percent is not None:
        measured["uptime_percent"] = Measured(value=records.uptime_percent, n=records.uptime_checks)
    return read_goals(records.goals, measured)


def _spans(records: Records) -> tuple[StageSpan, ...]:
    rows = sorted(records.transitions, key=lambda row: row.version)
    ends = [row.at for row in rows[1:]] + [max(records.at, rows[-1].at)] if rows else []
    return tuple(
        StageSpan(stage=row.to_stage.value, begin=row.at, end=end) for row, end in zip(rows, ends, strict=True)
    )


def _differences_by_stage(ramp: int, pairs: Sequence[PairedObservation]) -> tuple[Difference, ...]:
    """Each stage by itself, in the order of the ramp; kinds of baseline without any pair are left out."""
    found: list[Difference] = []
    for stage in RAMP:
        comparison = Comparison(ramp=ramp)
        for pair in pairs:
            if pair.stage == stage.value:
                comparison.observe(pair)
        found += [difference for difference in _differences(comparison, stage.value) if difference.n]
    return tuple(found)


def _differences(comparison: Comparison, stage: str | None = None) -> tuple[Difference, ...]:
    found = []
    for baseline in Baseline:
        n = comparison.count(baseline)
        for name in COMPARED:
            interval = comparison.interval(baseline, name)
            if name == MAKESPAN and interval is not None:
                interval = as_change(interval)
            found.append(Difference(stage=stage, name=name, baseline=baseline, n=n, interval=interval))
    return tuple(found)


def _health(records: Records, in_period: Sequence[Evaluation], pairs: Sequence[PairedObservation]) -> Health:
    challenger = [evaluation for evaluation in in_period if evaluation.arm is Arm.PPO]
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
