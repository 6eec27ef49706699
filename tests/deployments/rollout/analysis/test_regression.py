"""Realised effects: unbiased whatever is planned, narrower the more it tells, and never told by the window itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deployments.rollout.analysis.regression import MIN_WINDOWS, RIDGE, RealisedWindow, RidgeRegression, realised_effect

FIGURES = 6


def windows(
    rng: np.random.Generator,
    count: int,
    told: float,
    *,
    effect: float = 0.0,
    share: float = 0.5,
    is_planned: bool = True,
) -> list[RealisedWindow]:
    """Outcomes of variance 1, of which the planned figures, alike by 0.36, tell the part `told`."""
    planned = 0.6 * rng.normal(size=(count, 1)) + 0.8 * rng.normal(size=(count, FIGURES))
    told_part = planned.sum(axis=1) / math.sqrt(FIGURES * (0.36 * FIGURES + 0.64))
    outcomes = math.sqrt(told) * told_part + math.sqrt(1.0 - told) * rng.normal(size=count)
    arms = rng.random(count) < share
    return [
        RealisedWindow(
            share=share,
            is_challenger=bool(arm),
            outcome=float(outcome + effect * arm),
            planned=tuple(map(float, figures)) if is_planned else (),
        )
        for arm, outcome, figures in zip(arms, outcomes, planned, strict=True)
    ]


def variance(found: list[list[RealisedWindow]]) -> float:
    return float(np.mean([realised_effect(each, deviation_floor=1e-6).deviation ** 2 for each in found]))


@pytest.mark.parametrize(("told", "factor"), [(0.3, 1.4), (0.5, 1.9), (0.8, 4.3)])
def test_windows_needed_fall_by_what_is_told(told: float, factor: float) -> None:
    """An interval is as narrow after so many fewer windows; 600 of them, the first with nothing to go by."""
    seeds = range(8)
    plain = variance([windows(np.random.default_rng(seed), 600, told, is_planned=False) for seed in seeds])
    centred = variance([windows(np.random.default_rng(seed), 600, told) for seed in seeds])
    assert plain / centred == pytest.approx(factor, rel=0.08)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("is_planned", [False, True])
def test_effect_is_found_without_bias(share: float, is_planned: bool) -> None:
    """The mean over forty rollouts is the effect, within four of its standard errors."""
    found = [
        realised_effect(
            windows(np.random.default_rng(seed), 400, 0.5, effect=0.7, share=share, is_planned=is_planned),
            deviation_floor=1e-6,
        )
        for seed in range(40)
    ]
    means = [each.mean for each in found]
    assert np.mean(means) == pytest.approx(0.7, abs=4 * np.std(means, ddof=1) / math.sqrt(len(means)))


def test_regression_is_that_of_least_squares_with_a_penalty() -> None:
    """The same from the whole matrix: standardised figures, five pseudo-observations, the mean for the rest."""
    rng = np.random.default_rng(5)
    figures, outcomes = rng.normal(3.0, [1.0, 5.0], (40, 2)), rng.normal(size=40)
    found = RidgeRegression(2)
    for row, outcome in zip(figures, outcomes, strict=True):
        found.add(row, outcome)
    mean, deviation = figures.mean(axis=0), figures.std(axis=0)
    standardised = np.vstack([(figures - mean) / deviation, math.sqrt(RIDGE) * np.eye(2)])
    slopes = np.linalg.lstsq(standardised, np.concatenate([outcomes - outcomes.mean(), [0.0, 0.0]]), rcond=None)[0]
    expected = outcomes.mean() + float((np.array([4.0, 1.0]) - mean) / deviation @ slopes)
    assert found.expected((4.0, 1.0)) == pytest.approx(expected)


def test_figures_that_are_always_the_same_tell_nothing() -> None:
    """Never late in any plan: the mean is expected, and no matrix is singular."""
    found = RidgeRegression(2)
    for number in range(20):
        found.add((0.0, 1e9), float(number))
    assert found.expected((0.0, 1e9)) == pytest.approx(9.5)


def test_window_is_not_expected_by_itself() -> None:
    """Whatever a window came to, what it is compared with is the same: known before."""
    rng = np.random.default_rng(6)
    before = windows(rng, 60, 0.8)
    gains = []
    for outcome in (0.0, 100.0):
        last = RealisedWindow(share=0.5, is_challenger=True, outcome=outcome, planned=before[0].planned)
        totals = [realised_effect(each, deviation_floor=1e-6) for each in (before, [*before, last])]
        gains.append(totals[1].mean * 61 - totals[0].mean * 60)
    assert gains[1] - gains[0] == pytest.approx(2.0 * 100.0)


def test_first_windows_are_compared_with_their_mean() -> None:
    """Up to the tenth, and where nothing was planned, whatever others had planned."""
    found = [RealisedWindow(share=0.5, is_challenger=True, outcome=float(n), planned=(float(n),)) for n in range(10)]
    assert len(found) == MIN_WINDOWS
    gains = [2.0 * (n - (n - 1) / 2.0) if n else 0.0 for n in range(10)]
    assert realised_effect(found, deviation_floor=1e-6).mean == pytest.approx(sum(gains) / 10)
    found.append(RealisedWindow(share=0.5, is_challenger=False, outcome=3.0))
    assert realised_effect(found, deviation_floor=1e-6).mean == pytest.approx((sum(gains) - 2.0 * (3.0 - 4.5)) / 11)


def test_nonsense_is_refused() -> None:
    """An arm without a chance, and an endless outcome."""
    with pytest.raises(ValueError, match="share must lie strictly between 0 and 1, was 1"):
        RealisedWindow(share=1.0, is_challenger=True, outcome=0.0)
    with pytest.raises(ValueError, match="must be finite"):
        RealisedWindow(share=0.5, is_challenger=True, outcome=math.inf)
