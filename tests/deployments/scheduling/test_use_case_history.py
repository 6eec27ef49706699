"""What one router remembers of each plant, and what it forgets."""

from __future__ import annotations

from deployments.scheduling.use_case import RecentMakespans


def test_makespans_come_back_oldest_first_and_by_plant() -> None:
    """Each plant has its own, in the order in which they were served; an unknown plant has none."""
    history = RecentMakespans()
    for plant_id, makespan_seconds in (("penang", 3), ("ipoh", 7), ("penang", 1)):
        history.remember(plant_id, makespan_seconds)
    assert history.recent_makespans_seconds("penang") == (3, 1)
    assert history.recent_makespans_seconds("ipoh") == (7,)
    assert history.recent_makespans_seconds("johor") == ()


def test_only_the_last_makespans_are_kept() -> None:
    """The oldest makes room for the newest: 20 are recent unless another number is wanted."""
    history, short = RecentMakespans(), RecentMakespans(most_makespans=2)
    for makespan_seconds in range(25):
        history.remember("penang", makespan_seconds)
        short.remember("penang", makespan_seconds)
    assert history.recent_makespans_seconds("penang") == tuple(range(5, 25))
    assert short.recent_makespans_seconds("penang") == (23, 24)


def test_plant_served_least_recently_is_forgotten() -> None:
    """However many names clients think of, the number of plants is bounded; asking keeps no plant alive."""
    history = RecentMakespans(most_plants=2)
    for plant_id in ("penang", "ipoh", "penang"):
        history.remember(plant_id, 1)
    history.recent_makespans_seconds("ipoh")
    history.remember("johor", 1)
    found = {name: history.recent_makespans_seconds(name) for name in ("penang", "ipoh", "johor")}
    assert found == {"penang": (1, 1), "ipoh": (), "johor": (1,)}
