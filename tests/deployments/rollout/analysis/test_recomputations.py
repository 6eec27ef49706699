"""Recomputed plans: the least bias is seen soon, none is seen where there is none, and which are computed again."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from deployments.errors import UnreadableState
from deployments.rollout.analysis.e_processes import STAKES
from deployments.rollout.analysis.recomputations import (
    CLIP,
    E_THRESHOLD,
    MAX_WINDOWS,
    MIN_OF_A_WINDOW,
    SHARE,
    Recomputation,
    RecomputationEvidence,
    RecomputationSample,
    schedule_hash,
)
from deployments.rollout.assignment import ArmRole
from env.schedule import Assignment, Schedule
from tests.deployments.rollout.events import START


def again(log_ratio: float = 0.0, is_same: bool | None = None, **changes: Any) -> Recomputation:
    fields = {"decision_id": "d", "at": START, "ramp": 1, "stage": "limited", "arm": ArmRole.PPO}
    return Recomputation(**(fields | changes), log_ratio=log_ratio, is_same=is_same)


def fed(log_ratios: Any) -> RecomputationEvidence:
    found = RecomputationEvidence()
    for value in log_ratios:
        found.add(again(float(value)))
    return found


def seen_after(log_ratios: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Recomputations until each row is INVALID, inf: never; the formula once more, for all rows at once."""
    z = np.clip(log_ratios, -CLIP, CLIP) / CLIP
    bets = np.asarray([sign * stake for sign in (1, -1) for stake in STAKES])
    wealth = np.cumprod(1.0 + z[..., np.newaxis] * bets, axis=1).mean(axis=2)
    reached = wealth >= E_THRESHOLD
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, np.inf)


def test_one_per_cent_of_bias_is_seen_in_about_42() -> None:
    """Whichever way it goes, with a deviation of 1 % of the makespan: median 42, 95 % within 56 to 64."""
    rng = np.random.default_rng(1)
    for bias in (math.log(1.01), -math.log(1.01)):
        found = seen_after(rng.normal(bias, 0.01, (2000, 200)))
        assert 40 <= np.median(found) <= 44
        assert np.quantile(found, 0.95) <= 64


def test_no_bias_is_rarely_suspected() -> None:
    """In 2,000 recomputations, however often one looks: at most 1 % of the stages, and heavy tails change nothing."""
    rng = np.random.default_rng(2)
    for noise in (rng.normal(0.0, 0.01, (1000, 2000)), 0.01 * rng.standard_t(3, (1000, 2000))):
        assert np.isfinite(seen_after(noise)).mean() <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 1000)


def test_evidence_is_that_of_the_formula() -> None:
    """One by one, the process says INVALID where the mean over both sides and all stakes reaches a hundred."""
    ratios = np.random.default_rng(3).normal(0.01, 0.01, 100)
    (limit,) = seen_after(ratios[np.newaxis])
    assert fed(ratios[: int(limit) - 1]).findings == ()
    (text,) = fed(ratios[: int(limit)]).findings
    assert text.startswith("served plans are +1.")
    assert f"after {limit:.0f} recomputations" in text


def test_other_plan_by_iterations_is_invalid_at_once() -> None:
    """Where nothing but the machine differs, the same arm makes the same plan."""
    found = RecomputationEvidence()
    for _ in range(500):
        found.add(again(0.0, True))
    assert found.findings == ()
    found.add(again(0.0, False))
    assert found.findings == ("1 of 501 served plans come out otherwise where the other arm is computed",)


def test_evidence_survives_json() -> None:
    """A snapshot goes on where it stopped, half of one is refused."""
    found = fed([0.01, -0.02, 0.03])
    found.add(again(0.0, True))
    restored = RecomputationEvidence.restored(json.loads(json.dumps(found.snapshot())))
    for each in (found, restored):
        each.add(again(0.04))
    assert restored.snapshot() == found.snapshot()
    for damage in ({}, {"format": 1}, found.snapshot() | {"counts": 1}):
        with pytest.raises(UnreadableState):
            RecomputationEvidence.restored(damage)


def test_three_of_each_window_and_a_twentieth_are_computed_again() -> None:
    """A quiet line has its three, a busy one its share."""
    sample = RecomputationSample()
    taken = Counter(
        unit
        for unit, count in (("quiet//2025-07-22", 2), ("busy//2025-07-22", 4000), ("chosen", 5))
        for number in range(count)
        if sample.takes(f"{unit}-{number}", unit, START)
    )
    assert taken["quiet//2025-07-22"] == 2
    assert taken["chosen"] == MIN_OF_A_WINDOW
    assert taken["busy//2025-07-22"] == pytest.approx(4000 * SHARE, abs=4 * math.sqrt(4000 * SHARE))


def test_bounded_many_windows_are_remembered() -> None:
    """Of more the oldest begins anew."""
    sample = RecomputationSample()
    for number in range(MAX_WINDOWS + 1):
        assert sample.takes("d", f"p{number}//2025-07-22", START)
    assert [sample.takes(f"x{number}", "p0//2025-07-22", START) for number in range(3)] == [True] * 3


def test_hash_is_of_what_is_asked_of_the_floor() -> None:
    """The order in which a plan is said changes nothing, a second of one operation does."""
    first, second = (Assignment(operation_id=name, machine_id=1, start_seconds=0, end_seconds=9) for name in ("a", "b"))
    plan = Schedule(assignments=(first, second))
    assert schedule_hash(plan) == schedule_hash(Schedule(assignments=(second, first)))
    assert schedule_hash(plan) != schedule_hash(Schedule(assignments=(first, replace(second, end_seconds=10))))


def test_nonsense_is_refused() -> None:
    """No endless ratio, and no instant without a zone."""
    with pytest.raises(ValueError, match="log_ratio must be finite, was nan"):
        again(math.nan)
    with pytest.raises(ValueError, match="an instant must have a time zone"):
        again(at=datetime(2025, 7, 22))  # noqa: DTZ001 - that is the point
