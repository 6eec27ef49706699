"""Confidence sequences: equal to an independent implementation, and covering what they promise at every moment."""

from __future__ import annotations

import json

import numpy as np
import pytest
import ville
from hypothesis import given
from hypothesis import strategies as st
from ville._boundaries import normal_mixture

from deployments.rollout.analysis.confidence import (
    MIN_OBSERVATIONS,
    MeanSequence,
    RateSequence,
    beta_binomial_log_e,
    mixture_variance,
    one_sided_radius,
    two_sided_radius,
    window_interval,
)
from deployments.rollout.analysis.e_processes import EProcess, SequentialTest
from tests.deployments.rollout.analysis.coverage import MEANS, Coverage, of_means, of_rates

COUNTS = np.arange(MIN_OBSERVATIONS, 2001)


def mean_sequence(values: np.ndarray) -> MeanSequence:
    sequence = MeanSequence(deviation_floor=1e-9)
    for value in values:
        sequence.add(float(value))
    return sequence


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_two_sided_interval_equals_ville(alpha: float) -> None:
    """The independent package gives the same interval for the same stream and tuning."""
    values = np.random.default_rng(0).normal(0.1, 0.2, size=500)
    oracle = ville.AsymptoticCS(alpha=alpha, t_opt=200, min_samples=MIN_OBSERVATIONS).fit(values)
    for count in (100, 101, 250, 500):
        found = mean_sequence(values[:count]).interval(alpha)
        assert found is not None
        assert found.n == count
        assert found.estimate == pytest.approx(oracle.estimate_[count - 1])
        assert found.lower == pytest.approx(oracle.lower_[count - 1], rel=1e-5)
        assert found.upper == pytest.approx(oracle.upper_[count - 1], rel=1e-5)


@pytest.mark.parametrize("alpha", [0.005, 0.01, 0.05])
def test_one_sided_bound_is_ville_s_from_the_safe_side(alpha: float) -> None:
    """The closed form lies above the exact boundary of the half-normal mixture, by less than 1 %."""
    exact = normal_mixture(COUNTS, alpha, 1 / mixture_variance(2 * alpha), one_sided=True) / COUNTS
    found = one_sided_radius(COUNTS, alpha)
    assert (found >= exact).all()
    assert (found <= 1.01 * exact).all()


@pytest.mark.parametrize("prior", [(1.0, 20.0), (3.0, 15.0), (1.0, 1.0)])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 1.0])
def test_rate_interval_equals_ville(prior: tuple[float, float], rate: float) -> None:
    """The independent package gives the same bounds from the first trial on."""
    events = np.random.default_rng(1).random(300) < rate
    oracle = ville.BernoulliCS(alpha=0.01, prior=prior, intersect=False).fit(events)
    sequence = RateSequence(prior=prior)
    for count, is_event in enumerate(events):
        sequence.add(bool(is_event))
        if count in (0, 1, 5, 299):
            found = sequence.interval(0.01)
            assert found is not None
            assert found.lower == pytest.approx(oracle.lower_[count], abs=1e-9)
            assert found.upper == pytest.approx(oracle.upper_[count], abs=1e-9)


@given(trials=st.integers(1, 400), share=st.floats(0, 1), limit=st.floats(0.005, 0.5))
def test_rate_exceeds_a_limit_exactly_when_its_lower_bound_does(trials: int, share: float, limit: float) -> None:
    """The quick test without a root search says the same as the interval."""
    sequence = RateSequence(prior=(3.0, 15.0), trials=trials, events=round(share * trials))
    found = sequence.interval(0.01)
    assert found is not None
    if abs(found.lower - limit) > 1e-9:
        assert sequence.exceeds(limit, 0.01) == (found.lower > limit)


def test_e_values_equal_ville() -> None:
    """The log e-value of a rate is that of the independent package."""
    events = np.random.default_rng(2).random(200) < 0.1
    oracle = ville.BernoulliTest(0.05, prior=(3.0, 15.0)).fit(events).log_e_values_
    found = beta_binomial_log_e(np.cumsum(events), np.arange(1, 201), 0.05, (3.0, 15.0))
    np.testing.assert_allclose(found, oracle, atol=1e-9)


@pytest.mark.parametrize("kind", MEANS)
def test_coverage_is_that_of_ville(kind: str) -> None:
    """On the same streams both implementations miss the truth equally often, and seldom enough."""
    found = of_means(kind, 150, 1000, np.random.default_rng(3))
    assert found.missed == found.missed_by_ville <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)
    assert found.farthest < 1e-6
    rates = of_rates(0.05, (3.0, 15.0), 150, 1000, np.random.default_rng(3))
    assert rates.missed == rates.missed_by_ville <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 150)
    assert rates.farthest < 1e-8


@pytest.mark.parametrize(
    ("missed", "by_ville", "farthest", "holds"),
    [(0.05, 0.05, 0.0, True), (0.062, 0.062, 0.0, True), (0.064, 0.064, 0.0, False), (0.04, 0.05, 0.0, False)]
    + [(0.04, 0.04, 1e-5, False)],
)
def test_coverage_says_whether_the_promise_is_kept(
    missed: float, by_ville: float, farthest: float, holds: bool
) -> None:
    """Two standard errors of a thousand streams above 5 % are noise; what differs from ville is none."""
    found = Coverage(missed=missed, missed_by_ville=by_ville, missed_one_sided=0.0, farthest=farthest)
    assert found.holds(0.05, 1000) is holds


@pytest.mark.parametrize(("distribution", "most"), [("normal", 0.05), ("skewed", 0.065)])
def test_mean_is_covered_at_every_moment(distribution: str, most: float) -> None:
    """Looked at after each of 2,000 observations, the 95 % interval misses in at most 5 % of 1,000 streams.

    The guarantee is asymptotic: exponential observations may take it at its limit, plus two standard errors.
    """
    rng = np.random.default_rng(3)
    values = rng.normal(size=(1000, 2000)) if distribution == "normal" else rng.exponential(size=(1000, 2000)) - 1.0
    count = np.arange(1, 2001)
    mean = np.cumsum(values, axis=1) / count
    deviation = np.sqrt(
        np.maximum(np.cumsum(values**2, axis=1) / count - mean**2, 1e-12) * count / np.maximum(count - 1, 1)
    )
    standard = (mean / deviation)[:, MIN_OBSERVATIONS - 1 :]
    two_sided = (np.abs(standard) > two_sided_radius(COUNTS, 0.05)).any(axis=1).mean()
    one_sided = (standard > one_sided_radius(COUNTS, 0.05)).any(axis=1).mean()
    assert two_sided <= most
    assert one_sided <= most
    # Looking at a plain 95 % interval as often would miss many times as much.
    assert (np.abs(standard) > 1.96 / np.sqrt(COUNTS)).any(axis=1).mean() > 0.15


@pytest.mark.parametrize(("rate", "prior"), [(0.01, (1.0, 20.0)), (0.05, (3.0, 15.0))])
def test_rate_is_covered_at_every_moment(rate: float, prior: tuple[float, float]) -> None:
    """At a true rate equal to its limit, the bound lies above it in at most 1 % of 2,000 streams of 2,000 trials."""
    events = np.random.default_rng(4).random((2000, 2000)) < rate
    trials = np.arange(1, 2001)
    successes = np.cumsum(events, axis=1)
    refuted = beta_binomial_log_e(successes, trials, rate, prior) >= -np.log(0.01)
    # The e-process has expectation one, hence four standard errors above one per cent is no accident.
    assert (refuted & (successes > rate * trials)).any(axis=1).mean() <= 0.01 + 4 * np.sqrt(0.01 * 0.99 / 2000)


def test_mean_has_no_interval_before_a_hundred_observations() -> None:
    """Ninety-nine observations are not enough data, a hundred are."""
    sequence = mean_sequence(np.linspace(0, 1, 99))
    assert sequence.interval(0.05) is None
    assert sequence.lower_bound(0.05) is None
    sequence.add(0.5)
    assert sequence.interval(0.05) is not None
    assert RateSequence(prior=(1.0, 1.0)).interval(0.05) is None


def test_identical_observations_get_the_deviation_floor() -> None:
    """Without the floor a difference of a millionth would be significant."""
    sequence = MeanSequence(deviation_floor=0.01)
    for _ in range(200):
        sequence.add(1e-6)
    found = sequence.interval(0.05)
    assert found is not None
    assert sequence.deviation == 0.01
    assert found.lower < 0 < found.upper


def test_sequences_survive_json() -> None:
    """A snapshot goes on where it stopped."""
    sequence = mean_sequence(np.random.default_rng(5).random(150))
    restored = MeanSequence.restored(json.loads(json.dumps(sequence.snapshot())), deviation_floor=1e-9)
    assert restored.interval(0.05) == sequence.interval(0.05)
    rate = RateSequence(prior=(1.0, 20.0), trials=9, events=2)
    assert RateSequence.restored(json.loads(json.dumps(rate.snapshot())), prior=(1.0, 20.0)).interval(
        0.05
    ) == rate.interval(0.05)


def test_nonsense_is_refused() -> None:
    """No floor, no prior, more events than trials, no probability."""
    with pytest.raises(ValueError, match="deviation_floor must be > 0, was 0"):
        MeanSequence(deviation_floor=0.0)
    with pytest.raises(ValueError, match="prior must be positive"):
        RateSequence(prior=(0.0, 1.0))
    with pytest.raises(ValueError, match="events must lie between 0 and 3 trials, were 4"):
        RateSequence(prior=(1.0, 1.0), trials=3, events=4)
    with pytest.raises(ValueError, match=r"alpha must lie strictly between 0 and 1, was 1\.5"):
        mixture_variance(1.5)


def test_interval_of_windows_agrees_with_the_gate() -> None:
    """Its upper bound lies below 0 exactly when "shorter" is answered at 40 to 1, its lower above it with "longer"."""
    rng = np.random.default_rng(3)
    for effect in (-0.1, -0.03, 0.0, 0.04):
        ratios: list[float] = []
        bets = {sign: EProcess(SequentialTest(sign=sign, center=0.0, threshold=40.0)) for sign in (-1, 1)}
        for value in rng.normal(effect, 0.08, 80):
            ratios.append(float(value))
            for bet in bets.values():
                bet.add(float(value))
            found = window_interval(ratios, 0.05)
            if found is not None:
                assert (found.upper < 0.0, found.lower > 0.0) == (bets[-1].exceeds(), bets[1].exceeds())
                assert (found.lower <= found.estimate <= found.upper, found.n) == (True, len(ratios))


def test_interval_of_windows_is_not_told_before_it_means_something() -> None:
    """Not from a handful of windows, whatever they say; from ten on it is, and holds the mean of equal ones."""
    assert window_interval([], 0.05) is None
    assert window_interval([-0.1] * 5, 0.05) is None
    found = window_interval([-0.1] * 60, 0.05)
    assert found is not None
    assert found.lower < -0.1 < found.upper < 0.0


def test_interval_of_windows_covers_at_every_moment() -> None:
    """Looked at after each of two hundred windows, at most one rollout in twenty ever misses the truth."""
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(60):
        ratios = rng.normal(-0.05, 0.1, 200).tolist()
        intervals = (window_interval(ratios[:n], 0.05) for n in range(10, 201, 10))
        missed += any(not each.lower <= -0.05 <= each.upper for each in intervals if each is not None)
    assert missed <= 6
