"""The scan over a whole stream says exactly what the accumulator says event by event."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deployments.rollout.analysis.guardrails import Event, Guardrails
from deployments.rollout.analysis.outcomes import Baseline, Outcome
from deployments.rollout.analysis.triggers import Trigger
from deployments.rollout.simulation.guardrail_scan import CODE, COUNTED, Scan
from tests.deployments.rollout.events import evaluation, pair
from tests.deployments.shipped_policy import LIMITS

# incomplete, critical, crash, mean log ratio, deviation: healthy ones, and some for each rule.
WORLDS = [
    (0.005, 0.0, 0.001, 0.0, 0.1),
    (0.15, 0.0, 0.0, 0.0, 0.1),
    (0.06, 0.0, 0.02, 0.05, 0.1),
    (0.02, 0.002, 0.005, 0.12, 0.05),
    (0.0, 0.0, 0.0, 0.2, 0.1),
    (0.0, 0.0, 0.0, 0.1, 0.0),
    (0.9, 0.0, 0.1, 0.0, 0.1),
    (0.02, 0.0, 0.01, 0.0, 0.1, 0.06),
]
DAYS = [f"2025-07-{day}" for day in range(20, 29)]


def stream(seed: int, world: tuple[float, ...], requests: int) -> tuple[np.ndarray, np.ndarray]:
    incomplete, critical, crash, mean, deviation, *others = world
    rng = np.random.default_rng(seed)
    chances = {Outcome.INCOMPLETE: incomplete, Outcome.CRITICAL: critical, Outcome.CRASH: crash}
    chances[Outcome.UNJUDGED] = sum(others)
    chances[Outcome.OK] = 1 - sum(chances.values())
    outcomes = rng.choice(len(COUNTED), size=requests, p=[chances[outcome] for outcome in COUNTED]).astype(np.int8)
    ratios = rng.normal(mean, deviation, size=requests)
    ratios[(outcomes != CODE[Outcome.OK]) | (rng.random(requests) < 0.03)] = np.nan
    return outcomes, ratios


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seed", range(4))
def test_scan_equals_the_accumulator(world: tuple[float, ...], seed: int) -> None:
    """Same first trigger of each guardrail, by the same rule, at the same request; same breaches on the way."""
    requests = 900
    outcomes, ratios = stream(seed, world, requests)
    days = [DAYS[index * len(DAYS) // requests] for index in range(requests)]
    windows = np.array([DAYS.index(day) for day in days])
    scan, guardrails = Scan(outcomes, ratios, LIMITS, windows), Guardrails(ramp=1, limits=LIMITS)
    fired: list[tuple[int, Trigger]] = []
    for index, (code, ratio) in enumerate(zip(outcomes, ratios, strict=True)):
        events: list[Event] = [evaluation(index, COUNTED[code], unit=f"p//{days[index]}")]
        events += [] if math.isnan(ratio) else [pair(index, float(ratio), unit=f"p//{days[index]}")]
        triggers = [guardrails.observe(event) for event in events]
        fired += [(index, trigger) for trigger in triggers if trigger is not None]
        if index % 90 == 89:
            told = {found.guardrail: (found.value, found.n) for found in guardrails.breaches()}
            assert {
                found.guardrail: (pytest.approx(found.value), found.n) for found in scan.breaches(index + 1)
            } == told
    earliest = {}
    for firing in scan.firings:
        earliest.setdefault(firing.guardrail, (firing.index, firing.rule))
    assert earliest == {trigger.guardrail: (index, trigger.rule) for index, trigger in fired}
    bound = next(found for found in guardrails.readings() if found.baseline is Baseline.RULE)
    interval = scan.makespan(requests).interval(LIMITS.alpha_of_one_baseline)
    assert (bound.interval is None) == (interval is None)
    if bound.interval is not None and interval is not None:
        assert bound.interval.lower == pytest.approx(math.expm1(interval.lower))
        assert bound.n == scan.pairs(requests)


def test_every_rule_is_met_by_these_streams() -> None:
    """The comparison above is not empty: each rule fires in some stream, and the healthy ones stay quiet."""
    rules = {
        (firing.guardrail, firing.rule)
        for world in WORLDS
        for seed in range(4)
        for firing in Scan(*stream(seed, world, 900), LIMITS).firings
    }
    assert len(rules) == 9
    assert all(Scan(*stream(seed, WORLDS[0], 900), LIMITS).firings == () for seed in range(4))


def test_scan_refuses_unequal_streams() -> None:
    """One ratio, or its absence, for each request."""
    with pytest.raises(ValueError, match="outcomes and log_ratios must be alike"):
        Scan(np.zeros(3, dtype=np.int8), np.zeros(2), LIMITS)


def test_empty_stream_says_nothing() -> None:
    """Before the first request there is neither trigger nor breach nor interval."""
    scan = Scan(np.zeros(0, dtype=np.int8), np.zeros(0), LIMITS)
    assert scan.firings == scan.breaches(0) == ()
    assert scan.makespan(0).interval(0.05) is None
