"""The promotion gate: one verdict with all its reasons. What comes first in `judge_gate` stands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from deployments.rollout.analysis.e_processes import NOT_BETTER, EvidenceReading, WindowEvidence, worse_text
from deployments.rollout.analysis.margins import MarginEvidence
from deployments.rollout.analysis.outcomes import LossCause
from deployments.rollout.analysis.sample_ratio import MAX_LOST_SHARE, LossCounts
from deployments.rollout.analysis.triggers import Condition, GuardrailReading, Trigger
from deployments.rollout.assignment import ArmRole
from deployments.rollout.ramp.state import DAY_SECONDS, RampConfiguration, Stage

_MAX_LOG_ODDS = 700.0
_NOTHING_LOST = LossCounts(accepted={}, lost={})

REMEDIES = {
    LossCause.INCOMPLETE: "plans that leave jobs out: the policy must learn to place them",
    LossCause.REJECTED: "plans that the judge refused: look at the incidents",
    LossCause.CRASH: "no plan at all: look at the log of PPOPolicy",
    LossCause.UNJUDGED: "the judge failed on the plan: look at the log of SafetyValidator",
    LossCause.LATE: "the policy had no room or time: more replicas in serve_config.yaml, or a smaller time_budget_ms",
    LossCause.UNANSWERED: "503 or a time-out: GANTRY_REQUEST_TIMEOUT_SECONDS and the replicas",
    LossCause.CLIENT_GONE: "the client hung up before the answer",
    LossCause.DROPPED: "no room to compute the other arm: GANTRY_COUNTERFACTUAL_PERCENT, or more cores",
    LossCause.EFFORT: "two policies with unequal CPU time: time_budget_ms 0, or a less busy machine",
    LossCause.FORCED: "requests that asked for their arm: leave `arm` out",
}
"""What a cause of lost pairs means and which setting heals it."""


class GateVerdict(StrEnum):
    """What should happen to the rollout now."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    FUTILE = "FUTILE"
    ROLLBACK = "ROLLBACK"
    INVALID = "INVALID"
    COMPLETE = "COMPLETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReason:
    """One sentence, and whether a person may promote all the same: missing data may be forced, a breach never."""

    text: str
    is_forcible: bool


def _no_evidence() -> WindowEvidence:
    return WindowEvidence(challenger="", champion="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about the rollout at one moment, gathered by whoever asks for a verdict.

    `windows` is what closed windows say, whatever ramp and stage they were of; `losses` are those of the present stage.
    `margins` is what they say of the other key figures, None where those are not asked.
    `integrity` lists what makes the experiment itself doubtful: sample ratio, mixed exposure, buckets that do not
    recompute. `unknown` says why windows that there were are not counted yet; empty: all are.
    """

    triggers: tuple[Trigger, ...] = ()
    breaches: tuple[GuardrailReading, ...] = ()
    integrity: tuple[str, ...] = ()
    windows: WindowEvidence = field(default_factory=_no_evidence)
    losses: LossCounts = _NOTHING_LOST
    margins: MarginEvidence | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionGate:
    """A verdict with all its reasons; those of PROMOTE say what speaks for it, `readings` how each question stands."""

    verdict: GateVerdict
    reasons: tuple[GateReason, ...]
    readings: tuple[EvidenceReading, ...] = ()

    @property
    def can_be_forced(self) -> bool:
        """Whether a person with a reason may promote: data are missing, or it is futile and not the way to `full`."""
        may_be = self.verdict in (GateVerdict.HOLD, GateVerdict.FUTILE)
        return may_be and all(reason.is_forcible for reason in self.reasons)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(reason.text for reason in self.reasons)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `odds` and `needed_odds` are to 1, against the question's null."""
        evidence = [
            {
                "question": reading.question,
                "windows": reading.n,
                "odds": odds(reading.log_e),
                "needed_odds": odds(reading.log_threshold),
                "windows_missing": reading.windows_missing,
                "is_answered": reading.is_answered,
            }
            for reading in self.readings
        ]
        return {
            "verdict": self.verdict.value,
            "reasons": list(self.texts),
            "can_be_forced": self.can_be_forced,
            "evidence": evidence,
        }


def judge_gate(
    stage: Stage,
    seconds_in_stage: float,
    configuration: RampConfiguration,
    evidence: Evidence,
    *,
    is_paused: bool = False,
    held_back: Iterable[str] = (),
) -> PromotionGate:
    """The verdict on `stage` of the ramp after `seconds_in_stage` unpaused seconds in it.

    Strata that are `held_back` stay on the champion in the next stage too: so a person may promote the others.
    """
    windows, is_for_full = evidence.windows, stage in (Stage.EXPANDED, Stage.FULL)
    readings = windows.readings(is_for_full=is_for_full)
    if is_for_full and evidence.margins is not None:
        readings += evidence.margins.readings()
    harm = (f"makespan is shown to be longer than the {each.value}'s beyond the limit" for each in windows.harmed)
    if evidence.triggers or windows.harmed:
        return _gate(GateVerdict.ROLLBACK, (*(trigger.reason for trigger in evidence.triggers), *harm), readings)
    invalid = (*evidence.integrity, *evidence.losses.findings)
    if invalid:
        return _gate(GateVerdict.INVALID, invalid, readings)
    holds = (
        *_blocks(evidence, is_paused),
        *_shortages(stage, seconds_in_stage, configuration, evidence),
        *_doubts(evidence, is_for_full, frozenset(map(worse_text, held_back))),
    )
    if windows.is_futile:
        return PromotionGate(verdict=GateVerdict.FUTILE, reasons=holds, readings=readings)
    if stage is Stage.FULL:
        return _gate(GateVerdict.COMPLETE, ("the challenger serves everything",), readings)
    if holds:
        return PromotionGate(verdict=GateVerdict.HOLD, reasons=holds, readings=readings)
    return _gate(GateVerdict.PROMOTE, map(_answered, readings), readings)


def odds(log_e: float) -> float:
    """E of its logarithm, at most what a float can hold."""
    return math.exp(min(max(log_e, 0.0), _MAX_LOG_ODDS))


def _gate(verdict: GateVerdict, texts: Iterable[str], readings: tuple[EvidenceReading, ...]) -> PromotionGate:
    reasons = tuple(GateReason(text=text, is_forcible=False) for text in texts)
    return PromotionGate(verdict=verdict, reasons=reasons, readings=readings)


def odds_text(value: float) -> str:
    """Odds for people, without the digits that nobody reads."""
    return "more than a million" if value > 1e6 else f"{value:,.0f}"


def _answered(reading: EvidenceReading) -> str:
    told = odds_text(odds(reading.log_e))
    unit = "days" if reading.question.endswith("by days") else "windows"
    return f"{reading.question}: {told} to 1 against {reading.null} after {reading.n} {unit}"


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
    losses = evidence.losses
    for text in losses.shortages(evidence.windows.mean):
        heals = "; ".join(f"{cause.value}: {REMEDIES[cause]}" for cause, _ in losses.causes)
        lost, accepted = (sum(map(count, ArmRole)) for count in (losses.lost_of, losses.accepted_of))
        more = math.ceil(lost / MAX_LOST_SHARE) - accepted
        texts.append(f"{text}. It heals after some {more:,} more requests with a pair, or with the next stage. {heals}")
    return tuple(GateReason(text=text, is_forcible=True) for text in texts)


def _doubts(evidence: Evidence, is_for_full: bool, contained: frozenset[str]) -> tuple[GateReason, ...]:
    """Why the challenger is not shown to be better, or is worse elsewhere; `contained` harms nobody any more."""
    windows = evidence.windows
    objections = windows.objections(is_for_full=is_for_full)
    reasons = [GateReason(text=evidence.unknown, is_forcible=True)] if evidence.unknown else []
    for text in windows.doubts(is_for_full=is_for_full):
        if text in contained:
            reasons.append(GateReason(text=f"{text}: these lists stay on the champion", is_forcible=True))
            continue
        # That something is futile is the verdict, of which a person may think otherwise, but not for everything.
        may_be = text not in objections or (windows.is_futile and not is_for_full and _is_of_futility(text))
        reasons.append(GateReason(text=text, is_forcible=may_be))
    if evidence.margins is not None:
        reasons += [GateReason(text=text, is_forcible=False) for text in evidence.margins.objections]
        doubts = evidence.margins.doubts if is_for_full else ()
        reasons += [GateReason(text=text, is_forcible=True) for text in doubts]
    return tuple(reasons)


def _is_of_futility(text: str) -> bool:
    return text == NOT_BETTER or text.startswith("futile against")
