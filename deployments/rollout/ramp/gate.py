"""The promotion gate: PROMOTE, HOLD, ROLLBACK or INVALID, and why. What comes first in `judge_gate` stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from deployments.rollout.analysis.confidence import Interval
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.analysis.triggers import Condition, GuardrailReading, Trigger
from deployments.rollout.ramp.state import DAY_SECONDS, RampConfiguration, Stage


class GateVerdict(StrEnum):
    """What should happen to the rollout now."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    ROLLBACK = "ROLLBACK"
    INVALID = "INVALID"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReason:
    """One sentence, and whether a person may promote all the same: missing data may be forced, a breach never."""

    text: str
    is_forcible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about the rollout at one moment; plain data, gathered by whoever asks for a verdict.

    `pairs_in_stage` are paired observations (replans merged) within the current stage of this ramp, and
    `missing_in_stage` requests of it that should have been compared and were not. `makespans` are two-sided
    confidence sequences of the log makespan ratio over the whole ramp, by kind of baseline; a kind with less
    than the least number of observations is absent. `other_kpis` are those of the differences that have a
    better side, as (name, interval, whether more is better). `integrity` lists what makes the experiment itself
    doubtful: sample ratio, mixed exposure, buckets that do not recompute.
    """

    triggers: tuple[Trigger, ...] = ()
    breaches: tuple[GuardrailReading, ...] = ()
    integrity: tuple[str, ...] = ()
    pairs_in_stage: int = 0
    missing_in_stage: int = 0
    makespans: Mapping[Baseline, Interval] = field(default_factory=dict)
    other_kpis: tuple[tuple[str, Interval, bool], ...] = ()

    @property
    def missing_share(self) -> float:
        """Part of the pairs of this stage that is missing, 0 to 1."""
        expected = self.pairs_in_stage + self.missing_in_stage
        return self.missing_in_stage / expected if expected else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionGate:
    """A verdict with all its reasons; `reasons` of PROMOTE say what speaks for it."""

    verdict: GateVerdict
    reasons: tuple[GateReason, ...]

    @property
    def can_be_forced(self) -> bool:
        """Whether a person with a reason may promote: the verdict is HOLD for lack of data alone."""
        return self.verdict is GateVerdict.HOLD and all(reason.is_forcible for reason in self.reasons)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(reason.text for reason in self.reasons)

    def as_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict.value, "reasons": list(self.texts), "can_be_forced": self.can_be_forced}


def judge_gate(
    stage: Stage,
    seconds_in_stage: float,
    configuration: RampConfiguration,
    evidence: Evidence,
    *,
    is_paused: bool = False,
) -> PromotionGate:
    """The verdict on `stage` of the ramp after `seconds_in_stage` unpaused seconds in it."""
    if evidence.triggers:
        return _gate(GateVerdict.ROLLBACK, (trigger.reason for trigger in evidence.triggers))
    if evidence.integrity:
        return _gate(GateVerdict.INVALID, evidence.integrity)
    holds = (
        *_blocks(evidence, is_paused),
        *_shortages(stage, seconds_in_stage, configuration, evidence),
        *_doubts(evidence),
    )
    if holds:
        return PromotionGate(verdict=GateVerdict.HOLD, reasons=holds)
    if stage is Stage.FULL:
        return _gate(GateVerdict.HOLD, ("the challenger serves everything already",))
    better = (_better(baseline, interval) for baseline, interval in evidence.makespans.items() if interval.upper < 0.0)
    return _gate(GateVerdict.PROMOTE, better)


def _gate(verdict: GateVerdict, texts: Any) -> PromotionGate:
    return PromotionGate(verdict=verdict, reasons=tuple(GateReason(text=text, is_forcible=False) for text in texts))


def _blocks(evidence: Evidence, is_paused: bool) -> tuple[GateReason, ...]:
    """What no person may override."""
    texts = ["the rollout is paused"] if is_paused else []
    for reading in evidence.breaches:
        assert reading.condition is Condition.BREACH
        assert reading.value is not None
        kind = "" if reading.baseline is None else f" against the {reading.baseline.value}"
        found = f"{reading.value:.2%} over the last {reading.n}, limit {reading.limit:.2%}"
        texts.append(f"{reading.guardrail.value}{kind} is {found}")
    return tuple(GateReason(text=text, is_forcible=False) for text in texts)


def _shortages(
    stage: Stage, seconds_in_stage: float, configuration: RampConfiguration, evidence: Evidence
) -> tuple[GateReason, ...]:
    """What more time and more requests would bring."""
    step, texts = configuration.step(stage), []
    if seconds_in_stage < step.min_seconds:
        texts.append(
            f"{stage.value} must last {step.min_seconds / DAY_SECONDS:g} days, "
            f"has lasted {seconds_in_stage / DAY_SECONDS:.2f}"
        )
    if evidence.pairs_in_stage < step.min_pairs:
        texts.append(f"{stage.value} needs {step.min_pairs} paired observations, has {evidence.pairs_in_stage}")
    if evidence.missing_share > configuration.max_missing_share:
        texts.append(
            f"{evidence.missing_share:.1%} of the pairs of {stage.value} are missing, "
            f"at most {configuration.max_missing_share:.1%} may be"
        )
    return tuple(GateReason(text=text, is_forcible=True) for text in texts)


def _doubts(evidence: Evidence) -> tuple[GateReason, ...]:
    """Why the challenger is not shown to be better, or is worse in something else."""
    reasons = []
    if not evidence.makespans:
        reasons.append(GateReason(text="not enough data to compare makespans", is_forcible=True))
    elif not any(interval.upper < 0.0 for interval in evidence.makespans.values()):
        reasons.append(GateReason(text="makespan is not shown to be shorter than the champion's", is_forcible=True))
    for baseline, interval in evidence.makespans.items():
        if interval.lower > 0.0:
            least, most = (100.0 * math.expm1(bound) for bound in (interval.lower, interval.upper))
            text = f"makespan is {least:.1f} to {most:.1f} % longer than the {baseline.value}'s, n {interval.n:,}"
            reasons.append(GateReason(text=text, is_forcible=False))
    for name, interval, is_more_better in evidence.other_kpis:
        if interval.upper < 0.0 if is_more_better else interval.lower > 0.0:
            text = f"{name} is worse: difference between {interval.lower:.4g} and {interval.upper:.4g}"
            reasons.append(GateReason(text=text, is_forcible=False))
    return tuple(reasons)


def _better(baseline: Baseline, interval: Interval) -> str:
    least, most = (100.0 * -math.expm1(bound) for bound in (interval.upper, interval.lower))
    return f"makespan is {least:.1f} to {most:.1f} % shorter than the {baseline.value}'s, n {interval.n:,}"
