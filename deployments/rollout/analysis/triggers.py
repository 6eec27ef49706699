"""What guardrails look at and say: the limits, one reading of a rule, and the trigger that rolls back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from deployments.rollout.analysis.confidence import Interval
from deployments.rollout.analysis.margins import Margins
from deployments.rollout.analysis.outcomes import Baseline, Evaluation, PairedObservation


class Guardrail(StrEnum):
    """What the rollout must never do for long, or even once."""

    CRITICAL = "critical_violation"
    CORRUPTION = "data_corruption"
    CRASH = "crash_rate"
    UNJUDGED = "unjudged_rate"
    COMPLETION = "completion_rate"
    MAKESPAN = "makespan_increase"


class GuardrailRule(StrEnum):
    """How a guardrail looks: at one event, through all of the ramp, or at what is recent."""

    EVENT = "one event"
    BOUND = "confidence bound"
    CUSUM = "cumulative sum"
    RUN = "run of failures"
    EVIDENCE = "evidence over windows"
    WINDOW = "window with margin"
    POINT = "mean of the window"


class Condition(StrEnum):
    """State of one reading. `BREACH` notifies and blocks promotion, `TRIGGERED` rolls back."""

    HEALTHY = "healthy"
    NOT_ENOUGH_DATA = "not enough data"
    BREACH = "breach"
    TRIGGERED = "triggered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All numbers of the rules; `limits_at` makes them of those that a policy sets.

    Rates and increases are fractions, alphas are spent once a ramp. A CUSUM (Page 1954) adds the log likelihood ratio
    of three times the incomplete plans that are allowed, or of five times the crashes. `run` failures in a row of
    `run_lists` different lists are total failure, also where all of them are one list group. `makespan_alpha` is shared
    equally by the kinds of baseline. `deviation_floor` is the least standard deviation of a log makespan ratio that is
    believed. Crashes of one replica within `same_moment_seconds` are one event. Plans that the judge fails on are held
    to the limit of crashes. `margins` are those of the other key figures, which hold and do not roll back.
    """

    completion: float
    cusum_complete: float
    crash_rate: float
    makespan_increase: float
    completion_alpha: float = 0.01
    incomplete_prior: tuple[float, float] = (3.0, 15.0)
    cusum_incomplete: float = 1.10
    cusum_limit: float = 8.0
    cusum_crash: float = 1.61
    cusum_no_crash: float = -0.041
    cusum_crash_limit: float = 6.5
    run: int = 8
    run_lists: int = 3
    crash_alpha: float = 0.01
    crash_prior: tuple[float, float] = (1.0, 20.0)
    makespan_alpha: float = 0.01
    window: int = 100
    window_errors: float = 3.0
    deviation_floor: float = 0.01
    same_moment_seconds: float = 1.0
    margins: Margins = field(default_factory=Margins)
    unjudged_alpha: ClassVar[float] = 0.01
    """No field, so that a configuration of 0.2.0 keeps its hash."""

    def __post_init__(self) -> None:
        for name in ("completion", "completion_alpha", "crash_rate", "crash_alpha", "makespan_alpha"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie strictly between 0 and 1, was {getattr(self, name)}")
        positive = ("makespan_increase", "cusum_incomplete", "cusum_limit", "cusum_crash", "cusum_crash_limit")
        for name in (*positive, "window_errors", "deviation_floor"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        for name in ("cusum_complete", "cusum_no_crash"):
            if not getattr(self, name) < 0.0:
                raise ValueError(f"{name} must be < 0, was {getattr(self, name)}")
        if not 1 <= self.run_lists <= self.run:
            raise ValueError(f"run_lists must lie between 1 and run, were {self.run_lists} and {self.run}")
        if self.window < 2:
            raise ValueError(f"window must be >= 2, was {self.window}")

    @property
    def log_makespan_limit(self) -> float:
        """The makespan limit as a log ratio."""
        return math.log1p(self.makespan_increase)

    @property
    def alpha_of_one_baseline(self) -> float:
        """What one kind of baseline may spend on the makespan bound."""
        return self.makespan_alpha / len(Baseline)


def limits_at(
    *, completion: float, crash_rate: float, makespan_increase: float, margins: Margins | None = None
) -> Limits:
    """The rules at these limits, fractions all. Raises `ValueError`.

    The CUSUMs follow them; None: the usual margins.
    """
    allowed = 1.0 - completion
    if not 0.0 < 3.0 * allowed < 1.0:
        raise ValueError(f"completion must lie strictly between 2/3 and 1, was {completion}")
    complete = math.log((1.0 - 3.0 * allowed) / completion)
    if not 0.0 < crash_rate < 1.0:
        raise ValueError(f"crash_rate must lie strictly between 0 and 1, was {crash_rate}")
    # Five times a rate above a fifth would be none; half-way to certain is as far as such a limit can look.
    many = min(5.0 * crash_rate, (1.0 + crash_rate) / 2.0)
    return Limits(
        completion=completion,
        # Three digits, as the numbers that were simulated have.
        cusum_complete=float(f"{complete:.3g}"),
        crash_rate=crash_rate,
        cusum_crash=float(f"{math.log(many / crash_rate):.3g}"),
        cusum_no_crash=float(f"{math.log((1.0 - many) / (1.0 - crash_rate)):.2g}"),
        makespan_increase=makespan_increase,
        margins=Margins() if margins is None else margins,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A guardrail fired: which rule, on which decision, what it saw and where the limit is."""

    guardrail: Guardrail
    rule: GuardrailRule
    at: datetime
    decision_id: str
    value: float
    limit: float
    n: int
    baseline: Baseline | None = None
    detail: str = ""

    @property
    def reason(self) -> str:
        """One sentence for people."""
        kind = "" if self.baseline is None else f" against the {self.baseline.value}"
        text = f"{self.guardrail.value}{kind}: {self.rule.value} {self.value:.4g}, limit {self.limit:.4g}, n {self.n}"
        return f"{text}: {self.detail}" if self.detail else text

    def as_json(self) -> dict[str, Any]:
        """Plain values only; `from_json` is the inverse."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        return document | {"at": self.at.isoformat()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Trigger:
        baseline = document["baseline"]
        read = {
            "guardrail": Guardrail(document["guardrail"]),
            "rule": GuardrailRule(document["rule"]),
            "at": datetime.fromisoformat(document["at"]),
            "baseline": None if baseline is None else Baseline(baseline),
        }
        return cls(**(dict(document) | read))


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailReading:
    """One rule as it stands: `value` is compared with `limit` after `n` events; None before it can be told.

    Rates and increases are fractions. `interval` is the confidence sequence behind it, where there is one.
    """

    guardrail: Guardrail
    rule: GuardrailRule
    value: float | None
    limit: float
    n: int
    condition: Condition
    baseline: Baseline | None = None
    interval: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def trigger_at(
    guardrail: Guardrail,
    rule: GuardrailRule,
    event: Evaluation | PairedObservation,
    value: float,
    limit: float,
    n: int,
    baseline: Baseline | None = None,
) -> Trigger:
    """The trigger that a rule fires on one event."""
    return Trigger(
        guardrail=guardrail,
        rule=rule,
        at=event.at,
        decision_id=event.decision_id,
        value=value,
        limit=limit,
        n=n,
        baseline=baseline,
    )


def condition_of(*, has_data: bool, has_fired: bool) -> Condition:
    """How a rule stands that rolls back."""
    if has_fired:
        return Condition.TRIGGERED
    return Condition.HEALTHY if has_data else Condition.NOT_ENOUGH_DATA
