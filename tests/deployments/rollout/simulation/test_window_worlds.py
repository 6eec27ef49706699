"""Worlds of windows: they are what they say, and the fast path says what the statistics say window by window."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from deployments.rollout.analysis.e_processes import (
    BETTER,
    BETTER_BY_DAYS,
    CLIP,
    FEWER_HOURS,
    FUTILE,
    FUTILE_BY_DAYS,
    HARM,
    TAIL_FROM,
    WORSE,
    EProcess,
    HoursWeight,
    WindowEvidence,
    autocorrelation,
    evidence_exponent,
    log_mixture,
    tail_cost,
)
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.analysis.sample_ratio import is_paid_for
from deployments.rollout.analysis.windows import ListInWindow, WindowLog, WindowObservation, WindowPair
from deployments.rollout.simulation.window_worlds import (
    MAX_LISTS_AT_ONCE,
    MIN_DAYS,
    NEVER,
    STAGES,
    ClimbRules,
    PolicyDays,
    WindowWorld,
    chunks,
    climb,
    estimated,
    first_crossing,
)

RICH = WindowWorld(
    effect=-0.03,
    deviation=0.15,
    lists=4,
    plants=3,
    common=0.3,
    icc=0.4,
    rho=0.3,
    tail_share=0.03,
    long_share=0.2,
    long_effect=0.1,
    hard_share=0.1,
    hard_effect=0.3,
    lost_share=0.5,
)


def climbs_of(world: WindowWorld, rollouts: int = 60, days: int = 80, rules: ClimbRules | None = None) -> list[float]:
    """Part of the rollouts that entered each stage."""
    rng = np.random.default_rng(7)
    found = climb(world, days=days, rollouts=rollouts, rng=rng, rules=rules or ClimbRules())
    return [found.share(stage) for stage in STAGES]


@pytest.mark.parametrize("seed", range(5))
def test_days_are_those_of_the_statistics(seed: int) -> None:
    """All that decides after each day, worked out window by window with the modules that the gate uses."""
    ratios, hours = RICH.lists_of(2, 40, np.random.default_rng(seed))
    ratios[0, 5] = np.nan
    ratios[0, 7, 1] = np.nan
    rules = ClimbRules(exponent=None)
    known = PolicyDays(ratios, hours, rules)
    for rollout in range(2):
        tests = {test: EProcess(test) for test in (BETTER, FUTILE, HARM, WORSE, FEWER_HOURS)}
        days = {test: EProcess(test) for test in (BETTER_BY_DAYS, FUTILE_BY_DAYS)}
        weight = HoursWeight()
        series: list[list[float]] = [[], [], []]
        clipped: list[float] = []
        pairs: list[float] = []
        for day in range(40):
            means = []
            for plant in range(3):
                has_pair = ~np.isnan(ratios[rollout, day, plant])
                lists, champion = ratios[rollout, day, plant, has_pair], hours[rollout, day, plant, has_pair]
                if not len(lists):
                    continue
                mean = float(lists.mean())
                means.append(mean)
                series[plant].append(mean)
                clipped.append(min(max(mean, -CLIP), CLIP))
                pairs += lists.tolist()
                for test in (BETTER, FUTILE, HARM, WORSE):
                    tests[test].add(mean)
                change = float((champion * np.expm1(lists)).sum() / champion.sum())
                tests[FEWER_HOURS].add(weight.weighted(float(champion.sum()), change))
            for process in days.values() if means else ():
                process.add(math.fsum(means) / len(means))
            tail = [pair for pair in pairs if pair > TAIL_FROM]
            mean = math.fsum(clipped) / len(clipped)
            lost = 1.0 - len(pairs) / (12 * (day + 1))
            may = mean + tail_cost(len(pairs), len(tail), sum(tail)) < 0.0 and is_paid_for(mean, lost)
            may &= days[BETTER_BY_DAYS].exceeds() and not tests[WORSE].exceeds()
            assert known.mean[rollout, day] == pytest.approx(mean)
            assert known.may_promote[rollout, day] == may
            assert known.is_futile[rollout, day] == (tests[FUTILE].exceeds() and days[FUTILE_BY_DAYS].exceeds())
            assert known.is_harmful[rollout, day] == tests[HARM].exceeds()
            assert known.has_fewer_hours[rollout, day] == tests[FEWER_HOURS].exceeds()
            if rollout == 1:
                kappa = evidence_exponent(autocorrelation(series))
                assert known.exponent[rollout, day] == pytest.approx(kappa)


@pytest.mark.parametrize("world", [RICH, WindowWorld(effect=-0.1), WindowWorld(lists=3, effect=0.05)])
def test_days_are_those_of_the_gate_s_evidence(world: WindowWorld) -> None:
    """Windows that are told as they close: verdicts and exponent after each day, through JSON and back each time."""
    world = replace(world, hard_share=0.0)
    ratios, hours = world.lists_of(1, 50, np.random.default_rng(11))
    known = PolicyDays(ratios, hours, ClimbRules(exponent=None, losses=False))
    evidence = WindowEvidence(challenger="b", champion="a")
    in_stage = EProcess(BETTER)
    for day in range(50):
        evidence.add([_told(plant, day, ratios[0, day, plant], hours[0, day, plant]) for plant in range(world.plants)])
        for plant in range(world.plants):
            in_stage.add(float(ratios[0, day, plant].mean()))
        evidence = WindowEvidence.restored(json.loads(json.dumps(evidence.snapshot())))
        better = float(log_mixture(known.better[0, day]))
        assert evidence.exponent == pytest.approx(known.exponent[0, day])
        assert evidence.is_futile == known.is_futile[0, day]
        assert bool(evidence.harmed) == known.is_harmful[0, day]
        may = known.may_promote[0, day] and not known.is_futile[0, day] and in_stage.log_e >= math.log(10.0)
        may = may and better >= max(known.exponent[0, day] * math.log(100.0), math.log(200.0))
        assert (evidence.doubts(is_for_full=False) == ()) == may
        assert (evidence.doubts(is_for_full=True) == ()) == (may and known.has_fewer_hours[0, day])


def _told(plant: int, day: int, lists: np.ndarray, hours: np.ndarray) -> WindowObservation:
    tail = lists[lists > TAIL_FROM]
    return WindowObservation(
        window=f"{plant}//{date(2025, 1, 1) + timedelta(days=day)}",
        stage="shadow",
        baseline=Baseline.RULE,
        groups=len(lists),
        lists=len(lists),
        log_ratio=float(lists.mean()),
        hours=float(hours.sum()),
        change=float((hours * np.expm1(lists)).sum() / hours.sum()),
        tail=len(tail),
        tail_total=float(tail.sum()),
        strata={},
    )


def test_crossing_is_where_the_process_exceeds() -> None:
    """The first window at which E reaches the threshold, one by one."""
    ratios = WindowWorld(effect=-0.1).means_of(20, 60, np.random.default_rng(1))[:, :, 0]
    found = first_crossing(ratios, BETTER)
    for rollout, values in enumerate(ratios):
        process = EProcess(BETTER)
        count = next(n for n, value in enumerate(values, start=1) if process.add(float(value)) or process.exceeds())
        assert found[rollout] == count
    assert (first_crossing(-ratios, BETTER) == NEVER).all()


def test_lists_of_a_window_are_as_alike_as_the_world_says() -> None:
    """Deviation, intraclass correlation, what plants share of a day, and what follows from day to day."""
    world = WindowWorld(deviation=0.2, lists=4, icc=0.4, plants=2, common=0.5, rho=0.0)
    lists, _ = world.lists_of(400, 40, np.random.default_rng(2))
    assert lists.std() == pytest.approx(0.2, rel=0.03)
    assert np.corrcoef(lists[..., 0].ravel(), lists[..., 1].ravel())[0, 1] == pytest.approx(0.4, abs=0.02)
    assert np.corrcoef(lists[:, :, 0, 0].ravel(), lists[:, :, 1, 0].ravel())[0, 1] == pytest.approx(0.2, abs=0.03)
    follows = replace(world, common=0.0, rho=0.6, icc=1.0).means_of(400, 40, np.random.default_rng(3))
    assert np.corrcoef(follows[:, 1:].ravel(), follows[:, :-1].ravel())[0, 1] == pytest.approx(0.6, abs=0.02)
    means = replace(world, common=0.0).means_of(400, 40, np.random.default_rng(4))
    assert means.std() == pytest.approx(lists.mean(axis=3).std(), rel=0.03)


def test_tails_hours_losses_and_drift_are_as_the_world_says() -> None:
    """Rare doublings keep the mean, long lists have their hours and effect, hard ones are lost, and a change comes."""
    rng = np.random.default_rng(5)
    tails, _ = WindowWorld(deviation=0.01, tail_share=0.02).lists_of(50, 100, rng)
    assert float((tails > 0.5).mean()) == pytest.approx(0.02, abs=0.003)
    assert float(tails.mean()) == pytest.approx(0.0, abs=0.003)
    long, hours = WindowWorld(deviation=0.0, long_share=0.1, long_effect=0.2).lists_of(50, 100, rng)
    assert np.unique(hours).tolist() == [1.0, 20.0]
    assert long[hours == 20.0] == pytest.approx(np.log(1.2))
    hard, _ = WindowWorld(deviation=0.0, hard_share=0.2, hard_effect=0.3, lost_share=0.5).lists_of(50, 100, rng)
    assert float(np.isnan(hard).mean()) == pytest.approx(0.1, abs=0.01)
    assert np.unique(hard[~np.isnan(hard)]) == pytest.approx([0.0, np.log(1.3)])
    changed = WindowWorld(deviation=0.0, effect=-0.1, later_effect=0.08, change_at=7).means_of(1, 9, rng)[0, :, 0]
    assert changed == pytest.approx([np.log(0.9)] * 7 + [np.log(1.08)] * 2)


def test_worlds_of_many_lists_are_played_in_bounded_memory() -> None:
    """A plant with thousands of unlike lists a day takes more chunks, not more memory."""
    tracemalloc.start()
    found = climb(
        WindowWorld(effect=-0.1, lists=2000),
        days=10,
        rollouts=250,
        rng=np.random.default_rng(8),
        rules=ClimbRules(),
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.entered.shape == (250, len(STAGES))
    assert peak < 12 * 8 * MAX_LISTS_AT_ONCE


def test_better_challenger_climbs_and_no_stage_is_shorter_than_it_may_be() -> None:
    """Ten per cent shorter enters every stage, and each after the days of the one before."""
    found = climb(
        WindowWorld(effect=-0.1), days=80, rollouts=50, rng=np.random.default_rng(8), rules=ClimbRules()
    ).entered
    assert (found < NEVER).all()
    assert (np.diff(found, axis=1, prepend=0) >= MIN_DAYS).all()


def test_stage_needs_evidence_of_its_own() -> None:
    """Shorter for twenty days and longer afterwards: whoever got to limited on old evidence goes no further."""
    shares = climbs_of(WindowWorld(effect=-0.1, later_effect=0.08, change_at=20))
    assert shares[0] > 0.3
    assert shares[1:] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("world", "broken", "stage"),
    [
        (WindowWorld(lists=1, icc=0.0, deviation=0.05, tail_share=0.04, tail_factor=3.0), ClimbRules(tail=False), 0),
        (WindowWorld(effect=-0.05, long_share=0.1, long_effect=0.21), ClimbRules(hours=False), 2),
        (WindowWorld(effect=-0.03, hard_share=0.1, hard_effect=0.8, lost_share=1.0), ClimbRules(losses=False), 0),
        (WindowWorld(plants=20, common=1.0, icc=0.5), ClimbRules(by_days=False), 0),
    ],
)
def test_each_rule_stops_what_it_is_for(world: WindowWorld, broken: ClimbRules, stage: int) -> None:
    """In its own world a challenger climbs four times as often without the rule as with all of them."""
    without = climbs_of(world, days=120, rules=broken)[stage]
    assert without > 0.1
    assert climbs_of(world, days=120)[stage] < without / 4


def test_chunks_cover_all_rollouts() -> None:
    """None is lost at the end, and memory stays that of one chunk."""
    assert sum(chunks(1001)) == 1001
    assert max(chunks(1001)) == 250


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"icc": 1.5}, "icc must be between 0 and 1, was 1.5"),
        ({"rho": 1.0}, "rho must lie strictly between -1 and 1, was 1"),
        ({"effect": -1.0}, "an effect must be above -1"),
        ({"lists": 0}, "lists and plants must be >= 1, were 0 and 1"),
    ],
)
def test_impossible_worlds_are_refused(change: dict[str, float], message: str) -> None:
    """What cannot be true is not simulated."""
    with pytest.raises(ValueError, match=message):
        WindowWorld(**change)  # type: ignore[arg-type]


def observations_of(world: WindowWorld, days: int, seed: int) -> list[WindowObservation]:
    """Windows of a world as the real window log tells them."""
    ratios, _ = world.lists_of(1, days, np.random.default_rng(seed))
    log, start = WindowLog(), datetime(2025, 1, 6, 8, tzinfo=UTC)
    closed: list[WindowObservation] = []
    for day, plant, number in np.ndindex(ratios.shape[1:]):
        at = start + timedelta(days=day)
        item = ListInWindow(window=f"p/{plant}/{at.date()}", digest=f"{day}-{plant}-{number}")
        ratio = float(ratios[0, day, plant, number])
        log.observe(WindowPair(item=item, at=at, stage="shadow", baseline=Baseline.RULE, log_ratio=ratio))
        if not (plant or number):
            closed += log.close(at)
    return [*closed, *log.close(start + timedelta(days=days + 9))]


@pytest.mark.parametrize(("icc", "rho"), [(0.0, 0.0), (0.2, 0.0), (0.5, 0.4), (0.9, -0.3)])
def test_planted_correlations_are_found(icc: float, rho: float) -> None:
    """Nine intervals in ten hold what was planted, at the least, and their middle is not off to one side."""
    world = WindowWorld(icc=icc, rho=rho, lists=8, deviation=0.15)
    follows = rho * icc * 8 / (1 + 7 * icc)
    found = [estimated(observations_of(world, 60, seed)) for seed in range(60)]
    for name, planted in (("icc", icc), ("rho", follows)):
        intervals = [getattr(each, name) for each in found]
        assert sum(each.lower <= planted <= each.upper for each in intervals) >= 54, name
        assert np.median([each.estimate for each in intervals]) == pytest.approx(planted, abs=0.05)
    assert np.median([each.deviation for each in found]) == pytest.approx(0.15, rel=0.05)
    assert {(each.windows, each.groups, each.days_a_window) for each in found} == {(60, 8.0, 1.0)}


def test_estimated_world_is_the_planted_one() -> None:
    """What was estimated from ten lines of two years is simulated again, with the shock that they have in common."""
    planted = WindowWorld(icc=0.4, rho=0.5, lists=5, plants=10, common=0.3)
    found = estimated(observations_of(planted, 400, 1)).world(-0.1)
    assert found is not None
    assert (found.lists, found.plants, found.effect) == (5, 10, -0.1)
    assert found.icc == pytest.approx(0.4, abs=0.06)
    assert found.rho == pytest.approx(0.5, abs=0.12)
    assert found.common == pytest.approx(0.3, abs=0.12)


def test_one_list_a_day_is_one_observation() -> None:
    """Nothing can be alike within a window of one group: the window is the list, and days follow each other."""
    found = estimated(observations_of(WindowWorld(lists=1, icc=1.0, rho=0.6), 300, 3))
    assert (found.icc, found.effective_lists) == (None, None)
    world = found.world(0.0)
    assert world is not None
    assert (world.lists, world.icc) == (1, 1.0)
    assert world.rho == pytest.approx(0.6, abs=0.12)


@pytest.mark.parametrize(("days", "deviation"), [(0, 0.1), (22, 0.1), (60, 0.0)])
def test_too_few_windows_tell_nothing(days: int, deviation: float) -> None:
    """Nor do windows without any spread: no world is made of them."""
    found = estimated(observations_of(WindowWorld(lists=2, deviation=deviation), days, 1) if days else [])
    assert (found.windows, found.rho, found.world(0.0)) == (days, None, None)
