"""What one router remembers of each plant, and what it forgets."""

from __future__ import annotations

from deployments.scheduling.use_case import RecentMakespans


def test_makespans_come_back_oldest_first_and_by_plant() -> None:
    """Each plant has its own, in the order in which they were served; an unknown plant has none."""
    recent_makespans = RecentMakespans()
    for plant_id, makespan_seconds in (("penang", 3), ("ipoh", 7), ("penang", 1)):
        recent_makespans.remember(plant_id, makespan_seconds)
    assert recent_makespans.recent_makespans_seconds("penang") == (3, 1)
    assert recent_makespans.recent_makespans_seconds("ipoh") == (7,)
    assert recent_makespans.recent_makespans_seconds("johor") == ()


def test_only_the_last_makespans_are_kept() -> None:
    """The oldest makes room for the newest: 20 are recent unless another number is wanted."""
    recent_makespans, short = RecentMakespans(), RecentMakespans(max_makespans=2)
    for makespan_seconds in range(25):
        recent_makespans.remember("penang", makespan_seconds)
        short.remember("penang", makespan_seconds)
    assert recent_makespans.recent_makespans_seconds("penang") == tuple(range(5, 25))
    assert short.recent_makespans_seconds("penang") == (23, 24)


def test_plant_served_least_recently_is_forgotten() -> None:
    """However many names clients think of, the number of plants is bounded; asking keeps no plant alive."""
    recent_makespans = RecentMakespans(max_plants=2)
    for plant_id in ("penang", "ipoh", "penang"):
        recent_makespans.remember(plant_id, 1)
    recent_makespans.recent_makespans_seconds("ipoh")
    recent_makespans.remember("johor", 1)
    found = {name: recent_makespans.recent_makespans_seconds(name) for name in ("penang", "ipoh", "johor")}
    assert found == {"penang": (1, 1), "ipoh": (), "johor": (1,)}
