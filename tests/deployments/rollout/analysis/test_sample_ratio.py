"""The audit of the assignment: quiet on fair splits however often it looks, loud on every way to break one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, chi2

from deployments.rollout.analysis.e_processes import STAKES
from deployments.rollout.analysis.outcomes import LossCause
from deployments.rollout.analysis.sample_ratio import (
    E_THRESHOLD,
    LOSS_PRIOR,
    PRIOR_UNITS,
    AssignedUnit,
    BlockedSampleRatio,
    LossCounts,
    RequestRatio,
    SampleRatio,
    audit,
    is_paid_for,
    recomputes,
)
from deployments.rollout.assignment import ArmRole, PlanningWindow, UnitAssignment, assign
from tests.deployments.rollout.events import at

FIRST_DAY = date.fromordinal(739_000)


def row(assignment: UnitAssignment, minute: float = 0, ramp: int = 1) -> AssignedUnit:
    return AssignedUnit(
        unit=assignment.unit,
        at=at(minute),
        ramp=ramp,
        stage=assignment.stage,
        share=assignment.share,
        bucket=assignment.bucket,
        seed=assignment.seed,
        hash_version=assignment.hash_version,
        arm=assignment.arm,
    )


def units(count: int, share: float = 0.5, seed: str = "gantry") -> list[AssignedUnit]:
    return [row(assign(f"unit-{number}", seed=seed, share=share, stage="s"), number) for number in range(count)]


def windows(days: Iterable[int], share: float = 0.1, stage: str = "limited") -> list[AssignedUnit]:
    return [
        row(
            assign(
                PlanningWindow(plant_id="p", line_id=None, day=FIRST_DAY + timedelta(days=day)),
                seed="gantry",
                share=share,
                stage=stage,
            ),
            1440 * day,
        )
        for day in days
    ]


def test_fair_experiment_has_no_findings() -> None:
    """Explicit units and windows, at two shares, replanned: nothing to say, and all of it counted once."""
    rows = units(500) + units(500, 0.1) + windows(range(30)) + windows(range(30, 60), 0.5, "expanded")
    found = audit(rows + rows)
    assert found.findings == ()
    assert (found.explicit.units, found.explicit.expected) == (1000, pytest.approx(300.0))
    assert (found.windows.units, found.windows.challenger) == (60, 18)
    assert found.windows.expected == pytest.approx(18.0)


def test_lost_units_of_one_arm_are_a_mismatch() -> None:
    """A third of the challenger's units lost on the way to the database is found within 500."""
    rows = [unit for number, unit in enumerate(units(500)) if unit.arm is ArmRole.MANUAL or number % 3]
    found = audit(rows)
    assert found.explicit.is_mismatch
    assert found.findings[0].startswith(
        f"sample ratio mismatch: {found.explicit.challenger} of {len(rows)} explicit units"
    )


def test_lost_windows_of_one_arm_are_a_mismatch() -> None:
    """When the challenger's windows never reach the database, nine windows of ten, eight times, are too many."""
    rows = [window for window in windows(range(200)) if window.arm is ArmRole.MANUAL]
    assert audit(rows).windows.is_mismatch
    assert not audit(rows[:18]).windows.is_mismatch


def test_closed_days_are_no_mismatch() -> None:
    """Weekends belong to no arm: windows that do not appear regardless of their arm are fair."""
    assert audit(windows(day for day in range(700) if day % 7 < 5)).findings == ()


def test_stage_change_within_a_block_is_no_mismatch() -> None:
    """From ten to fifty per cent in the middle of a block: the rest of the deal is known and fair."""
    rows = windows(range(205)) + windows(range(204, 400), 0.5, "expanded")
    found = audit(rows)
    assert found.findings == ()
    assert found.windows.units == 400


def test_unit_with_both_arms_in_one_stage_is_found() -> None:
    """Mixed exposure within a stage; the same unit in another stage or ramp may have the other arm."""
    manual = next(unit for unit in units(50) if unit.arm is ArmRole.MANUAL)
    found = audit([manual, replace(manual, arm=ArmRole.PPO)])
    assert found.mixed == (manual.unit,)
    assert any("exposed to both arms within a stage" in finding for finding in found.findings)
    later = row(assign(manual.unit, seed="gantry", share=1.0, stage="full"))
    again = row(assign(manual.unit, seed="other", share=0.5, stage="s"), ramp=2)
    assert audit([manual, later, again]).mixed == ()


@pytest.mark.parametrize(
    "damage",
    [{"bucket": 0.4}, {"seed": "x"}, {"hash_version": 1}, {"share": 0.01}, {"arm": ArmRole.MANUAL}, {"unit": "x"}],
)
def test_row_that_does_not_recompute_is_found(damage: dict[str, object]) -> None:
    """Every stored field takes part in the recomputation."""
    unit = next(unit for unit in units(50) if unit.arm is ArmRole.PPO and unit.bucket > 0.02)
    assert recomputes(unit)
    broken = replace(unit, **damage)  # type: ignore[arg-type]
    assert not recomputes(broken)
    assert audit([broken]).not_recomputed == (broken.unit,)


def test_explicit_unit_that_looks_like_a_window_recomputes() -> None:
    """A client may choose any text; the stored bucket tells that it went by the plain hash."""
    unit = windows([3])[0].unit
    found = audit([row(assign(unit, seed="gantry", share=0.5, stage="s"))])
    assert found.findings == ()
    assert (found.explicit.units, found.windows.units) == (1, 0)


def test_fair_split_is_rarely_suspected_however_often_one_looks() -> None:
    """Looked at after each of 1,000 units: at most one in a thousand by the e-process, many by chi-square."""
    rng = np.random.default_rng(0)
    rollouts, units_each, share = 1000, 1000, 0.5
    challenger = np.cumsum(rng.random((rollouts, units_each)) < share, axis=1)
    n = np.arange(1, units_each + 1)
    from deployments.rollout.analysis.confidence import beta_binomial_log_e

    prior = (PRIOR_UNITS * share, PRIOR_UNITS * (1 - share))
    suspected = (beta_binomial_log_e(challenger, n, share, prior) >= math.log(E_THRESHOLD)).any(axis=1).mean()
    naive = ((challenger - n * share) ** 2 / (n * share * (1 - share)))[:, 99:] > chi2.isf(0.001, 1)
    assert suspected <= 0.001 + 4 * math.sqrt(0.001 / rollouts)
    assert naive.any(axis=1).mean() > 5 * 0.001


def test_sample_ratio_is_one_process_through_the_shares() -> None:
    """E-values of the shares multiply; an impossible unit is proof by itself."""
    ratio = SampleRatio()
    for number in range(100):
        ratio.add(number % 10 == 0, 0.1)
    single = ratio.log_e
    for number in range(100):
        ratio.add(number % 2 == 0, 0.5)
    assert ratio.log_e < 0
    assert ratio.log_e < single
    ratio.add(True, 0.0)
    assert math.isinf(ratio.log_e)
    assert ratio.reading().is_mismatch


@pytest.mark.parametrize(("share", "meant"), [(0.1, 1), (0.3, 3), (0.5, 5)])
def test_blocked_e_process_is_fair(share: float, meant: int) -> None:
    """Over all equally likely deals of a block its expectation is exactly one, however many windows have appeared."""
    deals = list(combinations(range(10), meant))
    for appeared in (1, 2, 5, 9, 10):
        values = []
        for places in deals:
            ratio, left, others = BlockedSampleRatio(), iter(range(meant)), iter(range(meant, 10))
            for place in range(appeared):
                rank = next(left) if place in places else next(others)
                ratio.add((rank + 0.5) / 10, share, ("block",))
            values.append(math.exp(ratio.log_e))
        assert sum(values) / len(deals) == pytest.approx(1.0)


def losses(ppo: tuple[int, int], manual: tuple[int, int], cause: LossCause = LossCause.UNANSWERED) -> LossCounts:
    """Lost and accepted requests of either arm, for one cause."""
    return LossCounts(
        accepted={ArmRole.PPO: ppo[1], ArmRole.MANUAL: manual[1]},
        lost={ArmRole.PPO: {cause: ppo[0]}, ArmRole.MANUAL: {cause: manual[0]}},
    )


def test_hard_requests_that_go_unanswered_hold_the_ramp() -> None:
    """Ten per cent lost while the rest is 1 % shorter: were they doubled, plans would be 6 % longer, and it says so."""
    found = losses((5, 50), (45, 450))
    (text,) = found.shortages(-0.01)
    assert text == (
        "10.0% of the accepted requests have no pair, at most 2% may (unanswered 50); "
        "were each of them twice as long, the makespan would change by +6.1%"
    )
    assert found.shortages(-0.08) == ()
    assert losses((1, 50), (9, 450)).shortages(0.0) == ()


@pytest.mark.parametrize("counts", [((3, 40), (5, 90)), ((0, 10), (0, 10)), ((7, 7), (0, 9)), ((0, 0), (2, 30))])
def test_loss_e_value_is_the_ratio_of_likelihoods(counts: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Integrated numerically over each arm's own rate, over the maximum of a search through common rates."""
    prior = beta(*LOSS_PRIOR)
    marginals = [
        quad(lambda rate, k=k, n=n: prior.pdf(rate) * rate**k * (1 - rate) ** (n - k), 0.0, 1.0)[0] for k, n in counts
    ]
    lost, accepted = (sum(values) for values in zip(*counts, strict=True))
    rates = np.linspace(0.0, 1.0, 100_001)
    highest = (rates**lost * (1 - rates) ** (accepted - lost)).max()
    assert math.exp(losses(*counts).log_e) == pytest.approx(marginals[0] * marginals[1] / highest, rel=1e-4)


def test_arm_that_loses_more_is_found_and_equal_ones_are_not() -> None:
    """Looked at all the time: 5 % in both arms alarm in at most one of 300 streams, 10 % against 2 % alarm."""
    rng, alarms = np.random.default_rng(4), [0, 0]
    for rates in ((0.05, 0.05), (0.10, 0.02)):
        for _ in range(300 if rates[0] == rates[1] else 30):
            lost = np.array([np.cumsum(rng.random(1000) < rate) for rate in rates])
            highest = max(losses((int(lost[0, n - 1]), n), (int(lost[1, n - 1]), n)).log_e for n in range(20, 1001, 20))
            alarms[rates[0] != rates[1]] += highest >= math.log(E_THRESHOLD)
    assert alarms[0] <= 1
    assert alarms[1] >= 28
    assert "lost pairs differ by arm: 90 of 900 requests of ppo" in losses((90, 900), (9, 900)).findings[0]
    assert losses((45, 900), (50, 900)).findings == ()


def test_more_lost_than_accepted_is_refused() -> None:
    """A count that cannot be is a mistake of whoever counted."""
    with pytest.raises(ValueError, match="lost must lie between 0 and the 3 accepted of ppo, were 4"):
        losses((4, 3), (0, 3))


def test_lost_pairs_are_paid_as_doublings() -> None:
    """Two per cent are free; ten per cent need a mean of -6.9 %, whatever the pairs that are left say."""
    assert is_paid_for(0.0, 0.02)
    assert not is_paid_for(-0.01, 0.1)
    assert is_paid_for(-0.07, 0.1)


def busy_days(days: int, requests: Iterable[int], *, presses: int = 1) -> list[AssignedUnit]:
    """Windows at fifty per cent, each with so many lists by its arm (champion, challenger), each pressed so often."""
    champion, challenger = requests
    found = []
    for window in windows(range(days), 0.5, "expanded"):
        lists = challenger if window.arm is ArmRole.PPO else champion
        found += [replace(window, job_list=f"list-{number}") for number in range(lists) for _ in range(presses)]
    return found


def test_requests_that_the_challenger_does_not_get_are_a_mismatch() -> None:
    """All windows are there, but those of the challenger have half the requests: found within a year."""
    assert audit(busy_days(365, (10, 10))).findings == ()
    found = audit(busy_days(365, (10, 5)))
    assert not found.windows.is_mismatch
    assert found.requests.is_mismatch
    assert found.findings[0].startswith(
        f"sample ratio mismatch: {found.requests.challenger} of {found.requests.units} requests went to the challenger"
    )


def test_presses_are_no_requests() -> None:
    """A list that is asked for again and again in the challenger's windows is one request of them."""
    rows = busy_days(365, (10, 10))
    pressed = [row for row in rows for _ in range(3 if row.arm is ArmRole.PPO else 1)]
    assert audit(pressed).requests == audit(rows).requests


def test_requests_of_the_last_two_days_are_not_told_yet() -> None:
    """How many a unit has is weighed once, when two days have passed since its first."""
    rows = busy_days(10, (4, 4))
    assert audit(rows).requests.units == 8 * 4
    later = replace(rows[0], at=rows[0].at + timedelta(days=5), job_list="late")
    assert audit([*rows, later]).requests.units == 8 * 4, "nor do later ones change it"


def test_request_e_value_is_the_mean_of_products() -> None:
    """The same by plain loops, for explicit units with a Poisson number of requests."""
    rng = np.random.default_rng(4)
    ratio, wealth, counts = RequestRatio(), [1.0] * 12, []
    for number in range(200):
        requests, is_challenger = 1 + int(rng.poisson(4)), bool(rng.random() < 0.3)
        chance = (0.3, 0.5)[number % 2]
        mean = sum(counts) / len(counts) if counts else requests
        weight = min(requests / (2 * mean), 1.0)
        gain = weight * ((1.0 if is_challenger else 0.0) - chance) / max(chance, 1.0 - chance)
        stakes = [sign * stake for sign in (1, -1) for stake in STAKES]
        wealth = [w * (1.0 + stake * gain) for w, stake in zip(wealth, stakes, strict=True)]
        counts.append(requests)
        ratio.add(requests, is_challenger, chance)
    assert ratio.reading().e_value == pytest.approx(sum(wealth) / 12)
    with pytest.raises(ValueError, match="requests must be >= 1, were 0"):
        ratio.add(0, True, 0.5)


def test_fair_requests_are_rarely_suspected_however_uneven_units_are() -> None:
    """Units of 1 to 1,000 requests at fifty per cent: none of 400 fair streams alarms, where a count of requests would.

    A binomial of requests, which are not independent within a unit, suspects nearly all of them.
    """
    rng, alarms, naive = np.random.default_rng(5), 0, 0
    for _ in range(400):
        ratio, requests, arms = RequestRatio(), np.ceil(1000.0 ** rng.random(150)).astype(int), rng.random(150) < 0.5
        highest = 0.0
        for count, arm in zip(requests.tolist(), arms.tolist(), strict=True):
            ratio.add(count, arm, 0.5)
            highest = max(highest, ratio.reading().e_value)
        alarms += highest >= E_THRESHOLD
        n, challenger = int(requests.sum()), int(requests[arms].sum())
        naive += (challenger - n / 2) ** 2 / (n / 4) > chi2.isf(0.001, 1)
    assert alarms <= 2
    assert naive > 300
