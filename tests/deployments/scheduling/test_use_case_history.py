"""What one router remembers of each plant, and what it forgets."""

from __future__ import annotations

from deployments.scheduling.use_case import RecentMakespans
from env.judge.anomalies import BoundedMakespan


def bounded(makespan_seconds: int) -> BoundedMakespan:
    """A plan as short as can be."""
    return BoundedMakespan(makespan_seconds=makespan_seconds, bound_seconds=makespan_seconds)


def test_makespans_come_back_oldest_first_and_by_plant() -> None:
    """Each plant has its own, in the order in which they were served; an unknown plant has none."""
    recent_makespans = RecentMakespans()
    for plant_id, makespan_seconds in (("penang", 3), ("ipoh", 7), ("penang", 1)):
        recent_makespans.remember(plant_id, bounded(makespan_seconds))
    assert recent_makespans.of("penang") == (bounded(3), bounded(1))
    assert recent_makespans.of("ipoh") == (bounded(7),)
    assert recent_makespans.of("johor") == ()


def test_only_the_last_makespans_are_kept() -> None:
    """The oldest makes room for the newest: 20 are recent unless another number is wanted."""
    recent_makespans, short = RecentMakespans(), RecentMakespans(max_makespans=2)
    for makespan_seconds in range(25):
        recent_makespans.remember("penang", bounded(makespan_seconds))
        short.remember("penang", bounded(makespan_seconds))
    assert recent_makespans.of("penang") == tuple(map(bounded, range(5, 25)))
    assert short.of("penang") == (bounded(23), bounded(24))


def test_plant_served_least_recently_is_forgotten() -> None:
    """However many names clients think of, the number of plants is bounded; asking keeps no plant alive."""
    recent_makespans = RecentMakespans(max_plants=2)
    for plant_id in ("penang", "ipoh", "penang"):
        recent_makespans.remember(plant_id, bounded(1))
    recent_makespans.of("ipoh")
    recent_makespans.remember("johor", bounded(1))
    found = {name: recent_makespans.of(name) for name in ("penang", "ipoh", "johor")}
    assert found == {"penang": (bounded(1), bounded(1)), "ipoh": (), "johor": (bounded(1),)}
