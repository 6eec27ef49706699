"""Characteristics: they are kept by the statistics that were specified, and missed by others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from deployments.rollout.analysis.e_processes import FALSE_DISCOVERIES, STAKES
from deployments.rollout.simulation.characteristics import (
    Figure,
    _held,
    characteristics,
    quantile_of,
    run_length,
    share_of,
)
from deployments.rollout.simulation.window_worlds import MIN_DAYS, NEVER
from tests.deployments.shipped_policy import LIMITS

RATES = "Cumulative sums: list groups until seen, in the mean, exact"


def figures(rollouts: int = 60, table: str | None = None, **changes: float) -> list[Figure]:
    limits = replace(LIMITS, **changes)  # type: ignore[arg-type]
    chosen = [each for each in characteristics(limits) if table in (None, each.table)]
    return [figure for n, each in enumerate(chosen) for figure in each.find(rollouts, np.random.default_rng([3, n]))]


def test_all_that_was_specified_is_kept() -> None:
    """Every figure of the specification, with as few rollouts as a test has time for."""
    found = figures()
    assert [figure.name for figure in found if figure.kept is False] == []
    assert sum(figure.kept is True for figure in found) > 80
    assert len({figure.name for figure in found}) == len(found)


def test_presses_are_told_by_their_lists() -> None:
    """Neither the 900 presses nor the three windows: 90 groups, without any slack, and a promise that either misses."""
    told = {figure.name: figure for figure in figures(table="Worlds that deceive")}
    windows, groups = (told[f"900 plans of 90 lists on three days: {what}"] for what in ("n", "their groups"))
    assert (windows.found, groups.found) == (3.0, 90.0)
    missed = [replace(groups, found=n, low=n, high=n).kept for n in (3.0, 30.0, 900.0)]
    assert (groups.kept, missed) == (True, [False] * 3)


def test_other_limits_of_the_sums_are_missed() -> None:
    """The completion's old limit, and a crash sum that is half as fast: both are said."""
    assert all(figure.kept for figure in figures(table=RATES))
    old = {figure.name: figure.kept for figure in figures(table=RATES, cusum_limit=6.5)}
    assert old["incomplete, false one at 3 %"] is False
    slow = {figure.name: figure.kept for figure in figures(table=RATES, cusum_crash=0.8)}
    assert slow["crashes, total failure"] is slow["crashes, 10 %"] is False


@pytest.mark.parametrize(("rate", "rollouts"), [(0.3, 4000), (0.1, 1500), (1.0, 5)])
def test_run_length_is_that_of_simulated_sums(rate: float, rollouts: int) -> None:
    """The mean over sums that are added up trial by trial, within four standard errors."""
    rng, lengths = np.random.default_rng(9), []
    for _ in range(rollouts):
        total, trials = 0.0, 0
        while total < LIMITS.cusum_crash_limit:
            trials += 1
            is_event = rng.random() < rate
            total = max(0.0, total + (LIMITS.cusum_crash if is_event else LIMITS.cusum_no_crash))
        lengths.append(trials)
    exact = run_length(LIMITS.cusum_crash, LIMITS.cusum_no_crash, LIMITS.cusum_crash_limit, rate)
    assert exact == pytest.approx(np.mean(lengths), abs=4 * np.std(lengths) / math.sqrt(rollouts) + 1e-9)


def test_figure_far_from_what_was_specified_is_missed() -> None:
    """A quantile, a share and a bound: within chance they are kept, beyond it they are not."""
    counts = np.arange(1, 1001)
    assert quantile_of("", "windows", counts, 0.5, 510).kept is True
    assert quantile_of("", "windows", counts, 0.5, 650).kept is False
    assert share_of("", 5, 1000, 0.3).kept is True
    assert share_of("", 30, 1000, 0.3).kept is False
    assert share_of("", 0, 1000, 0.3, is_bound=True).kept is True
    assert share_of("", 40, 1000, 0.3, is_bound=True).kept is False
    assert share_of("", 40, 1000, None).kept is None


def test_plant_that_doubles_is_named_as_soon_as_it_can_be_and_before_expanded() -> None:
    """Of twenty plants one at +100 %: among as many questions no clipped bet says it before its twelfth window.

    Its mean is -6 % over all until then, so the gate is open on some days before; but no longer when `limited` ends.
    """
    effects = 19 * [-0.1] + [1.0]
    open_days, named = _held(effects)
    fastest = math.log(len(STAKES) * len(effects) / FALSE_DISCOVERIES) / math.log1p(max(STAKES))
    assert named == math.ceil(fastest) == 12
    assert open_days < named < sum(MIN_DAYS[:2])
    assert sum(map(math.log1p, effects)) / len(effects) == pytest.approx(-0.065, abs=0.001)


def test_what_is_never_reached_is_infinite() -> None:
    """A median that more than half of the rollouts never see is missed, however large the others are."""
    counts = np.full(100, NEVER)
    counts[:30] = 7
    found = quantile_of("", "days", counts, 0.5, 7)
    assert found.found == math.inf
    assert found.kept is False
    assert quantile_of("", "days", counts[:0], 0.5, 7).kept is False
