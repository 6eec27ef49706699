"""Worlds to simulate a rollout in, and what is promised for each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from deployments.rollout.analysis.triggers import Guardrail, GuardrailRule


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is true about the challenger. Rates are fractions of the requests.

    `completion` is the rate of complete plans among complete and incomplete ones, `makespan_increase` the true
    median increase (0.2: a fifth longer), `deviation` the standard deviation of the paired log ratio.
    """

    completion: float = 0.995
    crash_rate: float = 0.001
    makespan_increase: float = 0.0
    deviation: float = 0.1
    is_critical: bool = False

    def __post_init__(self) -> None:
        for name in ("completion", "crash_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 100 per cent, was {100.0 * getattr(self, name):g}")
        if not self.makespan_increase > -1.0:
            raise ValueError(f"makespan_increase must be above -100 per cent, was {100.0 * self.makespan_increase:g}")
        if not self.deviation >= 0.0:
            raise ValueError(f"deviation must be >= 0, was {self.deviation}")

    @property
    def log_ratio(self) -> float:
        return math.log1p(self.makespan_increase)


class Purpose(StrEnum):
    """What a scenario asks."""

    FALSE_ALARMS = "false alarms"
    ONE_BOUND = "false alarms of one bound at its own limit"
    DETECTION = "detection"
    PROMOTION = "promotion"
    GIVEN = "as given"


class Clock(StrEnum):
    """What the time to detect is counted in."""

    REQUESTS = "requests"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A stream of `requests` in `world`, from request `change_at` on in `later`, and what must come of it.

    `drift` is the relative amplitude of a slow wave in load: in the failure rates and in the deviation.
    `missing_pairs` is the part of the pairs that is lost. With `forces_ramp` a person forces each
    promotion once the minimum duration has passed. `promise` bounds the share of false alarms, or the
    `promised_quantile` of the time to detect on `clock`; None: shown without a promise. `rule` names the one
    bound that is looked at.
    """

    name: str
    purpose: Purpose
    world: World
    later: World | None = None
    change_at: int = 0
    requests: int = 5000
    requests_per_day: int = 50
    drift: float = 0.0
    missing_pairs: float = 0.0
    forces_ramp: bool = False
    clock: Clock = Clock.REQUESTS
    guardrail: Guardrail | None = None
    rule: GuardrailRule | None = None
    promise: float | None = None
    promised_quantile: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.change_at < self.requests:
            raise ValueError(f"change_at must lie within {self.requests} requests, was {self.change_at}")
        if self.requests_per_day < 1:
            raise ValueError(f"requests_per_day must be >= 1, were {self.requests_per_day}")
        if not 0.0 <= self.drift < 1.0 or not 0.0 <= self.missing_pairs < 1.0:
            raise ValueError(f"drift and missing_pairs must be in [0, 1), were {self.drift} and {self.missing_pairs}")

    @property
    def climbs(self) -> bool:
        """Whether an operator promotes on the way; otherwise the guardrails are all that is asked."""
        return self.purpose in (Purpose.FALSE_ALARMS, Purpose.PROMOTION, Purpose.GIVEN)


HEALTHY = World()
WORST_HEALTHY = World(completion=0.98, crash_rate=0.005)
MAX_FALSE_ALARMS = 0.05
HEALTHY_REQUESTS = 1000
DETECTION_REQUESTS = 3000


def scenarios() -> tuple[Scenario, ...]:
    """All of them, in the order in which they are told."""
    return (*_false_alarms(), *_bounds_at_their_limit(), *_completions(), *_makespans(), _critical(), *_promotions())


def _false_alarms() -> tuple[Scenario, ...]:
    plain = Scenario(name="A/A", purpose=Purpose.FALSE_ALARMS, world=HEALTHY, promise=MAX_FALSE_ALARMS)
    ramped = replace(plain, name="A/A, ramp 10 -> 50 %, drifting load", forces_ramp=True, drift=0.5, missing_pairs=0.02)
    worst = replace(plain, name="2 % incomplete, 0.5 % crashes", world=WORST_HEALTHY)
    both = replace(ramped, name="2 % incomplete, 0.5 % crashes, ramp, drift", world=WORST_HEALTHY)
    return (plain, ramped, worst, both)


def _bounds_at_their_limit() -> tuple[Scenario, ...]:
    plain = Scenario(
        name="", purpose=Purpose.ONE_BOUND, world=HEALTHY, rule=GuardrailRule.BOUND, promise=MAX_FALSE_ALARMS
    )
    completion, makespan = replace(HEALTHY, completion=0.95), replace(HEALTHY, makespan_increase=0.10)
    crash = replace(HEALTHY, crash_rate=0.01)
    return (
        replace(plain, name="completion exactly 95 %", world=completion, guardrail=Guardrail.COMPLETION),
        replace(plain, name="crash rate exactly 1 %", world=crash, guardrail=Guardrail.CRASH),
        replace(plain, name="makespan exactly +10 %", world=makespan, guardrail=Guardrail.MAKESPAN),
    )


def _fresh_and_after(name: str, world: World, guardrail: Guardrail, clock: Clock) -> tuple[Scenario, Scenario]:
    fresh = Scenario(
        name=f"{name}, fresh",
        purpose=Purpose.DETECTION,
        world=world,
        requests=DETECTION_REQUESTS,
        guardrail=guardrail,
        clock=clock,
    )
    after = replace(
        fresh,
        name=f"{name}, after {HEALTHY_REQUESTS:,} healthy",
        world=HEALTHY,
        later=world,
        change_at=HEALTHY_REQUESTS,
        requests=HEALTHY_REQUESTS + DETECTION_REQUESTS,
    )
    return fresh, after


def _completions() -> tuple[Scenario, ...]:
    found: list[Scenario] = []
    for completion, promises in ((0.90, (None, None)), (0.85, (70.0, 80.0)), (0.70, (None, None)), (0.0, (6.0, 6.0))):
        world = replace(HEALTHY, completion=completion)
        pairs = _fresh_and_after(f"completion {completion:.0%}", world, Guardrail.COMPLETION, Clock.REQUESTS)
        found += [replace(scenario, promise=promise) for scenario, promise in zip(pairs, promises, strict=True)]
    return tuple(found)


def _makespans() -> tuple[Scenario, ...]:
    found: list[Scenario] = []
    for increase, promise in ((0.15, None), (0.20, 120.0), (0.30, None)):
        world = replace(HEALTHY, makespan_increase=increase)
        pairs = _fresh_and_after(f"makespan +{increase:.0%}", world, Guardrail.MAKESPAN, Clock.PAIRS)
        # The promise is "by the 120th observation", so it is held to nineteen rollouts in twenty.
        found += [replace(scenario, promise=promise, promised_quantile=0.95) for scenario in pairs]
    return tuple(found)


def _critical() -> Scenario:
    return Scenario(
        name="one critical violation",
        purpose=Purpose.DETECTION,
        world=HEALTHY,
        later=replace(HEALTHY, is_critical=True),
        change_at=HEALTHY_REQUESTS,
        requests=HEALTHY_REQUESTS + 10,
        guardrail=Guardrail.CRITICAL,
        promise=1.0,
        promised_quantile=1.0,
    )


def _promotions() -> tuple[Scenario, ...]:
    return tuple(
        Scenario(
            name=f"makespan {increase:+.0%}, {requests_per_day} requests a day",
            purpose=Purpose.PROMOTION,
            world=replace(HEALTHY, makespan_increase=increase),
            missing_pairs=0.02,
            requests=requests_per_day * days,
            requests_per_day=requests_per_day,
        )
        for requests_per_day, days in ((50, 60), (5, 200))
        for increase in (-0.02, -0.05, -0.10)
    )
