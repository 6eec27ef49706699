"""The split: conformance of the hash, blocks of ten, and the laws that make it auditable."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.rollout.assignment import (
    ArmRole,
    PlanningWindow,
    UnitAssignment,
    assign,
    planning_window,
    unit_bucket,
    window_bucket,
)

SHARES = st.floats(0, 1)
DAYS = st.dates()
WINDOWS = st.builds(PlanningWindow, plant_id=st.text(max_size=5), line_id=st.none() | st.text(max_size=5), day=DAYS)


def _assigned(unit: PlanningWindow | str, share: float, seed: str = "gantry") -> UnitAssignment:
    return assign(unit, seed=seed, share=share, stage="expanded")


@pytest.mark.parametrize(
    ("seed", "unit", "bucket"),
    [
        ("seed", "a", 0.0505),
        ("seed", "b", 0.2696),
        ("foo", "ab", 0.2575),
        ("foo", "def", 0.2019),
        ("89123klj", "8952klfjas09ujkasdf", 0.124),
        ("90850943850283058242805", "123", 0.7516),
    ],
)
def test_unit_bucket_conforms_to_hash_version_two(seed: str, unit: str, bucket: float) -> None:
    """The published vectors of GrowthBook's second hash come out."""
    assert unit_bucket(seed, unit) == bucket


def test_window_buckets_of_a_block_are_the_ten_tenths() -> None:
    """Ten days of one block get ten different buckets, each in the middle of its tenth."""
    first = date.fromordinal(739_000)
    days = (first + timedelta(days=offset) for offset in range(10))
    buckets = [window_bucket("gantry", PlanningWindow(plant_id="p", line_id=None, day=day)) for day in days]
    assert sorted(buckets) == [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]


@pytest.mark.parametrize(("share", "days"), [(0.0, 0), (0.1, 30), (0.5, 150), (1.0, 300)])
def test_split_gives_ppo_its_share_of_the_days(share: float, days: int) -> None:
    """At ten per cent one day in ten belongs to PPO, at fifty five, whichever plant it is."""
    first = date.fromordinal(739_000)
    windows = (PlanningWindow(plant_id="p", line_id="7", day=first + timedelta(days=day)) for day in range(300))
    assert sum(_assigned(window, share).arm is ArmRole.PPO for window in windows) == days


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_hundred_thousand_units_split_within_sampling_error(share: float) -> None:
    """As many explicit units go to PPO as a fair coin would send, within three standard errors."""
    units = 100_000
    served = sum(unit_bucket("gantry", f"order-{number}") < share for number in range(units))
    assert abs(served - share * units) <= 3 * math.sqrt(units * share * (1 - share))


@pytest.mark.parametrize("plant", ["p", "north", "Werk 3", "工場"])
def test_one_plant_has_three_ppo_days_in_thirty(plant: str) -> None:
    """Three blocks of ten days have exactly three PPO days at ten per cent; any other thirty days two to four."""
    first = date.fromordinal(739_000)
    days = [
        assign(
            PlanningWindow(plant_id=plant, line_id=None, day=first + timedelta(days=day)),
            seed="gantry",
            share=0.1,
            stage="limited",
        ).arm
        is ArmRole.PPO
        for day in range(130)
    ]
    counts = [sum(days[start : start + 30]) for start in range(100)]
    assert set(counts[::10]) == {3}
    assert set(counts) <= {2, 3, 4}


@given(window=WINDOWS)
def test_window_is_read_back_from_its_unit(window: PlanningWindow) -> None:
    """The stored unit alone says which window it was, so that its bucket can be recomputed."""
    found = planning_window(window.unit)
    assert found is not None
    assert found.unit == window.unit
    assert window_bucket("s", found) == window_bucket("s", window)


@pytest.mark.parametrize(
    "unit", ["", "a", "a/b", "a//2025-7-22", "a//2025-13-01", "a/b/c/2025-07-22", "a b//2025-07-22"]
)
def test_other_units_are_no_windows(unit: str) -> None:
    """Text that no window would have as its unit went by the plain hash."""
    assert planning_window(unit) is None


def test_lines_of_one_plant_are_dealt_separately() -> None:
    """Two lines do not share their PPO days as a rule."""
    first = date.fromordinal(739_000)
    days = [first + timedelta(days=offset) for offset in range(100)]
    one, other = (
        [window_bucket("gantry", PlanningWindow(plant_id="p", line_id=line, day=day)) for day in days]
        for line in ("1", "2")
    )
    assert one != other


def test_window_units_never_look_alike() -> None:
    """Separators inside ids are escaped, and no line is not the same as a line without name."""
    day = date(2025, 7, 22)
    units = {
        PlanningWindow(plant_id=plant, line_id=line, day=day).unit
        for plant, line in (("a/b", "c"), ("a", "b/c"), ("a", None), ("a", "-"), ("a", "%2F"))
    }
    assert len(units) == 5
    assert PlanningWindow(plant_id="a", line_id=None, day=day).unit == "a//2025-07-22"


def test_assignment_carries_all_it_was_derived_from() -> None:
    """From the stored fields alone the arm can be recomputed."""
    assignment = _assigned("a", 0.5, seed="seed")
    assert (assignment.unit, assignment.seed, assignment.share, assignment.hash_version) == ("a", "seed", 0.5, 2)
    assert assignment.bucket == unit_bucket(assignment.seed, assignment.unit) == 0.0505
    assert assignment.arm is ArmRole.PPO


@given(window=WINDOWS, seed=st.text(max_size=5), shares=st.tuples(SHARES, SHARES))
def test_growing_the_share_never_takes_a_window_from_ppo(
    window: PlanningWindow, seed: str, shares: tuple[float, float]
) -> None:
    """Whoever is in at the smaller share is in at the larger one, on every day of the calendar."""
    small, large = (_assigned(window, share, seed) for share in sorted(shares))
    assert small.bucket == large.bucket
    assert small.arm is ArmRole.MANUAL or large.arm is ArmRole.PPO


@given(seed=st.text(max_size=8), unit=st.text(max_size=20))
def test_unit_bucket_lies_in_the_unit_interval(seed: str, unit: str) -> None:
    """A bucket is one of ten thousand steps from 0 to below 1, for any text."""
    bucket = unit_bucket(seed, unit)
    assert 0 <= bucket < 1
    assert round(bucket * 10_000) == pytest.approx(bucket * 10_000)
