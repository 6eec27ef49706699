"""Whole rollouts on simulated traffic: how often they stop for nothing, and how soon for something.

The stages, the gate and its evidence are the real ones; the guardrails are `guardrail_scan`, which says what
`guardrails` says. An operator looks once a day.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from deployments.rollout.analysis.e_processes import TAIL_FROM, WindowEvidence
from deployments.rollout.analysis.outcomes import Baseline, LossCause, Outcome
from deployments.rollout.analysis.sample_ratio import LossCounts
from deployments.rollout.analysis.triggers import Guardrail, GuardrailRule
from deployments.rollout.analysis.windows import WindowObservation
from deployments.rollout.assignment import ArmRole, PlanningWindow
from deployments.rollout.ramp.gate import Evidence, GateVerdict, judge_gate
from deployments.rollout.ramp.stages import begin, promote, rollback
from deployments.rollout.ramp.state import GUARDRAIL, MANUAL, Order, RampConfiguration, RolloutState, Stage
from deployments.rollout.simulation.guardrail_scan import CODE, Firing, Scan

START = datetime(2025, 1, 1, tzinfo=UTC)
OPERATOR = "operator"


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
    detections = (*_completions(), *_crashes(), *_makespans(), _critical())
    return (*_false_alarms(), *_bounds_at_their_limit(), *detections, *_promotions())


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
    for completion, promises in ((0.90, (None, None)), (0.85, (80.0, 106.0)), (0.70, (None, None)), (0.0, (8.0, 8.0))):
        world = replace(HEALTHY, completion=completion)
        pairs = _fresh_and_after(f"completion {completion:.0%}", world, Guardrail.COMPLETION, Clock.REQUESTS)
        found += [replace(scenario, promise=promise) for scenario, promise in zip(pairs, promises, strict=True)]
    return tuple(found)


def _crashes() -> tuple[Scenario, ...]:
    found: list[Scenario] = []
    for rate, promise in ((0.05, 148.0), (0.10, 55.0), (1.0, 5.0)):
        world = replace(HEALTHY, crash_rate=rate)
        pairs = _fresh_and_after(f"crashes {rate:.0%}", world, Guardrail.CRASH, Clock.REQUESTS)
        found += [replace(scenario, promise=promise) for scenario in pairs]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What became of one rollout.

    `alarm` is the first trigger that counts for the scenario, None when there was none; `waited` is how many
    requests or pairs it took since the change. `entered` says on which day each stage was reached.
    """

    alarm: Firing | None
    waited: int | None
    entered: dict[Stage, float]
    final: Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All rollouts of one scenario. `kept` is None when nothing was promised."""

    scenario: Scenario
    rollouts: int
    alarms: int
    early_alarms: int
    alarms_by_rule: dict[str, int]
    waits: tuple[int, ...]
    days_to: dict[Stage, tuple[float, ...]]

    @property
    def alarm_share(self) -> float:
        return self.alarms / self.rollouts

    def wait_quantile(self, quantile: float) -> float:
        """Time to detect that `quantile` of the rollouts do not exceed; infinite when fewer detect at all."""
        at_risk = self.rollouts - self.early_alarms
        place = max(1, math.ceil(quantile * at_risk))
        return float(sorted(self.waits)[place - 1]) if 0 < place <= len(self.waits) else math.inf

    @property
    def kept(self) -> bool | None:
        """Whether the scenario's promise was kept."""
        promise = self.scenario.promise
        if promise is None:
            return None
        if self.scenario.purpose is Purpose.DETECTION:
            return self.wait_quantile(self.scenario.promised_quantile) <= promise
        return self.alarm_share <= promise


def simulate(
    scenario: Scenario,
    *,
    rollouts: int,
    rng: np.random.Generator,
    configuration: RampConfiguration,
    on_progress: Callable[[], object] = lambda: None,
) -> Result:
    """Run `scenario` `rollouts` times; `on_progress` is called after each."""
    if rollouts < 1:
        raise ValueError(f"rollouts must be >= 1, were {rollouts}")
    walks = []
    for _ in range(rollouts):
        windows = np.arange(scenario.requests) // scenario.requests_per_day
        scan = Scan(*traffic(scenario, rng), configuration.limits, windows)
        walks.append(_walk(scenario, scan, configuration))
        on_progress()
    return _summary(scenario, walks)


def traffic(scenario: Scenario, rng: np.random.Generator) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Outcomes (requests,) as codes, and log makespan ratios (requests,) with NaN where no pair is."""
    wave = 1.0 + scenario.drift * np.sin(np.linspace(0.0, 4.0 * math.pi, scenario.requests))
    parts = [_stretch(world, wave[part], rng) for world, part in _stretches(scenario)]
    outcomes = np.concatenate([outcomes for outcomes, _ in parts])
    ratios = np.concatenate([ratios for _, ratios in parts])
    is_missing = rng.random(scenario.requests) < scenario.missing_pairs
    return outcomes, np.where(is_missing | (outcomes != CODE[Outcome.OK]), np.nan, ratios)


def _stretches(scenario: Scenario) -> Iterator[tuple[World, slice]]:
    change = scenario.change_at if scenario.later is not None else scenario.requests
    yield scenario.world, slice(0, change)
    if scenario.later is not None:
        yield scenario.later, slice(change, scenario.requests)


def _stretch(
    world: World, wave: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    requests = len(wave)
    outcomes = np.full(requests, CODE[Outcome.OK], dtype=np.int8)
    outcomes[rng.random(requests) < (1.0 - world.completion) * wave] = CODE[Outcome.INCOMPLETE]
    outcomes[rng.random(requests) < world.crash_rate * wave] = CODE[Outcome.CRASH]
    if world.is_critical and requests:
        outcomes[0] = CODE[Outcome.CRITICAL]
    return outcomes, rng.normal(world.log_ratio, world.deviation * wave)


def _walk(scenario: Scenario, scan: Scan, configuration: RampConfiguration) -> Walk:
    """One rollout, from shadow until a trigger or the end of the traffic."""
    alarm = next(
        (
            firing
            for firing in scan.firings
            if scenario.guardrail in (None, firing.guardrail) and scenario.rule in (None, firing.rule)
        ),
        None,
    )
    end = scenario.requests if alarm is None else alarm.index
    state, entered = _climb(scenario, scan, configuration, end)
    if alarm is not None:
        at = START + timedelta(days=alarm.index / scenario.requests_per_day)
        # In shadow nothing is served: there the trigger blocks promotion and the walk ends as well.
        if state.stage is not Stage.SHADOW:
            transition = rollback(state, Order(actor=GUARDRAIL, reason=_name(alarm), at=at))
            assert transition is not None
            state = transition.state
    waited = None if alarm is None else _waited(scenario, scan, alarm)
    return Walk(alarm=alarm, waited=waited, entered=entered, final=state.stage)


def _climb(
    scenario: Scenario, scan: Scan, configuration: RampConfiguration, end: int
) -> tuple[RolloutState, dict[Stage, float]]:
    """What the operator does, day by day, with the first `end` requests."""
    order = Order(actor=OPERATOR, reason="a new rollout", at=START)
    state = begin(configuration, stage=Stage.SHADOW, seed="simulation", challenger="simulated", order=order).state
    entered, entered_at = {Stage.SHADOW: 0.0}, 0
    if not scenario.climbs:
        return state, entered
    windows = WindowEvidence(challenger="simulated", champion=MANUAL)
    for requests in range(scenario.requests_per_day, end + 1, scenario.requests_per_day):
        if state.stage is Stage.FULL:
            break
        day = requests / scenario.requests_per_day
        at = START + timedelta(days=day)
        _close_day(windows, scan, requests, scenario.requests_per_day, state.stage)
        evidence = Evidence(
            breaches=scan.breaches(requests), windows=windows, losses=_losses(scan, requests, entered_at)
        )
        gate = judge_gate(state.stage, state.seconds_in_stage(at), configuration, evidence)
        has_lasted = state.seconds_in_stage(at) >= configuration.step(state.stage).min_seconds
        is_forced = scenario.forces_ramp and has_lasted and gate.can_be_forced
        if gate.verdict is GateVerdict.PROMOTE or is_forced:
            order = Order(actor=OPERATOR, reason="the plan of the simulation", at=at, expected_version=state.version)
            state = promote(state, configuration, order, gate, force=is_forced).state
            windows.begin_stage(state.stage.value)
            entered[state.stage], entered_at = day, requests
    return state, entered


def _close_day(windows: WindowEvidence, scan: Scan, requests: int, requests_per_day: int, stage: Stage) -> None:
    """The window of the day that ends after `requests`, each of which is a list of its own of one hour."""
    ratios = scan.ratios(requests - requests_per_day, requests)
    if not len(ratios):
        return
    day = START + timedelta(days=requests // requests_per_day)
    tail = ratios[ratios > TAIL_FROM]
    observation = WindowObservation(
        window=PlanningWindow(plant_id="simulated", line_id=None, day=day.date()).unit,
        stage=stage.value,
        baseline=Baseline.RULE,
        groups=len(ratios),
        lists=len(ratios),
        log_ratio=float(ratios.mean()),
        hours=float(len(ratios)),
        change=float(np.expm1(ratios).mean()),
        tail=len(tail),
        tail_total=float(tail.sum()),
        strata={},
    )
    windows.add([observation])


def _losses(scan: Scan, requests: int, entered_at: int) -> LossCounts:
    """Those of a stage that began after `entered_at`: here both arms lose alike, whoever serves."""
    accepted, pairs = requests - entered_at, scan.pairs(requests) - scan.pairs(entered_at)
    return LossCounts(accepted={ArmRole.MANUAL: accepted}, lost={ArmRole.MANUAL: {LossCause.DROPPED: accepted - pairs}})


def _name(alarm: Firing) -> str:
    return f"{alarm.guardrail.value}: {alarm.rule.value}"


def _waited(scenario: Scenario, scan: Scan, alarm: Firing) -> int:
    """Requests or pairs from the change to the alarm; negative when the alarm came before the change."""
    if alarm.index < scenario.change_at:
        return -1
    if scenario.clock is Clock.PAIRS:
        return scan.pairs(alarm.index + 1) - scan.pairs(scenario.change_at)
    return alarm.index + 1 - scenario.change_at


def _summary(scenario: Scenario, walks: Sequence[Walk]) -> Result:
    alarms = [walk for walk in walks if walk.alarm is not None]
    stages = (Stage.LIMITED, Stage.EXPANDED, Stage.FULL)
    return Result(
        scenario=scenario,
        rollouts=len(walks),
        alarms=len(alarms),
        early_alarms=sum(walk.waited == -1 for walk in alarms),
        alarms_by_rule=dict(Counter(_name(walk.alarm) for walk in alarms if walk.alarm is not None)),
        waits=tuple(walk.waited for walk in alarms if walk.waited is not None and walk.waited > 0),
        days_to={stage: tuple(walk.entered[stage] for walk in walks if stage in walk.entered) for stage in stages},
    )
