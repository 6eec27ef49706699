"""Simulated rollouts: the promises hold in small numbers, and the machinery is the real one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deployments.rollout.analysis.outcomes import Outcome
from deployments.rollout.analysis.triggers import Guardrail
from deployments.rollout.ramp.state import RampConfiguration, Stage, StageStep
from deployments.rollout.simulation.guardrail_scan import CODE
from deployments.rollout.simulation.simulation import (
    HEALTHY,
    Purpose,
    Result,
    Scenario,
    World,
    scenarios,
    simulate,
    traffic,
)
from tests.deployments.shipped_policy import CONFIGURATION, LIMITS

BY_NAME = {scenario.name: scenario for scenario in scenarios()}
WITH_PROMISE = [scenario.name for scenario in scenarios() if scenario.promise is not None]


def run(scenario: Scenario, rollouts: int = 100, configuration: RampConfiguration = CONFIGURATION) -> Result:
    return simulate(scenario, rollouts=rollouts, rng=np.random.default_rng(5), configuration=configuration)


@pytest.mark.parametrize("name", [name for name in WITH_PROMISE if BY_NAME[name].purpose is not Purpose.DETECTION])
def test_false_alarms_stay_rare(name: str) -> None:
    """At most 5 % of the healthy rollouts are stopped; with 30 of them 1 may be, and two more by chance."""
    assert run(BY_NAME[name], 30).alarms <= 3


@pytest.mark.parametrize("name", [name for name in WITH_PROMISE if BY_NAME[name].purpose is Purpose.DETECTION])
def test_harm_is_seen_in_time(name: str) -> None:
    """The promised quantile of the time to detect, with a tenth of slack for the small number of rollouts."""
    scenario = BY_NAME[name]
    assert scenario.promise is not None
    shortened = replace(scenario, requests=scenario.change_at + min(600, scenario.requests - scenario.change_at))
    assert run(shortened, 200).wait_quantile(scenario.promised_quantile) <= 1.1 * scenario.promise


def test_broken_guardrails_miss_the_promises() -> None:
    """With limits that never fire nothing is detected, with one that always does everything is a false alarm."""
    blind = replace(CONFIGURATION, limits=replace(LIMITS, completion=0.5, cusum_limit=1e6))
    nervous = replace(CONFIGURATION, limits=replace(LIMITS, cusum_limit=1.0))
    assert run(BY_NAME["completion 85%, fresh"], 5, blind).kept is False
    assert run(BY_NAME["A/A"], 5, nervous).kept is False


def test_better_challenger_climbs_to_the_top() -> None:
    """Ten per cent shorter: every stage in its turn, as soon as its windows show it, about the promised days."""
    found = run(BY_NAME["makespan -10%, 50 requests a day"], 20)
    for stage, days in ((Stage.LIMITED, 20), (Stage.EXPANDED, 29), (Stage.FULL, 43)):
        assert len(found.days_to[stage]) == 20
        assert np.median(found.days_to[stage]) == pytest.approx(days, abs=2)


def test_equal_challenger_stays_in_shadow_unless_a_person_forces_it() -> None:
    """Without proof of anything better the gate holds, and only lack of proof can be forced."""
    assert run(BY_NAME["A/A"], 20).days_to[Stage.FULL] == ()
    forced = run(BY_NAME["A/A, ramp 10 -> 50 %, drifting load"], 20)
    assert len(forced.days_to[Stage.FULL]) == 20


def test_too_many_missing_pairs_hold_the_ramp() -> None:
    """Ten per cent lost pairs are worth seven per cent of makespan: a challenger that is five better stays."""
    losing = replace(BY_NAME["makespan -5%, 50 requests a day"], missing_pairs=0.10)
    assert all(days == () for days in run(losing, 5).days_to.values())


def test_trigger_ends_the_climb() -> None:
    """A challenger that breaks after it was promoted is rolled back, and goes no further."""
    quick = StageStep(share=0.1, min_seconds=0.0)
    configuration = replace(CONFIGURATION, shadow=replace(quick, share=0.0), limited=quick)
    scenario = Scenario(
        name="breaks",
        purpose=Purpose.GIVEN,
        world=replace(HEALTHY, makespan_increase=-0.1),
        later=World(completion=0.0),
        change_at=1500,
        requests=2000,
    )
    found = run(scenario, 20, configuration)
    assert found.alarms == len(found.days_to[Stage.LIMITED]) == 20
    assert found.alarms_by_rule == {"completion_rate: cumulative sum": 20}
    assert max(found.waits) <= 8
    assert found.days_to[Stage.FULL] == ()


def test_seed_decides_everything() -> None:
    """The same seed gives the same rollouts, another seed others."""
    scenario = BY_NAME["completion 85%, fresh"]
    first, second, other = (
        simulate(scenario, rollouts=20, rng=np.random.default_rng(seed), configuration=CONFIGURATION)
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_traffic_has_the_rates_that_are_true() -> None:
    """Outcomes and ratios come as the world says, before and after the change."""
    later = World(completion=0.5, crash_rate=0.1, makespan_increase=0.2, is_critical=True)
    scenario = Scenario(
        name="", purpose=Purpose.GIVEN, world=HEALTHY, later=later, change_at=20_000, requests=40_000, missing_pairs=0.1
    )
    outcomes, ratios = traffic(scenario, np.random.default_rng(0))
    assert (outcomes == CODE[Outcome.CRITICAL]).nonzero()[0].tolist() == [20_000]
    assert (outcomes[20_000:] == CODE[Outcome.CRASH]).mean() == pytest.approx(0.1, abs=0.01)
    assert (outcomes[20_000:] == CODE[Outcome.INCOMPLETE]).mean() == pytest.approx(0.45, abs=0.02)
    assert np.isnan(ratios[:20_000]).mean() == pytest.approx(0.1, abs=0.02)
    assert np.nanmean(ratios[20_000:]) == pytest.approx(np.log(1.2), abs=0.01)
    assert np.isnan(ratios[outcomes != CODE[Outcome.OK]]).all()


def test_alarms_before_the_change_are_not_detections() -> None:
    """A rollout that was stopped for nothing does not count as seen in time."""
    scenario = BY_NAME["completion 85%, after 1,000 healthy"]
    result = Result(
        scenario=scenario, rollouts=4, alarms=3, early_alarms=1, alarms_by_rule={}, waits=(5, 9), days_to={}
    )
    assert result.wait_quantile(0.5) == 9
    assert result.wait_quantile(1.0) == float("inf")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: World(completion=95.0), "completion must be between 0 and 100 per cent, was 9500"),
        (lambda: World(makespan_increase=-1.0), "makespan_increase must be above -100 per cent"),
        (lambda: World(deviation=-0.1), "deviation must be >= 0"),
        (lambda: replace(BY_NAME["A/A"], change_at=5000), "change_at must lie within 5000 requests, was 5000"),
        (lambda: replace(BY_NAME["A/A"], drift=1.0), r"drift and missing_pairs must be in \[0, 1\)"),
        (lambda: replace(BY_NAME["A/A"], requests_per_day=0), "requests_per_day must be >= 1, were 0"),
        (lambda: run(BY_NAME["A/A"], 0), "rollouts must be >= 1, were 0"),
    ],
)
def test_impossible_worlds_are_refused(make: object, message: str) -> None:
    """What cannot be true is not simulated."""
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_every_guardrail_that_drifts_has_a_detection_scenario() -> None:
    """Completion, crashes, makespan and critical violations are each tried out."""
    guardrails = {scenario.guardrail for scenario in scenarios() if scenario.purpose is Purpose.DETECTION}
    assert guardrails == {Guardrail.COMPLETION, Guardrail.CRASH, Guardrail.MAKESPAN, Guardrail.CRITICAL}
