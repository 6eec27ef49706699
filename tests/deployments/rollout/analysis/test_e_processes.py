"""E-processes and the rules beside them: each formula derived a second time, and a null that stays a null."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import ville
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from deployments.errors import UnreadableState
from deployments.rollout.analysis.e_processes import (
    BETTER,
    BETTER_BY_DAYS,
    CLIP,
    FUTILE,
    HARM,
    STAKES,
    UNKNOWN_AUTOCORRELATION,
    EProcess,
    HoursWeight,
    SequentialTest,
    WindowEvidence,
    autocorrelation,
    e_bh,
    evidence_exponent,
    log_mixture,
    tail_cost,
)
from deployments.rollout.analysis.guardrail_rules import recent_error
from deployments.rollout.analysis.outcomes import Baseline
from deployments.rollout.analysis.windows import WindowObservation
from tests.deployments.rollout.events import closed_window

RATIOS = st.lists(st.floats(-3.0, 3.0), max_size=30)


def process_of(test: SequentialTest, log_ratios: list[float]) -> EProcess:
    process = EProcess(test)
    for log_ratio in log_ratios:
        process.add(log_ratio)
    return process


@pytest.mark.parametrize("test", [BETTER, BETTER_BY_DAYS, HARM, FUTILE])
@given(log_ratios=RATIOS)
def test_e_is_the_mean_wealth_of_six_bettors(test: SequentialTest, log_ratios: list[float]) -> None:
    """Six purses multiplied out window by window, and averaged by an independent package, hold the same."""
    purses = np.ones(len(STAKES))
    for log_ratio in log_ratios:
        outcome = min(max((log_ratio - test.center) / test.clip, -1.0), 1.0)
        purses = purses * [1.0 + stake * test.sign * outcome for stake in STAKES]
    found = process_of(test, log_ratios)
    assert found.log_e == pytest.approx(math.log(ville.evalues.combine(purses)), abs=1e-9)
    assert found.n == len(log_ratios)


@pytest.mark.parametrize("sign", [-1, 1])
def test_fair_coin_makes_nobody_rich(sign: int) -> None:
    """At the edge of the null the mean of E over all paths of eight windows is exactly 1, in fractions."""
    stakes = [Fraction(stake).limit_denominator(100) for stake in STAKES]
    test = SequentialTest(sign=sign, center=0.0, threshold=100.0)
    exact, found = Fraction(0), 0.0
    for path in itertools.product((-1, 1), repeat=8):
        exact += sum(math.prod(1 + stake * sign * side for side in path) for stake in stakes) / 6
        found += math.exp(process_of(test, [CLIP * side for side in path]).log_e)
    assert exact == 2**8
    assert found == pytest.approx(2**8)


def test_null_is_refuted_as_seldom_as_promised() -> None:
    """Windows of mean 0, looked at after each of 500: E reaches 100 in at most one stream of a hundred."""
    rng = np.random.default_rng(1)
    log_e = log_mixture(np.cumsum(BETTER.log_growth(rng.normal(0.0, 0.1, size=(4000, 500))), axis=1))
    share = float((log_e.max(axis=1) >= math.log(100.0)).mean())
    assert 0.0 < share <= 0.01


def test_ten_windows_are_the_least_that_harm_takes() -> None:
    """Fifty per cent longer: the clip bounds what one window says, and (1.95^10 + ...) / 6 is the first above 200."""
    process = EProcess(HARM)
    while not process.exceeds():
        process.add(math.log(1.5))
    assert process.n == 10
    assert math.exp(process.log_e) == pytest.approx(sum((1 + stake) ** 10 for stake in STAKES) / 6)


def test_wealth_neither_overflows_nor_dies() -> None:
    """Ten thousand windows of one kind, and then of the other: logs hold what floats could not."""
    process = process_of(BETTER, [-1.0] * 10_000)
    assert process.log_e == pytest.approx(10_000 * math.log(1.95) - math.log(6))
    for _ in range(10_000):
        process.add(1.0)
    assert math.isfinite(process.log_e)
    assert process.log_e < 0.0


def test_missing_windows_are_those_of_the_best_stake() -> None:
    """Windows of -10 % each: what is said to be missing after five is what it then takes, within a window or two."""
    process = process_of(BETTER, [-0.1] * 5)
    missing = process.windows_missing(1.35)
    assert missing is not None
    while not process.exceeds(1.35):
        process.add(-0.1)
    assert process.n - 5 == pytest.approx(missing, abs=2.0)
    assert process.windows_missing(1.35) == 0.0
    assert process_of(BETTER, [0.1] * 5).windows_missing() is None
    assert EProcess(BETTER).windows_missing() is None


@given(log_ratios=RATIOS)
def test_snapshot_goes_on_where_it_stopped(log_ratios: list[float]) -> None:
    """Through JSON and back, the same E follows."""
    half = len(log_ratios) // 2
    stored = json.loads(json.dumps(process_of(FUTILE, log_ratios[:half]).snapshot()))
    restored = EProcess.restored(stored, FUTILE)
    for log_ratio in log_ratios[half:]:
        restored.add(log_ratio)
    assert restored.log_e == process_of(FUTILE, log_ratios).log_e


def test_hours_are_weighed_by_what_was_known_before() -> None:
    """Twice the mean of the windows before counts whole, the mean half, and the change is clipped."""
    weight = HoursWeight()
    assert weight.weighted(40.0, 0.1) == pytest.approx(0.5 * 0.1)
    assert weight.weighted(80.0, -0.9) == pytest.approx(-CLIP)
    assert weight.weighted(30.0, 0.1) == pytest.approx(30.0 / 120.0 * 0.1)
    restored = HoursWeight.restored(json.loads(json.dumps(weight.snapshot())))
    assert restored.weighted(100.0, 0.1) == weight.weighted(100.0, 0.1) == pytest.approx(0.1)


def test_autocorrelation_is_found_within_plants_and_not_between_them() -> None:
    """An AR(1) of 0.5 in each plant is found; plants that differ for good are not taken for it."""
    rng = np.random.default_rng(2)
    plants = []
    for level in range(10):
        values = [rng.normal()]
        for _ in range(399):
            values.append(0.5 * values[-1] + rng.normal(0.0, math.sqrt(0.75)))
        plants.append([level + value for value in values])
    assert autocorrelation(plants) == pytest.approx(0.5, abs=0.04)
    alone = [[level + value for value in rng.normal(size=400)] for level in range(10)]
    assert autocorrelation(alone) == pytest.approx(0.0, abs=0.04)
    assert autocorrelation(alone[:1]) == pytest.approx(float(np.corrcoef(alone[0][1:], alone[0][:-1])[0, 1]), abs=0.01)


def test_unknown_autocorrelation_is_taken_for_a_little() -> None:
    """With fewer than twenty windows, or without any spread, 0.15; never so much that no evidence were enough."""
    assert autocorrelation([]) == autocorrelation([[1.0, 2.0] * 9]) == UNKNOWN_AUTOCORRELATION
    assert autocorrelation([[0.0] * 30]) == autocorrelation([[0.1] * 60]) == UNKNOWN_AUTOCORRELATION
    assert autocorrelation([[-0.05 * 20 / 21 + 0.26 / 21] * 60]) == UNKNOWN_AUTOCORRELATION
    assert autocorrelation([list(range(3000))]) == 0.9


def test_exponent_is_the_growth_of_the_variance() -> None:
    """The variance of a mean of an AR(1), added up from its autocovariances, against that of independent windows."""
    n, rho = 20_000, 0.4
    lags = np.arange(1, n)
    variance = (n + 2.0 * ((n - lags) * rho**lags).sum()) / n
    assert evidence_exponent(rho) == pytest.approx(variance, rel=1e-3)
    assert evidence_exponent(UNKNOWN_AUTOCORRELATION) == pytest.approx(1.353, abs=1e-3)
    assert evidence_exponent(-0.5) == 1.0


@given(log_e=st.lists(st.floats(-5.0, 12.0), max_size=25))
def test_strata_are_found_as_the_package_finds_them(log_e: list[float]) -> None:
    """e-BH beside `ville`: the same nulls are refuted."""
    expected = np.flatnonzero(ville.evalues.ebh(np.exp(log_e), alpha=0.05)) if log_e else []
    assert list(e_bh(log_e)) == list(expected)


@pytest.mark.parametrize("seen", [0, 1, 2, 4, 10, 40, 100])
def test_tail_is_paid_as_by_an_upper_bound_of_its_rate(seen: int) -> None:
    """The number of doublings that is paid for lies between the exact 95 % and 99 % bounds of a Poisson mean."""
    count = tail_cost(1000, seen, seen * math.log(2.0)) * 1000 / (math.log(2.0) - CLIP)
    assert 0.999 * chi2.ppf(0.95, 2 * (seen + 1)) / 2 <= count <= chi2.ppf(0.99, 2 * (seen + 1)) / 2


def test_tail_beyond_a_doubling_is_paid_as_it_is() -> None:
    """Five-fold plans cost ln 5 less the clip each; those below a doubling cost as a doubling."""
    assert tail_cost(100, 4, 4 * math.log(5.0)) == pytest.approx(11 * (math.log(5.0) - CLIP) / 100)
    assert tail_cost(100, 4, 4 * math.log(1.6)) == pytest.approx(11 * (math.log(2.0) - CLIP) / 100)


def test_error_of_recent_pairs_is_that_of_their_covariances() -> None:
    """Added up from the whole covariance matrix: pairs of one window share the spread between windows."""
    rng = np.random.default_rng(3)
    recent, windows = rng.normal(size=100).tolist(), [f"w{number // 30}" for number in range(100)]
    earlier = rng.normal(0.0, 0.2, size=12).tolist()
    between = (4 * 0.03**2 + 12 * np.var(earlier, ddof=1)) / 16
    same = np.equal.outer(windows, windows)
    covariance = np.var(recent, ddof=1) * np.eye(100) + between * same
    assert recent_error(recent, windows, earlier) == pytest.approx(math.sqrt(covariance.sum()) / 100)


def test_error_of_one_window_is_not_that_of_a_hundred_pairs() -> None:
    """A hundred equal pairs of one day, and no day before: 3 % remain, where the pairs alone say nothing remains."""
    assert recent_error([0.1] * 100, ["today"] * 100, []) == pytest.approx(0.03)


def evidence_of(*days: list[WindowObservation]) -> WindowEvidence:
    evidence = WindowEvidence(challenger="b", champion="a")
    for closed in days:
        evidence.add(closed)
    return evidence


def test_evidence_says_what_is_missing_and_about_how_long_it_takes() -> None:
    """Five windows at -10 % are 6 to 1; when those that it names have come, nothing is missing."""
    evidence = evidence_of(*([closed_window(day, -0.1)] for day in range(5)))
    doubts = evidence.doubts(is_for_full=False)
    better = evidence.readings(is_for_full=False)[0]
    odds = math.exp(better.log_e)
    assert (
        doubts[0]
        == f"better: {odds:,.0f} to 1 after 5 windows, needs 508 (about {better.windows_missing:.0f} more windows, "
        f"{math.ceil(better.windows_missing or 0.0)} days)"
    )
    assert "better than no kind of baseline at 200 to 1" in doubts
    assert better.windows_missing is not None
    for day in range(5, 6 + math.ceil(better.windows_missing)):
        evidence.add([closed_window(day, -0.1)])
    assert evidence.doubts(is_for_full=False) == ()


def test_another_stage_needs_evidence_of_its_own() -> None:
    """Whatever came before: the stage's own question begins anew, the others go on."""
    evidence = evidence_of(*([closed_window(day, -0.1)] for day in range(40)))
    assert evidence.doubts(is_for_full=True) == ()
    evidence.begin_stage("limited")
    (doubt,) = evidence.doubts(is_for_full=True)
    assert doubt.startswith("better in this stage: no window has closed yet, needs 10 to 1")
    assert evidence.windows == 40
    evidence.add([closed_window(40, -0.1)])
    assert evidence.doubts(is_for_full=True) == (doubt,), "a window that began in the stage before says nothing of this"
    evidence.add([closed_window(41, -0.1, stage="limited")])
    assert evidence.doubts(is_for_full=True)[0].startswith("better in this stage: 1 to 1 after 1 windows")


def test_harm_is_asked_at_the_limit_of_the_policy() -> None:
    """Windows at +15 % are harm at a limit of 10 % and none at 20 %; another limit asks again from the start."""
    limit = SequentialTest(sign=1, center=math.log(1.2), threshold=200.0)
    strict, mild = (
        WindowEvidence(challenger="b", champion="a"),
        WindowEvidence(challenger="b", champion="a", harm=limit),
    )
    for evidence in (strict, mild):
        for day in range(60):
            evidence.add([closed_window(day, math.log(1.15))])
    assert (strict.harmed, mild.harmed) == ((Baseline.RULE,), ())
    stored = json.loads(json.dumps(strict.snapshot()))
    assert WindowEvidence.restored(stored).harmed == (Baseline.RULE,)
    moved = WindowEvidence.restored(stored, harm=limit)
    assert (moved.harmed, moved.windows) == ((), 60)


def test_no_baseline_may_promote_over_another_one() -> None:
    """-5 % beside the rule, +30 % beside the planners: neither hides the other."""
    both = [
        [closed_window(day, -0.05, groups=20), closed_window(day, 0.26, baseline=Baseline.PLANNER, groups=1)]
        for day in range(60)
    ]
    evidence = evidence_of(*both)
    assert evidence.doubts(is_for_full=False) == ("worse against the planner", "futile against the planner")
    assert evidence.objections(is_for_full=False) == evidence.doubts(is_for_full=False)
    assert evidence.harmed == (Baseline.PLANNER,)
    assert evidence_of(*([rule] for rule, _ in both)).doubts(is_for_full=False) == ()


def test_stratum_that_is_worse_is_named() -> None:
    """One plant of twenty at +20 %, the others at -10 %: after thirteen of its windows it is the one that is named."""
    names = [f"plant-{number}" for number in range(20)]
    for days, named in ((12, ()), (13, ("plant-7",))):
        evidence = WindowEvidence(challenger="b", champion="a")
        for day in range(days):
            ratios = [0.182 if name == "plant-7" else -0.1 for name in names]
            evidence.add(
                [
                    closed_window(day, ratio, name, strata={name: ratio})
                    for name, ratio in zip(names, ratios, strict=True)
                ]
            )
        assert evidence.worse_strata == named
    assert "worse by more than 2 % in plant-7" in evidence.doubts(is_for_full=False)


def test_many_windows_of_one_day_are_one_day() -> None:
    """Twenty plants at -10 % on two days: forty windows, and by the days it is not shown."""
    evidence = evidence_of(*([closed_window(day, -0.1, f"plant-{number}") for number in range(20)] for day in range(2)))
    found = {reading.question: reading for reading in evidence.readings(is_for_full=False)}
    assert (found["better"].n, found["better"].is_answered) == (40, True)
    assert (found["better by days"].n, found["better by days"].is_answered) == (2, False)
    equal = evidence_of(*([closed_window(day, 0.05, f"plant-{number}") for number in range(20)] for day in range(2)))
    assert not equal.is_futile


def test_total_hours_hold_the_way_to_full() -> None:
    """Shorter in the mean of the lists and more hours in all: enough for a part of the windows, not for all of them."""
    evidence = evidence_of(*([closed_window(day, -0.05, change=0.08)] for day in range(80)))
    assert evidence.doubts(is_for_full=False) == ()
    assert evidence.doubts(is_for_full=True)[1:] == ("more hours in total",)
    assert evidence.doubts(is_for_full=True)[0].startswith("fewer hours: 1 to 1 after 80 windows, needs 20")


@pytest.mark.parametrize("damage", [{"format": 2}, {"format": 1}, {"format": 1, "challenger": "b", "champion": "a"}])
def test_damaged_evidence_is_refused(damage: dict[str, object]) -> None:
    """A snapshot of another version, or half of one, is no state."""
    with pytest.raises(UnreadableState, match="evidence"):
        WindowEvidence.restored(damage)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EProcess(BETTER).add(math.nan), "a log ratio must be finite, was nan"),
        (lambda: SequentialTest(sign=0, center=0.0, threshold=10.0), "sign must be -1 or 1, was 0"),
        (lambda: SequentialTest(sign=1, center=0.0, threshold=1.0), "threshold must be > 1"),
        (lambda: HoursWeight().weighted(0.0, 0.1), "hours must be > 0, were 0"),
        (lambda: tail_cost(3, 4, 1.0), "tail must lie between 0 and groups >= 1, were 4 and 3"),
        (lambda: evidence_exponent(1.0), r"rho must lie in \[-1, 1\), was 1"),
        (lambda: recent_error([1.0], ["w"], []), "as many, >= 2, were 1 and 1"),
        (lambda: EProcess(BETTER, log_wealth=[0.0]), "log_wealth must be 6"),
    ],
)
def test_nonsense_is_refused(make: object, message: str) -> None:
    """What cannot be is said, with what was found."""
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
